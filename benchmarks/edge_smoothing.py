"""Compares edge smoothing with its pixel-by-pixel reference (claim: at least 50 times as fast).

    python -m benchmarks.edge_smoothing [--image FILE] [--size 256]

Both process the same crop; a property test compares their results.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from animevid_trainer.data.edge_smoothing import edge_band, edge_smooth, edge_smooth_ref
from animevid_trainer.data.images import read_image

from benchmarks import plots

_WANTED = 50.0


def best_seconds(function: Callable[[], object], repeats: int) -> float:
    """The minimum processor time of several runs, which excludes other work on the machine."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def drawing(size: int) -> np.ndarray:
    """Lines and areas, for when no image is given."""
    random = np.random.default_rng(1)
    image = np.full((size, size, 3), 220, np.uint8)
    for _ in range(40):
        first, second = (tuple(int(v) for v in random.integers(0, size, 2)) for _ in range(2))
        cv2.line(image, first, second, [int(v) for v in random.integers(0, 200, 3)], 2)
    return image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="a drawing; its middle is taken")
    parser.add_argument("--size", type=int, default=256, metavar="PX")
    plots.add_plot(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.image is None:
        image = drawing(args.size)
    else:
        whole = read_image(args.image)
        top, left = ((side - args.size) // 2 for side in whole.shape[:2])
        image = np.ascontiguousarray(whole[top : top + args.size, left : left + args.size])
    fast = best_seconds(lambda: [edge_smooth(image) for _ in range(20)], 5) / 20
    slow = best_seconds(lambda: edge_smooth_ref(image), 2)
    share = float((edge_band(image) > 0).mean())
    print(f"{image.shape[1]}x{image.shape[0]}, {share:.0%} of the pixels in the edge band, one thread")
    print(f"pixel loop  {1000 * slow:9.2f} ms")
    print(f"vectorized  {1000 * fast:9.2f} ms   {slow / fast:.0f} times faster (wanted: {_WANTED:.0f})")
    times = {"pixel loop": {"": 1000 * slow}, "vectorized": {"": 1000 * fast}}
    plots.write(args.plot, plots.bars("edge smoothing, one thread", times, unit="ms"))
    return 0 if slow / fast >= _WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
