"""Measures the latency from a camera's frame to the same frame on the screen.

A synthetic camera draws each frame's number into it; the number is read back from the window's own pixels, or from both
videos of the page in headless Chromium as they are presented. Prints median and 95th percentile.

    python -m benchmarks.latency [--browser] [--style NAME|FILE] [--size 640x360] [--fps 30] [--seconds 10]

The window's line also reports lost frames and the processor time of this process and of all others (Linux), both after
the first second: results from a busy machine are worthless. The browser's latency is measured from Chromium's capture
time of a frame to the time at which the stylized frame is due on the screen: encoding, transport, decoding, stylizing,
and the way back.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from animevid.frame import StylizedFrame
from animevid.io.sinks.window import Window
from animevid.io.sources.camera import TEST_PATTERN
from animevid.io.sources.counter import MODULUS, read_counter
from animevid.options import CameraOptions, LiveOptions, WebcamOptions
from animevid.run.latency import percentile
from animevid.run.webcam import Webcam

from benchmarks import plots


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--style")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=Fraction, default=Fraction(30))
    parser.add_argument("--seconds", type=float, default=10.0)
    plots.add_plot(parser)
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
    shares = [(1000 * latency, 100 * (n + 1) / len(latencies)) for n, latency in enumerate(latencies)]
    title = f"{'browser' if args.browser else 'window'}, {args.size} at {float(args.fps):g} fps"
    chart = plots.lines(title, {note: shares}, x_label="ms, glass to glass", y_label="% of the frames that are there")
    plots.write(args.plot, chart)
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
    warm_up = int(fps)
    usage: Usage | None = None

    def seen(result: StylizedFrame, window: Window | None) -> None:
        nonlocal unread, usage
        assert window is not None
        now = time.monotonic()
        if len(left) == warm_up:
            usage = Usage.now()
        # The number in the camera's frame and the one on the screen are the same frame's; a number that is left out
        # was lost, in the camera's thread or after it.
        taken = read_counter(result.frame.planes.y)
        assert taken is not None
        left[taken] = result.frame.captured_at_seconds
        number = read_counter(window.pixels()[..., 1])
        if number in left:
            latencies.append(now - left[number])
        else:
            unread += 1

    webcam = Webcam(
        WebcamOptions(
            camera=CameraOptions(TEST_PATTERN, size, fps),
            live=LiveOptions(style=style, fps=fps),
            styles=(style,),
            figures=False,
            seconds=seconds,
        )
    )
    figures = webcam.run(on_result=seen)
    if usage is None:
        return [], unread, "too short"
    numbers = list(left)[warm_up:]
    lost = sum((later - one) % MODULUS - 1 for one, later in pairwise(numbers))
    note = f"{figures.fps:.1f} fps, {lost} of {lost + len(numbers)} frames lost; {Usage.now().since(usage)}"
    return latencies[warm_up:], unread, note


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of the processors this process and all of the machine have used so far, in seconds."""

    wall_seconds: float
    own_seconds: float
    machine_seconds: float | None

    @classmethod
    def now(cls) -> Usage:
        machine = None
        with suppress(OSError, ValueError):
            user, nice, system = Path("/proc/stat").read_text().split("\n")[0].split()[1:4]
            machine = (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")
        return cls(time.perf_counter(), time.process_time(), machine)

    def since(self, before: Usage) -> str:
        cores = os.cpu_count() or 1
        seconds = (self.wall_seconds - before.wall_seconds) * cores
        own = self.own_seconds - before.own_seconds
        text = f"{own / seconds:.0%} of {cores} cores"
        if self.machine_seconds is not None and before.machine_seconds is not None:
            others = max(0.0, self.machine_seconds - before.machine_seconds - own)
            text += f", others {others / seconds:.0%}"
        return text


def measure_browser(
    style: str | None, size: tuple[int, int], fps: Fraction, seconds: float
) -> tuple[list[float], int, str]:
    """Seconds from a frame's leaving the browser's camera to the same frame, stylized, being due on the screen."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from live_browser import NOTE_FRAMES, chromium, serving, write_camera_video

    with tempfile.TemporaryDirectory() as folder:
        height, width = size
        video = write_camera_video(Path(folder) / "c.y4m", width=width, height=height, frames=240, rate=int(fps))
        with serving(*(("--style", style) if style else ())) as url, chromium(video) as driver:
            driver.get(url)
            driver.execute_script("resolution.value = arguments[0]", f"{width}x{height}")
            time.sleep(1)
            driver.execute_script("mirror.click()")  # numbers in a mirror cannot be read
            driver.find_element("id", "start").click()
            time.sleep(_BROWSER_WARM_UP_SECONDS)
            driver.execute_script(NOTE_FRAMES)
            time.sleep(seconds)
            seen = driver.execute_script("return window.seen")
            stats = driver.execute_async_script(_PAGE_FIGURES)
    # (moment, is it the stylized one, the line with the number)
    moments = [(captured, False, line) for captured, _, line in seen["original"] if captured is not None]
    moments += [(shown, True, line) for _, shown, line in seen["stylized"]]
    taken: dict[int, float] = {}
    latencies: list[float] = []
    unread = 0
    # The video loops after eight seconds: a number belongs to the last frame that showed it.
    for moment, stylized, line in sorted(moments):
        number = read_counter(np.tile(np.array(line, np.uint8), (10, 1)))
        if number is None:
            unread += 1
        elif not stylized:
            taken[number] = moment
        elif number in taken:
            latencies.append((moment - taken[number]) / 1000)
    return latencies, unread, stats


#: A browser's estimate of what the connection bears starts low and takes this long.
_BROWSER_WARM_UP_SECONDS = 8.0
#: The page's own figures, and where the time goes, as one line.
_PAGE_FIGURES = """
const done = arguments[0];
(async () => {
  const sum = {};
  for (const entry of (await animevid.state.peer.getStats()).values()) {
    if (entry.type === 'outbound-rtp') sum.encode = 1000 * entry.totalEncodeTime / entry.framesEncoded;
    if (entry.type === 'inbound-rtp') {
      sum.buffer = 1000 * entry.jitterBufferDelay / entry.jitterBufferEmittedCount;
      sum.decode = 1000 * entry.totalDecodeTime / entry.framesDecoded;
      sum.size = `${entry.frameWidth}x${entry.frameHeight}`;
    }
    if (entry.type === 'codec') sum.codec = entry.mimeType;
  }
  const tenth = (value) => value.toFixed(1);
  done(`${fps.textContent} fps, ${sum.codec} ${sum.size}; encoding ${tenth(sum.encode)} ms, server ` +
    `${animevid.state.server.serverMs} ms, buffering ${tenth(sum.buffer)} ms, decoding ${tenth(sum.decode)} ms; ` +
    `the page itself says ${latency.textContent}`);
})();
"""


if __name__ == "__main__":
    raise SystemExit(main())
