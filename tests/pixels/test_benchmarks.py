"""Benchmarks of the kernels for ``pytest --benchmark-compare``; no test asserts an absolute time.

One thread, one 1280x720 frame. ``python -m benchmarks.kernels`` prints the same as a table, with the references.
"""

from __future__ import annotations

import numpy as np
import pytest
from animevid.pixels import (
    blend,
    guided_upsample,
    has_changed,
    native,
    pack_yuv420,
    planes_to_rgb,
    planes_to_tensor,
    resize_planes,
    rgb_to_planes,
    tensor_to_planes,
    unpack_yuv420,
)
from pixels.frames import noise

pytest.importorskip("pytest_benchmark", reason="pip install pytest-benchmark")
pytestmark = pytest.mark.skipif(not native.is_native(), reason="no compiled kernels: see plugins/cpu")

FRAME = noise(720, 1280, seed=1)
OTHER = noise(720, 1280, seed=2)
LOW = noise(360, 640, seed=3)

KERNELS = {
    "pack": lambda: pack_yuv420(FRAME, out=_PACKED),
    "pack to half size": lambda: pack_yuv420(FRAME, size=(360, 640), out=_LOW_PACKED),
    "unpack": lambda: unpack_yuv420(_PACKED, like=FRAME),
    "guided upsample": lambda: guided_upsample(FRAME, _LOW_PACKED, _LOW_PACKED),
    "blend": lambda: blend(FRAME, OTHER, strength=0.5),
    "change": lambda: has_changed(FRAME, FRAME),
    "resize to half size": lambda: resize_planes(FRAME, (360, 640)),
    "planes to RGB": lambda: planes_to_rgb(FRAME),
    "RGB to planes": lambda: rgb_to_planes(_RGB),
    "planes to NCHW": lambda: planes_to_tensor(FRAME),
    "NCHW to planes": lambda: tensor_to_planes(_NCHW, like=FRAME),
}
_PACKED = np.zeros((24, 180, 320), np.float32)
_LOW_PACKED = pack_yuv420(LOW)
_RGB = np.zeros((720, 1280, 3), np.uint8)
_NCHW = np.zeros((3, 720, 1280), np.float32)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel(benchmark, kernel: str):
    benchmark.pedantic(KERNELS[kernel], rounds=10, warmup_rounds=1)
