"""The temporal filter on a device (``pixels.deflicker`` has the formulas): its kernels and its state for one stream.

The state is kept on the device in float32. Frames run in slots, each on a separate CUDA stream, so each frame's filter
waits for the previous frame's through events: one for the input before the network, one for the output after it. The
networks of neighbouring frames still overlap, and the host never waits.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from animevid.gpu.driver import Device, quietly
from animevid.gpu.kernels import Launch, launch_over
from animevid.pixels import deflicker as reference
from animevid.pixels.resize import Size
from animevid.styles.card import Layout, StyleCard

if TYPE_CHECKING:
    from cuda.bindings import driver as cuda

_CELL_PX = 4
_BINS = 128
_EVENT_FLAGS = 1 | 2  # CU_EVENT_BLOCKING_SYNC (the host waits when the size changes), CU_EVENT_DISABLE_TIMING
_LAYOUTS = (Layout.PACKED_YUV420, Layout.NCHW, Layout.NHWC)


class SettleParams(ctypes.Structure):
    """``plugins/kernels/settle.cuh``."""

    _fields_ = (
        *(
            (name, ctypes.c_uint64)
            for name in ("tensor", "kept", "weights", "earlier", "change", "histogram", "noise")
        ),
        *((name, ctypes.c_int) for name in ("rows", "columns", "height", "width", "layout", "first")),
        *(
            (name, ctypes.c_float)
            for name in (
                "units_per_code", "least", "fading", "still_least", "still_most", "still_over_noise",
                "moving_over_still", "quiet_share", "noise_memory",
            )
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FilterMemory:
    """Addresses of the filter's state for one stream, for tensors of one size.

    Args:
        kept_input (int): float32, like one tensor: the filtered input of the previous frame.
        kept_output (int): float32, likewise for the output.
        earlier (int): float32 (rows, columns) of cells: the previous frame's weights.
        change (int): float32 (rows, columns): scratch.
        histogram (int): 128 unsigned integers, zero between frames.
        noise (int): one float32, in codes.
    """

    kept_input: int
    kept_output: int
    earlier: int
    change: int
    histogram: int
    noise: int


def cells_of(size: Size) -> Size:
    """(rows, columns) of the cells of a tensor of ``size``, (height, width) in pixels."""
    return -(-size[0] // _CELL_PX), -(-size[1] // _CELL_PX)


def weight_bytes(size: Size) -> int:
    """The bytes of one frame's weights, for a tensor of ``size`` in pixels."""
    rows, columns = cells_of(size)
    return 4 * rows * columns


def settle_input(
    tensor: int, weights: int, memory: FilterMemory, *, card: StyleCard, size: Size, half: bool, first: bool
) -> tuple[Launch, ...]:
    """``pixels.deflicker.settle_input`` of the tensor at address ``tensor``; the frame's weights go to ``weights``.

    Args:
        tensor (int): address of the input of one frame, of ``size`` in pixels, in the layout of ``card``.
        weights (int): address of float32 (rows, columns) of cells, for ``settle_output`` of this frame.
        memory (FilterMemory): of the stream.
        card (StyleCard): says layout and range.
        size (tuple[int, int]): (height, width) in pixels.
        half (bool): whether the tensor is float16.
        first (bool): whether this is the first frame, without earlier state.
    """
    params = _params(tensor, memory.kept_input, weights, memory, card=card, size=size, first=first)
    rows, columns = cells_of(size)
    settle = launch_over("animevid_settle_input", params, columns, rows, half=half)
    if first:
        return (settle,)
    return (
        launch_over("animevid_settle_change", params, columns, rows, half=half),
        settle,
        Launch("animevid_settle_noise", (1, 1, 1), (1, 1, 1), params),
    )


def settle_output(
    tensor: int, weights: int, memory: FilterMemory, *, card: StyleCard, size: Size, half: bool, first: bool
) -> Launch:
    """``pixels.deflicker.settle`` for the network's output; arguments as for :func:`settle_input`."""
    params = _params(tensor, memory.kept_output, weights, memory, card=card, size=size, first=first)
    rows, columns = cells_of(size)
    return launch_over("animevid_settle_output", params, columns, rows, half=half)


