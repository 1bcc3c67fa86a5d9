"""Measures the cost by frame size and by number of cores, as a table and a plot (SVG).

::

    python -m benchmarks.scaling --style FILE.onnx --plot scaling.svg

Each size runs on all cores; each number of cores runs at ``--cores-size``, limited by CPU affinity (Linux only; skipped
elsewhere).
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from benchmarks import plots
from benchmarks.fps import Row
from benchmarks.stages import measure_at

SIZES = ("320x180", "640x360", "960x540", "1280x720", "1920x1080")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", default="")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--cores-size", default="1280x720", metavar="WxH")
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--runs", type=int, default=3)
    plots.add_plot(parser)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def measure(size: str) -> Row:
        return measure_at(size, style=asked.style, frames=asked.frames, runs=asked.runs, measures=("engine", "codec"))

    by_size = [measure(size) for size in asked.sizes]
    by_cores = []
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        try:
            for count in range(1, len(allowed) + 1):
                os.sched_setaffinity(0, allowed[:count])  # the measuring processes inherit it
                by_cores.append({**measure(asked.cores_size), "cores": count})
        finally:
            os.sched_setaffinity(0, allowed)
    print(json.dumps({"sizes": by_size, "cores": by_cores}, indent=2) if asked.json else table(by_size, by_cores))
    plots.write(asked.plot, *charts(by_size, by_cores))
    return 0


def megapixels(size: str) -> float:
    width, height = (int(side) for side in size.split("x"))
    return width * height / 1e6


def table(by_size: list[Row], by_cores: list[Row]) -> str:
    """Both series for people."""
    lines = [f"{'size':<10} {'Mpx':>6} {'fps':>8} {'CPU ms/frame':>13} {'of it codec':>12} {'CPU ms/Mpx':>11}"]
    for row in by_size:
        cpu, codec, area = row["engine"]["cpu_ms"], row["codec"]["cpu_ms"], megapixels(row["size"])
        lines.append(
            f"{row['size']:<10} {area:>6.2f} {row['engine']['fps']:>8.1f} {cpu:>13.1f} {codec:>12.1f} "
            f"{cpu / area:>11.1f}"
        )
    if by_cores:
        lines += ["", f"{'cores':<10} {'fps':>8} {'against one':>12}   at {by_cores[0]['size']}"]
        first = by_cores[0]["engine"]["fps"]
        lines += [
            f"{row['cores']:<10} {row['engine']['fps']:>8.1f} {row['engine']['fps'] / first:>11.2f}x"
            for row in by_cores
        ]
    return "\n".join(lines)


def charts(by_size: list[Row], by_cores: list[Row]) -> list[str]:
    """CPU time over pixels, frame rate over cores."""
    areas = [megapixels(row["size"]) for row in by_size]
    cost = {
        "whole": list(zip(areas, [row["engine"]["cpu_ms"] for row in by_size], strict=True)),
        "codec alone": list(zip(areas, [row["codec"]["cpu_ms"] for row in by_size], strict=True)),
    }
    rate = {
        "engine": [(float(row["cores"]), row["engine"]["fps"]) for row in by_cores],
        "codec alone": [(float(row["cores"]), row["codec"]["fps"]) for row in by_cores],
    }
    drawn = [plots.lines("cost of pixels", cost, x_label="megapixels a frame", y_label="ms of CPU a frame")]
    if by_cores:
        size = by_cores[0]["size"]
        drawn.append(plots.lines("gain of cores", rate, x_label=f"cores ({size})", y_label="frames a second"))
    return drawn


if __name__ == "__main__":
    sys.exit(main())
