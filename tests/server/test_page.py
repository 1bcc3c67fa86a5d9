"""The page in Chromium: messages, stored choices, appearance, photos and videos."""

from __future__ import annotations

import itertools
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from animevid.io.sources.counter import read_counter

pytest.importorskip("selenium", reason="selenium is not installed")
from live_browser import (
    READ_STRIPS,
    drop_file,
    go_live,
    newest_job,
    open_page,
    pixels_of,
    serving,
    text,
    until,
)

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture
def page(browser: tuple[Any, str]) -> Iterator[Any]:
    """The page on a first visit, at 1440x900."""
    driver, url = browser
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    open_page(driver, url)
    yield driver
    if driver.execute_script("return animevid.state.source"):
        driver.execute_script("document.getElementById('stop').click()")
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def click(driver: Any, selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def notice(driver: Any, kind: str) -> str:
    """The text of a notice, once it appears; it must lie inside the stage."""
    selector = f"#stage #notices [data-kind={kind}]"
    item = until(lambda: driver.find_elements("css selector", selector))[0]
    box, stage = item.rect, driver.find_element("id", "stage").rect
    assert stage["x"] <= box["x"]
    assert box["x"] + box["width"] <= stage["x"] + stage["width"]
    assert stage["y"] <= box["y"]
    assert box["y"] + box["height"] <= stage["y"] + stage["height"]
    return item.text


def press_in_notice(driver: Any, kind: str, label: str) -> None:
    driver.execute_script(
        "[...document.querySelectorAll(`[data-kind=${arguments[0]}] button`)]"
        ".find((button) => button.textContent === arguments[1]).click()",
        kind,
        label,
    )


# --- notices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("NotAllowedError", "Allow it with the camera icon"),
        ("NotFoundError", "Plug one in"),
        ("NotReadableError", "Close it there"),
    ],
)
def test_a_camera_that_is_not_to_be_had_is_reported_in_the_stage_with_what_to_do(page: Any, error: str, advice: str):
    page.execute_script(
        "window.real = navigator.mediaDevices.getUserMedia; navigator.mediaDevices.getUserMedia = async () => "
        f"{{ throw new DOMException('no', '{error}'); }}"
    )
    click(page, "#start")
    said = notice(page, "camera")
    assert advice in said
    assert "Use the host's camera" in said
    page.execute_script("navigator.mediaDevices.getUserMedia = window.real.bind(navigator.mediaDevices)")
    press_in_notice(page, "camera", "Try again")
    until(lambda: text(page, "status") == "Live")
    assert page.find_elements("css selector", "[data-kind=camera]") == []


def test_who_must_wait_for_a_place_is_shown_how_long_and_may_stop_waiting(page: Any):
    page.execute_script(
        "const real = fetch; window.fetch = (path, ...rest) => path === '/api/peers' ? Promise.resolve(new Response("
        "JSON.stringify({error: 'all 4 places are taken', retryAfterSeconds: 3}), {status: 503})) : real(path, ...rest)"
    )
    click(page, "#start")
    assert "All 4 places are taken. Trying again in 3 s." in notice(page, "queue")
    press_in_notice(page, "queue", "Stop waiting")
    until(lambda: text(page, "status") == "Ready")
    assert page.find_elements("css selector", "#notices li") == []


def test_a_reduced_quality_is_reported_and_a_smaller_video_offered(page: Any):
    tell = "const [f, done] = arguments; import('/figures.js').then((m) => done(m.onFigures(f)))"
    figures = {"dropped": 0, "viewers": 1, "style": "posterize", "trouble": None, "reduced": "64% of the resolution"}
    page.execute_script("animevid.state.source = 'viewer'")
    page.execute_async_script(
        tell.replace("arguments[0]", "a").replace("const done", "const a = arguments[0], done"), figures
    )
    assert "Drawn at 64% of the resolution, to keep up." in notice(page, "quality")
    press_in_notice(page, "quality", "Smaller video")
    assert page.execute_script("return resolution.value") == "480x270"
    assert page.find_elements("css selector", "[data-kind=quality]") == []


def test_an_upload_that_broke_off_is_reported_and_sent_again(page: Any, make_clip: Callable[..., Path]):
    page.execute_script(
        "window.send = XMLHttpRequest.prototype.send;XMLHttpRequest.prototype.send = function () { this.onerror(); }"
    )
    drop_file(page, make_clip("broken.mp4", frames=5), name="holiday.mp4", media_type="video/mp4")
    said = notice(page, "upload")
    assert "holiday.mp4: The connection broke" in said
    page.execute_script("XMLHttpRequest.prototype.send = window.send")
    press_in_notice(page, "upload", "Send again")
    newest_job(page, "held")
    assert len(page.find_elements("css selector", "#jobs li")) == 1


