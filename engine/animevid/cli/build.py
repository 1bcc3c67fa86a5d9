"""``animevid build``: TensorRT engines of a style, for this machine's GPU or ahead of time for others."""

from __future__ import annotations

import argparse
import re
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.cli.offers import offer, style_names
from animevid.cli.options import add_common_options
from animevid.values import parse_count

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers
    from animevid.gpu.tensorrt.engine import Progress
    from animevid.gpu.tensorrt.library import Gpu

_DEFAULT_SIZE = (1280, 720)


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "build",
        description="Build TensorRT engines of a style. The backend tensorrt does it by itself at first use; this "
        "command does it beforehand, also (with tensorrt-rtx) for GPUs that are not in this machine.",
    )
    style = parser.add_argument("style", nargs="?", metavar="STYLE", help="a style by name, an .onnx file or its URL")
    offer(style, style_names)
    parser.add_argument("--quality", choices=("fast", "high"), default="fast", help="which variant of the style")
    parser.add_argument("--sha256", metavar="HEX", help="what the file at a URL must hash to")
    parser.add_argument(
        "--size",
        type=_size,
        default=_DEFAULT_SIZE,
        metavar="WxH",
        help="what the network sees (default 1280x720; rounded up to what the style takes)",
    )
    parser.add_argument("--dynamic", action="store_true", help="every size from 64x64 up to --size, not that one only")
    parser.add_argument(
        "--batch",
        type=parse_count,
        metavar="N",
        help="1 to N frames at once (default: as many as --backend tensorrt asks for)",
    )
    parser.add_argument(
        "--io",
        choices=("fp32", "fp16"),
        default="fp16",
        help="of an fp16 engine's input and output (default fp16, as --backend tensorrt feeds it)",
    )
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="default fp16")
    parser.add_argument(
        "--check-with",
        metavar="CLIP|FOLDER",
        help="frames on which half precision must draw what float32 draws (default: the demo clip)",
    )
    parser.add_argument(
        "--gpu",
        type=_targets,
        default=("current",),
        metavar="sm86,sm89,...",
        help="compute capabilities to build for (default: this machine's GPU)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where engines go (default: the user's cache)")
    add_common_options(parser)


def run(args: argparse.Namespace) -> int:
    from animevid.gpu.tensorrt.cache import EngineCache, read_engine
    from animevid.gpu.tensorrt.engine import DEFAULT_BATCH, EngineRequest, shape_range
    from animevid.gpu.tensorrt.library import find_library
    from animevid.styles import load_style

    here = _gpu("current").compute_capability if "current" in args.gpu else ""
    library = find_library(compute_capability=here)
    style = load_style(args.style, quality=args.quality, sha256=args.sha256)
    width, height = style.card.fixed_size_px[::-1] if style.card.fixed_size_px else args.size
    shapes = shape_range(
        style.card, height_px=height, width_px=width, dynamic=args.dynamic, max_batch=args.batch or DEFAULT_BATCH
    )
    if args.precision == "fp16" and style.card.precision == "fp32":
        from animevid.parity import DEMO_CLIP, check_half_precision, read_frames

        frames = read_frames(args.check_with or DEMO_CLIP)
        print(f"half precision: {check_half_precision(style.model, style.card, frames)}")
    cache = EngineCache(args.out)
    for target in args.gpu:
        request = EngineRequest(
            shapes, precision=args.precision, half_io=args.io == "fp16", target=target
        )  # fmt: skip
        begun = time.monotonic()
        progress, finish = _progress(f"{style.card.name} {target}")
        try:
            engine, path = cache.load_or_build(
                style.model, style.card, request, gpu=_gpu(target), library=library, progress=progress
            )
        finally:
            finish()
        read_engine(path)  # check that the written engine can be read
        print(f"{path}  {len(engine.plan) / 1e6:.1f} MB, {time.monotonic() - begun:.1f} s")
    return 0


def _gpu(target: str) -> Gpu:
    """The GPU of this machine, which ``"current"`` names.

    Raises:
        DeviceError: there is none, or its driver is too old.
    """
    from animevid.gpu.tensorrt.library import Gpu

    if target != "current":
        return Gpu(compute_capability=target)
    from animevid.gpu.driver import open_device

    with open_device(0) as device:
        return Gpu(device.name, device.compute_capability, device.driver_version)


def _progress(what: str) -> tuple[Progress | None, Callable[[], None]]:
    if not sys.stderr.isatty():
        return None, lambda: None

    def show(phase: str, done: int, steps: int) -> bool:
        print(f"\r\033[K{what}: {phase} {done}/{steps}", end="", file=sys.stderr, flush=True)
        return True

    return show, lambda: print("\r\033[K", end="", file=sys.stderr, flush=True)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not all(16 <= int(side) <= 16384 for side in match.groups()):
        raise ArgumentTypeError(f"{text!r} is not a size; give 1280x720 (sides of 16 to 16384 pixels)")
    return int(match[1]), int(match[2])


def _targets(text: str) -> Sequence[str]:
    targets = tuple(text.lower().split(","))
    for target in targets:
        if not re.fullmatch(r"sm\d{2,3}|current", target):
            raise ArgumentTypeError(f"{text!r} is not a list of compute capabilities; give sm86,sm89 or current")
    return targets
