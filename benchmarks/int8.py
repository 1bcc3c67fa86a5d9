"""Compares a style's INT8 variant with the style, in quality and speed, with images.

    python -m benchmarks.int8 aozora --photos ../shared/photos --out out/int8

Calibrated on training photos, compared on held-out ones. The variant is only written to ``--out``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from animevid import Stylizer
from animevid.backends import open_backend
from animevid.options import RuntimeOptions
from animevid.styles import load_style
from animevid.styles.card import StyleCard, read_card
from animevid_trainer.data.images import find_images, read_image, shrink_shortest_to
from animevid_trainer.data.split import split_by_name
from animevid_trainer.evaluate.images import flatness, grid_strength
from animevid_trainer.quantize import BOUND, measure_distance, quantize_style

from benchmarks import plots

Image = npt.NDArray[np.uint8]

#: Where differences would be seen first: a face, smooth sky, low light, straight lines. (name, left, top) of the cut.
_CUTS = (
    ("scene-loc9.jpg", 0.62, 0.45),
    ("scene-bwerner0.jpg", 0.1, 0.1),
    ("scene-desert2.jpg", 0.3, 0.35),
    ("popos-samuel-zeller-337041.jpg", 0.5, 0.2),
    ("coco-train2017-000000000510.jpg", 0.35, 0.25),
)
_CUT = (240, 135)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__)
    parser.add_argument("style")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--calibration", type=int, default=32, metavar="N", help="training photos")
    parser.add_argument("--limit", type=int, default=46, metavar="N", help="held-out photos")
    parser.add_argument("--rounds", type=int, default=30)
    plots.add_plot(parser)
    args = parser.parse_args()
    training, held_out = split_by_name(find_images(args.photos), validation_fraction=0.1)
    model = load_style(args.style, precision="fp32").model
    card = read_card(model)
    if card is None:
        sys.exit(f"{args.style} has no card")
    quantized = quantize_style(model, [_read(path) for path in _spread(training, args.calibration)])
    args.out.mkdir(parents=True, exist_ok=True)
    variant = args.out / f"{card.name}-int8.onnx"
    variant.write_bytes(quantized)
    photos = [_read(path) for path in _spread(held_out, args.limit)]
    print(f"{variant}: {len(quantized):,} bytes of {len(model):,}")
    distance = measure_distance(model, quantized, photos)
    bound = BOUND
    print(f"network outputs: {distance}; bound: mean {bound.mean}, {bound.share:.1%} below {bound.high}", flush=True)
    with (
        Stylizer(load_style(args.style, precision="fp32"), threads=2) as first,
        Stylizer(str(variant), threads=2) as second,
    ):
        compare_images(photos, first, second)
        write_cuts(args.photos, args.out / "cuts.png", first, second)
        compare_ramps(first, second)
    medians = compare_speed(model, quantized, card, rounds=args.rounds)
    times = {label: {"": value} for label, value in medians.items()}
    plots.write(args.plot, plots.bars(f"{card.name} at 640x352, 2 threads, median", times, unit="ms a frame"))
    return 0


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    count = min(count, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def _read(path: Path) -> Image:
    image = shrink_shortest_to(read_image(path), 360)
    height, width = (side // 2 * 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[:height, :width])


def compare_images(photos: Sequence[Image], first: Stylizer, second: Stylizer) -> None:
    rows = []
    for photo in photos:
        a, b = first(photo), second(photo)
        difference = np.abs(a.astype(np.float32) - b.astype(np.float32))
        rows.append(
            [
                difference.mean(),
                np.quantile(difference, 0.999),
                grid_strength(a),
                grid_strength(b),
                flatness(photo, a),
                flatness(photo, b),
            ]
        )
    mean, high, *figures = np.mean(rows, axis=0)
    worst = max(row[0] for row in rows)
    print(f"images: mean {mean:.2f} codes, 99.9 % below {high:.1f}; worst image's mean {worst:.2f}")
    print("grid {:.2f} dB -> {:.2f} dB; region texture {:.3f} -> {:.3f}".format(*figures), flush=True)


def compare_ramps(first: Stylizer, second: Stylizer) -> None:
    values = np.rint(np.linspace(0, 255, 1024)).astype(np.uint8)
    ramp = np.repeat(np.tile(values, (192, 1))[..., None], 3, axis=2)
    for label, stylizer in (("fp32", first), ("int8", second)):
        drawn = stylizer(ramp)[32:-32, 32:-32].astype(np.float64).mean(axis=(0, 2))
        falls = (np.maximum.accumulate(drawn) - drawn).max()
        print(f"gray ramp, {label}: falls by {falls:.2f} codes at most, rises by {(drawn[8:] - drawn[:-8]).max():.2f}")
    dark = np.full((360, 640, 3), 16, np.uint8)
    print("even dark frame, deviation:", *(f"{s(dark)[32:-32, 32:-32].std((0, 1)).max():.2f}" for s in (first, second)))


def write_cuts(folder: Path, path: Path, first: Stylizer, second: Stylizer) -> None:
    """Photo, FP32, INT8 and eight times their difference, at twice their size."""
    rows = []
    for name, left, top in _CUTS:
        photo = _read(folder / name)
        a, b = first(photo), second(photo)
        difference = np.clip(128 + 8 * (a.astype(int) - b), 0, 255).astype(np.uint8)
        x, y = int(left * (photo.shape[1] - _CUT[0])), int(top * (photo.shape[0] - _CUT[1]))
        cut = [image[y : y + _CUT[1], x : x + _CUT[0]] for image in (photo, a, b, difference)]
        rows.append(np.hstack([cv2.resize(c, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) for c in cut]))
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    print(path)


def compare_speed(model: bytes, quantized: bytes, card: StyleCard, *, rounds: int) -> dict[str, float]:
    """Median milliseconds of both, at a size that every style takes. Alternating: what else runs here meets both."""
    other = read_card(quantized)
    assert other is not None  # quantize_style wrote it
    tensor = np.random.default_rng(0).uniform(-1, 1, card.tensor_shape(1, 352, 640)).astype(np.float32)
    seconds: dict[str, list[float]] = {"fp32": [], "int8": []}
    with (
        open_backend(model, card, RuntimeOptions(backend="onnxruntime", threads=2)) as first,
        open_backend(quantized, other, RuntimeOptions(backend="onnxruntime", threads=2)) as second,
    ):
        for index in range(rounds + 3):
            for label, backend in (("fp32", first), ("int8", second)):
                started = time.perf_counter()
                backend.run(tensor)
                if index >= 3:
                    seconds[label].append(time.perf_counter() - started)
    medians = {label: 1000 * statistics.median(values) for label, values in seconds.items()}
    least = {label: 1000 * min(values) for label, values in seconds.items()}
    print(
        f"640x352, 2 threads, ONNX Runtime, {rounds} alternating runs: median {medians['fp32']:.1f} -> "
        f"{medians['int8']:.1f} ms, least {least['fp32']:.1f} -> {least['int8']:.1f} ms"
    )
    return medians


if __name__ == "__main__":
    sys.exit(main())
