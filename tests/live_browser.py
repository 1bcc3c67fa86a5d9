"""A headless Chromium with a synthetic camera, and a server beside it, for tests and the latency benchmark."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
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


def write_camera_film(path: Path, *, width: int = 320, height: int = 180, frames: int = 60, rate: int = 30) -> Path:
    """A YUV4MPEG2 film for Chromium's fake camera: the test pattern with frame numbers from 0 to ``frames`` - 1."""
    settings = CameraOptions(TEST_PATTERN, (height, width), Fraction(1000))
    pictures = test_pattern(settings, threading.Event())
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420mpeg2\n".encode())
        for number in range(frames):
            planes = next(pictures)
            luma = np.array(planes.y)
            draw_counter(luma, number)
            file.write(b"FRAME\n" + luma.tobytes() + planes.u.tobytes() + planes.v.tobytes())
    return path


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """``animevid serve`` on a free port in a process of its own; its address as it prints it."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "animevid", "serve", "--port", "0", *arguments],
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
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        process.stdout.close()


@contextmanager
def chromium(film: Path, *, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A selenium driver whose camera plays ``film``."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*_FLAGS, f"--use-file-for-fake-video-capture={film}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.add_argument(f"--window-size={width},{height}")
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        driver.set_script_timeout(30)
        try:
            yield driver
        finally:
            driver.quit()


#: Reads the frame counters of both videos at one moment: [original, stylized], each a luma strip of 256 samples.
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

#: Notes, from now on, each picture that either video puts on the screen: ``window.seen.original`` and ``.stylized``
#: are lists of [moment of capture or null, moment on the screen, a line of 160 luma samples], in milliseconds.
NOTE_PICTURES = """
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
