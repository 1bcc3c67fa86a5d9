"""Frames through a GPU: slots that overlap copying in, computing and copying out, with results in order.

A slot owns a stream, pinned host memory, device memory, and one captured CUDA graph for each number of pictures: copy
in -> preprocess -> network -> postprocess -> copy out. While one slot computes, another copies; the host only fills and
empties pinned memory. The number of slots is the back-pressure: with all of them busy, ``run`` waits for the oldest.

Nothing here waits for a full batch: a slot takes what is there, one picture or more.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from animevid.backends.cuda import kernels
from animevid.backends.cuda.driver import Device, DeviceLost, OutOfDeviceMemory
from animevid.backends.cuda.kernels import Launch, Surface, SurfaceLayout, surface_layout
from animevid.errors import DeviceError, UsageError
from animevid.pixels.packed import padded_size
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import Size, chroma_size
from animevid.styles.card import Layout, StyleCard

_LOG = logging.getLogger(__name__)

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not ordered after the null stream, which belongs to others
_DISABLE_TIMING = 2  # CU_EVENT_DISABLE_TIMING: cheaper to wait for
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
#: Captured graphs that a slot keeps: some numbers of pictures, and the last few strengths.
_MOST_GRAPHS = 8


class Network(Protocol):
    """What runs between the kernels. ``enqueue`` submits work to a stream and waits for nothing.

    It may be captured into a CUDA graph: the addresses of one slot never change.
    """

    half: bool

    def enqueue(self, *, stream: int, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        """Read the tensor of ``shape`` at ``source``, write one of the same shape at ``target``."""
        ...


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """What every slot of a pipeline holds.

    ``net_size``: what the network sees, before padding; smaller than the picture, it is lifted back.
    """

    layout: SurfaceLayout
    card: StyleCard
    net_size: Size
    batch: int = 1
    slots: int = 3
    use_graphs: bool = True

    @property
    def padded(self) -> Size:
        return padded_size(self.net_size, multiple=math.lcm(self.card.size_multiple, 4))

    @property
    def lifts(self) -> bool:
        return self.net_size != self.layout.size


def plan_slots(
    like: PlanesYUV420, card: StyleCard, *, net_size: Size | None = None, batch: int = 1, slots: int = 3
) -> SlotPlan:
    """A plan for pictures like ``like``.

    Raises:
        UsageError: a style that does not read packed 4:2:0, or numbers below 1.
    """
    if card.layout is not Layout.PACKED_YUV420:
        raise UsageError(f"{card.layout = }: the device pipeline takes packed_yuv420 styles; others run as a backend")
    if batch < 1 or slots < 1:
        raise UsageError(f"{batch = }, {slots = } must be 1 or more")
    layout = surface_layout(like.height, like.width, bit_depth=like.bit_depth)
    return SlotPlan(layout, card, net_size or layout.size, batch, slots)


class DevicePipeline:
    """Stylizes pictures on a device. A context manager; used by one thread at a time.

    Raises:
        OutOfDeviceMemory: the slots do not fit; see :func:`open_pipeline`.
    """

    def __init__(self, device: Device, network: Network, plan: SlotPlan, *, module: bytes) -> None:
        self.plan = plan
        self._device = device
        self._network = network
        self._strength = 1.0
        self._resources = ExitStack()
        try:
            self._functions = _Functions(device, module, self._resources)
            self._free = deque(_Slot(device, plan, self._resources, half=network.half) for _ in range(plan.slots))
        except BaseException:
            self._resources.close()
            raise
        self._busy: deque[_Slot] = deque()

    @property
    def strength(self) -> float:
        """How much of the style is seen, 0 to 1; may be set between pictures."""
        return self._strength

    @strength.setter
    def strength(self, strength: float) -> None:
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"{strength = } must be 0 (the original) to 1 (the style alone)")
        self._strength = float(strength)

    @property
    def free_slots(self) -> int:
        """How many more calls of ``submit`` are taken before ``collect``."""
        return len(self._free)

    def submit(self, pictures: Sequence[PlanesYUV420]) -> None:
        """Start 1 to ``plan.batch`` pictures. Returns as soon as they are copied into pinned memory.

        Raises:
            UsageError: no slot is free, or pictures of another number, size or depth.
        """
        if not self._free:
            raise UsageError("all slots are busy; collect first")
        if not 1 <= len(pictures) <= self.plan.batch:
            raise UsageError(f"{len(pictures) = }: a slot takes 1 to {self.plan.batch}")
        layout = self.plan.layout
        for picture in pictures:
            if (picture.height, picture.width, picture.bit_depth) != (*layout.size, layout.bit_depth):
                raise UsageError(
                    f"a picture of {(picture.height, picture.width, picture.bit_depth)} does not fit this pipeline, "
                    f"which was made for {(*layout.size, layout.bit_depth)}"
                )
        self._device.make_current()
        weight = round(self._strength * 256)
        slot = self._free.popleft()
        try:
            slot.fill(pictures)
            enqueue = partial(self._enqueue, slot, weight)
            slot.start(self._device, enqueue, graph_key=weight if self.plan.use_graphs else None)
        except BaseException:
            self._free.appendleft(slot)
            raise
        self._busy.append(slot)

    def collect(self) -> list[PlanesYUV420]:
        """Wait for the oldest submission and give its pictures.

        Raises:
            UsageError: nothing was submitted.
            DeviceLost, DeviceError: the device failed.
        """
        if not self._busy:
            raise UsageError("nothing was submitted")
        self._device.make_current()
        slot = self._busy[0]
        slot.wait(self._device)
        self._busy.popleft()
        results = slot.results()
        self._free.append(slot)
        return results

    def run(self, pictures: Iterable[PlanesYUV420]) -> Iterator[PlanesYUV420]:
        """All ``pictures``, in order, in full batches but for the last."""
        waiting: list[PlanesYUV420] = []
        for picture in pictures:
            waiting.append(picture)
            if len(waiting) == self.plan.batch:
                if not self._free:
                    yield from self.collect()
                self.submit(waiting)
                waiting = []
        if waiting:
            if not self._free:
                yield from self.collect()
            self.submit(waiting)
        while self._busy:
            yield from self.collect()

    def close(self) -> None:
        """Free everything. Safe to call twice, and after the device was lost."""
        for slot in (*self._busy, *self._free):
            # The stream, not the event: work may have been submitted that never got as far as its event.
            _quietly(self._device, "cuStreamSynchronize", slot.stream)
            slot.forget_graphs(self._device)
        self._busy.clear()
        self._free.clear()
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue(self, slot: _Slot, weight: int) -> None:
        """Submit a slot's work: what a graph captures."""
        plan, count, stream = self.plan, len(slot.pictures), slot.stream
        call = self._device.call
        bytes_in = count * plan.layout.total_bytes
        call("cuMemcpyHtoDAsync", slot.device_in, slot.host_in, bytes_in, stream)
        for index in range(count):
            surface, tensor = slot.surface_in(index), slot.tensor_in + index * slot.tensor_bytes
            self._launch(
                kernels.pack(surface, tensor, size=plan.net_size, padded=plan.padded, half=self._network.half), slot
            )
        shape = plan.card.tensor_shape(count, *plan.padded)
        self._network.enqueue(stream=int(stream), source=slot.tensor_in, target=slot.tensor_out, shape=shape)
        for index in range(count):
            for launch in self._postprocess(slot, index, weight):
                self._launch(launch, slot)
        call("cuMemcpyDtoHAsync", slot.host_out, slot.device_out, bytes_in, stream)

    def _postprocess(self, slot: _Slot, index: int, weight: int) -> list[Launch]:
        plan, half = self.plan, self._network.half
        offset = index * slot.tensor_bytes
        original, result = slot.surface_in(index), slot.surface_out(index)
        if plan.lifts:
            launches = list(
                kernels.lift(
                    original, result, low_in=slot.tensor_in + offset, low_out=slot.tensor_out + offset,
                    size=plan.net_size, padded=plan.padded, scratch=slot.scratch, half=half,
                    epsilon=plan.card.lift_epsilon,
                )
            )  # fmt: skip
        else:
            launches = [kernels.unpack(slot.tensor_out + offset, result, padded=plan.padded, half=half)]
        if weight < 256:
            launches.append(kernels.blend(original, result, strength=weight / 256))
        return launches

    def _launch(self, launch: Launch, slot: _Slot) -> None:
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(launch.params))
        self._device.call(
            "cuLaunchKernel", self._functions[launch.kernel], *launch.grid, *launch.block, 0, slot.stream,
            ctypes.addressof(arguments), 0,
        )  # fmt: skip


