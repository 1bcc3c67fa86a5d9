"""Frames through a GPU: slots that overlap copying in, computing and copying out, with results in order.

A slot owns a stream, pinned host memory, device memory, and one captured CUDA graph for each number of pictures: copy
in -> preprocess -> network -> postprocess -> copy out. While one slot computes, another copies; the host only fills and
empties pinned memory. The number of slots is the back-pressure: with all of them busy, ``run`` waits for the oldest.

Nothing here waits for a full batch: a slot takes what is there, one picture or more.

One thread submits and another may wait for results: a submission is finished by whoever asks for it first, or by the
submitting thread when it needs the slot.
"""

from __future__ import annotations

import ctypes
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from animevid.errors import DeviceError, UsageError
from animevid.gpu import kernels
from animevid.gpu.driver import Device, DeviceLost, OutOfDeviceMemory
from animevid.gpu.interop import DevicePicture
from animevid.gpu.kernels import Launch, Surface, SurfaceLayout, surface_layout
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import Size, chroma_size
from animevid.styles.card import ColourOrder, Layout, StyleCard

_LOG = logging.getLogger(__name__)

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not ordered after the null stream, which belongs to others
#: CU_EVENT_BLOCKING_SYNC: who waits sleeps, for decoders and encoders want the core; whatever the context says, waits
#: for an event spin otherwise. CU_EVENT_DISABLE_TIMING: cheaper to wait for.
_EVENT_FLAGS = 1 | 2
_DEFAULT_STREAM = 0
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
#: Captured graphs that a slot keeps: some numbers of pictures, and the last few strengths.
_MAX_GRAPHS = 8
_MAX_FORMS = 64
#: Out of memory, a network's sides are not made shorter than that.
_SMALLEST_NETWORK_PX = 64


