"""What the driver's refusals are told as: each one line, with the way out."""

from __future__ import annotations

import pytest
from animevid.errors import DeviceError
from animevid.gpu.driver import DeviceLost, OutOfDeviceMemory, check

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
