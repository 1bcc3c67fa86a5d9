"""The CUDA kernels' sources compiled by g++ for the CPU (``plugins/kernels/cpu/block.hpp``)."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from animevid.gpu.kernels import Launch, Surface, SurfaceLayout, surface_layout
from animevid.pixels import Plane, PlanesYUV420, chroma_size

SOURCES = Path(__file__).resolve().parents[2] / "plugins" / "kernels"


def compile_library(source: Path, target: Path, *options: str) -> Path:
    """Compile one C++ file into a shared library. Without a compiler the test is skipped, or fails if ``CI`` is set."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("there is no C++ compiler")
        pytest.skip("there is no C++ compiler")
    warnings = ["-Wall", "-Wextra", "-Werror"]
    command = [compiler, "-std=c++17", "-O1", *warnings, "-ffp-contract=off", "-fPIC", "-shared"]
    done = subprocess.run(
        [*command, str(source), "-o", str(target), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


class CpuKernels:
    """Runs launches synchronously."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.animevid_launch.restype = ctypes.c_char_p
        self._library.animevid_params_bytes.restype = ctypes.c_size_t

    def params_bytes(self, kernel: str) -> int:
        return int(self._library.animevid_params_bytes(kernel.encode()))

    def run(self, launches: Launch | Iterable[Launch], *, seed: int = 0) -> None:
        for launch in [launches] if isinstance(launches, Launch) else launches:
            grid, block = ((ctypes.c_uint * 3)(*sides) for sides in (launch.grid, launch.block))
            failure = self._library.animevid_launch(
                launch.kernel.encode(), grid, block, ctypes.byref(launch.params), ctypes.c_ulonglong(seed)
            )
            if failure:
                raise RuntimeError(f"{launch.kernel}: {failure.decode()}")


class HeldFrame:
    """A frame in one block of memory, laid out as on a GPU, between guard bytes that must not change."""

    GUARD = 64

    def __init__(self, like: PlanesYUV420, *, pixel_format: str = "yuv420p", pitch_multiple: int = 1) -> None:
        self.like = like
        self.layout: SurfaceLayout = surface_layout(
            like.height, like.width, bit_depth=like.bit_depth, pixel_format=pixel_format, pitch_multiple=pitch_multiple
        )
        if self.layout.sample_bytes == 2 and pitch_multiple % 2:
            raise AssertionError("16-bit rows start at even addresses")
        self.memory = np.full(self.layout.total_bytes + 2 * self.GUARD, 0xA5, np.uint8)

    @property
    def surface(self) -> Surface:
        return Surface(self.layout, self.memory.ctypes.data + self.GUARD, self.like.colour)

    @classmethod
    def holding(cls, planes: PlanesYUV420, **options) -> HeldFrame:
        frame = cls(planes, **options)
        shift = frame._shift
        for view, plane in zip(frame._views(), (planes.y, planes.u, planes.v), strict=True):
            view[:] = plane.astype(view.dtype) << shift
        return frame

    def planes(self) -> PlanesYUV420:
        """The planes in memory; asserts that the guard bytes are unchanged."""
        assert (self.memory[: self.GUARD] == 0xA5).all(), "written before the frame"
        assert (self.memory[-self.GUARD :] == 0xA5).all(), "written after the frame"
        y, u, v = (np.ascontiguousarray(view >> self._shift) for view in self._views())
        return self.like.with_planes(y, u, v)

    @property
    def _shift(self) -> int:
        deep = self.layout.bit_depth > 8 and self.layout.pixel_format == "nv12"
        return 16 - self.layout.bit_depth if deep else 0

    def _views(self) -> list[Plane]:
        layout = self.layout
        dtype = np.dtype(np.uint8 if layout.sample_bytes == 1 else np.uint16)
        sizes = [layout.size, chroma_size(layout.size), chroma_size(layout.size)]
        step = layout.sample_bytes * (2 if layout.pixel_format == "nv12" else 1)
        return [
            np.ndarray(
                size, dtype, self.memory, self.GUARD + offset, (pitch, layout.sample_bytes if index == 0 else step)
            )
            for index, (size, offset, pitch) in enumerate(zip(sizes, layout.offsets, layout.pitches, strict=True))
        ]
