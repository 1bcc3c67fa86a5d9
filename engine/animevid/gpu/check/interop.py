"""Stylizes frames owned by torch, CuPy, PyCUDA and the driver itself, on their streams."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from animevid.backends.base import one_line
from animevid.gpu.check.findings import CheckOptions, Finding, Skipped, distance, worst
from animevid.gpu.check.frames import varied_frames
from animevid.gpu.check.queue import Array
from animevid.gpu.check.slots import open_on_cpu, open_on_gpu
from animevid.gpu.driver import Device, open_device
from animevid.gpu.interop import CudaArray, borrow_frame
from animevid.pixels.planes import PlanesYUV420
from animevid.render.stylizer import Stylizer
from animevid.styles import list_styles

if TYPE_CHECKING:
    import cupy
    import torch
    from pycuda.gpuarray import GPUArray

_FRAMES = 6
#: An array of one library.
_Array = TypeVar("_Array", bound=CudaArray)


class Arrays(Protocol[_Array]):
    """A library's arrays in device memory and its stream, on which it copies asynchronously."""

    stream: int

    def upload(self, plane: Array) -> _Array: ...

    def empty(self, plane: Array) -> _Array: ...

    def download(self, array: _Array) -> Callable[[], Array]:
        """Enqueue the copy; returns a function that waits for the stream and returns the array on the host."""
        ...

    def wait(self) -> None: ...


def section(options: CheckOptions) -> Iterator[Finding]:
    """There is no synchronization in between: the libraries' copies follow the drawing in stream order."""
    style = list_styles()[0]
    frames = list(varied_frames(_FRAMES, options.size))
    with ExitStack() as stack:
        opened = open_on_gpu(style, stack)
        stylizers = [one for _, one in opened if isinstance(one, Stylizer) and one.device_index is not None]
        if not stylizers:
            raise Skipped("; ".join(f"{name}: {said}" for name, said in opened if isinstance(said, str)))
        with open_on_cpu(style) as cpu:
            expected = [cpu.stylize_planes(frame) for frame in frames]
        device = stack.enter_context(open_device())
        for name, open_library in LIBRARIES.items():
            try:
                library = open_library(device)
            except Exception as error:  # not installed, or any exception of its import on this machine
                yield Finding(f"{name}: not tried ({one_line(error)})")
                continue
            for stylizer in stylizers:
                device.make_current()
                yield compared(name, library, stylizer, frames, expected)


def compared(
    name: str,
    arrays: Arrays[_Array],
    stylizer: Stylizer,
    frames: Sequence[PlanesYUV420],
    expected: Sequence[PlanesYUV420],
) -> Finding:
    """``frames`` in arrays of that library through ``Stylizer.stylize_on_device``."""
    downloads, under_way = [], []
    for frame in frames:
        planes = (frame.y, frame.u, frame.v)
        given, drawn = [arrays.upload(plane) for plane in planes], [arrays.empty(plane) for plane in planes]
        source = borrow_frame(given, colour=frame.colour)
        target = borrow_frame(drawn, colour=frame.colour, writable=True)
        under_way.append(stylizer.stylize_on_device(source, target, stream=arrays.stream))
        downloads.append([arrays.download(array) for array in drawn])
    arrays.wait()
    apart = []
    for frame, planes_of, other in zip(frames, downloads, expected, strict=True):
        y, u, v = (np.ascontiguousarray(get()) for get in planes_of)
        apart.append(distance(frame.with_planes(y, u, v), other))
    for submission in under_way:
        submission.results()
    wrong = [index for index, one in enumerate(apart) if not one.is_half_precision]
    said = f"{name}, {stylizer.description}: {len(frames)} frames, {worst(apart)}"
    return Finding(said + (f"; wrong: frames {wrong}" if wrong else ""), agrees=not wrong)


