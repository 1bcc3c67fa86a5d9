"""Pooled device memory for output frames: passed to an encoder as DLPack, and reused once the encoder has released
it."""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref

import numpy as np

from animevid.errors import DeviceError
from animevid.gpu.driver import Device
from animevid.gpu.interop import DeviceFrame
from animevid.gpu.kernels import Surface, SurfaceLayout
from animevid.pixels.colour import Colour
from animevid.pixels.device import DevicePlanes, device_planes
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import chroma_size

_LOG = logging.getLogger(__name__)

_CUDA, _UNSIGNED = 2, 1  # kDLCUDA, kDLUInt


class _DlTensor(ctypes.Structure):
    """``DLTensor`` of DLPack 0.8."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("kind", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _DlManaged(ctypes.Structure):
    """``DLManagedTensor``."""

    _fields_ = (("tensor", _DlTensor), ("context", ctypes.c_void_p), ("deleter", _DELETER))


#: Tensors that others hold, by the address of the ``DLManagedTensor``: kept alive until its deleter is called.
_HELD: dict[int, tuple[object, ...]] = {}


_let_go = _DELETER(lambda managed: _HELD.pop(managed, None) and None)


class SharedPlane:
    """One plane of a pooled frame, for ``__dlpack__``. Strides are in samples."""

    def __init__(
        self, frame: LentFrame, address: int, *, shape: tuple[int, ...], strides: tuple[int, ...], sample_bytes: int
    ) -> None:
        self._frame, self._address = frame, address
        self._shape, self._strides, self._sample_bytes = shape, strides, sample_bytes

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self._frame.device_index

    def __dlpack__(self, *, stream: object = None, **_: object) -> object:
        """A capsule. A frame is finished before it is handed out, so no ordering is needed."""
        shape, strides = ((ctypes.c_int64 * len(sides))(*sides) for sides in (self._shape, self._strides))
        kind, where = (_UNSIGNED, 8 * self._sample_bytes, 1), self.__dlpack_device__()
        managed = _DlManaged(_DlTensor(self._address, *where, len(shape), *kind, shape, strides, 0), None, _let_go)
        _HELD[ctypes.addressof(managed)] = (managed, shape, strides, self._frame)
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return make(ctypes.addressof(managed), b"dltensor", None)


class LentFrame:
    """NV12 or P010 memory from a pool. It returns to the pool when neither we nor an encoder hold it."""

    def __init__(self, pool: FramePool, address: int) -> None:
        self._pool, self.address = pool, address
        self.device_index = pool.device.index

    def surface(self, colour: Colour) -> DeviceFrame:
        """To be drawn into."""
        return DeviceFrame(Surface(self._pool.layout, self.address, colour), (self,))

    def planes(self, colour: Colour) -> DevicePlanes:
        """What was drawn, once it is done."""
        layout = self._pool.layout
        sample, (rows, columns) = layout.sample_bytes, chroma_size(layout.size)
        pitch = layout.pitches[0] // sample
        y = SharedPlane(self, self.address, shape=layout.size, strides=(pitch, 1), sample_bytes=sample)
        strides = (layout.pitches[1] // sample, 2, 1)
        uv = SharedPlane(
            self, self.address + layout.offsets[1], shape=(rows, columns, 2), strides=strides, sample_bytes=sample
        )
        return device_planes(
            (y, uv), height=layout.height, width=layout.width, bit_depth=layout.bit_depth, colour=colour,
            download=lambda: self._pool.download(self, colour), owner=self,
        )  # fmt: skip


class FramePool:
    """Device memory for frames of one ``layout`` (NV12 or P010), which grows on demand. Thread-safe."""

    def __init__(self, device: Device, layout: SurfaceLayout) -> None:
        self.device, self.layout = device, layout
        self._free: list[int] = []
        self._closed = False
        # Reentrant: the garbage collector may return frames while this thread holds it.
        self._lock = threading.RLock()

    def take(self) -> LentFrame:
        """Raises:
        DeviceError: the device has no room.
        """
        with self._lock:
            address = self._free.pop() if self._free else int(self.device.call("cuMemAlloc", self.layout.total_bytes))
        frame = LentFrame(self, address)
        weakref.finalize(frame, self._give_back, address).atexit = False
        return frame

    def download(self, frame: LentFrame, colour: Colour) -> PlanesYUV420:
        """The frame in host memory. Waits only for the copy."""
        layout, device = self.layout, self.device
        memory = np.empty(layout.total_bytes, np.uint8)
        device.make_current()
        stream = device.call("cuStreamCreate", 1)
        try:
            device.call("cuMemcpyDtoHAsync", memory.ctypes.data, frame.address, memory.nbytes, stream)
            device.call("cuStreamSynchronize", stream)
        finally:
            device.call("cuStreamDestroy", stream)
        dtype = np.dtype(np.uint8 if layout.sample_bytes == 1 else np.uint16)
        shift = 16 - layout.bit_depth if layout.bit_depth > 8 else 0
        sizes = (layout.size, chroma_size(layout.size), chroma_size(layout.size))
        steps = (1, 2, 2)
        planes: list[Plane] = []
        for size, offset, pitch, step in zip(sizes, layout.offsets, layout.pitches, steps, strict=True):
            codes: Plane = np.ndarray(size, dtype, memory, offset, (pitch, step * dtype.itemsize))
            planes.append(np.ascontiguousarray(codes >> np.array(shift, dtype)))
        return PlanesYUV420(planes[0], planes[1], planes[2], layout.bit_depth, colour)

    def close(self) -> None:
        """Free all returned memory; frames still in use are freed when they return. Safe to call twice."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for address in free:
            self._release(address)

    def _give_back(self, address: int) -> None:
        with self._lock:
            if not self._closed:
                self._free.append(address)
                return
        self._release(address)

    def _release(self, address: int) -> None:
        if self.device.context is None:  # the context is gone, and its memory with it
            return
        try:
            self.device.make_current()
            self.device.call("cuMemFree", address)
        except DeviceError as error:
            _LOG.debug("cuMemFree: %s", error)
