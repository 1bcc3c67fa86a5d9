"""The CUDA driver, called through ``cuda-bindings``: opens and closes one device and translates its errors."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from animevid.backends.base import one_line
from animevid.errors import BackendError, DeviceError

if TYPE_CHECKING:
    from cuda.bindings import driver as cuda

_LOG = logging.getLogger(__name__)

#: What the driver's own functions that we call have been there since; kernels and TensorRT ask for what *they* need.
#: The driver says its version as 1000 * major + 10 * minor.
OLDEST_DRIVER = 12000
_OLDEST_NAMED = "525"

_BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC
_OUT_OF_MEMORY = 2
_NO_DEVICE = 100
_INVALID_DEVICE = 101
#: The toolkit's stub in place of the driver; a user-space driver that is not the kernel's, or does not know the GPU.
_MISMATCH = frozenset({34, 36, 803, 804})
_TAKEN = 46
#: The fabric manager or the driver's daemon has not come up (an H100 board, say).
_NOT_READY = 802
#: Machine code and PTX of other GPUs only, PTX newer than the driver, or no compiler for PTX.
_NO_CODE = frozenset({209, 218, 221, 222})
#: After these, the context is dead and every later call fails: ECC error, illegal address, launch failure or timeout,
#: a device that has fallen off the bus.
_LOST = frozenset({214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999})


class OutOfDeviceMemory(DeviceError):
    """A device allocation failed; a smaller batch or size may fit."""


class DeviceLost(DeviceError):
    """The context is dead; this process can no longer use the device."""


def load_driver() -> ModuleType:
    """The module ``cuda.bindings.driver``, with the driver initialized.

    Raises:
        BackendError: ``cuda-bindings`` is not installed.
        DeviceError: there is no driver, or it is too old.
    """
    try:
        driver = importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise BackendError('cuda-bindings is not installed; pip install "animevid[gpu]"') from error
    try:
        check(driver, driver.cuInit(0))
        version = int(check(driver, driver.cuDriverGetVersion()))
    except DeviceError:
        raise
    except Exception as error:  # the bindings' own: the library is not there, or has not the functions
        detail = one_line(error).split(". ")[0][:100]
        said = "" if "driver library" in detail else f" ({detail})"  # the bindings' way to say that there is none
        raise DeviceError(
            f"there is no usable NVIDIA driver here{said}; install driver {_OLDEST_NAMED} or later, "
            "or use --backend onnxruntime"
        ) from error
    if version < OLDEST_DRIVER:
        raise DeviceError(
            f"the NVIDIA driver is too old (CUDA {version // 1000}.{version % 1000 // 10}; this needs CUDA 12, "
            f"driver {_OLDEST_NAMED} or later); update it, or use --backend onnxruntime"
        )
    return driver


def driver_version() -> str:
    """The CUDA version of the driver (``"12.8"``); empty where there is none that can be used."""
    try:
        driver = load_driver()
    except (BackendError, DeviceError):
        return ""
    version = int(check(driver, driver.cuDriverGetVersion()))
    return f"{version // 1000}.{version % 1000 // 10}"


def check(driver: ModuleType, result: tuple[Any, ...]) -> Any:
    """The results of a driver call without its status: ``None``, a value, or a tuple.

    Raises:
        OutOfDeviceMemory, DeviceLost, DeviceError: the status is not success.
    """
    status, *values = result
    code = int(status)
    if code == 0:
        return values[0] if len(values) == 1 else tuple(values) or None
    name = str(getattr(status, "name", code))
    if code == _OUT_OF_MEMORY:
        raise OutOfDeviceMemory(
            f"the GPU is out of memory ({name}); give a smaller --net-size, or close other programs"
        )
    if code in (_NO_DEVICE, _INVALID_DEVICE):
        raise DeviceError(f"there is no such NVIDIA GPU here ({name}); give another --device, or --backend onnxruntime")
    if code in _MISMATCH:
        raise DeviceError(
            f"the NVIDIA driver does not fit ({name}); update it and restart, or use --backend onnxruntime"
        )
    if code == _TAKEN:
        raise DeviceError(f"the GPU is taken by another program ({name}); end that, or use --backend onnxruntime")
    if code == _NOT_READY:
        raise DeviceError(
            f"the NVIDIA driver is not ready ({name}); start its fabric manager, or use --backend onnxruntime"
        )
    if code in _NO_CODE:
        raise DeviceError(
            f"the CUDA kernels have no code for this GPU and driver ({name}); update the driver, or make kernels, "
            "or use --backend onnxruntime"
        )
    if code in _LOST:
        raise DeviceLost(f"the GPU stopped working ({name}); what was written is kept: start again, or --device cpu")
    raise DeviceError(f"the GPU refused a call ({name}); run again with -v, or use --backend onnxruntime")


class Device:
    """One GPU, with its primary context (the one that torch, CuPy and PyCUDA's ``retain_primary_context`` share).

    A context manager. ``make_current`` binds the context to the calling thread; every thread that calls the driver
    needs it once.
    """

    def __init__(self, driver: ModuleType, index: int) -> None:
        self.driver = driver
        self.index = index
        self._device = check(driver, driver.cuDeviceGet(index))
        attribute = driver.CUdevice_attribute
        major, minor = (
            int(check(driver, driver.cuDeviceGetAttribute(which, self._device)))
            for which in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        name: bytes = check(driver, driver.cuDeviceGetName(256, self._device))
        self.name = name.split(b"\0", 1)[0].decode("ascii", "replace").strip()
        self.compute_capability = f"{major}.{minor}"
        version = int(check(driver, driver.cuDriverGetVersion()))
        self.driver_version = f"{version // 1000}.{version % 1000 // 10}"
        self._prefer_blocking()
        #: ``None`` once closed.
        self.context: cuda.CUcontext | None = check(driver, driver.cuDevicePrimaryCtxRetain(self._device))
        self.make_current()

    def _prefer_blocking(self) -> None:
        """Let waiting threads sleep, which FFmpeg requires of a primary context that it shares.

        Only works before the context is active; its first user (torch, say) chose how it waits.
        """
        state, _, active = self.driver.cuDevicePrimaryCtxGetState(self._device)
        if int(state) == 0 and not active:
            self.driver.cuDevicePrimaryCtxSetFlags(self._device, _BLOCKING_SYNC)

    def make_current(self) -> None:
        """Bind this device's context to the calling thread."""
        check(self.driver, self.driver.cuCtxSetCurrent(self.context))

    def call(self, name: str, *arguments: object) -> Any:
        """Call the driver's function ``name`` and check its status; see :func:`check`."""
        return check(self.driver, getattr(self.driver, name)(*arguments))

    def close(self) -> None:
        """Release the context. Safe to call twice."""
        if self.context is not None:
            self.context = None
            self.driver.cuDevicePrimaryCtxRelease(self._device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def quietly(device: Device, name: str, *arguments: object) -> None:
    """Call the driver to free something; on a lost device it is already freed."""
    try:
        device.call(name, *arguments)
    except DeviceLost:
        pass
    except DeviceError as error:
        _LOG.debug("%s: %s", name, error)


def open_device(index: int = 0) -> Device:
    """Raises:
    BackendError: ``cuda-bindings`` is not installed.
    DeviceError: no driver, one that is too old, or no such GPU.
    """
    return Device(load_driver(), index)
