"""Detects changes between two frames in device memory (``pixels.change``).

The host must know the result before it submits the frame, so it waits for the decoder, the comparison and a copy of
four bytes, on a separate stream, while earlier frames are processed. It costs one read of two frames; the waiting
thread sleeps.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import ExitStack

from animevid.gpu import kernels
from animevid.gpu.driver import Device, quietly
from animevid.gpu.kernels import Surface
from animevid.gpu.steps import Functions
from animevid.pixels.change import NoiseFloor

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_EVENT_FLAGS = 1 | 2  # CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING
_DEFAULT_STREAM = 0
_FLAG_BYTES = 4


class FrameComparer:
    """Compares frames from any thread, one at a time. ``close`` frees its memory.

    Args:
        device (Device): where the frames are.
        module (bytes): our kernels.

    Raises:
        OutOfDeviceMemory: there is no room for four bytes.
        DeviceError: the device failed.
    """

    def __init__(self, device: Device, module: bytes) -> None:
        self._device = device
        self._turn = threading.Lock()
        self._resources = ExitStack()
        device.make_current()
        try:
            self._functions = Functions(device, module, self._resources)
            self._stream = device.call("cuStreamCreate", _NON_BLOCKING)
            self._resources.callback(quietly, device, "cuStreamDestroy", self._stream)
            self._event = device.call("cuEventCreate", _EVENT_FLAGS)
            self._resources.callback(quietly, device, "cuEventDestroy", self._event)
            self._flag = int(device.call("cuMemAlloc", _FLAG_BYTES))
            self._resources.callback(quietly, device, "cuMemFree", self._flag)
            self._host = int(device.call("cuMemHostAlloc", _FLAG_BYTES, 0))
            self._resources.callback(quietly, device, "cuMemFreeHost", self._host)
        except BaseException:
            self._resources.close()
            raise

    def has_changed(self, before: Surface, now: Surface, *, floor: NoiseFloor) -> bool:
        """Whether ``now``, of the same size and depth as ``before``, differs from it by more than ``floor``.

        Waits for the default stream's (a decoder's) earlier work and for the comparison.

        Raises:
            DeviceError: the device failed.
        """
        with self._turn:
            self._device.make_current()
            call, stream = self._device.call, self._stream
            call("cuEventRecord", self._event, _DEFAULT_STREAM)
            call("cuStreamWaitEvent", stream, self._event, 0)
            call("cuMemsetD8Async", self._flag, 0, _FLAG_BYTES, stream)
            self._functions.launch(stream, kernels.compare(before, now, self._flag, floor=floor))
            call("cuMemcpyDtoHAsync", self._host, self._flag, _FLAG_BYTES, stream)
            call("cuEventRecord", self._event, stream)
            call("cuEventSynchronize", self._event)
            return bool(ctypes.c_uint.from_address(self._host).value)

    def close(self) -> None:
        """Safe to call twice."""
        with self._turn:
            quietly(self._device, "cuCtxSetCurrent", self._device.context)
            self._resources.close()