def test_a_server_that_does_not_answer_is_found_within_two_seconds(page: Any):
    waited = page.execute_async_script(
        """
        const done = arguments[0], begun = performance.now();
        window.real = fetch;
        window.fetch = (path, options) => new Promise((_, fail) =>
          options?.signal?.addEventListener('abort', () => fail(options.signal.reason)));
        new MutationObserver(() => {
          if (document.querySelector('[data-kind=server]')) done(performance.now() - begun);
        }).observe(notices, { childList: true });
        """
    )
    assert waited < 2100  # timers of the page itself: independent of the machine's speed
    assert "Trying again in 1 s" in notice(page, "server")
    # From here on it is refused at once, and the page's clock is twice as fast.
    page.execute_script(
        """
        const now = performance.now.bind(performance);
        performance.now = () => 2 * now();
        window.fetch = () => Promise.reject(new TypeError('refused'));
        """
    )
    page.execute_script(
        "window.seen = []; setInterval(() => seen.push(Number(notices.textContent.match(/again in (\\d+)/)[1])), 100)"
    )
    until(lambda: 4 in page.execute_script("return seen"))
    seen = page.execute_script("return seen")
    pauses = [after for before, after in itertools.pairwise([0, *seen]) if after > before]
    assert pauses[-2:] == [2, 4]  # it does not flood a server that is starting
    page.execute_script("window.fetch = window.real")
    press_in_notice(page, "server", "Try now")
    until(lambda: text(page, "status") == "Ready")
    assert page.find_elements("css selector", "[data-kind=server]") == []


def test_when_a_killed_server_is_back_the_live_video_goes_on(browser: tuple[Any, str], packed_style: Path):
    driver, _ = browser
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving("--style", str(packed_style), port=port, kill=True) as url:
        open_page(driver, url)
        go_live(driver)
    assert "The server does not answer" in notice(driver, "server")
    with serving("--style", str(packed_style), port=port):
        press_in_notice(driver, "server", "Try now")
        until(lambda: text(driver, "status") == "Live")
        click(driver, "#stop")


# --- stored choices -------------------------------------------------------------------------------------------------


def test_style_strength_mirror_and_files_survive_a_reload(page: Any, make_clip: Callable[..., Path]):
    click(page, "input[value=negative]")
    page.execute_script("strength.value = 40; strength.dispatchEvent(new Event('change'))")
    click(page, "#mirror")
    drop_file(page, make_clip("kept.mp4", frames=5), name="kept.mp4", media_type="video/mp4")
    newest_job(page, "held")
    page.refresh()
    until(lambda: page.execute_script("return document.body.dataset.ready"))
    assert page.execute_script("return document.querySelector('input[name=style]:checked').value") == "negative"
    assert page.execute_script("return [strength.value, document.getElementById('strength-value').value]") == [
        "40",
        "40 %",
    ]
    assert page.execute_script("return mirror.getAttribute('aria-pressed')") == "false"
    assert "kept.mp4" in newest_job(page, "held").text
    click(page, "#jobs .icon")  # a removed file does not return
    page.refresh()
    until(lambda: page.execute_script("return document.body.dataset.ready"))
    assert page.find_elements("css selector", "#jobs li") == []


# --- camera ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def downloads(page: Any, tmp_path: Path) -> Callable[..., Path]:
    """``downloads(".png")`` waits for the complete file of that kind that the browser saves."""
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    return lambda *kinds: until(lambda: next((path for path in tmp_path.iterdir() if path.suffix in kinds), None))


def is_mirrored(luma: Any) -> bool | None:
    """Whether the number in a frame is readable only when mirrored; ``None``: it is not readable."""
    if read_counter(luma) is not None:
        return False
    return True if read_counter(np.ascontiguousarray(luma[:, ::-1])) is not None else None


