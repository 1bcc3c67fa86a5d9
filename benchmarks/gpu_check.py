"""What the GPU of this machine does with our GPU path: ``python benchmarks/gpu_check.py`` writes benchmarks/GPU.md.

It builds the kernels (nvcc), compares them with their NumPy twins over odd sizes, times them beside a plain copy of as
many bytes (the memory-bandwidth floor), compares every backend with ONNX Runtime on the CPU, and times the GPU backends
at 360p, 720p, 1080p and 4K for each style. ``--kernels`` does the first comparison alone: plugins/cuda/sanitize.sh runs
that under compute-sanitizer.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from animevid.backends import available_backends, open_backend
from animevid.backends.cuda import kernels
from animevid.backends.cuda.driver import Device, open_device
from animevid.backends.cuda.kernels import Launch, Surface, SurfaceLayout, surface_layout
from animevid.errors import AnimevidError
from animevid.pixels import Colour, ColourRange, PlanesYUV420, chroma_size, padded_size
from animevid.pixels.lift import lift_ref
from animevid.pixels.packed import pack_yuv420_ref, unpack_yuv420_ref
from animevid.styles import list_styles

_ROOT = Path(__file__).resolve().parent.parent
_SIZES = {"360p": (360, 640), "720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
_ODD_SIZES = ((1, 1), (2, 3), (9, 31), (33, 65), (90, 161), (271, 479))


class Gpu:
    """A device, its kernels and one stream. What is not downloaded stays allocated until the process ends."""

    def __init__(self, device: Device, fatbin: bytes) -> None:
        self.device = device
        self._module = device.call("cuModuleLoadData", fatbin)
        self.stream = device.call("cuStreamCreate", 1)
        self._function = cache(lambda name: device.call("cuModuleGetFunction", self._module, name.encode()))

    def upload(self, array: np.ndarray[Any, Any]) -> int:
        address = int(self.device.call("cuMemAlloc", array.nbytes))
        self.device.call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self.stream)
        self.device.call("cuStreamSynchronize", self.stream)
        return address

    def download(self, address: int, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        array = np.empty_like(like)
        self.device.call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, self.stream)
        self.device.call("cuStreamSynchronize", self.stream)
        self.device.call("cuMemFree", address)
        return array

    def launch(self, launches: Launch | Iterable[Launch]) -> None:
        for launch in [launches] if isinstance(launches, Launch) else launches:
            function = self._function(launch.kernel)
            arguments = (ctypes.c_void_p * 1)(ctypes.addressof(launch.params))
            self.device.call(
                "cuLaunchKernel", function, *launch.grid, *launch.block, 0, self.stream, ctypes.addressof(arguments), 0
            )


def compare_kernels(gpu: Gpu) -> list[tuple[str, str, float]]:
    """(kernel, size, largest difference from the twin): tensors on [-1, 1], pictures in codes."""
    rows = []
    for size in _ODD_SIZES:
        for bit_depth, pixel_format in ((8, "yuv420p"), (8, "nv12"), (10, "yuv420p"), (10, "nv12")):
            name = f"{size[1]}x{size[0]} {pixel_format} {bit_depth} bit"
            picture = _noise(size, bit_depth)
            layout = surface_layout(*size, bit_depth=bit_depth, pixel_format=pixel_format)
            padded = padded_size(size)
            tensor = np.zeros((24, padded[0] // 4, padded[1] // 4), np.float32)
            source = gpu.upload(_to_memory(picture, layout))
            address = gpu.upload(tensor)
            surface = Surface(layout, source, picture.colour)
            gpu.launch(kernels.pack(surface, address, size=size, padded=padded, half=False))
            packed = gpu.download(address, tensor)
            rows.append(("pack", name, float(np.abs(packed - pack_yuv420_ref(picture)).max())))

            drawn = np.random.default_rng(1).uniform(-1.2, 1.2, tensor.shape).astype(np.float32)
            address, result = gpu.upload(drawn), gpu.upload(np.zeros(layout.total_bytes, np.uint8))
            target = Surface(layout, result, picture.colour)
            gpu.launch(kernels.unpack(address, target, padded=padded, half=False))
            got = _from_memory(gpu.download(result, np.zeros(layout.total_bytes, np.uint8)), picture, layout)
            rows.append(("unpack", name, _codes_apart(got, unpack_yuv420_ref(drawn, like=picture))))

            if min(size) > 8:
                small = (size[0] // 2, size[1] // 2)
                rows.append(("lift", name, _compare_lift(gpu, picture, layout, source, small)))
    return rows


def _compare_lift(gpu: Gpu, picture: PlanesYUV420, layout: SurfaceLayout, source: int, small: tuple[int, int]) -> float:
    padded = padded_size(small)
    rng = np.random.default_rng(2)
    low_in, low_out = (rng.uniform(-1, 1, (24, padded[0] // 4, padded[1] // 4)).astype(np.float32) for _ in "12")
    scratch = np.zeros(kernels.lift_scratch_bytes(small), np.uint8)
    memory = np.zeros(layout.total_bytes, np.uint8)
    result = gpu.upload(memory)
    gpu.launch(
        kernels.lift(
            Surface(layout, source, picture.colour), Surface(layout, result, picture.colour), low_in=gpu.upload(low_in),
            low_out=gpu.upload(low_out), size=small, padded=padded, scratch=gpu.upload(scratch), half=False,
        )
    )  # fmt: skip
    return _codes_apart(
        _from_memory(gpu.download(result, memory), picture, layout), lift_ref(picture, low_in, low_out, size=small)
    )


def time_kernels(gpu: Gpu) -> list[tuple[str, float, float]]:
    """(kernel and size, microseconds, microseconds of a device copy that moves as many bytes)."""
    rows = []
    for name, size in _SIZES.items():
        picture = _noise(size, 8)
        layout = surface_layout(*size)
        padded = padded_size(size)
        tensor = np.zeros((24, padded[0] // 4, padded[1] // 4), np.float16)
        source, address = gpu.upload(_to_memory(picture, layout)), gpu.upload(tensor)
        surface = Surface(layout, source, picture.colour)
        moved = layout.total_bytes + tensor.nbytes
        spare = [gpu.upload(np.zeros(moved // 2, np.uint8)) for _ in "12"]
        copy = _microseconds(gpu, partial(gpu.device.call, "cuMemcpyDtoDAsync", *spare, moved // 2, gpu.stream))
        for kernel, launch in (
            ("pack", kernels.pack(surface, address, size=size, padded=padded, half=True)),
            ("unpack", kernels.unpack(address, surface, padded=padded, half=True)),
        ):
            rows.append((f"{kernel} {name}", _microseconds(gpu, partial(gpu.launch, launch)), copy))
    return rows


def _microseconds(gpu: Gpu, work: Callable[[], Any], *, times: int = 100) -> float:
    begin, end = (gpu.device.call("cuEventCreate", 0) for _ in "12")
    for _ in range(10):
        work()
    gpu.device.call("cuEventRecord", begin, gpu.stream)
    for _ in range(times):
        work()
    gpu.device.call("cuEventRecord", end, gpu.stream)
    gpu.device.call("cuEventSynchronize", end)
    return float(gpu.device.call("cuEventElapsedTime", begin, end)) * 1000 / times


def compare_backends() -> list[tuple[str, str, str]]:
    """(style, backend, largest difference from ONNX Runtime on the CPU, or why it did not run)."""
    rows = []
    for style in list_styles():
        batch = np.random.default_rng(0).uniform(-1, 1, style.card.tensor_shape(2, 96, 128)).astype(np.float32)
        with open_backend(style.model, style.card, backend="onnxruntime", device="cpu") as reference:
            expected = reference.run(batch)
        for status in available_backends():
            said = status.unavailable_reason
            if said is None:
                try:
                    with open_backend(style.model, style.card, backend=status.name) as backend:
                        said = f"{np.abs(backend.run(batch) - expected).max():.1e} ({backend.description})"
                except AnimevidError as error:
                    said = str(error)
            rows.append((style.path.stem, status.name, said))
    return rows


def time_backends(*, seconds: float = 2.0) -> list[tuple[str, str, str, float]]:
    """(style, backend, size, pictures a second through ``Backend.run``, host copies included)."""
    rows = []
    for style in list_styles():
        for name in ("tensorrt", "torch"):
            try:
                backend = open_backend(style.model, style.card, backend=name)
            except AnimevidError:
                continue
            with backend:
                for label, (height, width) in _SIZES.items():
                    multiple = style.card.size_multiple
                    shape = style.card.tensor_shape(
                        1, -(-height // multiple) * multiple, -(-width // multiple) * multiple
                    )
                    batch = np.zeros(shape, np.float32)
                    backend.run(batch)
                    begun, count = time.perf_counter(), 0
                    while time.perf_counter() - begun < seconds:
                        backend.run(batch)
                        count += 1
                    rows.append((style.path.stem, name, label, count / (time.perf_counter() - begun)))
    return rows


def build_fatbin() -> bytes:
    """The kernels for the GPU in this machine and those of the CMake target. Needs nvcc."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernels.fatbin"
        options = ["-std=c++17", "-O3", "--fmad=false", "-lineinfo", "-fatbin", "-arch=native"]
        subprocess.run(["nvcc", *options, "-o", str(target), str(_ROOT / "plugins/cuda/kernels.cu")], check=True)
        return target.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kernels", action="store_true", help="only compare the kernels with their twins")
    parser.add_argument("--out", type=Path, default=_ROOT / "benchmarks" / "GPU.md")
    args = parser.parse_args()
    try:
        device = open_device()
    except AnimevidError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 6
    with device:
        gpu = Gpu(device, build_fatbin())
        compared = compare_kernels(gpu)
        wrong = [row for row in compared if not row[2] <= (1e-4 if row[0] == "pack" else 4)]
        for kernel, name, difference in wrong:
            print(f"gpu_check: {kernel} {name} differs from its twin by {difference:g}", file=sys.stderr)
        if args.kernels:
            print(f"{len(compared) - len(wrong)} of {len(compared)} comparisons of kernels agree")
            return 1 if wrong else 0
        text = report(device, compared, time_kernels(gpu), compare_backends(), time_backends())
    args.out.write_text(text)
    print(f"written: {args.out}")
    return 1 if wrong else 0


