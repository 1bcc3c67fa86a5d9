"""Fixtures of this room."""

from __future__ import annotations

import pytest
from gpu.cpu_kernels import SOURCES, CpuKernels, compile_library


@pytest.fixture(scope="session")
def cpu_kernels(tmp_path_factory: pytest.TempPathFactory) -> CpuKernels:
    """The CUDA kernels, compiled for the CPU."""
    target = tmp_path_factory.mktemp("kernels") / "libanimevid_kernels_cpu.so"
    return CpuKernels(compile_library(SOURCES / "cpu" / "library.cpp", target))