def test_one_sees_oneself_as_in_a_mirror_on_the_screen_in_snapshots_and_in_recordings(
    page: Any, downloads: Callable[..., Path]
):
    go_live(page)
    assert page.execute_script("return getComputedStyle(original).transform") == "matrix(-1, 0, 0, 1, 0, 0)"
    assert page.execute_script("return getComputedStyle(stylized).transform") == "none"
    click(page, "#record")
    until(lambda: page.execute_script("return timer.checkVisibility() && timer.textContent > '0:00'"))
    click(page, "#snapshot")
    with av.open(str(downloads(".png"))) as snapshot:
        assert is_mirrored(next(snapshot.decode(video=0)).to_ndarray(format="gray")) is True
    click(page, "#record")
    with av.open(str(downloads(".mp4", ".webm"))) as container:
        seen = {is_mirrored(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)}
    assert True in seen
    assert False not in seen
    assert not page.execute_script("return timer.checkVisibility()")
    click(page, "#mirror")  # mirroring off
    until(lambda: is_mirrored(np.array(page.execute_script(READ_STRIPS)[1], np.uint8).reshape(24, 320)) is False)
    assert page.execute_script("return getComputedStyle(original).transform") == "none"


def test_the_hosts_camera_is_not_mirrored(page: Any):
    go_live(page, "start-host")
    assert page.execute_script(
        "return [mirror.getAttribute('aria-pressed'), getComputedStyle(original).transform]"
    ) == ["false", "none"]


#: A second camera beside Chromium's: a drawing, 180x320. ``asked`` are the constraints of getUserMedia.
SECOND_CAMERA = """
const media = navigator.mediaDevices, real = media.getUserMedia.bind(media), list = media.enumerateDevices.bind(media);
const canvas = document.createElement('canvas');
[canvas.width, canvas.height] = [180, 320];
const pen = canvas.getContext('2d');
let step = 0;
setInterval(() => pen.fillRect(step++ % 50, 9, 9, 9), 50);
window.asked = [];
media.getUserMedia = async (wish) => {
  asked.push(wish.video);
  const second = wish.video.deviceId?.exact === 'second' || wish.video.facingMode === 'environment';
  return second ? canvas.captureStream(20) : real(wish);
};
media.enumerateDevices = async () => [...await list(), { kind: 'videoinput', deviceId: 'second', label: 'Second' }];
"""


def test_another_camera_is_chosen_while_the_video_goes_on(page: Any):
    page.execute_script(SECOND_CAMERA)
    go_live(page)
    until(lambda: page.execute_script("return camera.checkVisibility() && camera.options.length === 2"))
    assert page.execute_script("return flip.hidden")  # with a mouse, a list of cameras
    page.execute_script("camera.value = 'second'; camera.dispatchEvent(new Event('change'))")
    until(lambda: page.execute_script("return stylized.videoWidth < stylized.videoHeight"))
    assert text(page, "status") == "Live"
    assert page.execute_script("return asked.length") == 2
    page.refresh()
    until(lambda: page.execute_script("return document.body.dataset.ready"))
    page.execute_script(SECOND_CAMERA)
    go_live(page)
    assert page.execute_script("return asked[0].deviceId.exact") == "second"  # it is stored


def test_a_phone_goes_from_the_front_to_the_back_and_scrolls_with_a_finger_on_the_stage(page: Any):
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page.execute_script(SECOND_CAMERA)
    go_live(page)
    until(lambda: page.execute_script("return flip.checkVisibility()"))
    click(page, "#flip")
    until(lambda: page.execute_script("return stylized.videoWidth < stylized.videoHeight"))
    assert page.execute_script("return asked.map((wish) => wish.facingMode)") == ["user", "environment"]
    for kind, y in (("Start", 200), ("Move", 170), ("Move", 130), ("Move", 80), ("End", None)):
        points = [] if y is None else [{"x": 100, "y": y}]
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    until(lambda: page.execute_script("return scrollY > 50"))


@pytest.mark.parametrize(("width", "height"), [(180, 320), (320, 180), (240, 240)])
def test_the_stage_takes_the_cameras_shape(page: Any, width: int, height: int):
    page.execute_script(
        "const canvas = document.createElement('canvas'); [canvas.width, canvas.height] = arguments;"
        "const pen = canvas.getContext('2d'); let step = 0; setInterval(() => pen.fillRect(step++ % 50, 9, 9, 9), 50);"
        "navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20)",
        width,
        height,
    )
    go_live(page)

    def ratio() -> float:
        box = page.execute_script("const b = stage.getBoundingClientRect(); return [b.width, b.height, b.bottom]")
        assert box[2] <= 900  # all of it is visible
        return box[0] / box[1]

    until(lambda: ratio() == pytest.approx(width / height, rel=0.02))


# --- appearance -----------------------------------------------------------------------------------------------------

