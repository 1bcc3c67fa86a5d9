"""Plots results as SVG: bar and line charts.

Each benchmark takes ``--plot FILE.svg`` (``add_plot``) and draws its figures there (``write``).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Points = Sequence[tuple[float, float]]

COLOURS = ("#2a6fb0", "#888888", "#c8702a", "#4a9a5a", "#8a5ab0")
_HEIGHT_PX, _WIDTH_PX, _BAR_PX = 300, 420, 16


def add_plot(parser: argparse.ArgumentParser) -> None:
    """``--plot``."""
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the figures")


def write(path: Path | None, *charts: str) -> None:
    """Put ``charts`` below each other into the file ``path``; nothing where none was asked for."""
    if path is None:
        return
    heights = [int(chart.split('height="', 1)[1].partition('"')[0]) for chart in charts]
    width = max(int(chart.split('width="', 1)[1].partition('"')[0]) for chart in charts)
    placed = [chart.replace("<svg ", f'<svg y="{sum(heights[:n])}" ', 1) for n, chart in enumerate(charts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {sum(heights)}" '
        f'width="{width}" height="{sum(heights)}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(placed)}</svg>\n',
        encoding="utf-8",
    )
    print(f"plot: {path}", file=sys.stderr)


def bars(title: str, groups: Mapping[str, Mapping[str, float]], *, unit: str) -> str:
    """A horizontal bar chart: one bar per group and series, with its value.

    Args:
        title: what is measured.
        groups: group -> series -> value of 0 or more; what is not finite is left out.
        unit: stands behind each value.
    """
    finite = {
        group: {name: value for name, value in values.items() if math.isfinite(value)}
        for group, values in groups.items()
    }
    most = max((value for values in finite.values() for value in values.values()), default=0.0) or 1.0
    names = list(dict.fromkeys(name for values in finite.values() for name in values))
    left = 20 + 7 * max(map(len, finite), default=0)
    parts, y = [f'<text x="12" y="20" font-weight="bold">{escape(title)}</text>'], 32
    for group, values in finite.items():
        middle = y + _BAR_PX * len(values) / 2 + 4
        parts.append(f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{escape(group)}</text>')
        for name, value in values.items():
            long = 300 * value / most
            colour = COLOURS[names.index(name) % len(COLOURS)]
            label = f"{value:.3g} {unit}" + (f", {name}" if len(names) > 1 else "")
            parts.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{_BAR_PX - 3}" fill="{colour}"/>')
            parts.append(f'<text x="{left + long + 6:.1f}" y="{y + 11}">{escape(label)}</text>')
            y += _BAR_PX
        y += 8
    return f'<svg width="{left + 300 + 200}" height="{y + 4}">{"".join(parts)}</svg>'


def lines(title: str, series: Mapping[str, Points], *, x_label: str, y_label: str, log: bool = False) -> str:
    """A chart of lines with a dot for each point, both axes from 0, or both logarithmic from 1.

    Args:
        title: what is measured.
        series: name -> its points.
        x_label, y_label: what the axes show, with its unit.
        log: whether the axes are logarithmic.
    """
    x0, y0, across, up = 60, 250, 330, 205
    points = [point for of_one in series.values() for point in of_one]
    ends = [max((max(point[axis] for point in points), 1e-9 if not log else 10.0)) for axis in (0, 1)]
    ends = [10 ** math.ceil(math.log10(end)) if log else end * 1.05 for end in ends]

    def along(value: float, axis: int) -> float:
        return math.log10(max(value, 1.0)) / math.log10(ends[axis]) if log else value / ends[axis]

    def ticks(axis: int) -> list[float]:
        if log:
            return [10.0**n for n in range(round(math.log10(ends[axis])) + 1)]
        power = 10.0 ** math.floor(math.log10(ends[axis] / 4))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= ends[axis])
        return [step * n for n in range(int(ends[axis] / step) + 1)]

    parts = [
        f'<text x="12" y="20" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{x0} {y0 - up}V{y0}H{x0 + across}" fill="none" stroke="#333"/>',
        f'<text x="{x0 + across / 2}" y="290" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(14 {y0 - up / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for tick in ticks(1):
        y = y0 - up * along(tick, 1)
        parts.append(f'<path d="M{x0} {y:.1f}h{across}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(0):
        parts.append(f'<text x="{x0 + across * along(tick, 0):.1f}" y="268" text-anchor="middle">{tick:g}</text>')
    for index, (name, of_one) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        spots = [(x0 + across * along(x, 0), y0 - up * along(y, 1)) for x, y in of_one]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(spots) <= 40:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        parts.append(f'<text x="{x0 + 12}" y="{48 + 16 * index}" fill="{colour}">{escape(name)}</text>')
    return f'<svg width="{_WIDTH_PX}" height="{_HEIGHT_PX}">{"".join(parts)}</svg>'
