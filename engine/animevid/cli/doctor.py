"""``animevid doctor``: shows what is installed, which backends open, and how to fix those that do not.

``--gpu`` also runs every part of the GPU path and compares its frames with the CPU's (``animevid.gpu.check``).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.backends.base import Backend
from animevid.cli.options import add_common_options
from animevid.errors import AnimevidError, DeviceError, UsageError
from animevid.options import RuntimeOptions
from animevid.values import FrameSize, parse_count, parse_size

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers

_BUDGET_SECONDS, _FRAMES = 520, 200
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_NO_CUDA_IN_TORCH = "; this torch was built without CUDA: install one with it (pytorch.org says how)"


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "doctor",
        description="Report what is installed on this machine, which backends and encoders work, and how to fix those "
        "that do not. Changes nothing and needs no network.",
    )
    group = parser.add_argument_group("check of the GPU")
    group.add_argument("--gpu", action="store_true", help="run every part of the GPU path and compare its frames")
    group.add_argument("--budget", type=parse_count, metavar="SECONDS", help=f"time limit (default {_BUDGET_SECONDS})")
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="where report.md and findings.jsonl are written (default gpu-check)"
    )
    group.add_argument("--size", type=parse_size, metavar="WxH", help="of the frames (default 1920x1080)")
    group.add_argument("--frames", type=parse_count, metavar="N", help=f"in the slots (default {_FRAMES})")
    group.add_argument("--styles", type=Path, metavar="DIR", help="measure the styles (*.onnx) of a folder as well")
    add_common_options(parser)


def run(args: argparse.Namespace) -> int:
    given = [name for name in ("budget", "out", "size", "frames", "styles") if getattr(args, name) is not None]
    if given and not args.gpu:
        raise UsageError(f"--{given[0]} is an option of the check of the GPU; add --gpu, or leave it out")
    until = time.monotonic() + (args.budget or _BUDGET_SECONDS)
    for section in (_installation, _nvidia, _backends, _encoders):
        for line in section():
            print(line, flush=True)
    return _check_gpu(args, until=until) if args.gpu else 0


def _check_gpu(args: argparse.Namespace, *, until: float) -> int:
    from animevid.gpu.check.findings import CheckOptions
    from animevid.gpu.check.runner import REPORT, run_sections
    from animevid.gpu.driver import open_device

    with open_device() as device:
        title = (
            f"{device.name}, compute capability {device.compute_capability}, driver for CUDA {device.driver_version}; "
            f"animevid {_version('animevid') or '(a checkout)'}, Python {platform.python_version()}"
        )
    size: FrameSize = args.size or FrameSize(width=1920, height=1080)
    width, height = size.of(1920, 1080)
    styles = "" if args.styles is None else str(args.styles)
    options = CheckOptions(size=(height, width), frames=args.frames or _FRAMES, styles_folder=styles)
    folder: Path = args.out or Path("gpu-check")
    wrong = []
    for result in run_sections(folder, options, budget_seconds=until - time.monotonic(), title=title):
        print(result, flush=True)
        wrong += [] if result.is_good else [result.section.name]
    print(f"written: {folder / REPORT}")
    if wrong:
        raise DeviceError(f"the GPU path is wrong here in {', '.join(wrong)}; see {str(folder / REPORT)!r}")
    return 0


def _installation() -> Iterator[str]:
    import av

    import animevid
    from animevid.pixels import native

    yield f"animevid {animevid.__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"FFmpeg {av.ffmpeg_version_info} in PyAV {av.__version__}"
    slow = f"not used, and frames are converted several times slower: {native.why_not}"
    yield f"compiled kernels for the CPU: {'used' if native.is_native() else slow}"
    if (twice := onnxruntime_clash()) is not None:
        yield f"onnxruntime: {twice}"


def onnxruntime_clash() -> str | None:
    """Reports several installed wheels of ONNX Runtime, which all write to the same folder."""
    names = [name for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml") if _version(name) is not None]
    if len(names) < 2:
        return None
    return (
        f"{' and '.join(names)} share a folder, and the last one installed wins; pip uninstall {' '.join(names)}, then "
        "install one of them"
    )


def _nvidia() -> Iterator[str]:
    from animevid.backends import auto

    if not auto.driver_library_is_there():
        card = "there is a card: install its driver" if auto._nvidia_card_is_there() else "frames are drawn by the CPU"
        yield f"NVIDIA driver: none; {card}"
        return
    from animevid.gpu.driver import open_device
    from animevid.gpu.fatbin import load_fatbin

    try:
        with open_device() as device:
            yield (
                f"NVIDIA driver:{_driver_number()} for CUDA {device.driver_version}; cuda:0 is {device.name}, compute "
                f"capability {device.compute_capability}"
            )
            load_fatbin(driver_version=device.driver_version)
            yield "CUDA kernels: present, and for this driver (`animevid doctor --gpu` compares their frames)"
    except AnimevidError as error:
        yield f"NVIDIA GPU: {error}"


def _driver_number() -> str:
    """NVIDIA's version of the driver (" 580.65.06") on Linux; empty elsewhere."""
    with suppress(OSError):
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", _DRIVER_FILE.read_text(errors="replace"))
        return f" {found.group()}" if found is not None else ""
    return ""


def _backends() -> Iterator[str]:
    from animevid.backends import auto, available_backends, open_backend
    from animevid.styles import list_styles

    style = list_styles()[0]

    def opening(name: str) -> Backend:
        return open_backend(style.model, style.card, RuntimeOptions(backend=name))

    for status in available_backends():
        if status.name.startswith("tensorrt") and not auto.driver_library_is_there():
            if status.name == "tensorrt":
                yield "backends tensorrt, tensorrt-rtx, tensorrt-classic: no: they need an NVIDIA GPU and its driver"
            continue
        if status.unavailable_reason is not None:
            yield f"backend {status.name}: no: {status.unavailable_reason}"
            continue
        lacks_cuda = status.name == "torch" and auto.driver_library_is_there() and not _torch_has_cuda()
        yield f"backend {status.name}: {_tried(opening, status.name)}{_NO_CUDA_IN_TORCH if lacks_cuda else ''}"
    yield f"without --backend: {_tried(opening, 'auto')}"


def _torch_has_cuda() -> bool:
    try:
        import torch
    except (ImportError, OSError):
        return True  # that it cannot be loaded was reported already
    return torch.version.cuda is not None


def _tried(opening: Callable[[str], Backend], name: str) -> str:
    try:
        with _without_what_libraries_print(), opening(name) as backend:
            return f"opens: {backend.description}"
    except AnimevidError as error:
        return f"no: {error}"


@contextmanager
def _without_what_libraries_print() -> Iterator[None]:
    """Suppress native output: MNN prints which instructions the CPU lacks, which would look like a problem."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _encoders() -> Iterator[str]:
    from animevid.backends import auto
    from animevid.io import FrameFormat
    from animevid.io.encoders import HARDWARE_FAMILIES, choose_encoder
    from animevid.options import EncodeOptions

    opened, why_no_nvenc = [], ""
    for family in HARDWARE_FAMILIES:
        plan = choose_encoder(
            EncodeOptions(hardware=family), FrameFormat(1280, 720, rate=Fraction(25)), container="mp4"
        )
        if plan.encoder.endswith(f"_{family}"):
            opened.append(plan.encoder)
        elif family == "nvenc" and auto.driver_library_is_there():
            why_no_nvenc = "; ".join(plan.notices)
    yield f"hardware encoders of H.264: {', '.join(opened) or 'none opens; the CPU encodes'}"
    if why_no_nvenc:
        yield f"NVENC: {why_no_nvenc}"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
