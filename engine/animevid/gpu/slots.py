"""Runs frames through a GPU in slots that overlap copying in, computing and copying out, with results in order.

A slot owns a stream, pinned host memory and device memory: copy in -> preprocess -> network -> postprocess -> copy out.
Only the network is captured into a CUDA graph, one per batch size: its tensors never move, so one graph serves every
strength, colour and kind of memory (host, decoder and encoder, borrowed). While one slot computes, another copies; the
host only fills and empties pinned memory. The number of slots limits the work in flight: when all are busy, ``run``
waits for the oldest.

Nothing here waits for a full batch: a slot takes the available frames, one or more.

One thread submits and another may wait for results: the first caller of ``results`` finishes a submission, or the
submitting thread when it needs the slot.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from animevid.errors import DeviceError, UsageError
from animevid.gpu.deflicker import DeviceDeflicker
from animevid.gpu.driver import Device, OutOfDeviceMemory, quietly
from animevid.gpu.interop import DeviceFrame
from animevid.gpu.plan import SlotPlan, plan_slots, smaller_plan
from animevid.gpu.slot import Slot
from animevid.gpu.steps import Functions, postprocess, preprocess
from animevid.gpu.tiling import TileCopies
from animevid.pixels.planes import PlanesYUV420

__all__ = ["DevicePipeline", "Network", "SlotPlan", "Submission", "open_pipeline", "plan_slots", "smaller_plan"]

_DEFAULT_STREAM = 0


class Network(Protocol):
    """The network between the kernels. ``enqueue`` submits work to a stream and never waits.

    ``half``: whether its tensors are float16 (else float32). The addresses of one slot never change.
    """

    half: bool

    def enqueue(self, *, slot: int, stream: int, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        """Read the tensor of ``shape`` at ``source``, write one of the same shape at ``target``.

        A ``slot`` (counted from 0) never has two calls in flight; different slots overlap.
        """
        ...

    def capturable(self, *, slot: int, stream: int, shape: tuple[int, int, int, int]) -> bool:
        """Whether ``enqueue`` may be captured into a CUDA graph; asked after it ran once."""
        ...

    def close(self) -> None: ...


class Submission:
    """Frames being processed in one slot."""

    def __init__(self, slot: Slot, device: Device, give_back: Callable[[Slot], None]) -> None:
        self._slot: Slot | None = slot
        self._device, self._give_back = device, give_back
        self._frames: list[PlanesYUV420] = []
        self._failure: DeviceError | None = None
        self._turn = threading.Lock()

    def results(self) -> list[PlanesYUV420]:
        """Wait for the frames. From any thread, any number of times.

        Raises:
            DeviceLost, DeviceError: the device failed.
        """
        with self._turn:
            if self._slot is not None:
                slot, self._slot = self._slot, None
                try:
                    self._device.make_current()
                    slot.wait(self._device)
                    self._frames = slot.results()
                except DeviceError as error:
                    self._failure = error
                self._give_back(slot)
            if self._failure is not None:
                raise self._failure
            return self._frames


class DevicePipeline:
    """Stylizes frames on a device, in slots. A context manager.

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
        self._busy: deque[tuple[Slot, Submission]] = deque()
        self._resources = ExitStack()
        self._resources.callback(network.close)
        try:
            self._functions = Functions(device, module, self._resources)
            self._tile_copies = None
            if plan.tile is not None:
                value_bytes = 2 if network.half else 4
                self._tile_copies = TileCopies(plan.card, value_bytes=value_bytes, whole=plan.padded, tile=plan.tile)
            self._free = deque(
                Slot(index, device, plan, self._resources, half=network.half) for index in range(plan.slots)
            )
        except BaseException:
            self._resources.close()
            raise

    @property
    def strength(self) -> float:
        """The strength of the style, 0 to 1; may be set between frames."""
        return self._strength

    @strength.setter
    def strength(self, strength: float) -> None:
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"{strength = } must be 0 (the original) to 1 (the style alone)")
        self._strength = float(strength)

    @property
    def free_slots(self) -> int:
        """How many more submissions are possible without waiting."""
        return len(self._free)

    @property
    def captured_graphs(self) -> int:
        """The number of CUDA graphs in the free slots."""
        return sum(len(slot._graphs) for slot in self._free)

    def submit(
        self,
        frames: Sequence[PlanesYUV420],
        *,
        sources: Sequence[DeviceFrame] = (),
        targets: Sequence[DeviceFrame] = (),
        deflicker: DeviceDeflicker | None = None,
    ) -> Submission:
        """Submit 1 to ``plan.batch`` frames. Returns as soon as they are copied into pinned memory.

        ``sources``: the frames in device memory, ordered on the default stream (a decoder's); nothing is copied in
        then. ``targets``: device memory for the results; nothing is copied out then, and the results are the given
        ``frames``. ``deflicker``: the stream's temporal filter; without it, each frame is independent. If all slots are
        busy, this waits for the oldest, whose submission keeps its results.

        Raises:
            UsageError: frames of another number, size or depth.
            DeviceError: the device failed.
        """
        if not 1 <= len(frames) <= self.plan.batch:
            raise UsageError(f"{len(frames) = }: a slot takes 1 to {self.plan.batch}")
        layout = self.plan.layout
        self._check_borrowed((*sources, *targets))
        for frame in frames:
            if (frame.height, frame.width, frame.bit_depth) != (*layout.size, layout.bit_depth):
                raise UsageError(
                    f"a frame of {(frame.height, frame.width, frame.bit_depth)} does not fit this pipeline, "
                    f"which was made for {(*layout.size, layout.bit_depth)}"
                )
        slot = self._free_slot()
        weight = round(self._strength * 256)
        self._device.make_current()
        try:
            slot.fill(frames, sources=sources, targets=targets, deflicker=deflicker)
            if sources:
                slot.order_after(self._device, _DEFAULT_STREAM)
            self._enqueue(slot, weight)
            slot.mark_done(self._device)
        except BaseException:
            # Some work may have been submitted before the failure: the slot is not free until its stream is empty.
            self._give_up(slot)
            raise
        return self._started(slot)

    def draw(
        self,
        sources: Sequence[DeviceFrame],
        targets: Sequence[DeviceFrame],
        *,
        stream: int = 0,
        deflicker: DeviceDeflicker | None = None,
    ) -> Submission:
        """Stylize ``sources`` into ``targets``, both in borrowed memory, without touching the host. Returns before it
        is done.

        The work runs after the earlier and before the later work of the caller's ``stream`` (a raw handle; 0: the
        default stream). ``results`` of the returned submission waits and is empty; keep the memory alive until then.

        Raises:
            UsageError: frames of another number, size or depth.
            DeviceError: the device failed.
        """
        if not 1 <= len(sources) <= self.plan.batch or len(sources) != len(targets):
            raise UsageError(f"{len(sources) = }, {len(targets) = }: a slot takes 1 to {self.plan.batch} of each")
        self._check_borrowed((*sources, *targets))
        slot = self._free_slot()
        weight = round(self._strength * 256)
        self._device.make_current()
        try:
            slot.fill([], sources=sources, targets=targets, deflicker=deflicker)
            slot.order_after(self._device, stream)
            self._enqueue_network(slot, weight)
            slot.order_before(self._device, stream)
        except BaseException:
            self._give_up(slot)
            raise
        return self._started(slot)

    def _give_up(self, slot: Slot) -> None:
        if slot.deflicker is not None:
            slot.deflicker.forget()
        quietly(self._device, "cuStreamSynchronize", slot.stream)
        slot.fill([])
        self._free.appendleft(slot)

    def _check_borrowed(self, frames: Iterable[DeviceFrame]) -> None:
        layout = self.plan.layout
        for frame in frames:
            if (frame.layout.size, frame.layout.bit_depth) != (layout.size, layout.bit_depth):
                raise UsageError(
                    f"a frame of {(*frame.layout.size, frame.layout.bit_depth)} does not fit this pipeline, "
                    f"which was made for {(*layout.size, layout.bit_depth)}"
                )

    def _started(self, slot: Slot) -> Submission:
        submission = Submission(slot, self._device, self._give_back)
        with self._lock:
            self._busy.append((slot, submission))
        return submission

    def run(self, frames: Iterable[PlanesYUV420]) -> Iterator[PlanesYUV420]:
        """Stylize all ``frames``, in order, in full batches except the last."""
        waiting: list[PlanesYUV420] = []
        pending: deque[Submission] = deque()
        for frame in frames:
            waiting.append(frame)
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
        """Free everything; submissions keep finished results. Safe to call twice, and after a lost device."""
        with self._lock:
            busy = list(self._busy)
        for _, submission in busy:
            with suppress(DeviceError):
                submission.results()
        if self._free:
            quietly(self._device, "cuCtxSetCurrent", self._device.context)
        for slot in self._free:
            # Wait for the stream, not the event: failed work may never have reached its event.
            quietly(self._device, "cuStreamSynchronize", slot.stream)
            slot.forget_graphs(self._device)
        self._free.clear()
        self._resources.close()

    def _free_slot(self) -> Slot:
        while True:
            with self._lock:
                if self._free:
                    return self._free.popleft()
                if not self._busy:
                    raise DeviceError("the device pipeline is closed; open another")
                oldest = self._busy[0][1]
            with suppress(DeviceError):  # raised when those frames' results are requested
                oldest.results()

    def _give_back(self, slot: Slot) -> None:
        with self._lock:
            self._busy = deque(pair for pair in self._busy if pair[0] is not slot)
            self._free.append(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue(self, slot: Slot, weight: int) -> None:
        """Submit a slot's work."""
        size = slot.count * self.plan.layout.total_bytes
        if not slot.sources:
            self._device.call("cuMemcpyHtoDAsync", slot.device_in, slot.host_in, size, slot.stream)
        self._enqueue_network(slot, weight)
        if not slot.targets:
            self._device.call("cuMemcpyDtoHAsync", slot.host_out, slot.device_out, size, slot.stream)

    def _enqueue_network(self, slot: Slot, weight: int) -> None:
        plan, half, launch = self.plan, self._network.half, partial(self._functions.launch, slot.stream)
        weights = slot.weights()
        firsts: list[bool] = []
        for index in range(slot.count):
            launch(preprocess(plan, slot, index, half=half))
        if slot.deflicker is not None:
            firsts = slot.deflicker.inputs(
                launch, slot.stream, slot.inputs(), weights=weights, size=plan.padded, half=half
            )
        if self._tile_copies is None:
            self._run_network(slot, slot.tensor_in, slot.tensor_out)
        for place in plan.tiles:  # only for one frame: smaller batches are tried before tiles
            assert self._tile_copies is not None
            self._tile_copies.cut(self._device, slot.stream, slot.tensor_in, slot.tile_in, place)
            self._run_network(slot, slot.tile_in, slot.tile_out)
            self._tile_copies.paste(self._device, slot.stream, slot.tile_out, slot.tensor_out, place)
        if slot.deflicker is not None:
            slot.deflicker.outputs(
                launch, slot.stream, slot.outputs(), weights=weights, size=plan.padded, half=half, firsts=firsts
            )
        for index in range(slot.count):
            for one in postprocess(plan, slot, index, weight, half=half):
                launch(one)

    def _run_network(self, slot: Slot, source: int, target: int) -> None:
        shape = self.plan.card.tensor_shape(slot.count, *self.plan.network_px)
        stream, network = int(slot.stream), self._network
        slot.run_network(
            self._device,
            lambda: network.enqueue(slot=slot.index, stream=stream, source=source, target=target, shape=shape),
            use_graphs=self.plan.use_graphs,
            capturable=lambda: network.capturable(slot=slot.index, stream=stream, shape=shape),
        )


def open_pipeline(make: Callable[[SlotPlan], DevicePipeline], plan: SlotPlan) -> DevicePipeline:
    """``make(plan)``, with ever smaller plans while the device has no room; see :func:`smaller_plan`.

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
