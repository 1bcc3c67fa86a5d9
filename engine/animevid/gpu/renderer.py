"""Runs whole frames on the device: one ``DevicePipeline`` per form of frame, opened at its first frame."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from animevid.errors import AnimevidError, DeviceError
from animevid.gpu.comparer import FrameComparer
from animevid.gpu.deflicker import DeviceDeflicker
from animevid.gpu.driver import Device, DeviceLost, OutOfDeviceMemory, quietly
from animevid.gpu.interop import DeviceFrame, borrow_frame
from animevid.gpu.kernels import SurfaceLayout, surface_layout
from animevid.gpu.pool import FramePool, LentFrame
from animevid.gpu.slots import (
    DevicePipeline,
    Network,
    SlotPlan,
    Submission,
    open_pipeline,
    plan_slots,
    smaller_plan,
)
from animevid.pixels.change import NoiseFloor
from animevid.pixels.colour import Colour
from animevid.pixels.device import DevicePlanes
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Size, chroma_size
from animevid.styles.card import StyleCard

_LOG = logging.getLogger(__name__)

#: Forms of frames whose slots stay open: a video has one, a window with adaptive quality four.
_MAX_PIPELINES = 6

#: Size and depth of the frame, and the network's size.
_Form: TypeAlias = tuple[int, int, int, Size]


@dataclass(frozen=True, slots=True)
class _Pending:
    submission: Submission
    index: int

    def result(self) -> PlanesYUV420:
        return self.submission.results()[self.index]


@dataclass(frozen=True, slots=True)
class _PendingOnDevice:
    submission: Submission
    target: LentFrame
    colour: Colour

    def result(self) -> PlanesYUV420:
        self.submission.results()
        return self.target.planes(self.colour)


class SlotRunner:
    """A ``backends.frames.FrameRunner`` on slots. A context manager; closes what it opened, not the device.

    ``open_network(plan)`` gives the network for the slots of a plan, which close it.
    """

    def __init__(
        self,
        device: Device,
        card: StyleCard,
        open_network: Callable[[SlotPlan], Network],
        *,
        kernels: bytes,
        batch: int,
        slots: int = 3,
        prepares: bool = False,
    ) -> None:
        """``prepares``: whether networks take long to open and may be opened in another thread meanwhile."""
        self._device, self._card, self._open_network = device, card, open_network
        self._kernels, self._batch, self._slots = kernels, batch, slots
        self.results_on_device = False
        self._pipelines: dict[_Form, DevicePipeline] = {}
        self._pools: dict[SurfaceLayout, FramePool] = {}
        self._comparer: FrameComparer | None = None
        self._compare_turn = threading.Lock()
        #: Temporal filters' memory: in use, and waiting to be freed.
        self._filters: list[ExitStack] = []
        self._dropped_filters: list[ExitStack] = []
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="animevid-engines") if prepares else None
        #: Forms requested ahead of time: true once they are ready.
        self._asked: dict[_Form, bool] = {}
        # Submitting threads take turns; threads that wait for results do not need this lock.
        self._turn = threading.Lock()

    def takes(self, planes: PlanesYUV420, net_size: Size) -> bool:
        return net_size[0] <= planes.height and net_size[1] <= planes.width

    @property
    def device_index(self) -> int:
        return self._device.index

    def new_deflicker(self) -> DeviceDeflicker:
        made = DeviceDeflicker(self._device, self._card)
        self._filters.append(made.resources)
        # It may be dropped at any moment, so the next submission frees its memory.
        weakref.finalize(made, self._dropped_filters.append, made.resources).atexit = False
        return made

    def has_changed(self, before: PlanesYUV420, now: PlanesYUV420, *, floor: NoiseFloor) -> bool:
        if not (isinstance(before, DevicePlanes) and isinstance(now, DevicePlanes)):
            return True
        with self._compare_turn:
            if self._comparer is None:
                self._comparer = FrameComparer(self._device, self._kernels)
            comparer = self._comparer
        return comparer.has_changed(_borrowed(before).surface, _borrowed(now).surface, floor=floor)

    def submit(
        self,
        frames: Sequence[PlanesYUV420],
        *,
        net_size: Size,
        strength: float,
        deflicker: object | None = None,
    ) -> list[_Pending | _PendingOnDevice]:
        assert deflicker is None or isinstance(deflicker, DeviceDeflicker)
        pending: list[_Pending | _PendingOnDevice] = []
        with self._turn:
            self._free_dropped()
            waiting = list(frames)
            while waiting:
                form, kind = _form(waiting[0], net_size), type(waiting[0])
                pipeline = self._pipeline(waiting[0], form)
                count = 1
                while (
                    count < min(len(waiting), pipeline.plan.batch)
                    and _form(waiting[count], net_size) == form
                    and type(waiting[count]) is kind
                ):
                    count += 1
                try:
                    pipeline.strength = strength
                    batch = waiting[:count]
                    targets = self._targets(batch)
                    submission = pipeline.submit(
                        batch,
                        sources=[_borrowed(frame) for frame in batch if isinstance(frame, DevicePlanes)],
                        targets=[target.surface(one.colour) for target, one in zip(targets, batch, strict=False)],
                        deflicker=deflicker,
                    )
                except OutOfDeviceMemory as error:
                    # Some part of the network did not fit (an execution context, a graph).
                    self._open_smaller(form, error)
                    continue
                if targets:
                    pairs = zip(targets, batch, strict=True)
                    pending += [_PendingOnDevice(submission, target, one.colour) for target, one in pairs]
                else:
                    pending += [_Pending(submission, index) for index in range(count)]
                del waiting[:count]
        return pending

    def is_ready(self, planes: PlanesYUV420, net_size: Size) -> bool:
        form = _form(planes, net_size)
        return self._preparer is None or form in self._pipelines or self._asked.get(form, False)

    def prepare(self, planes: PlanesYUV420, net_sizes: Sequence[Size]) -> None:
        if self._preparer is None:
            return
        for net_size in net_sizes:
            form = _form(planes, net_size)
            if form not in self._asked:
                self._asked[form] = form in self._pipelines
                if not self._asked[form]:
                    # Keep tags but no samples: the frame itself may be gone by then.
                    blank = _blank_of(form, planes.colour)
                    self._preparer.submit(self._prepare, blank, form)

    def _prepare(self, blank: PlanesYUV420, form: _Form) -> None:
        """Open the slots of a form and stylize two frames, so that nothing is built, compiled or captured later.

        The network is opened without blocking others; errors are raised when the form is used.
        """
        try:
            with self._turn:
                known = form in self._pipelines
            if not known:
                plan = plan_slots(blank, self._card, net_size=form[-1], batch=self._batch, slots=self._slots)
                pipeline = self._make(plan)
                try:
                    for _ in "12":
                        pipeline.submit([blank]).results()
                except BaseException:
                    pipeline.close()
                    raise
                self._keep(form, pipeline)
        except AnimevidError as error:
            _LOG.info("the network at %dx%d is not made ready ahead: %s", form[-1][1], form[-1][0], error)
        finally:
            self._asked[form] = True

    def _keep(self, form: _Form, pipeline: DevicePipeline) -> None:
        with self._turn:
            if form in self._pipelines or len(self._pipelines) >= _MAX_PIPELINES:
                # Its engine is on disk at least.
                pipeline.close()
            else:
                # Not used yet, so it is closed first.
                self._pipelines = {form: pipeline, **self._pipelines}

    def draw(
        self,
        source: DeviceFrame,
        target: DeviceFrame,
        *,
        net_size: Size,
        strength: float = 1.0,
        stream: int = 0,
        deflicker: DeviceDeflicker | None = None,
    ) -> Submission:
        """Stylize a frame on the device into another, without touching the host; see ``DevicePipeline.draw``.

        Raises:
            UsageError: frames of different size or depth, or a network larger than the frame.
            DeviceError: the device failed, or has no room.
        """
        with self._turn:
            layout = source.layout
            form = (*layout.size, layout.bit_depth, net_size)
            pipeline = self._pipeline(_blank(source), form)
            pipeline.strength = strength
            return pipeline.draw([source], [target], stream=stream, deflicker=deflicker)

    def close(self) -> None:
        """Free everything; submissions keep their results. Safe to call twice."""
        if self._preparer is not None:
            self._preparer.shutdown(cancel_futures=True)
        with self._compare_turn:
            if self._comparer is not None:
                self._comparer.close()
                self._comparer = None
        with self._turn:
            self._close_all()
            self._dropped_filters.clear()
            self._close_filters()

    def _free_dropped(self) -> None:
        while self._dropped_filters:
            resources = self._dropped_filters.pop()
            self._filters.remove(resources)
            self._close_filter(resources)

    def _targets(self, frames: Sequence[PlanesYUV420]) -> list[LentFrame]:
        """Device memory for results that stay there; ``None`` if results are copied to the host."""
        first = frames[0]
        if not self.results_on_device or any(frame.alpha is not None for frame in frames):
            return []
        layout = surface_layout(first.height, first.width, bit_depth=first.bit_depth, pixel_format="nv12")
        if layout not in self._pools:
            self._device.make_current()
            self._pools[layout] = FramePool(self._device, layout)
        self._device.make_current()
        return [self._pools[layout].take() for _ in frames]

    def _pipeline(self, like: PlanesYUV420, form: _Form) -> DevicePipeline:
        known = self._pipelines.pop(form, None)
        if known is None:
            while len(self._pipelines) >= _MAX_PIPELINES:
                self._pipelines.pop(next(iter(self._pipelines))).close()
            plan = plan_slots(like, self._card, net_size=form[-1], batch=self._batch, slots=self._slots)
            known = self._opened(plan)
        self._pipelines[form] = known  # the most recently used is closed last
        return known

    def _opened(self, plan: SlotPlan) -> DevicePipeline:
        try:
            return open_pipeline(self._make, plan)
        except OutOfDeviceMemory:
            if not self._pipelines:
                raise
            # Slots for other forms of frames may be what fills the device.
            self._close_all()
            return open_pipeline(self._make, plan)

    def _open_smaller(self, form: _Form, error: OutOfDeviceMemory) -> None:
        pipeline = self._pipelines.pop(form)
        pipeline.close()
        plan = smaller_plan(pipeline.plan)
        if plan is None:
            raise error
        self._pipelines[form] = self._opened(plan)

    def _make(self, plan: SlotPlan) -> DevicePipeline:
        self._device.make_current()
        return DevicePipeline(self._device, self._open_network(plan), plan, module=self._kernels)

    def _close_all(self) -> None:
        while self._pools:
            self._pools.popitem()[1].close()
        while self._pipelines:
            with suppress(DeviceLost, DeviceError):
                self._pipelines.popitem()[1].close()

    def _close_filters(self) -> None:
        while self._filters:
            self._close_filter(self._filters.pop())

    def _close_filter(self, resources: ExitStack) -> None:
        quietly(self._device, "cuCtxSetCurrent", self._device.context)
        resources.close()


def _borrowed(planes: DevicePlanes) -> DeviceFrame:
    return borrow_frame(planes.surfaces, colour=planes.colour, bit_depth=planes.bit_depth)


def _blank_of(form: _Form, colour: Colour) -> PlanesYUV420:
    height, width, bit_depth, _ = form
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    y, u, v = (np.zeros(size, dtype) for size in ((height, width), *2 * (chroma_size((height, width)),)))
    return PlanesYUV420(y, u, v, bit_depth, colour)


def _blank(frame: DeviceFrame) -> PlanesYUV420:
    """A frame of that form for planning; its planes have no memory."""
    layout = frame.layout
    zero = np.zeros((), np.uint8 if layout.sample_bytes == 1 else np.uint16)
    chroma = np.broadcast_to(zero, chroma_size(layout.size))
    return PlanesYUV420(np.broadcast_to(zero, layout.size), chroma, chroma, layout.bit_depth, frame.surface.colour)


def _form(planes: PlanesYUV420, net_size: Size) -> _Form:
    return planes.height, planes.width, planes.bit_depth, net_size
