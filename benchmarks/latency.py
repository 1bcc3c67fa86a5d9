"""Glass to glass: how long from a camera's picture to the same picture on the screen?

A synthetic camera draws each frame's number into it; the number is read back from the window's own pixels, or from the
two videos of the page in headless Chromium at one moment. Prints median and 95th percentile.

    python -m benchmarks.latency [--browser] [--style NAME|FILE] [--size 640x360] [--fps 30] [--seconds 10]

The browser's figure has the resolution of a frame: it is the distance between the two videos in frames, over the rate.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
from animevid.live.camera import TEST_PATTERN, CameraSettings
from animevid.live.counter import read_counter
from animevid.live.engine import LiveSettings
from animevid.live.frames import LiveResult, percentile
from animevid.live.show import Webcam, WebcamOptions
from animevid.live.window import Window


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--style")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=Fraction, default=Fraction(30))
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    measure = measure_browser if args.browser else measure_window
    latencies, unread, note = measure(args.style, (height, width), args.fps, args.seconds)
    if not latencies:
        print("no frame number could be read: does the style keep bright bright and dark dark?", file=sys.stderr)
        return 1
    latencies.sort()
    print(
        f"{'browser' if args.browser else 'window'} {args.size} at {float(args.fps):g} fps: "
        f"median {percentile(latencies, 0.5) * 1000:.0f} ms, 95 % {percentile(latencies, 0.95) * 1000:.0f} ms "
        f"({len(latencies)} frames read, {unread} not; {note})"
    )
    return 0


def measure_window(
    style: str | None, size: tuple[int, int], fps: Fraction, seconds: float
) -> tuple[list[float], int, str]:
    """Seconds from a frame's leaving the camera to its pixels being on the window (SDL's dummy driver without X)."""
    if not os.environ.get("DISPLAY") and sys.platform.startswith("linux"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    left: dict[int, float] = {}
    latencies: list[float] = []
    unread = 0

    def seen(result: LiveResult, window: Window | None) -> None:
        nonlocal unread
        assert window is not None
        now = time.monotonic()
        # The number on the screen says which frame it is; the camera said when that one left it.
        left[result.frame.index] = result.frame.captured_at_seconds
        number = read_counter(window.pixels()[..., 1])
        if number in left:
            latencies.append(now - left[number])
        else:
            unread += 1

    webcam = Webcam(
        WebcamOptions(
            camera=CameraSettings(TEST_PATTERN, size, fps),
            live=LiveSettings(style=style, fps=fps),
            styles=(style,),
            figures=False,
            seconds=seconds,
        )
    )
    figures = webcam.run(on_result=seen)
    start = min(len(latencies) // 5, int(fps))  # the first second warms up
    return latencies[start:], unread, f"{figures.fps:.1f} fps, {figures.frames_dropped} dropped"


def measure_browser(
    style: str | None, size: tuple[int, int], fps: Fraction, seconds: float
) -> tuple[list[float], int, str]:
    """Seconds between a frame in the browser's own video and the same frame in the stylized one."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from live_browser import READ_STRIPS, chromium, serving, write_camera_film

    frames = 60
    latencies: list[float] = []
    unread = 0
    with tempfile.TemporaryDirectory() as folder:
        height, width = size
        film = write_camera_film(Path(folder) / "c.y4m", width=width, height=height, frames=frames, rate=int(fps))
        with serving(*(("--style", style) if style else ())) as url, chromium(film) as driver:
            driver.get(url)
            driver.execute_script("resolution.value = arguments[0]", f"{width}x{height}")
            time.sleep(1)
            driver.find_element("id", "start").click()
            time.sleep(8)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                strips = [np.array(strip, np.uint8).reshape(24, 320) for strip in driver.execute_script(READ_STRIPS)]
                original, stylized = (read_counter(strip) for strip in strips)
                if original is None or stylized is None:
                    unread += 1
                else:
                    latencies.append(float((original - stylized) % frames / fps))
            note = driver.execute_script("return document.getElementById('fps').textContent + ' fps on the page'")
    return latencies, unread, note


if __name__ == "__main__":
    raise SystemExit(main())
