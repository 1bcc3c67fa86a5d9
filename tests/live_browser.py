"""Runs a headless Chromium with a synthetic camera, and a server, for tests and the latency benchmark."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from animevid.io.sources.camera import TEST_PATTERN, test_pattern
from animevid.io.sources.counter import draw_counter
from animevid.options import CameraOptions

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-dev-shm-usage",
)


#: Length of the camera's video: eight seconds, so that even long delays cannot be mistaken for frames ahead.
VIDEO_FRAMES = 240


def why_no_chromium() -> str | None:
    """Why browser tests cannot run here; ``None`` if they can."""
    try:
        import aiortc  # noqa: F401
        import selenium  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed"
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "Chromium is missing: apt-get install chromium chromium-driver"
    return None


def write_camera_video(path: Path, *, width: int = 320, height: int = 180, frames: int = 60, rate: int = 30) -> Path:
    """A YUV4MPEG2 video for Chromium's fake camera: the test pattern with frame numbers from 0 to ``frames`` - 1."""
    settings = CameraOptions(TEST_PATTERN, (height, width), Fraction(1000))
    pattern = test_pattern(settings, threading.Event())
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420mpeg2\n".encode())
        for number in range(frames):
            planes = next(pattern)
            luma = np.array(planes.y)
            draw_counter(luma, number)
            file.write(b"FRAME\n" + luma.tobytes() + planes.u.tobytes() + planes.v.tobytes())
    return path


@contextmanager
def serving(*arguments: str, port: int = 0, kill: bool = False) -> Iterator[str]:
    """``animevid serve`` in a separate process (``port`` 0: any free one); gives the address that it prints.

    ``kill``: end it abruptly, as a power failure would.
    """
    from animevid.confinement import missing

    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    arguments += ("--unconfined-uploads",) if missing() else ()  # otherwise it reports that first
    process = subprocess.Popen(
        [sys.executable, "-m", "animevid", "serve", "--port", str(port), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "http://" in line and "animevid is at" in line:
                yield line.split()[3]
                break
        else:
            raise AssertionError(f"animevid serve ended with {process.wait()}")
    finally:
        process.send_signal(signal.SIGKILL if kill else signal.SIGINT)
        process.wait(timeout=30)
        process.stdout.close()


@contextmanager
def chromium(video: Path, *, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A selenium driver whose camera plays ``video``."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*_FLAGS, f"--use-file-for-fake-video-capture={video}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.add_argument(f"--window-size={width},{height}")
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        driver.set_script_timeout(30)
        try:
            yield driver
        finally:
            driver.quit()


def until(what: Callable[[], Any], *, seconds: float = 40) -> Any:
    """Wait until ``what()`` is true, and return its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.05)
    raise AssertionError(f"it did not come true in {seconds} s")


def open_page(driver: Any, url: str, **stored: Any) -> None:
    """Load the page with these stored choices, as for a returning user, and wait until it is ready."""
    driver.get(f"{url}icon.svg")
    driver.execute_script(
        "localStorage.clear(); for (const [name, text] of arguments[0]) localStorage.setItem('animevid.' + name, text)",
        [[name, json.dumps(value)] for name, value in stored.items()],
    )
    driver.get(url)
    until(lambda: driver.execute_script("return document.body.dataset.ready"))


def text(driver: Any, element: str) -> str:
    return driver.execute_script(f"return document.getElementById('{element}').textContent")


def go_live(driver: Any, button: str = "start") -> None:
    """Start the live video and wait until it plays."""
    if text(driver, "status") != "Live":
        driver.execute_script(f"document.getElementById('{button}').click()")
        until(lambda: text(driver, "status") == "Live")
    until(lambda: driver.execute_script("return stylized.videoWidth && stylized.currentTime > 0.2"))


def pixels_of(driver: Any, element: str) -> Any:
    """The pixels of a video or an image, (90, 160, 3)."""
    values = driver.execute_script(
        "const c = document.createElement('canvas'); c.width = 160; c.height = 90; const p = c.getContext('2d');"
        f"p.drawImage(document.querySelector('{element}'), 0, 0, 160, 90);"
        "return Array.from(p.getImageData(0, 0, 160, 90).data)"
    )
    return np.array(values, float).reshape(90, 160, 4)[..., :3]


def drop_file(driver: Any, path: Path, *, name: str, media_type: str, how: str = "drop") -> None:
    """Drop a file onto the page, or paste it."""
    driver.execute_script(
        """
        const [data, name, type, how] = arguments;
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const carried = new DataTransfer();
        carried.items.add(new File([bytes], name, { type }));
        const event = how === 'drop' ? new DragEvent('drop', { dataTransfer: carried, bubbles: true })
          : new ClipboardEvent('paste', { clipboardData: carried, bubbles: true });
        document.getElementById('drop').dispatchEvent(event);
        """,
        base64.b64encode(path.read_bytes()).decode(),
        name,
        media_type,
        how,
    )


def newest_job(driver: Any, *states: str) -> Any:
    """The newest file on the page, once it is in one of these states."""
    return until(
        lambda: driver.execute_script(
            "const item = document.querySelector('#jobs li');"
            "return item && arguments[0].includes(item.dataset.state) ? item : null",
            states,
        )
    )


#: Reads the frame counters of both videos at the same time: [original, stylized], each a luma strip of 256 samples.
READ_STRIPS = """
const strip = (video) => {
  const canvas = document.createElement('canvas');
  canvas.width = 320; canvas.height = 180;
  const pen = canvas.getContext('2d');
  pen.drawImage(video, 0, 0, 320, 180);
  const data = pen.getImageData(0, 0, 320, 180).data, out = [];
  for (let i = 0; i < 320 * 24; i++) out.push(Math.round(0.3 * data[4*i] + 0.59 * data[4*i+1] + 0.11 * data[4*i+2]));
  return out;
};
return [strip(document.getElementById('original')), strip(document.getElementById('stylized'))];
"""

#: From now on, records each frame that either video displays: ``window.seen.original`` and ``.stylized`` are lists of
#: [capture time or null, display time, a line of 160 luma samples]; times are in milliseconds.
NOTE_FRAMES = """
window.seen = {original: [], stylized: []};
const canvas = new OffscreenCanvas(160, 90);
const pen = canvas.getContext('2d', {willReadFrequently: true});
for (const name of ['original', 'stylized']) {
  const video = document.getElementById(name);
  const note = (now, about) => {
    pen.drawImage(video, 0, 0, 160, 90);
    const data = pen.getImageData(0, 5, 160, 1).data, line = [];
    for (let i = 0; i < 640; i += 4) line.push(Math.round(0.3 * data[i] + 0.59 * data[i + 1] + 0.11 * data[i + 2]));
    window.seen[name].push([about.captureTime ?? null, about.expectedDisplayTime, line]);
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
}
"""
