"""Where does a frame's time go? Every stage of a conversion at several sizes, one after the other.

::

    python -m benchmarks.stages --style FILE.onnx --sizes 640x360 1280x720

``busy``: wall time a frame that the stage worked; the largest one bounds the frame rate. ``CPU``: what its own thread
spent (threads of network and codec beside it are not in it). ``in``, ``out``: waiting for a frame, and for room.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import fps, plots
from benchmarks.clips import prepare_clip
from benchmarks.fps import Row

SIZES = ("640x360", "1280x720", "1920x1080")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", default="")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    plots.add_plot(parser)
    asked = parser.parse_args()
    rows = []
    for size in asked.sizes:
        rows.append(
            measure_at(
                size,
                style=asked.style,
                frames=asked.frames,
                runs=asked.runs,
                threads=asked.threads,
                measures=("engine",),
            )
        )
        if not asked.json:
            print(table(rows[-1]), end="\n\n", flush=True)
    if asked.json:
        print(json.dumps(rows, indent=2))
    plots.write(asked.plot, *(chart(row) for row in rows))
    return 0


def measure_at(size: str, *, style: str, frames: int, runs: int, measures: tuple[str, ...], threads: int = 0) -> Row:
    """``fps.measure`` of the demo clip brought to ``size`` ("1280x720")."""
    numbers = ["--frames", str(frames), "--runs", str(runs), "--threads", str(threads)]
    args = fps.parse(["--style", style, "--size", size, *numbers, "--measures", *measures])
    width, height = (int(side) for side in size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip = prepare_clip(args.clip, Path(folder) / "clip.mp4", width=width, height=height, frames=frames)
        return fps.measure(clip, Path(folder), args)


def chart(row: Row) -> str:
    """How long each stage is busy with a frame, and how long its own thread computes."""
    busy = {s["name"]: {"busy": s["busy_ms"], "CPU of its thread": s["cpu_ms"]} for s in row["engine"]["stages"]}
    return plots.bars(f"{row['size']}: {row['engine']['fps']:.1f} frames a second", busy, unit="ms a frame")


def table(row: Row) -> str:
    """One size for people; the stage that bounds the rate is marked."""
    engine = row["engine"]
    slowest = max(engine["stages"], key=lambda stage: stage["busy_ms"])
    lines = [
        f"{row['size']}: {engine['fps']:.1f} fps, {engine['cpu_ms']:.1f} ms of CPU a frame, {engine['network']}",
        "",
    ]
    lines.append(f"  {'stage':<12} {'busy ms':>8} {'CPU ms':>8} {'in ms':>8} {'out ms':>8}")
    for stage in engine["stages"]:
        mark = "*" if stage is slowest else " "
        lines.append(
            f"{mark} {stage['name']:<12} {stage['busy_ms']:>8.2f} {stage['cpu_ms']:>8.2f} "
            f"{stage['wait_in_ms']:>8.2f} {stage['wait_out_ms']:>8.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