class DeviceDeflicker:
    """The temporal filter's state for one stream on a device: ``pixels.deflicker`` for frames in slots.

    The submitting thread calls ``inputs`` before the network and ``outputs`` after it, one submission after another.
    ``resources`` frees the memory; wait for every frame before closing it.
    """

    def __init__(self, device: Device, card: StyleCard) -> None:
        self._device, self._card = device, card
        self.resources = ExitStack()
        self._of_size = ExitStack()
        self.resources.callback(self._of_size.close)
        self._size: Size | None = None
        self._memory: FilterMemory | None = None
        self._is_new = True
        self._events: tuple[cuda.CUevent, cuda.CUevent] | None = None
        self._small = 0

    def forget(self) -> None:
        """Start over with the next frame, after a failed submission."""
        self._is_new = True

    def inputs(
        self, launch: Callable[[Launch], None], stream: cuda.CUstream, tensors: Sequence[int], *,
        weights: Sequence[int], size: Size, half: bool,
    ) -> list[bool]:  # fmt: skip
        """Filter the inputs of a submission's frames on ``stream``, in order; pass the result to ``outputs``.

        ``tensors`` and ``weights`` are addresses, one of each for a frame; see :func:`settle_input`.

        Raises:
            OutOfDeviceMemory: there is no room for the state.
            DeviceError: the device failed.
        """
        memory, (input_done, _) = self._prepare(size, stream)
        self._device.call("cuStreamWaitEvent", stream, input_done, 0)
        if self._is_new:  # a failed submission may have left counts
            self._device.call("cuMemsetD8Async", memory.histogram, 0, 4 * _BINS, stream)
        firsts = []
        for tensor, weight in zip(tensors, weights, strict=True):
            firsts.append(self._is_new)
            for one in settle_input(tensor, weight, memory, card=self._card, size=size, half=half, first=self._is_new):
                launch(one)
            self._is_new = False
        self._device.call("cuEventRecord", input_done, stream)
        return firsts

    def outputs(
        self, launch: Callable[[Launch], None], stream: cuda.CUstream, tensors: Sequence[int], *,
        weights: Sequence[int], size: Size, half: bool, firsts: Sequence[bool],
    ) -> None:  # fmt: skip
        """Filter the network's outputs for the frames passed to ``inputs``."""
        memory, (_, output_done) = self._prepare(size, stream)
        self._device.call("cuStreamWaitEvent", stream, output_done, 0)
        for tensor, weight, first in zip(tensors, weights, firsts, strict=True):
            launch(settle_output(tensor, weight, memory, card=self._card, size=size, half=half, first=first))
        self._device.call("cuEventRecord", output_done, stream)

    def _prepare(self, size: Size, stream: cuda.CUstream) -> tuple[FilterMemory, tuple[cuda.CUevent, cuda.CUevent]]:
        call = self._device.call
        if self._events is None:
            # The noise estimate survives a change of size, as on the CPU.
            self._small = self._allocate(4 * (_BINS + 1), self.resources)
            events = []
            for _ in "12":
                events.append(call("cuEventCreate", _EVENT_FLAGS))
                self.resources.callback(quietly, self._device, "cuEventDestroy", events[-1])
            call("cuMemsetD8Async", self._small + 4 * _BINS, 0, 4, stream)
            call("cuEventRecord", events[0], stream)
            self._events = (events[0], events[1])
        if self._memory is None or size != self._size:
            for event in self._events:  # frames in flight still use the old memory
                call("cuEventSynchronize", event)
            self._memory, self._is_new = None, True
            self._of_size.close()
            whole = 4 * math.prod(self._card.tensor_shape(1, *size))
            kept = [self._allocate(whole, self._of_size) for _ in "12"]
            cells = [self._allocate(weight_bytes(size), self._of_size) for _ in "12"]
            self._memory = FilterMemory(kept[0], kept[1], cells[0], cells[1], self._small, self._small + 4 * _BINS)
            self._size = size
        return self._memory, self._events

    def _allocate(self, size: int, resources: ExitStack) -> int:
        address = int(self._device.call("cuMemAlloc", size))
        resources.callback(quietly, self._device, "cuMemFree", address)
        return address


def _params(
    tensor: int, kept: int, weights: int, memory: FilterMemory, *, card: StyleCard, size: Size, first: bool
) -> SettleParams:
    low, high = card.input_range
    return SettleParams(
        tensor, kept, weights, memory.earlier, memory.change, memory.histogram, memory.noise, *cells_of(size), *size,
        _LAYOUTS.index(card.layout), int(first), abs(high - low) / 255, reference.MIN_WEIGHT, reference.FADING,
        reference.STILL_CODES, reference.MAX_STILL_CODES, reference.STILL_OVER_NOISE, reference.MOVING_OVER_STILL,
        reference.QUIET_SHARE, reference.NOISE_MEMORY,
    )  # fmt: skip
