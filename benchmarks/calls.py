"""Counts Python calls and changes of module per frame, and modules and threads per conversion.

    python -m benchmarks.calls [--size 640x360] [--frames 60] [--plot calls.svg]

Converts two videos, one three times as long as the other, with a profile function in every thread. Their difference
gives the cost of a frame without start-up. ``docs/architecture.md`` has the results.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks import plots

_PACKAGE = "animevid"


@dataclass
class Counts:
    """``calls``: by module. ``threads``: those in which a function of the package was called."""

    calls: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    threads: set[int] = field(default_factory=set)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--size", default="640x360", help="WIDTHxHEIGHT of the video")
    parser.add_argument("--frames", type=int, default=60)
    plots.add_plot(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        short, long = (counted(Path(folder), args.size, count) for count in (args.frames, 3 * args.frames))
        modules = imported(Path(folder) / f"{args.frames}.mp4")
    more = 2 * args.frames
    per_frame = {module: (calls - short.calls[module]) / more for module, calls in long.calls.items()}
    print(f"modules imported    {modules}")
    print(f"modules per frame   {sum(calls > 0.5 for calls in per_frame.values())}")
    print(f"calls per frame     {sum(per_frame.values()):.0f}")
    print(f"changes of module   {(long.changes - short.changes) / more:.0f} per frame")
    print(f"threads             {len(long.threads)}")
    most = dict(sorted(per_frame.items(), key=lambda item: -item[1])[:15])
    groups = {module: {"": calls} for module, calls in most.items()}
    plots.write(args.plot, plots.bars("Python calls per frame, by module", groups, unit="calls"))
    return 0


def imported(video: Path) -> int:
    """How many of the package's modules a new process has imported after a conversion on the CPU."""
    program = (
        "import sys, animevid\n"
        f"animevid.stylize({str(video)!r}, {str(video.with_suffix('.mkv'))!r}, backend='onnxruntime')\n"
        f"print(sum(name.split('.')[0] == {_PACKAGE!r} for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def counted(folder: Path, size: str, frames: int) -> Counts:
    """The calls of one conversion of a video of ``frames`` frames."""
    import animevid

    source = moving_video(folder / f"{frames}.mp4", size, frames)
    counts, last, lock = Counts(), threading.local(), threading.Lock()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] != _PACKAGE:
            return
        with lock:
            counts.calls[module] += 1
            counts.threads.add(threading.get_ident())
            counts.changes += getattr(last, "module", module) != module
        last.module = module

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        animevid.stylize(source, folder / f"{frames}-out.mp4", backend="onnxruntime")
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return counts


def moving_video(path: Path, size: str, frames: int) -> Path:
    """A video in which every frame differs, so that none is reused."""
    import av
    import numpy as np

    width, height = map(int, size.split("x"))
    ramp = np.add.outer(np.arange(height), np.arange(width))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            gray = ((ramp + 8 * index) % 256).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(gray[..., None], 3, 2), format="rgb24")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    sys.exit(main())