#: The lowest contrast of the text of each visible element, by WCAG 2.2, over all colours of a gradient.
CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
const over = (top, below) => top.slice(0, 3).map((value, i) => value * top[3] + below[i] * (1 - top[3]));
const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05); };
const grounds = (element) => {
  if (!element) return [rgba(getComputedStyle(document.documentElement).getPropertyValue('--back')).slice(0, 3)];
  const style = getComputedStyle(element), below = grounds(element.parentElement);
  const stops = style.backgroundImage.match(/(rgba?|color)\\([^)]*\\)/g) ?? [];
  const linear = style.backgroundImage.startsWith('linear');
  const plain = below.map((ground) => over(rgba(style.backgroundColor), ground));
  return linear ? stops.flatMap((stop) => plain.map((ground) => over(rgba(stop), ground))) : plain;
};
return [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility()
    && !element.closest('.tag, h1, :disabled, option')
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
  .map((element) => { const colour = rgba(getComputedStyle(element).color);
    return [element.id || element.className || element.tagName, element.textContent.trim().slice(0, 30),
      Math.min(...grounds(element).map((ground) => ratio(over(colour, ground), ground)))]; });
"""


@pytest.mark.parametrize(("theme", "is_light"), [("dark", False), ("light", True)])
def test_text_stands_out_in_the_dark_and_in_the_light_theme(page: Any, theme: str, is_light: bool):
    media = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}  # no transition between colours
    features = [{"name": name, "value": value} for name, value in media.items()]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.execute_script(
        "document.querySelector('#styles').scrollIntoView(); animevid.state.gone = false;"
        "return import('/notice.js').then((m) => { m.notice('a', 'A word', {actions: [['Do', () => {}]]});"
        "m.notice('b', 'A word', {tone: 'error'}); m.notice('c', 'A word', {tone: 'info'}); })"
    )
    ground = page.execute_script("return getComputedStyle(document.documentElement).getPropertyValue('--back')")
    assert (int(ground[1:3], 16) > 200) is is_light
    found = page.execute_script(CONTRASTS)
    assert {"start", "status", "drop"} - {name for name, _, _ in found} == {"drop"}
    assert [entry for entry in found if entry[2] < 4.5] == []


def test_an_iphone_which_has_full_screen_for_videos_only_gets_the_whole_page(page: Any):
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page.execute_script("Element.prototype.requestFullscreen = undefined")
    go_live(page)
    box = "const b = document.getElementById('screen').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    small = page.execute_script(box)
    click(page, "#fullscreen")
    until(lambda: page.execute_script(box) == [0, 0, 390, 844])
    assert text(page, "fullscreen") == "Exit full screen"
    assert page.execute_script("const b = fullscreen.getBoundingClientRect(); return b.bottom <= innerHeight")
    click(page, "#fullscreen")
    until(lambda: page.execute_script(box) == small)


def test_the_style_cards_show_a_face_and_a_landscape(page: Any):
    sizes = "return [...document.querySelectorAll('.card img')].map((i) => [i.naturalWidth, i.naturalHeight])"
    until(lambda: page.execute_script(sizes)[:2] == [[240, 360]] * 2)
    posterized, negative = (pixels_of(page, f".card:has([value={name}]) img") for name in ("posterize", "negative"))
    for half in (slice(0, 45), slice(45, 90)):
        assert np.abs(posterized[half] - negative[half]).mean() > 40
        assert posterized[half].std() > 20


# --- photos and videos -----------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    import cv2

    pixels = np.random.default_rng(3).integers(0, 255, (12, 9, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    path = tmp_path / "me.png"
    cv2.imwrite(str(path), pixels)
    return path


def test_a_photo_is_dropped_and_compared_with_what_became_of_it(page: Any, photo: Path):
    drop_file(page, photo, name="me.png", media_type="image/png")
    item = newest_job(page, "done", "failed")
    assert "Save the photo" in item.text
    until(lambda: page.execute_script("return document.querySelector('#jobs .after').naturalWidth") == 144)
    assert np.abs(pixels_of(page, "#jobs .before") - pixels_of(page, "#jobs .after")).mean() > 4
    handle = item.find_element("css selector", ".split")
    handle.send_keys("\ue011")  # Home
    assert (
        page.execute_script("return getComputedStyle(document.querySelector('#jobs .after')).clipPath")
        == "inset(0px 0px 0px 0%)"
    )
    click(page, "input[value=negative]")
    again = until(lambda: item.find_elements("xpath", ".//button[text()='Draw in Negative']"))[0]
    before = pixels_of(page, "#jobs .after")
    again.click()
    until(lambda: "Negative," in newest_job(page, "done", "failed").text)
    until(lambda: page.execute_script("return document.querySelector('#jobs .after').complete"))
    assert np.abs(pixels_of(page, "#jobs .after") - before).mean() > 40


def test_a_photo_is_taken_by_the_camera_after_a_countdown(page: Any):
    page.execute_script(
        "window.counts = [];"
        "new MutationObserver(() => counts.push(count.textContent)).observe(count, { childList: true })"
    )
    click(page, "#shoot")
    item = newest_job(page, "done", "failed")
    assert page.execute_script("return counts") == ["3", "2", "1", ""]
    assert re.match(r"photo-[-\d]+\.jpg", item.text)
    until(lambda: page.execute_script("return document.querySelector('#jobs .before').naturalWidth") == 320)
    values = page.execute_script(
        "const c = document.createElement('canvas'); c.width = 320; c.height = 180; const p = c.getContext('2d');"
        "p.drawImage(document.querySelector('#jobs .before'), 0, 0);"
        "return Array.from(p.getImageData(0, 0, 320, 24).data)"
    )
    luma = np.array(values, np.uint8).reshape(24, 320, 4)[..., 1]
    assert is_mirrored(luma) is True  # mirrored like the live video
    assert page.execute_script("return [animevid.state.camera, stage.dataset.state]") == [None, "idle"]


def test_a_video_shows_one_frame_in_the_chosen_style_and_an_estimate_before_it_is_converted(
    page: Any, make_clip: Callable[..., Path]
):
    drop_file(page, make_clip("video.mp4", frames=40, width=96), name="video.mp4", media_type="video/mp4")
    item = newest_job(page, "held")
    assert re.search(r"96 × 48, 0:0\d\. About (a second|\d+ s) to convert\.", item.text)
    until(lambda: page.execute_script("return document.querySelector('#jobs .after').naturalWidth") == 96)
    first = pixels_of(page, "#jobs .after")
    click(page, "input[value=negative]")
    until(
        lambda: page.execute_script(
            "const i = document.querySelector('#jobs .after'); return i.src.includes('negative') && i.complete"
        )
    )
    assert np.abs(pixels_of(page, "#jobs .after") - first).mean() > 40
    item.find_element("css selector", ".primary").click()
    newest_job(page, "done")
    # The videos before and after play in sync.
    until(lambda: page.execute_script("return document.querySelector('#jobs video.after').readyState") == 4)
    click(page, "#jobs .player button")
    apart = "Math.abs(after.currentTime - before.currentTime)"
    videos = "const [before, after] = document.querySelectorAll('#jobs video');"
    until(lambda: page.execute_script(f"{videos} return after.currentTime > 0.4 && !before.paused && {apart} < 0.3"))
    page.execute_script(f"{videos} after.pause()")
    until(lambda: page.execute_script(f"{videos} return before.paused && {apart} < 0.05"))
    click(page, "#jobs .row button")
    until(lambda: page.execute_script("return big.open && big.querySelector('.compare').clientWidth > 700"))
    click(page, "#big-close")
    until(lambda: page.execute_script("return document.querySelectorAll('#jobs video').length === 2"))


def test_on_a_phone_upright_and_on_its_side_nothing_is_wider_than_the_screen(
    page: Any, photo: Path, make_clip: Callable[..., Path]
):
    name = "a_rather_long_name_without_any_space_in_it_at_all.png"
    drop_file(page, photo, name=name, media_type="image/png", how="paste")
    newest_job(page, "done")
    drop_file(page, make_clip("wide.mp4", frames=5), name="video.mp4", media_type="video/mp4")
    newest_job(page, "held")
    for is_live in (False, True):
        if is_live:
            go_live(page)
        for width, height in ((1440, 900), (844, 390), (390, 844)):
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**PHONE, "width": width, "height": height})
            page.execute_script("scrollTo(0, 0)")
            if folder := os.environ.get("ANIMEVID_SCREENSHOTS"):
                page.save_screenshot(str(Path(folder) / f"page_{width}_{'live' if is_live else 'files'}.png"))
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
            assert page.execute_script("return stage.getBoundingClientRect().bottom") <= height
            if width == 390:  # styles stay near the video, however many results there are
                tops = "[stage, styles, jobs, drop].map((part) => part.getBoundingClientRect().top)"
                assert page.execute_script(
                    f"const tops = {tops}; return tops.join() === tops.toSorted((a, b) => a - b).join()"
                )
            assert page.execute_script("return styles.firstElementChild.clientWidth") <= 160
            small = "[...document.querySelectorAll('button')].filter((b) => b.checkVisibility() && b.offsetHeight < 40)"
            assert page.execute_script(f"return {small}.map((button) => button.id || button.textContent)") == []
