"""Measures each compiled pixel kernel and its NumPy/OpenCV reference: one thread, best of several rounds.

    python -m benchmarks.kernels [--sizes 1280x720,1920x1080] [--bit-depth 8] [--json FILE] [--instruction-set avx2]

GB/s counts each input byte read once and each output byte written once.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from animevid.pixels import PlanesYUV420, chroma_size, native
from animevid.pixels.blend import blend, blend_ref
from animevid.pixels.change import plane_difference, plane_difference_ref
from animevid.pixels.guided_upsample import guided_upsample, guided_upsample_ref
from animevid.pixels.packed import pack_yuv420, pack_yuv420_ref, unpack_yuv420, unpack_yuv420_ref
from animevid.pixels.resize import resize_plane, resize_plane_ref
from animevid.pixels.rgb import (
    planes_to_rgb,
    planes_to_rgb_ref,
    planes_to_tensor,
    planes_to_tensor_ref,
    rgb_to_planes,
    rgb_to_planes_ref,
    tensor_to_planes,
    tensor_to_planes_ref,
)

from benchmarks import plots


@dataclass(frozen=True)
class Row:
    kernel: str
    size: str
    native_ms: float
    reference_ms: float
    gigabytes_per_second: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1280x720,1920x1080")
    parser.add_argument("--bit-depth", type=int, choices=(8, 10), default=8)
    parser.add_argument(
        "--instruction-set", default="", help="one of native.kernels.instruction_sets(); default: the best"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    plots.add_plot(parser)
    args = parser.parse_args()
    if native.kernels is None:
        raise SystemExit("kernels.py: the compiled kernels are not there; run plugins/cpu/build_inplace.sh")
    native.kernels.use_instruction_set(args.instruction_set)
    cv2.setNumThreads(1)
    print(f"{platform.processor() or platform.machine()}, {native.kernels.instruction_set()}, {args.bit_depth} bits")
    print(f"{'kernel':<28}{'size':>11}{'native ms':>11}{'reference ms':>10}{'ratio':>8}{'GB/s':>7}")
    rows: list[Row] = []
    charts: list[str] = []
    for text in args.sizes.split(","):
        width, height = map(int, text.split("x"))
        for row in measured(height, width, args.bit_depth, args.rounds):
            rows.append(row)
            print(
                f"{row.kernel:<28}{row.size:>11}{row.native_ms:>11.3f}{row.reference_ms:>10.2f}"
                f"{row.reference_ms / row.native_ms:>7.0f}x{row.gigabytes_per_second:>7.1f}"
            )
    for size in dict.fromkeys(row.size for row in rows):
        times = {
            row.kernel: {"compiled": row.native_ms, "reference": row.reference_ms} for row in rows if row.size == size
        }
        charts.append(plots.bars(f"kernels at {size}, one thread", times, unit="ms"))
    plots.write(args.plot, *charts)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def measured(height: int, width: int, bit_depth: int, rounds: int) -> list[Row]:
    """One row per kernel."""
    frame, other = noise(height, width, bit_depth, 1), noise(height, width, bit_depth, 2)
    half = height // 2, width // 2
    packed, low, rgb, tensor = (
        pack_yuv420(frame),
        pack_yuv420(frame, size=half),
        planes_to_rgb(frame),
        planes_to_tensor(frame),
    )
    upsample_how = {"size": half}
    samples = height * width
    frame_bytes, floats = frame.y.nbytes + frame.u.nbytes + frame.v.nbytes, 4 * samples * 3 // 2
    cases: list[tuple[str, Callable[[], object], Callable[[], object], int]] = [
        (
            "pack",
            lambda: pack_yuv420(frame, out=packed),
            lambda: pack_yuv420_ref(frame, out=packed),
            frame_bytes + floats,
        ),
        (
            "pack to half size",
            lambda: pack_yuv420(frame, size=half, out=low),
            lambda: pack_yuv420_ref(frame, size=half, out=low),
            frame_bytes + floats // 4,
        ),
        (
            "unpack",
            lambda: unpack_yuv420(packed, like=frame),
            lambda: unpack_yuv420_ref(packed, like=frame),
            frame_bytes + floats,
        ),
        (
            "upsample from half size",
            lambda: guided_upsample(frame, low, low, **upsample_how),
            lambda: guided_upsample_ref(frame, low, low, **upsample_how),
            frame.y.nbytes + frame_bytes + floats // 2,
        ),
        (
            "blend",
            lambda: blend(frame, other, strength=0.5),
            lambda: blend_ref(frame, other, strength=0.5),
            3 * frame_bytes,
        ),
        (
            "luma difference",
            lambda: plane_difference(frame.y, other.y, bit_depth=bit_depth),
            lambda: plane_difference_ref(frame.y, other.y, bit_depth=bit_depth),
            2 * frame.y.nbytes,
        ),
        (
            "resize luma to half size",
            lambda: resize_plane(frame.y, half),
            lambda: resize_plane_ref(frame.y, half),
            frame.y.nbytes * 5 // 4,
        ),
        ("planes to RGB", lambda: planes_to_rgb(frame), lambda: planes_to_rgb_ref(frame), frame_bytes + rgb.nbytes),
        (
            "RGB to planes",
            lambda: rgb_to_planes(rgb, bit_depth=bit_depth),
            lambda: rgb_to_planes_ref(rgb, bit_depth=bit_depth),
            frame_bytes + rgb.nbytes,
        ),
        (
            "planes to NCHW",
            lambda: planes_to_tensor(frame),
            lambda: planes_to_tensor_ref(frame),
            frame_bytes + tensor.nbytes,
        ),
        (
            "NCHW to planes",
            lambda: tensor_to_planes(tensor, like=frame),
            lambda: tensor_to_planes_ref(tensor, like=frame),
            frame_bytes + tensor.nbytes,
        ),
    ]
    result = []
    for name, compiled, reference, traffic in cases:
        native_seconds, reference_seconds = best_of(compiled, rounds), best_of(reference, rounds)
        result.append(
            Row(
                name, f"{width}x{height}", native_seconds * 1e3, reference_seconds * 1e3, traffic / native_seconds / 1e9
            )
        )
    return result


def best_of(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of ``rounds`` calls, which excludes other work on the machine."""
    call()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def noise(height: int, width: int, bit_depth: int, seed: int) -> PlanesYUV420:
    """The worst frame for branches and caches alike."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    chroma = chroma_size((height, width))
    y, u, v = (rng.integers(0, 1 << bit_depth, size).astype(dtype) for size in ((height, width), chroma, chroma))
    return PlanesYUV420(y, u, v, bit_depth)


if __name__ == "__main__":
    main()