class TorchArrays:
    """Tensors of torch."""

    def __init__(self, device: Device) -> None:
        self._torch = importlib.import_module("torch")
        self._where = f"cuda:{device.index}"
        self._stream = self._torch.cuda.Stream(self._where)
        self.stream = int(self._stream.cuda_stream)
        self._kept: list[torch.Tensor] = []

    def upload(self, plane: Array) -> torch.Tensor:
        host = self._torch.from_numpy(np.ascontiguousarray(plane)).pin_memory()
        self._kept.append(host)
        with self._torch.cuda.stream(self._stream):
            tensor: torch.Tensor = host.to(self._where, non_blocking=True)
        return tensor

    def empty(self, plane: Array) -> torch.Tensor:
        with self._torch.cuda.stream(self._stream):
            tensor: torch.Tensor = self._torch.zeros(plane.shape, dtype=self._torch.uint8, device=self._where)
        return tensor

    def download(self, array: torch.Tensor) -> Callable[[], Array]:
        host = self._torch.empty(array.shape, dtype=array.dtype, pin_memory=True)
        with self._torch.cuda.stream(self._stream):
            host.copy_(array, non_blocking=True)
        return lambda: np.asarray(host.numpy())

    def wait(self) -> None:
        self._stream.synchronize()


class CupyArrays:
    """Arrays of CuPy."""

    def __init__(self, device: Device) -> None:
        self._cupy = importlib.import_module("cupy")
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self.stream = int(self._stream.ptr)

    def upload(self, plane: Array) -> cupy.ndarray:
        array = self._cupy.empty(plane.shape, self._cupy.uint8)
        array.set(np.ascontiguousarray(plane), stream=self._stream)
        return array

    def empty(self, plane: Array) -> cupy.ndarray:
        return self._cupy.empty(plane.shape, self._cupy.uint8)

    def download(self, array: cupy.ndarray) -> Callable[[], Array]:
        host = array.get(stream=self._stream, blocking=False)
        return lambda: np.asarray(host)

    def wait(self) -> None:
        self._stream.synchronize()


class PycudaArrays:
    """``GPUArray`` of PyCUDA, in the primary context that is current."""

    def __init__(self, device: Device) -> None:
        self._driver = importlib.import_module("pycuda.driver")
        self._arrays = importlib.import_module("pycuda.gpuarray")
        self._driver.init()
        self._context = self._driver.Device(device.index).retain_primary_context()
        self._context.push()
        self._stream = self._driver.Stream(1)
        self.stream = int(self._stream.handle)
        self._kept: list[Array] = []

    def upload(self, plane: Array) -> GPUArray:
        array, host = self.empty(plane), self._driver.pagelocked_empty(plane.shape, np.uint8)
        host[:] = plane
        self._kept.append(host)
        self._driver.memcpy_htod_async(array.gpudata, host, self._stream)
        return array

    def empty(self, plane: Array) -> GPUArray:
        return self._arrays.GPUArray(plane.shape, np.uint8)

    def download(self, array: GPUArray) -> Callable[[], Array]:
        host = self._driver.pagelocked_empty(array.shape, np.uint8)
        self._driver.memcpy_dtoh_async(host, array.gpudata, self._stream)
        return lambda: np.asarray(host)

    def wait(self) -> None:
        self._stream.synchronize()


class DriverArrays:
    """The driver's memory through ``__cuda_array_interface__``; needs no library."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._handle = device.call("cuStreamCreate", 1)
        self.stream = int(self._handle)
        self._kept: list[Array] = []

    def upload(self, plane: Array) -> _DriverArray:
        array, host = self.empty(plane), np.ascontiguousarray(plane)
        self._kept.append(host)
        self._device.call("cuMemcpyHtoDAsync", array.address, host.ctypes.data, host.nbytes, self._handle)
        return array

    def empty(self, plane: Array) -> _DriverArray:
        return _DriverArray(int(self._device.call("cuMemAlloc", plane.nbytes)), plane.shape)

    def download(self, array: _DriverArray) -> Callable[[], Array]:
        host = np.zeros(array.shape, np.uint8)
        self._device.call("cuMemcpyDtoHAsync", host.ctypes.data, array.address, host.nbytes, self._handle)
        return lambda: host

    def wait(self) -> None:
        self._device.call("cuStreamSynchronize", self._handle)


class _DriverArray:
    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.address, self.shape = address, shape
        self.__cuda_array_interface__: Mapping[str, object] = {
            "shape": shape, "strides": None, "typestr": "|u1", "data": (address, False), "version": 3, "stream": None,
        }  # fmt: skip


LIBRARIES: dict[str, Callable[[Device], Arrays[Any]]] = {
    "the driver": DriverArrays,
    "torch": TorchArrays,
    "CuPy": CupyArrays,
    "PyCUDA": PycudaArrays,
}
