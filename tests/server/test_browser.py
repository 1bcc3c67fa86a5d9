"""The page in a real browser: Chromium's camera plays a video with frame numbers, which are read from both videos."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from animevid.io.sources.counter import read_counter

pytest.importorskip("selenium", reason="selenium is not installed")
from live_browser import (
    READ_STRIPS,
    VIDEO_FRAMES,
    drop_file,
    go_live,
    newest_job,
    open_page,
    pixels_of,
    serving,
    text,
    until,
)

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@pytest.fixture(scope="module")
def page(browser: tuple[Any, str]) -> Any:
    """The page without mirroring, so that numbers in the frames can be read."""
    driver, url = browser
    open_page(driver, url, mirror={"front": False, "other": False})
    return driver


def strips(driver: Any) -> tuple[Any, Any]:
    original, stylized = driver.execute_script(READ_STRIPS)
    return tuple(np.array(strip, np.uint8).reshape(24, 320) for strip in (original, stylized))


def test_the_remote_video_plays_and_is_stylized(page: Any):
    go_live(page)
    first = page.execute_script("return stylized.currentTime")
    until(lambda: page.execute_script("return stylized.currentTime") > first + 0.5)
    assert page.execute_script("return [stylized.videoWidth, stylized.videoHeight]") == [320, 180]
    assert np.abs(pixels_of(page, "#original") - pixels_of(page, "#stylized")).mean() > 4


def test_the_number_in_the_camera_is_read_from_the_stylized_video_a_little_later(page: Any):
    go_live(page)
    lags: list[int] = []

    def enough() -> bool:
        original, stylized = (read_counter(strip) for strip in strips(page))
        if original is not None and stylized is not None:
            lags.append((original - stylized) % VIDEO_FRAMES)
        return len(lags) >= 6

    until(enough)
    assert all(lag < VIDEO_FRAMES // 2 for lag in lags), lags  # behind, not ahead


def test_figures_are_shown(page: Any):
    go_live(page)
    until(lambda: text(page, "fps") not in ("–", "0") and "ms" in text(page, "latency"))
    assert text(page, "viewers") == "1 of 4"


def test_the_line_moves_by_key_and_by_pointer(page: Any):
    from selenium.webdriver import ActionChains, Keys

    go_live(page)
    split = page.find_element("id", "split")
    split.send_keys(Keys.HOME)
    assert split.get_attribute("aria-valuenow") == "0"
    split.send_keys(Keys.END, Keys.ARROW_LEFT)
    assert split.get_attribute("aria-valuenow") == "98"
    split.send_keys(Keys.HOME, *[Keys.PAGE_UP] * 5)
    width = page.execute_script("return stage.clientWidth")
    ActionChains(page).drag_and_drop_by_offset(split, -round(width / 4), 0).perform()
    assert abs(int(split.get_attribute("aria-valuenow")) - 25) <= 2


def test_another_style_changes_the_video(page: Any):
    go_live(page)
    bright = pixels_of(page, "#stylized")[60:].mean()
    page.find_element("css selector", "input[value=negative]").click()
    until(lambda: page.execute_script("return stage.dataset.style") == "negative")
    until(lambda: abs(pixels_of(page, "#stylized")[60:].mean() - (255 - bright)) < 40)


def test_strength_zero_shows_the_original(page: Any):
    go_live(page)
    page.execute_script("strength.value = 0; strength.dispatchEvent(new Event('input'))")
    until(lambda: np.abs(pixels_of(page, "#original")[30:] - pixels_of(page, "#stylized")[30:]).mean() < 14)
    page.execute_script("strength.value = 100; strength.dispatchEvent(new Event('input'))")


def test_a_dropped_file_is_given_back(page: Any, make_clip: Callable[..., Path]):
    drop_file(page, make_clip("drop.mp4", frames=5), name="holiday.mp4", media_type="video/mp4")
    newest_job(page, "held").find_element("css selector", ".primary").click()
    newest_job(page, "done")
    until(lambda: page.execute_script("return document.querySelector('#jobs video.after').videoWidth") == 64)


def test_the_hosts_camera_plays_too(page: Any):
    go_live(page)
    page.find_element("css selector", "input[value=posterize]").click()  # a negative's number cannot be read
    page.find_element("id", "stop").click()
    go_live(page, "start-host")
    until(lambda: read_counter(strips(page)[1]) is not None)


@pytest.fixture
def downloads(page: Any, tmp_path: Path) -> Callable[..., Path]:
    """``downloads(".png")`` waits for the complete file of that kind that the browser saves."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    return lambda *kinds: until(lambda: next((path for path in folder.iterdir() if path.suffix in kinds), None))


