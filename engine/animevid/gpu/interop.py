"""Reads and writes frames in device memory owned by PyCUDA, CuPy, torch or a hardware decoder, without copies.

Accepts any object with ``__cuda_array_interface__`` or ``__dlpack__``, through NVIDIA's ``cuda-core``; streams are raw
handles (``int(stream.handle)`` in PyCUDA, ``stream.ptr`` in CuPy, ``stream.cuda_stream`` in torch). Nothing here waits
or copies; events order the work between streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeGuard

import numpy as np

from animevid.backends.base import one_line
from animevid.errors import BackendError, UsageError
from animevid.gpu.kernels import Surface, SurfaceLayout
from animevid.pixels.colour import Colour
from animevid.pixels.resize import chroma_size

if TYPE_CHECKING:
    from av.video.plane import VideoPlane

#: For DLPack and the array interface: the caller orders the work.
_NO_STREAM = -1


class CudaArray(Protocol):
    """An array in device memory, of CuPy, PyCUDA, Numba or torch."""

    @property
    def __cuda_array_interface__(self) -> Mapping[str, object]: ...


class DlpackArray(Protocol):
    """An array of any library, in DLPack's exchange format. (device type, index) is ``(2, 0)`` on the first GPU."""

    def __dlpack__(self) -> object: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """A 4:2:0 frame in device memory. ``owners`` keep the memory alive."""

    surface: Surface
    owners: tuple[object, ...] = field(default=(), repr=False, compare=False)

    @property
    def layout(self) -> SurfaceLayout:
        return self.surface.layout


def borrow_frame(
    planes: Sequence[CudaArray | DlpackArray],
    *,
    colour: Colour | None = None,
    bit_depth: int = 8,
    writable: bool = False,
) -> DeviceFrame:
    """A frame made of ``planes``: three arrays (Y, U, V), or two (Y, and interleaved U and V: NV12, P010).

    Each is ``uint8`` for 8 bits, else ``uint16`` (P010 and similar formats with the codes in the high
    bits): Y ``(H, W)``, U
    and V ``(h, w) = (ceil(H / 2), ceil(W / 2))``, interleaved ``(h, w, 2)`` or ``(h, 2 w)``. Rows may be padded.

    Raises:
        UsageError: a wrong number, shape, dtype or layout; host memory; or read-only memory for a frame to be written.
        BackendError: ``cuda-core`` is not installed.
    """
    if len(planes) not in (2, 3):
        raise UsageError(f"{len(planes) = }: a frame is Y, U and V, or Y and interleaved UV")
    if not 8 <= bit_depth <= 16:
        raise UsageError(f"{bit_depth = } must be 8 to 16")
    views = [_view(plane) for plane in planes]
    sample = 1 if bit_depth == 8 else 2
    height, width = views[0].shape[:2] if len(views[0].shape) == 2 else (0, 0)
    rows, columns = chroma_size((height, width))
    interleaved = len(views) == 2
    for index, view in enumerate(views):
        wanted: list[tuple[int, ...]] = [(height, width)] if index == 0 else [(rows, columns)]
        if index and interleaved:
            wanted = [(rows, columns, 2), (rows, 2 * columns)]
        expected = np.dtype(np.uint8 if sample == 1 else np.uint16)
        if view.shape not in wanted or view.dtype != expected or 0 in view.shape:
            raise UsageError(
                f"plane {index} is {view.dtype} {view.shape}; a frame of {bit_depth} bits has {expected} {wanted[0]}"
            )
        if not view.rows_are_whole:
            raise UsageError(f"plane {index} has {view.strides = } bytes; the samples of a row must lie side by side")
        if writable and view.readonly:
            raise UsageError(f"plane {index} is read-only; a result is written to it")
    first = views[0].address
    addresses = [view.address for view in views]
    pitches = [view.strides[0] for view in views]
    if interleaved:
        addresses.append(addresses[1] + sample)
        pitches.append(pitches[1])
    layout = SurfaceLayout(
        height,
        width,
        bit_depth,
        "nv12" if interleaved else "yuv420p",
        (pitches[0], pitches[1], pitches[2]),
        (0, addresses[1] - first, addresses[2] - first),
        0,  # not contiguous: it cannot be copied as a whole
    )
    return DeviceFrame(Surface(layout, first, colour or Colour()), tuple(planes))


#: The former name.
borrow_picture = borrow_frame


@dataclass(frozen=True, slots=True)
class _View:
    """An array's memory; strides in bytes."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[np.generic]
    readonly: bool

    @property
    def rows_are_whole(self) -> bool:
        inner = [self.dtype.itemsize]
        for side in self.shape[:1:-1]:
            inner.insert(0, inner[0] * side)
        return list(self.strides[1:]) == inner and self.strides[0] >= self.shape[1] * inner[0]


class _OrderedByCaller:
    """A plane of PyAV, whose ``__dlpack__`` accepts no stream argument, not even "none"."""

    def __init__(self, plane: VideoPlane) -> None:
        self._plane = plane

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._plane.__dlpack_device__()

    def __dlpack__(self, **_: object) -> object:
        return self._plane.__dlpack__()


def _is_plane_of_pyav(array: object) -> TypeGuard[VideoPlane]:
    return not hasattr(array, "__cuda_array_interface__") and type(array).__module__.startswith("av.")


def _view(array: CudaArray | DlpackArray) -> _View:
    try:
        from cuda.core.utils import StridedMemoryView
    except ImportError as error:
        raise BackendError('cuda-core is not installed; pip install "animevid[gpu]"') from error
    if not (hasattr(array, "__cuda_array_interface__") or hasattr(array, "__dlpack__")):
        raise UsageError(f"{type(array).__name__} has neither __cuda_array_interface__ nor __dlpack__")
    if _is_plane_of_pyav(array):
        array = _OrderedByCaller(array)
    try:
        view = StridedMemoryView.from_any_interface(array, stream_ptr=_NO_STREAM)
    except Exception as error:  # the array's library may raise anything
        raise UsageError(f"{type(array).__name__} cannot be read ({one_line(error)})") from error
    if not view.is_device_accessible:
        raise UsageError(f"{type(array).__name__} is in the host's memory; give an array on the GPU")
    dtype = np.dtype(view.dtype)
    shape = tuple(int(side) for side in view.shape)
    if view.strides is None:
        steps = [1]
        for side in shape[:0:-1]:
            steps.insert(0, steps[0] * side)
    else:
        steps = [int(step) for step in view.strides]
    return _View(int(view.ptr), shape, tuple(step * dtype.itemsize for step in steps), dtype, bool(view.readonly))
