"""How does the cost grow with pixels, and shrink with cores? A table and a plot (SVG).

::

    python -m benchmarks.scaling --style FILE.onnx --plot scaling.svg

Each size runs on all cores; each number of cores runs at ``--cores-size``, held to that many by the scheduler's mask
(Linux only: elsewhere this part is left out).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.stages import measure_at

SIZES = ("320x180", "640x360", "960x540", "1280x720", "1920x1080")
Points = Sequence[tuple[float, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", default="")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--cores-size", default="1280x720", metavar="WxH")
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def measure(size: str) -> dict[str, Any]:
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
    if asked.plot:
        asked.plot.write_text(plot(by_size, by_cores))
    return 0


def megapixels(size: str) -> float:
    width, height = (int(side) for side in size.split("x"))
    return width * height / 1e6


def table(by_size: list[dict[str, Any]], by_cores: list[dict[str, Any]]) -> str:
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


def plot(by_size: list[dict[str, Any]], by_cores: list[dict[str, Any]]) -> str:
    """Two charts side by side: CPU time against pixels, frame rate against cores."""
    areas = [megapixels(row["size"]) for row in by_size]
    cost = {
        "whole": list(zip(areas, [row["engine"]["cpu_ms"] for row in by_size], strict=True)),
        "codec alone": list(zip(areas, [row["codec"]["cpu_ms"] for row in by_size], strict=True)),
    }
    rate = {
        "engine": [(float(row["cores"]), row["engine"]["fps"]) for row in by_cores],
        "codec alone": [(float(row["cores"]), row["codec"]["fps"]) for row in by_cores],
    }
    charts = [_chart(cost, 0, "megapixels a frame", "ms of CPU a frame")]
    if by_cores:
        charts.append(_chart(rate, 400, f"cores ({by_cores[0]['size']})", "frames a second"))
    width = 400 * len(charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 300" width="{width}" height="300" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(charts)
        + "</svg>\n"
    )


def _chart(series: dict[str, Points], left: int, x_label: str, y_label: str) -> str:
    """One chart with both axes from 0, in a field of 400x300 that begins at ``left``."""
    x0, y0, width, height = left + 56, 250, 320, 214
    x_end = max(x for points in series.values() for x, _ in points) * 1.05
    y_end = max(y for points in series.values() for _, y in points) * 1.1

    def place(x: float, y: float) -> tuple[float, float]:
        return x0 + x / x_end * width, y0 - y / y_end * height

    parts = [
        f'<path d="M{x0} {y0 - height}V{y0}H{x0 + width}" fill="none" stroke="#333"/>',
        f'<text x="{x0 + width / 2}" y="290" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate({left + 14} {y0 - height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for step in range(5):
        y = y_end * step / 4
        up = place(0, y)[1]
        parts.append(f'<path d="M{x0} {up:.1f}h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 - 6}" y="{up + 4:.1f}" text-anchor="end">{y:.3g}</text>')
    labelled = float("-inf")
    for x, _ in next(iter(series.values())):
        across = place(x, 0)[0]
        if across - labelled >= 30:  # room for its number
            parts.append(f'<text x="{across:.1f}" y="268" text-anchor="middle">{x:.2g}</text>')
            labelled = across
    for index, ((name, points), colour) in enumerate(zip(series.items(), ("#06c", "#888"), strict=False)):
        spots = [place(x, y) for x, y in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        parts.append(f'<text x="{x0 + 12}" y="{48 + 16 * index}" fill="{colour}">{escape(name)}</text>')
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main())
