"""Each error of the driver is reported in one line with a remedy."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from animevid.errors import BackendError, DeviceError
from animevid.gpu.driver import DeviceLost, OutOfDeviceMemory, check
from animevid.gpu.tensorrt import backend, library
from animevid.gpu.tensorrt.library import find_library

bindings = pytest.importorskip("cuda.bindings.driver")


@pytest.mark.parametrize(
    ("status", "error", "what"),
    [
        ("CUDA_ERROR_OUT_OF_MEMORY", OutOfDeviceMemory, "--net-size"),
        ("CUDA_ERROR_NO_DEVICE", DeviceError, "give another --device"),
        ("CUDA_ERROR_INVALID_DEVICE", DeviceError, "give another --device"),
        ("CUDA_ERROR_STUB_LIBRARY", DeviceError, "update it and restart"),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", DeviceError, "update it and restart"),
        ("CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", DeviceError, "update it and restart"),
        ("CUDA_ERROR_DEVICE_UNAVAILABLE", DeviceError, "taken by another program"),
        ("CUDA_ERROR_SYSTEM_NOT_READY", DeviceError, "fabric manager"),
        ("CUDA_ERROR_NO_BINARY_FOR_GPU", DeviceError, "make kernels"),
        ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", DeviceError, "update the driver"),
        ("CUDA_ERROR_JIT_COMPILER_NOT_FOUND", DeviceError, "update the driver"),
        ("CUDA_ERROR_ILLEGAL_ADDRESS", DeviceLost, "what was written is kept"),
        ("CUDA_ERROR_LAUNCH_FAILED", DeviceLost, "what was written is kept"),
        ("CUDA_ERROR_ECC_UNCORRECTABLE", DeviceLost, "what was written is kept"),
        ("CUDA_ERROR_INVALID_VALUE", DeviceError, "--backend onnxruntime"),
    ],
)
def test_a_refusal_of_the_driver_is_one_line_with_the_way_out(status, error, what):
    with pytest.raises(DeviceError, match=what) as caught:
        check(bindings, (getattr(bindings.CUresult, status),))
    assert type(caught.value) is error
    assert status in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("installed", "driver"), [(13, "12.8"), (13, "13.0"), (12, "12.2"), (None, "12.2")])
def test_each_library_is_asked_what_it_needs_of_the_driver(monkeypatch, installed, driver):
    monkeypatch.setattr(library, "_cuda_of", lambda name: installed)
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(library.importlib, "import_module", lambda name: SimpleNamespace(__version__="1"))
    if installed == 13 and driver == "12.8":
        with pytest.raises(BackendError, match=r"for CUDA 13, and this driver is for 12.8; update") as caught:
            find_library(driver_version=driver)
        assert "\n" not in str(caught.value)
        assert 'pip install "animevid[tensorrt-rtx-cu12]"' in str(caught.value)  # of the same library
    else:
        assert find_library(driver_version=driver).name == "tensorrt_rtx"


@pytest.mark.parametrize(
    ("driver", "wheels"),
    [("", ("rtx]", "tensorrt]")), ("12.8", ("rtx-cu12]", "tensorrt-cu12]")), ("13.0", ("rtx]", "tensorrt]"))],
)
def test_what_is_missing_is_named_with_the_wheels_for_the_driver(monkeypatch, driver, wheels):
    monkeypatch.setattr(backend, "driver_version", lambda: driver)
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    said = backend.TensorRtBackend.unavailable_reason()
    assert [piece.partition('"')[0] for piece in said.split("animevid[")[1:]] == [f"tensorrt-{wheels[0]}", wheels[1]]
    assert wheels[1] in backend.ClassicTensorRtBackend.unavailable_reason()
