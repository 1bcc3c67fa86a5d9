"""Compares other networks with ours: each ONNX file in the naive loop and in the engine, alternating.

::

    python -m benchmarks.peers AnimeGANv2_Hayao.onnx other.onnx --size 640x360

The naive loop (OpenCV reader, network, OpenCV writer) is what such files are published with. Without files:
AnimeGANv2's architecture with random weights in torch, which costs what the published weights cost.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import plots
from benchmarks.fps import Row
from benchmarks.stages import measure_at


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="PEER.onnx")
    parser.add_argument("--style", default="", help="ours (default: the default style)")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--frames", type=int, default=120, help="of our style")
    parser.add_argument("--peer-frames", type=int, default=6, help="of a peer: most take seconds a frame")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    plots.add_plot(parser)
    asked = parser.parse_args()
    own_measures = ("engine", "naive") if asked.files else ("engine", "naive", "animegan2")
    own = measure_at(asked.size, style=asked.style, frames=asked.frames, runs=asked.runs, measures=own_measures)
    peers = [
        measure_at(asked.size, style=str(file), frames=asked.peer_frames, runs=asked.runs, measures=("engine", "naive"))
        for file in asked.files
    ]
    print(json.dumps([own, *peers], indent=2) if asked.json else table(own, peers))
    rates = {name: {"naive loop": naive, "engine": engine} for name, naive, engine in rates_of(own, peers)}
    plots.write(asked.plot, plots.bars(f"networks at {own['size']}", rates, unit="frames a second"))
    return 0


def rates_of(own: Row, peers: list[Row]) -> list[tuple[str, float, float]]:
    """Each network's name, and its frames a second in the naive loop and in the engine."""
    rows = [(f"ours: {Path(own['style']).stem}", own["naive"]["fps"], own["engine"]["fps"])]
    rows += [(Path(peer["style"]).stem, peer["naive"]["fps"], peer["engine"]["fps"]) for peer in peers]
    if "animegan2" in own:
        rows.append(("animegan2 (torch, random)", own["animegan2"]["fps"], float("nan")))
    return rows


def table(own: Row, peers: list[Row]) -> str:
    """All networks at one size; the last column is our engine with our style over that network in the naive loop."""
    lines = [f"{own['size']}", "", f"{'network':<28} {'naive fps':>10} {'engine fps':>11} {'ours / naive':>13}"]
    for name, naive, engine in rates_of(own, peers):
        lines.append(f"{name[:28]:<28} {naive:>10.2f} {engine:>11.2f} {own['engine']['fps'] / naive:>12.1f}x")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
