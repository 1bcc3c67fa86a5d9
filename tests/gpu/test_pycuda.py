"""Frames and streams of PyCUDA, on the fake driver.

PyCUDA has no wheels and links to the driver, so the tests do not depend on it: CI builds it (``.ci/pycuda``) with the
headers of NVIDIA's wheels, and links it to the fake driver.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import animevid
import cv2
import numpy as np
import pytest
from animevid import Stylizer
from animevid.gpu.check.findings import CheckOptions
from animevid.gpu.interop import borrow_frame
from animevid.pixels import PlanesYUV420, planes_to_rgb, rgb_to_planes
from animevid.styles.card import ColourOrder, Layout, StyleCard, write_card
from gpu import fake_tensorrt
from gpu.fake_gpu import FakeGpu, in_child
from pixels.frames import furthest, noise
from small_networks import packed_network

pytest.importorskip("cuda.core")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pycuda") is None, reason="PyCUDA is not installed (it is built from source, with nvcc)"
)
SEEDS = range(4)
_ROW_BYTES = 64


def _pycuda() -> tuple[ModuleType, ModuleType]:
    # It links to more functions than the fake driver has; with lazy binding, unused ones are not resolved.
    sys.setdlopenflags(os.RTLD_LAZY)
    from pycuda import driver, gpuarray

    driver.init()
    return driver, gpuarray


@in_child
def test_a_stylizer_draws_from_arrays_of_pycuda_into_others_in_the_order_of_its_stream(fake_driver, tmp_path):
    gpu = FakeGpu(fake_driver)
    fake_tensorrt.install()
    os.environ["XDG_CACHE_HOME"] = str(tmp_path)
    card = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
    style = tmp_path / "packed.onnx"
    style.write_bytes(write_card(packed_network(), card))
    driver, gpuarray = _pycuda()
    context = driver.Device(0).retain_primary_context()
    context.push()
    frame = noise(32, 48)
    with Stylizer(style, backend="onnxruntime") as cpu, Stylizer(style, backend="tensorrt") as stylizer:
        expected = cpu.stylize_planes(frame)
        for seed in SEEDS:
            gpu.seed(seed)
            stream = driver.Stream(1)
            given, drawn, kept, results = [], [], [], []
            for plane in (frame.y, frame.u, frame.v):
                shape = (plane.shape[0], _ROW_BYTES)
                arrays = [gpuarray.GPUArray(shape, np.uint8) for _ in "12"]
                host = driver.pagelocked_zeros(shape, np.uint8)
                host[:, : plane.shape[1]] = plane
                driver.memcpy_htod_async(arrays[0].gpudata, host, stream)
                kept += [host, *arrays]
                given.append(arrays[0][:, : plane.shape[1]])
                drawn.append(arrays[1][:, : plane.shape[1]])
                results.append((driver.pagelocked_zeros(shape, np.uint8), arrays[1], plane.shape[1]))
            source, target = borrow_frame(given, colour=frame.colour), borrow_frame(drawn, writable=True)
            submission = stylizer.stylize_on_device(source, target, stream=stream.handle)
            # Without a wait: PyCUDA's own copies follow the drawing because of its stream's order.
            for host, array, _ in results:
                driver.memcpy_dtoh_async(host, array.gpudata, stream)
            stream.synchronize()
            got: PlanesYUV420 = frame.with_planes(*(np.ascontiguousarray(host[:, :w]) for host, _, w in results))
            assert furthest(got, expected) <= 3
            submission.results()
            # Recreated for the next seed; PyCUDA frees them in its own context.
            del stream, given, drawn, kept, results, source, target, submission, arrays, array, host
    context.pop()
    context.detach()


@in_child
def test_the_check_of_a_gpu_draws_frames_of_pycuda(fake_driver, tmp_path):
    from animevid.gpu.check import interop

    FakeGpu(fake_driver)
    fake_tensorrt.install()
    os.environ["XDG_CACHE_HOME"] = str(tmp_path)
    _pycuda()
    interop._FRAMES = 3
    interop.LIBRARIES = {"PyCUDA": interop.PycudaArrays}
    (finding,) = interop.section(CheckOptions(size=(48, 64)))
    assert finding.agrees, finding.text


def test_the_example_stylizes_an_array_of_pycuda(fake_driver, tmp_path):
    photo = np.full((48, 64, 3), 90, np.uint8)
    photo[10:30, 20:50] = (20, 160, 240)
    cv2.imwrite(str(tmp_path / "in.png"), photo)
    tests = Path(__file__).resolve().parents[1]
    paths = [tests / "gpu" / "rehearsal", Path(animevid.__file__).parent.parent, os.environ.get("PYTHONPATH", "")]
    lazily = (
        "import os, runpy, sys; sys.setdlopenflags(os.RTLD_LAZY); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", lazily, str(tests.parent / "examples" / "gpu_arrays.py"), "pycuda",
         str(tmp_path / "in.png"), str(tmp_path / "out.png")],
        env={**os.environ, "LD_LIBRARY_PATH": str(fake_driver.parent), "XDG_CACHE_HOME": str(tmp_path),
             "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Stylizer(backend="onnxruntime", net_pixels=0, precision="fp32") as cpu:
        frame = rgb_to_planes(np.ascontiguousarray(photo[..., ::-1]))
        expected = planes_to_rgb(cpu.stylize_planes(frame))[..., ::-1]
    assert np.abs(cv2.imread(str(tmp_path / "out.png")).astype(int) - expected).max() <= 6