def report(
    device: Device,
    compared: list[tuple[str, str, float]],
    timed: list[tuple[str, float, float]],
    parity: list[tuple[str, str, str]],
    speed: list[tuple[str, str, str, float]],
) -> str:
    lines = [
        "# Measured on a GPU",
        "",
        f"{device.name}, compute capability {device.compute_capability}, driver for CUDA {device.driver_version}, "
        f"{time.strftime('%Y-%m-%d')}; written by benchmarks/gpu_check.py.",
        "",
        "| kernel | largest difference from its twin over odd sizes |",
        "| --- | --- |",
    ]
    for kernel in dict.fromkeys(row[0] for row in compared):
        lines.append(f"| {kernel} | {max(row[2] for row in compared if row[0] == kernel):.2g} |")
    lines += ["", "| kernel | us | us of a copy of as many bytes | ratio |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {us:.1f} | {floor:.1f} | {us / floor:.2f} |" for name, us, floor in timed]
    lines += ["", "| style | backend | largest difference from ONNX Runtime |", "| --- | --- | --- |"]
    lines += [f"| {style} | {backend} | {said} |" for style, backend, said in parity]
    lines += ["", "| style | backend | size | pictures a second |", "| --- | --- | --- | --- |"]
    lines += [f"| {style} | {backend} | {size} | {fps:.0f} |" for style, backend, size, fps in speed]
    return "\n".join(lines) + "\n"