def open_pipeline(
    make: Callable[[SlotPlan], DevicePipeline], plan: SlotPlan, *, smallest_px: int = 64
) -> DevicePipeline:
    """``make(plan)``, with half the batch and then half the network's pixels for as long as the device has no room.

    Each step down is said in the log.

    Raises:
        OutOfDeviceMemory: not even the smallest fits.
    """
    while True:
        try:
            return make(plan)
        except OutOfDeviceMemory:
            height, width = (max(round(side * 0.7071 / 8) * 8, 8) for side in plan.net_size)
            if plan.batch > 1:
                plan = replace(plan, batch=plan.batch // 2)
                _LOG.warning("the GPU is out of memory: going on with batches of %d", plan.batch)
            elif min(height, width) >= smallest_px:
                plan = replace(plan, net_size=(height, width))
                _LOG.warning("the GPU is out of memory: the network sees %dx%d now", width, height)
            else:
                raise


class _Functions:
    """The kernels of a fatbin, by name."""

    def __init__(self, device: Device, image: bytes, resources: ExitStack) -> None:
        self._device = device
        self._module = device.call("cuModuleLoadData", image)
        resources.callback(_quietly, device, "cuModuleUnload", self._module)
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            self._found[name] = self._device.call("cuModuleGetFunction", self._module, name.encode())
        return self._found[name]


class _Slot:
    """One stream with its memory."""

    def __init__(self, device: Device, plan: SlotPlan, resources: ExitStack, *, half: bool) -> None:
        self._layout = plan.layout
        self.pictures: list[PlanesYUV420] = []
        self._graphs: dict[tuple[Any, ...], Any] = {}
        # Pictures of a batch lie behind each other without a gap: the network sees one tensor.
        self.tensor_bytes = (2 if half else 4) * math.prod(plan.card.tensor_shape(1, *plan.padded))
        picture_bytes = plan.batch * plan.layout.total_bytes

        def device_memory(size: int) -> int:
            address = device.call("cuMemAlloc", size)
            resources.callback(_quietly, device, "cuMemFree", address)
            return int(address)

        def host_memory(size: int) -> tuple[int, npt.NDArray[np.uint8]]:
            address = int(device.call("cuMemHostAlloc", size, 0))
            resources.callback(_quietly, device, "cuMemFreeHost", address)
            return address, np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

        self.stream = device.call("cuStreamCreate", _NON_BLOCKING)
        resources.callback(_quietly, device, "cuStreamDestroy", self.stream)
        self._done = device.call("cuEventCreate", _DISABLE_TIMING)
        resources.callback(_quietly, device, "cuEventDestroy", self._done)
        self.host_in, self._view_in = host_memory(picture_bytes)
        self.host_out, self._view_out = host_memory(picture_bytes)
        self.device_in, self.device_out = device_memory(picture_bytes), device_memory(picture_bytes)
        self.tensor_in, self.tensor_out = (device_memory(plan.batch * self.tensor_bytes) for _ in range(2))
        self.scratch = device_memory(kernels.lift_scratch_bytes(plan.net_size)) if plan.lifts else 0

    def surface_in(self, index: int) -> Surface:
        return self._surface(self.device_in, index)

    def surface_out(self, index: int) -> Surface:
        return self._surface(self.device_out, index)

    def fill(self, pictures: Sequence[PlanesYUV420]) -> None:
        """Copy into pinned memory. The slot is idle: nobody reads it."""
        self.pictures = list(pictures)
        for index, picture in enumerate(pictures):
            for view, plane in zip(self._planes(self._view_in, index), (picture.y, picture.u, picture.v), strict=True):
                view[:] = plane

    def start(self, device: Device, enqueue: Callable[[], None], *, graph_key: int | None) -> None:
        """``graph_key``: what the work depends on besides the pictures; ``None``: no graph."""
        if graph_key is not None:
            # A graph holds the parameters of its launches: ranges and matrices are part of what it was made for.
            key = (graph_key, *(picture.colour for picture in self.pictures))
            if key not in self._graphs:
                # The slot is idle, so none of its graphs is running. A slider makes many that never come back.
                if len(self._graphs) >= _MOST_GRAPHS:
                    self.forget_graphs(device)
                self._graphs[key] = self._captured(device, enqueue)
            device.call("cuGraphLaunch", self._graphs[key], self.stream)
        else:
            enqueue()
        device.call("cuEventRecord", self._done, self.stream)

    def wait(self, device: Device) -> None:
        device.call("cuEventSynchronize", self._done)

    def results(self) -> list[PlanesYUV420]:
        """The pictures in pinned memory, copied out: the slot may be filled again at once."""
        results = []
        for index, picture in enumerate(self.pictures):
            y, u, v = (view.copy() for view in self._planes(self._view_out, index))
            results.append(picture.with_planes(y, u, v))
        return results

    def forget_graphs(self, device: Device) -> None:
        for graph in self._graphs.values():
            _quietly(device, "cuGraphExecDestroy", graph)
        self._graphs.clear()

    def _captured(self, device: Device, enqueue: Callable[[], None]) -> Any:
        mode = device.driver.CUstreamCaptureMode(_CAPTURE_THREAD_LOCAL)
        device.call("cuStreamBeginCapture", self.stream, mode)
        try:
            enqueue()
        finally:
            graph = device.call("cuStreamEndCapture", self.stream)
        try:
            return device.call("cuGraphInstantiate", graph, 0)
        finally:
            _quietly(device, "cuGraphDestroy", graph)

    def _surface(self, address: int, index: int) -> Surface:
        return Surface(self._layout, address + index * self._layout.total_bytes, self.pictures[index].colour)

    def _planes(self, memory: npt.NDArray[np.uint8], index: int) -> list[Plane]:
        layout = self._layout
        dtype = np.dtype(np.uint8 if layout.sample_bytes == 1 else np.uint16)
        start = index * layout.total_bytes
        return [
            np.ndarray(size, dtype, memory, start + offset, (pitch, layout.sample_bytes))
            for size, offset, pitch in zip(
                (layout.size, chroma_size(layout.size), chroma_size(layout.size)),
                layout.offsets,
                layout.pitches,
                strict=True,
            )
        ]


def _quietly(device: Device, name: str, *arguments: Any) -> None:
    """Free something; a device that is lost has freed it already."""
    try:
        device.call(name, *arguments)
    except DeviceLost:
        pass
    except DeviceError as error:
        _LOG.debug("%s: %s", name, error)