class Network(Protocol):
    """What runs between the kernels. ``enqueue`` submits work to a stream and waits for nothing.

    ``half``: whether its tensors are float16 (else float32). The addresses of one slot never change.
    """

    half: bool

    def enqueue(self, *, slot: int, stream: int, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        """Read the tensor of ``shape`` at ``source``, write one of the same shape at ``target``.

        The work of one ``slot`` (counted from 0) is never asked for while its last is still running; slots overlap.
        """
        ...

    def capturable(self, *, slot: int, stream: int, shape: tuple[int, int, int, int]) -> bool:
        """Whether ``enqueue`` may be captured into a CUDA graph; asked after it ran once."""
        ...

    def close(self) -> None: ...


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
        return _padded(self.net_size, self.multiple)

    @property
    def multiple(self) -> int:
        """What the sides of the tensor divide by, in pixels."""
        return self.card.padded_multiple_px

    @property
    def lifts(self) -> bool:
        return self.net_size != self.layout.size

    @property
    def small_layout(self) -> SurfaceLayout:
        """An RGB network's small picture, before it is lifted."""
        return surface_layout(*self.net_size, bit_depth=self.layout.bit_depth)

    @property
    def small_padded(self) -> Size:
        """The packed tensors that an RGB network's small picture is lifted from."""
        return _padded(self.net_size, 4)


def plan_slots(
    like: PlanesYUV420, card: StyleCard, *, net_size: Size | None = None, batch: int = 1, slots: int = 3
) -> SlotPlan:
    """A plan for pictures like ``like``.

    Raises:
        UsageError: a network larger than the picture, or numbers below 1.
    """
    if batch < 1 or slots < 1:
        raise UsageError(f"{batch = }, {slots = } must be 1 or more")
    layout = surface_layout(like.height, like.width, bit_depth=like.bit_depth)
    net_size = net_size or layout.size
    if net_size[0] > like.height or net_size[1] > like.width:
        raise UsageError(f"{net_size = } is larger than the picture {layout.size}; such a style runs as a backend")
    return SlotPlan(layout, card, net_size, batch, slots)


class Submission:
    """Pictures that are being drawn in one slot."""

    def __init__(self, slot: _Slot, device: Device, give_back: Callable[[_Slot], None]) -> None:
        self._slot: _Slot | None = slot
        self._device, self._give_back = device, give_back
        self._pictures: list[PlanesYUV420] = []
        self._failure: DeviceError | None = None
        self._turn = threading.Lock()

    def results(self) -> list[PlanesYUV420]:
        """Wait for the pictures. From any thread, any number of times.

        Raises:
            DeviceLost, DeviceError: the device failed.
        """
        with self._turn:
            if self._slot is not None:
                slot, self._slot = self._slot, None
                try:
                    self._device.make_current()
                    slot.wait(self._device)
                    self._pictures = slot.results()
                except DeviceError as error:
                    self._failure = error
                self._give_back(slot)
            if self._failure is not None:
                raise self._failure
            return self._pictures


class DevicePipeline:
    """Stylizes pictures on a device. A context manager.

    One thread at a time submits; results may be waited for in others. ``close`` closes the network too.

    Raises:
        OutOfDeviceMemory: the slots do not fit; see :func:`open_pipeline`.
    """

    def __init__(self, device: Device, network: Network, plan: SlotPlan, *, module: bytes) -> None:
        self.plan = plan
        self._device = device
        self._network = network
        self._strength = 1.0
        self._lock = threading.Lock()
        self._busy: deque[tuple[_Slot, Submission]] = deque()
        self._resources = ExitStack()
        self._resources.callback(network.close)
        try:
            self._functions = _Functions(device, module, self._resources)
            self._free = deque(
                _Slot(index, device, plan, self._resources, half=network.half) for index in range(plan.slots)
            )
        except BaseException:
            self._resources.close()
            raise

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
        """How many more submissions are taken without waiting."""
        return len(self._free)

    @property
    def captured_graphs(self) -> int:
        """How many CUDA graphs the slots that are free hold."""
        return sum(len(slot._graphs) for slot in self._free)

    def submit(
        self,
        pictures: Sequence[PlanesYUV420],
        *,
        sources: Sequence[DevicePicture] = (),
        targets: Sequence[DevicePicture] = (),
    ) -> Submission:
        """Start 1 to ``plan.batch`` pictures. Returns as soon as they are copied into pinned memory.

        ``sources``: where the pictures lie on the device already, in the order of its default stream (a decoder's);
        nothing is copied in then. ``targets``: where they are to be drawn; nothing is copied out then, and the results
        are the ``pictures`` as they were given. With all slots busy it waits for the oldest, whose results its
        submission then keeps.

        Raises:
            UsageError: pictures of another number, size or depth.
            DeviceError: the device failed.
        """
        if not 1 <= len(pictures) <= self.plan.batch:
            raise UsageError(f"{len(pictures) = }: a slot takes 1 to {self.plan.batch}")
        layout = self.plan.layout
        self._check_borrowed((*sources, *targets))
        for picture in pictures:
            if (picture.height, picture.width, picture.bit_depth) != (*layout.size, layout.bit_depth):
                raise UsageError(
                    f"a picture of {(picture.height, picture.width, picture.bit_depth)} does not fit this pipeline, "
                    f"which was made for {(*layout.size, layout.bit_depth)}"
                )
        slot = self._free_slot()
        weight = round(self._strength * 256)
        self._device.make_current()
        try:
            slot.fill(pictures, sources=sources, targets=targets)
            if sources:
                slot.order_after(self._device, _DEFAULT_STREAM)
            slot.start(
                self._device,
                partial(self._enqueue, slot, weight),
                # A graph holds addresses: others' pictures are never twice at the same.
                graph_key=weight if self.plan.use_graphs and not sources and not targets else None,
                capturable=partial(
                    self._network.capturable, slot=slot.index, stream=int(slot.stream), shape=self._shape(len(pictures))
                ),
            )
        except BaseException:
            # Work may have been submitted before it failed: the slot is not free until its stream is empty.
            _quietly(self._device, "cuStreamSynchronize", slot.stream)
            self._free.appendleft(slot)
            raise
        return self._started(slot)

    def draw(
        self, sources: Sequence[DevicePicture], targets: Sequence[DevicePicture], *, stream: int = 0
    ) -> Submission:
        """Draw ``sources`` into ``targets``, which others own, without touching the host. Returns before it is done.

        Ordered after what the caller's ``stream`` (a raw handle; 0: the default stream) was given before, and before
        what it is given next. ``results`` of what comes back waits, and is empty; the caller keeps the memory until
        then.

        Raises:
            UsageError: pictures of another number, size or depth.
            DeviceError: the device failed.
        """
        if not 1 <= len(sources) <= self.plan.batch or len(sources) != len(targets):
            raise UsageError(f"{len(sources) = }, {len(targets) = }: a slot takes 1 to {self.plan.batch} of each")
        self._check_borrowed((*sources, *targets))
        slot = self._free_slot()
        weight = round(self._strength * 256)
        self._device.make_current()
        try:
            slot.fill([], sources=sources, targets=targets)
            slot.order_after(self._device, stream)
            self._enqueue_network(slot, weight)
            slot.order_before(self._device, stream)
        except BaseException:
            _quietly(self._device, "cuStreamSynchronize", slot.stream)
            slot.fill([])
            self._free.appendleft(slot)
            raise
        return self._started(slot)

    def _check_borrowed(self, pictures: Iterable[DevicePicture]) -> None:
        layout = self.plan.layout
        for picture in pictures:
            if (picture.layout.size, picture.layout.bit_depth) != (layout.size, layout.bit_depth):
                raise UsageError(
                    f"a picture of {(*picture.layout.size, picture.layout.bit_depth)} does not fit this pipeline, "
                    f"which was made for {(*layout.size, layout.bit_depth)}"
                )

    def _started(self, slot: _Slot) -> Submission:
        submission = Submission(slot, self._device, self._give_back)
        with self._lock:
            self._busy.append((slot, submission))
        return submission

    def run(self, pictures: Iterable[PlanesYUV420]) -> Iterator[PlanesYUV420]:
        """All ``pictures``, in order, in full batches but for the last."""
        waiting: list[PlanesYUV420] = []
        pending: deque[Submission] = deque()
        for picture in pictures:
            waiting.append(picture)
            if len(waiting) == self.plan.batch:
                while len(pending) >= self.plan.slots:
                    yield from pending.popleft().results()
                pending.append(self.submit(waiting))
                waiting = []
        if waiting:
            pending.append(self.submit(waiting))
        while pending:
            yield from pending.popleft().results()

    def close(self) -> None:
        """Free everything; submissions keep the results that came back. Safe to call twice, and after a lost device."""
        with self._lock:
            busy = list(self._busy)
        for _, submission in busy:
            with suppress(DeviceError):
                submission.results()
        if self._free:
            _quietly(self._device, "cuCtxSetCurrent", self._device.context)
        for slot in self._free:
            # The stream, not the event: work may have been submitted that never got as far as its event.
            _quietly(self._device, "cuStreamSynchronize", slot.stream)
            slot.forget_graphs(self._device)
        self._free.clear()
        self._resources.close()

    def _free_slot(self) -> _Slot:
        while True:
            with self._lock:
                if self._free:
                    return self._free.popleft()
                if not self._busy:
                    raise DeviceError("the device pipeline is closed; open another")
                oldest = self._busy[0][1]
            with suppress(DeviceError):  # told to whoever asks for those pictures
                oldest.results()

    def _give_back(self, slot: _Slot) -> None:
        with self._lock:
            self._busy = deque(pair for pair in self._busy if pair[0] is not slot)
            self._free.append(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue(self, slot: _Slot, weight: int) -> None:
        """Submit a slot's work: what a graph captures."""
        size = slot.count * self.plan.layout.total_bytes
        if not slot.sources:
            self._device.call("cuMemcpyHtoDAsync", slot.device_in, slot.host_in, size, slot.stream)
        self._enqueue_network(slot, weight)
        if not slot.targets:
            self._device.call("cuMemcpyDtoHAsync", slot.host_out, slot.device_out, size, slot.stream)

    def _enqueue_network(self, slot: _Slot, weight: int) -> None:
        for index in range(slot.count):
            self._launch(self._preprocess(slot, index), slot)
        self._network.enqueue(
            slot=slot.index,
            stream=int(slot.stream),
            source=slot.tensor_in,
            target=slot.tensor_out,
            shape=self._shape(slot.count),
        )
        for index in range(slot.count):
            for launch in self._postprocess(slot, index, weight):
                self._launch(launch, slot)

    def _shape(self, count: int) -> tuple[int, int, int, int]:
        return self.plan.card.tensor_shape(count, *self.plan.padded)

    def _preprocess(self, slot: _Slot, index: int) -> Launch:
        plan, half = self.plan, self._network.half
        surface, tensor = slot.surface_in(index), slot.tensor_in + index * slot.tensor_bytes
        if plan.card.layout is Layout.PACKED_YUV420:
            return kernels.pack(surface, tensor, size=plan.net_size, padded=plan.padded, half=half)
        return kernels.to_rgb(
            surface, tensor, size=plan.net_size, padded=plan.padded, half=half, value_range=plan.card.input_range,
            **_rgb_order(plan.card),
        )  # fmt: skip

    def _postprocess(self, slot: _Slot, index: int, weight: int) -> list[Launch]:
        plan, half = self.plan, self._network.half
        read, written = (tensor + index * slot.tensor_bytes for tensor in (slot.tensor_in, slot.tensor_out))
        original, result = slot.surface_in(index), slot.surface_out(index)
        packed = plan.card.layout is Layout.PACKED_YUV420
        launches: list[Launch] = []
        if not packed:
            # The network's RGB becomes a picture at its own size: the result, or what is lifted to it.
            drawn = slot.surface_small(index) if plan.lifts else result
            launches.append(
                kernels.from_rgb(
                    written, drawn, padded=plan.padded, half=half, value_range=plan.card.output_range,
                    **_rgb_order(plan.card),
                )
            )  # fmt: skip
            if plan.lifts:
                read, written = slot.packed_in, slot.packed_out
                for surface, tensor in ((original, read), (drawn, written)):
                    launches.append(
                        kernels.pack(surface, tensor, size=plan.net_size, padded=plan.small_padded, half=False)
                    )
        elif not plan.lifts:
            launches.append(kernels.unpack(written, result, padded=plan.padded, half=half))
        if plan.lifts:
            launches += kernels.lift(
                original, result, low_in=read, low_out=written, size=plan.net_size,
                padded=plan.padded if packed else plan.small_padded, scratch=slot.scratch, half=half and packed,
                epsilon=plan.card.lift_epsilon,
            )  # fmt: skip
        if weight < 256:
            launches.append(kernels.blend(original, result, strength=weight / 256))
        return launches

    def _launch(self, launch: Launch, slot: _Slot) -> None:
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(launch.params))
        self._device.call(
            "cuLaunchKernel", self._functions[launch.kernel], *launch.grid, *launch.block, 0, slot.stream,
            ctypes.addressof(arguments), 0,
        )  # fmt: skip


def open_pipeline(make: Callable[[SlotPlan], DevicePipeline], plan: SlotPlan) -> DevicePipeline:
    """``make(plan)``, with less and less of a plan for as long as the device has no room; see :func:`smaller_plan`.

    Raises:
        OutOfDeviceMemory: not even the smallest fits.
    """
    while True:
        try:
            return make(plan)
        except OutOfDeviceMemory:
            smaller = smaller_plan(plan)
            if smaller is None:
                raise
            plan = smaller


def smaller_plan(plan: SlotPlan) -> SlotPlan | None:
    """Half the batch, then one slot alone, then half the network's pixels, said in the log; ``None``: that was all."""
    if plan.batch > 1:
        _LOG.warning("the GPU is out of memory: going on with batches of %d", plan.batch // 2)
        return replace(plan, batch=plan.batch // 2)
    if plan.slots > 1:
        _LOG.warning("the GPU is out of memory: going on with one picture at a time")
        return replace(plan, slots=1)
    net_size = _half_the_pixels(plan)
    if min(net_size) < _SMALLEST_NETWORK_PX or plan.card.fixed_size_px is not None or net_size == plan.net_size:
        return None
    _LOG.warning("the GPU is out of memory: the network sees %dx%d now", net_size[1], net_size[0])
    return replace(plan, net_size=net_size)


def _padded(size: Size, multiple: int) -> Size:
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def _half_the_pixels(plan: SlotPlan) -> Size:
    multiple = plan.multiple

    def side(length: int) -> int:
        return min(max(round(length * math.sqrt(0.5) / multiple), 1) * multiple, length)

    return side(plan.net_size[0]), side(plan.net_size[1])


def _rgb_order(card: StyleCard) -> dict[str, bool]:
    return {"nhwc": card.layout is Layout.NHWC, "bgr": card.colour_order is ColourOrder.BGR}


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

    def __init__(self, index: int, device: Device, plan: SlotPlan, resources: ExitStack, *, half: bool) -> None:
        self.index = index
        self._layout, self._small_layout = plan.layout, plan.small_layout
        self.pictures: list[PlanesYUV420] = []
        #: Others' memory, in place of the slot's own: none, or as many as there are pictures.
        self.sources: list[DevicePicture] = []
        self.targets: list[DevicePicture] = []
        self._seen: set[tuple[Any, ...]] = set()
        self._graphs: dict[tuple[Any, ...], Any] = {}
        self._refuses_capture = False
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
        self._done = device.call("cuEventCreate", _EVENT_FLAGS)
        resources.callback(_quietly, device, "cuEventDestroy", self._done)
        self.host_in, self._view_in = host_memory(picture_bytes)
        self.host_out, self._view_out = host_memory(picture_bytes)
        self.device_in, self.device_out = device_memory(picture_bytes), device_memory(picture_bytes)
        self.tensor_in, self.tensor_out = (device_memory(plan.batch * self.tensor_bytes) for _ in range(2))
        self.scratch = self._small = self.packed_in = self.packed_out = 0
        if plan.lifts:
            # One picture after another: the pictures of a batch share what lies between.
            self.scratch = device_memory(kernels.lift_scratch_bytes(plan.net_size))
            if plan.card.layout is not Layout.PACKED_YUV420:
                rows, columns = (side // 4 for side in plan.small_padded)
                self._small = device_memory(self._small_layout.total_bytes)
                self.packed_in, self.packed_out = (device_memory(4 * 24 * rows * columns) for _ in range(2))

    @property
    def count(self) -> int:
        """How many pictures are in work."""
        return len(self.pictures) or len(self.sources)

    def surface_in(self, index: int) -> Surface:
        return self.sources[index].surface if self.sources else self._surface(self.device_in, index)

    def surface_out(self, index: int) -> Surface:
        return self.targets[index].surface if self.targets else self._surface(self.device_out, index)

    def surface_small(self, index: int) -> Surface:
        # The matrix of an untagged picture is guessed by its size: the small one means what the full one means.
        colour = self.surface_in(index).colour.resolved(height=self._layout.height)
        return Surface(self._small_layout, self._small, colour)

    def fill(
        self,
        pictures: Sequence[PlanesYUV420],
        *,
        sources: Sequence[DevicePicture] = (),
        targets: Sequence[DevicePicture] = (),
    ) -> None:
        """Copy into pinned memory what is not on the device. The slot is idle: nobody reads it."""
        self.pictures, self.sources, self.targets = list(pictures), list(sources), list(targets)
        if self.sources:
            return
        for index, picture in enumerate(pictures):
            for view, plane in zip(self._planes(self._view_in, index), (picture.y, picture.u, picture.v), strict=True):
                view[:] = plane

    def start(
        self,
        device: Device,
        enqueue: Callable[[], None],
        *,
        graph_key: int | None,
        capturable: Callable[[], bool],
    ) -> None:
        """``graph_key``: what the work depends on besides the pictures; ``None``: no graph.

        Work of one form is captured when it comes the second time. TensorRT must have run a shape once before, and what
        comes once (a slider on its way) is not worth a graph.
        """
        # A graph holds the parameters of its launches: ranges and matrices are part of what it was made for.
        key = (graph_key, *(picture.colour for picture in self.pictures))
        direct = graph_key is None or self._refuses_capture or key not in self._seen
        if direct or (key not in self._graphs and not (capturable() and self._capture(device, enqueue, key))):
            enqueue()
            if len(self._seen) >= _MAX_FORMS:
                self._seen.clear()
            self._seen.add(key)
        else:
            device.call("cuGraphLaunch", self._graphs[key], self.stream)
        device.call("cuEventRecord", self._done, self.stream)

    def order_after(self, device: Device, stream: int) -> None:
        """What is submitted next waits for what ``stream`` has now."""
        # The event is of the slot's last work, which is done: it may be recorded again.
        device.call("cuEventRecord", self._done, stream)
        device.call("cuStreamWaitEvent", self.stream, self._done, 0)

    def order_before(self, device: Device, stream: int) -> None:
        """What ``stream`` is given next waits for what was submitted."""
        device.call("cuEventRecord", self._done, self.stream)
        device.call("cuStreamWaitEvent", stream, self._done, 0)

    def wait(self, device: Device) -> None:
        device.call("cuEventSynchronize", self._done)

    def results(self) -> list[PlanesYUV420]:
        """The pictures in pinned memory, copied out: the slot may be filled again, and holds nobody's memory."""
        pictures, drawn_elsewhere = self.pictures, bool(self.targets)
        self.pictures, self.sources, self.targets = [], [], []
        if drawn_elsewhere:
            return pictures
        results = []
        for index, picture in enumerate(pictures):
            y, u, v = (view.copy() for view in self._planes(self._view_out, index))
            results.append(picture.with_planes(y, u, v))
        return results

    def forget_graphs(self, device: Device) -> None:
        for graph in self._graphs.values():
            _quietly(device, "cuGraphExecDestroy", graph)
        self._graphs.clear()

    def _capture(self, device: Device, enqueue: Callable[[], None], key: tuple[Any, ...]) -> bool:
        """Capture the work into a graph of its own; false where it cannot be, then and later: graphs save time only.

        Raises:
            OutOfDeviceMemory, DeviceLost: neither would go on without a graph.
        """
        # The slot is idle, so none of its graphs is running.
        if len(self._graphs) >= _MAX_GRAPHS:
            self.forget_graphs(device)
        try:
            self._graphs[key] = self._captured(device, enqueue)
        except (OutOfDeviceMemory, DeviceLost):
            raise
        except DeviceError as error:
            self._refuses_capture = True
            _LOG.info("slot %d goes on without CUDA graphs: %s", self.index, error)
            return False
        return True

    def _captured(self, device: Device, enqueue: Callable[[], None]) -> Any:
        mode = device.driver.CUstreamCaptureMode(_CAPTURE_THREAD_LOCAL)
        device.call("cuStreamBeginCapture", self.stream, mode)
        try:
            enqueue()
        except BaseException:
            # The stream must leave the capture; what failed says more than its end does.
            _quietly(device, "cuStreamEndCapture", self.stream)
            raise
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