def _noise(size: tuple[int, int], bit_depth: int) -> PlanesYUV420:
    rng = np.random.default_rng(0)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    sizes = (size, chroma_size(size), chroma_size(size))
    planes = (rng.integers(0, 1 << bit_depth, side).astype(dtype) for side in sizes)
    return replace(PlanesYUV420(*planes, bit_depth), colour=Colour(range=ColourRange.LIMITED))


def _views(memory: np.ndarray[Any, Any], layout: SurfaceLayout) -> list[np.ndarray[Any, Any]]:
    dtype = np.dtype(np.uint8 if layout.sample_bytes == 1 else np.uint16)
    sizes = (layout.size, chroma_size(layout.size), chroma_size(layout.size))
    steps = [layout.sample_bytes * (2 if layout.pixel_format == "nv12" and plane else 1) for plane in range(3)]
    parts = zip(sizes, layout.offsets, layout.pitches, steps, strict=True)
    return [np.ndarray(size, dtype, memory, offset, (pitch, step)) for size, offset, pitch, step in parts]


def _shift(layout: SurfaceLayout) -> int:
    return 16 - layout.bit_depth if layout.pixel_format == "nv12" and layout.bit_depth > 8 else 0


def _to_memory(picture: PlanesYUV420, layout: SurfaceLayout) -> np.ndarray[Any, Any]:
    memory = np.zeros(layout.total_bytes, np.uint8)
    for view, plane in zip(_views(memory, layout), (picture.y, picture.u, picture.v), strict=True):
        view[:] = plane << _shift(layout)
    return memory


def _from_memory(memory: np.ndarray[Any, Any], like: PlanesYUV420, layout: SurfaceLayout) -> PlanesYUV420:
    y, u, v = (np.ascontiguousarray(view >> _shift(layout)) for view in _views(memory, layout))
    return like.with_planes(y, u, v)


def _codes_apart(one: PlanesYUV420, other: PlanesYUV420) -> float:
    pairs = ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    return float(max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in pairs))


if __name__ == "__main__":
    sys.exit(main())
