"""One slot of a pipeline: a stream, pinned memory, device memory, and the network's captured graphs."""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from animevid.errors import DeviceError
from animevid.gpu import kernels
from animevid.gpu.deflicker import DeviceDeflicker, weight_bytes
from animevid.gpu.driver import Device, DeviceLost, OutOfDeviceMemory, quietly
from animevid.gpu.interop import DeviceFrame
from animevid.gpu.kernels import Surface
from animevid.gpu.plan import SlotPlan
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import chroma_size
from animevid.styles.card import Layout

if TYPE_CHECKING:
    from cuda.bindings import driver as cuda

_LOG = logging.getLogger(__name__)

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not ordered after the null stream, which others use
#: CU_EVENT_BLOCKING_SYNC: waiting threads sleep, since decoders and encoders need the core; otherwise waits for an
#: event spin, whatever the context's flags. CU_EVENT_DISABLE_TIMING: cheaper to wait for.
_EVENT_FLAGS = 1 | 2
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


class Slot:
    """One stream with its memory."""

    def __init__(self, index: int, device: Device, plan: SlotPlan, resources: ExitStack, *, half: bool) -> None:
        self.index = index
        self._layout, self._small_layout = plan.layout, plan.small_layout
        self.frames: list[PlanesYUV420] = []
        #: Borrowed memory used instead of the slot's own: none, or one per frame.
        self.sources: list[DeviceFrame] = []
        self.targets: list[DeviceFrame] = []
        #: The temporal filter of these frames; kept alive while its memory is used.
        self.deflicker: DeviceDeflicker | None = None
        #: Captured graphs by number of frames.
        self._seen: set[int] = set()
        self._graphs: dict[int, cuda.CUgraphExec] = {}
        self._refuses_capture = False
        # The frames of a batch are contiguous: the network sees one tensor.
        self.tensor_bytes = (2 if half else 4) * math.prod(plan.card.tensor_shape(1, *plan.padded))
        frame_bytes = plan.batch * plan.layout.total_bytes

        def device_memory(size: int) -> int:
            address = device.call("cuMemAlloc", size)
            resources.callback(quietly, device, "cuMemFree", address)
            return int(address)

        def host_memory(size: int) -> tuple[int, npt.NDArray[np.uint8]]:
            address = int(device.call("cuMemHostAlloc", size, 0))
            resources.callback(quietly, device, "cuMemFreeHost", address)
            return address, np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

        self.stream = device.call("cuStreamCreate", _NON_BLOCKING)
        resources.callback(quietly, device, "cuStreamDestroy", self.stream)
        self._done = device.call("cuEventCreate", _EVENT_FLAGS)
        resources.callback(quietly, device, "cuEventDestroy", self._done)
        self.host_in, self._view_in = host_memory(frame_bytes)
        self.host_out, self._view_out = host_memory(frame_bytes)
        self.device_in, self.device_out = device_memory(frame_bytes), device_memory(frame_bytes)
        self.tensor_in, self.tensor_out = (device_memory(plan.batch * self.tensor_bytes) for _ in range(2))
        #: Each frame's weights for ``deflicker``.
        self._weight_bytes = weight_bytes(plan.padded)
        self._weights = device_memory(plan.batch * self._weight_bytes)
        self.tile_in = self.tile_out = 0
        if plan.tile is not None:
            tile_bytes = (2 if half else 4) * math.prod(plan.card.tensor_shape(1, *plan.tile))
            self.tile_in, self.tile_out = (device_memory(tile_bytes) for _ in range(2))
        self.scratch = self._small = self.packed_in = self.packed_out = 0
        if plan.upsamples:
            # One frame after another: the frames of a batch share the intermediate memory.
            self.scratch = device_memory(kernels.upsample_scratch_bytes(plan.net_size))
            if plan.card.layout is not Layout.PACKED_YUV420:
                rows, columns = (side // 4 for side in plan.small_padded)
                self._small = device_memory(self._small_layout.total_bytes)
                self.packed_in, self.packed_out = (device_memory(4 * 24 * rows * columns) for _ in range(2))

    @property
    def count(self) -> int:
        """The number of frames being processed."""
        return len(self.frames) or len(self.sources)

    def inputs(self) -> list[int]:
        """Addresses of the network's inputs, one per frame."""
        return [self.tensor_in + index * self.tensor_bytes for index in range(self.count)]

    def outputs(self) -> list[int]:
        """Addresses of the network's outputs, one per frame."""
        return [self.tensor_out + index * self.tensor_bytes for index in range(self.count)]

    def weights(self) -> list[int]:
        """Addresses of each frame's filter weights."""
        return [self._weights + index * self._weight_bytes for index in range(self.count)]

    def surface_in(self, index: int) -> Surface:
        return self.sources[index].surface if self.sources else self._surface(self.device_in, index)

    def surface_out(self, index: int) -> Surface:
        return self.targets[index].surface if self.targets else self._surface(self.device_out, index)

    def surface_small(self, index: int) -> Surface:
        # An unspecified matrix is guessed by size: the small frame uses the full frame's.
        colour = self.surface_in(index).colour.resolved(height=self._layout.height)
        return Surface(self._small_layout, self._small, colour)

    def fill(
        self,
        frames: Sequence[PlanesYUV420],
        *,
        sources: Sequence[DeviceFrame] = (),
        targets: Sequence[DeviceFrame] = (),
        deflicker: DeviceDeflicker | None = None,
    ) -> None:
        """Copy host frames into pinned memory. The slot must be idle."""
        self.frames, self.sources, self.targets = list(frames), list(sources), list(targets)
        self.deflicker = deflicker
        if self.sources:
            return
        for index, frame in enumerate(frames):
            for view, plane in zip(self._planes(self._view_in, index), (frame.y, frame.u, frame.v), strict=True):
                view[:] = plane

    def run_network(
        self, device: Device, enqueue: Callable[[], None], *, use_graphs: bool, capturable: Callable[[], bool]
    ) -> None:
        """Submit the network for all frames, from a captured graph if there is one.

        A batch size is captured the second time it occurs: TensorRT must have run a shape once before, and a size that
        occurs once (a video's last frames) is not worth a graph.
        """
        key = self.count
        if not use_graphs or self._refuses_capture or key not in self._seen:
            enqueue()
            self._seen.add(key)
        elif key in self._graphs or (capturable() and self._capture(device, enqueue, key)):
            device.call("cuGraphLaunch", self._graphs[key], self.stream)
        else:
            enqueue()

    def mark_done(self, device: Device) -> None:
        """Record the point that ``wait`` waits for."""
        device.call("cuEventRecord", self._done, self.stream)

    def order_after(self, device: Device, stream: int) -> None:
        """Make later work wait for the present work of ``stream``."""
        # The event belongs to the slot's last work, which is done, so it may be recorded again.
        device.call("cuEventRecord", self._done, stream)
        device.call("cuStreamWaitEvent", self.stream, self._done, 0)

    def order_before(self, device: Device, stream: int) -> None:
        """Make later work of ``stream`` wait for the submitted work."""
        device.call("cuEventRecord", self._done, self.stream)
        device.call("cuStreamWaitEvent", stream, self._done, 0)

    def wait(self, device: Device) -> None:
        device.call("cuEventSynchronize", self._done)

    def results(self) -> list[PlanesYUV420]:
        """Copies of the frames in pinned memory. The slot may then be reused and holds no borrowed memory."""
        frames, drawn_elsewhere = self.frames, bool(self.targets)
        self.frames, self.sources, self.targets, self.deflicker = [], [], [], None
        if drawn_elsewhere:
            return frames
        results = []
        for index, frame in enumerate(frames):
            y, u, v = (view.copy() for view in self._planes(self._view_out, index))
            results.append(frame.with_planes(y, u, v))
        return results

    def forget_graphs(self, device: Device) -> None:
        for graph in self._graphs.values():
            quietly(device, "cuGraphExecDestroy", graph)
        self._graphs.clear()

    def _capture(self, device: Device, enqueue: Callable[[], None], key: int) -> bool:
        """Capture the network into a graph; false if it cannot be captured, which only costs time.

        Raises:
            OutOfDeviceMemory, DeviceLost: running without a graph would fail too.
        """
        try:
            self._graphs[key] = self._captured(device, enqueue)
        except (OutOfDeviceMemory, DeviceLost):
            raise
        except DeviceError as error:
            self._refuses_capture = True
            _LOG.info("slot %d continues without CUDA graphs: %s", self.index, error)
            return False
        return True

    def _captured(self, device: Device, enqueue: Callable[[], None]) -> cuda.CUgraphExec:
        mode = device.driver.CUstreamCaptureMode(_CAPTURE_THREAD_LOCAL)
        device.call("cuStreamBeginCapture", self.stream, mode)
        try:
            enqueue()
        except BaseException:
            # The stream must leave capture mode; the original error says more than that of ending the capture.
            quietly(device, "cuStreamEndCapture", self.stream)
            raise
        graph = device.call("cuStreamEndCapture", self.stream)
        try:
            return device.call("cuGraphInstantiate", graph, 0)
        finally:
            quietly(device, "cuGraphDestroy", graph)

    def _surface(self, address: int, index: int) -> Surface:
        return Surface(self._layout, address + index * self._layout.total_bytes, self.frames[index].colour)

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
