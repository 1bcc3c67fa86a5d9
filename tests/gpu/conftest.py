"""Fixtures of these tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from gpu.cpu_kernels import SOURCES, CpuKernels, compile_library


@pytest.fixture(scope="session")
def cpu_kernels(tmp_path_factory: pytest.TempPathFactory) -> CpuKernels:
    """The CUDA kernels, compiled for the CPU."""
    target = tmp_path_factory.mktemp("kernels") / "libanimevid_kernels_cpu.so"
    return CpuKernels(compile_library(SOURCES / "cpu" / "library.cpp", target))


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake driver library, compiled; ``FakeGpu(fake_driver)`` loads it (in a child process)."""
    if sys.platform != "linux" or os.path.exists("/dev/nvidiactl"):
        pytest.skip("the fake driver is for Linux machines without a real one")
    pytest.importorskip("cuda.bindings")
    source = SOURCES.parent / "cuda" / "fake_driver.cpp"
    target = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    return compile_library(source, target, "-Wl,-soname,libcuda.so.1")