def test_the_snapshot_button_saves_the_stylized_frame(page: Any, downloads: Callable[..., Path]):
    go_live(page)
    page.find_element("id", "snapshot").click()
    with av.open(str(downloads(".png"))) as snapshot:
        (frame,) = snapshot.decode(video=0)
        assert (frame.width, frame.height) == (320, 180)
        assert frame.to_ndarray(format="gray").std() > 10


def test_the_record_button_saves_a_video_with_sound_that_plays(page: Any, downloads: Callable[..., Path]):
    go_live(page)
    button = page.find_element("id", "record")
    button.click()
    until(lambda: button.get_attribute("aria-pressed") == "true")
    begun = page.execute_script("return stylized.currentTime")
    until(lambda: page.execute_script("return stylized.currentTime") > begun + 3)
    button.click()
    path = downloads(".mp4", ".webm")
    assert button.get_attribute("aria-pressed") == "false"
    with av.open(str(path)) as container:
        assert sorted(stream.type for stream in container.streams) == ["audio", "video"]
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) >= 5
    assert times[-1] - times[0] > 1


def test_everything_is_reached_with_the_tab_key(page: Any):
    from selenium.webdriver import ActionChains, Keys

    go_live(page)
    page.execute_script("document.activeElement.blur()")
    reached = set()
    for _ in range(30):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(page.execute_script("return document.activeElement.id || document.activeElement.name"))
    wanted = {
        "split",
        "compare",
        "mirror",
        "snapshot",
        "record",
        "fullscreen",
        "style",
        "strength",
        "resolution",
        "file",
    }
    assert wanted - reached == set()


def test_nothing_was_blocked_and_nothing_came_from_elsewhere(page: Any):
    urls = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    own = page.execute_script("return location.origin")
    assert all(url.startswith((own, "blob:")) for url in urls)
    assert [entry for entry in page.get_log("browser") if "Content Security" in entry["message"]] == []


def test_off_loopback_a_wrong_token_is_refused_and_the_right_one_opens_the_page(page: Any, packed_style: Path):
    arguments = ("--host", "0.0.0.0", "--token", "correct horse battery", "--style", str(packed_style))
    with serving(*arguments) as url:
        address = url.partition("?")[0].replace("0.0.0.0", "127.0.0.1")
        check = re.search(r'^HEALTHCHECK .*?python3 -c "(.*?)"$', DOCKERFILE.read_text(), flags=re.M | re.S)
        assert check is not None
        health = check[1].replace("http://127.0.0.1:8080/", address)
        subprocess.run([sys.executable, "-c", health], check=True)  # the container is healthy without a token, too
        page.switch_to.new_window("tab")
        page.get(address)
        for token in ("wrong horse battery", "correct horse battery"):
            assert page.find_elements("id", "stage") == []
            page.find_element("name", "token").send_keys(token)
            page.find_element("css selector", "button").click()
            until(lambda: page.find_elements("id", "stage") or "is wrong" in page.page_source)
        until(lambda: page.execute_script("return document.body.dataset.ready"))
        assert page.execute_script("return document.cookie") == ""
        assert "token" not in page.current_url
