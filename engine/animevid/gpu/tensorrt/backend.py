"""TensorRT (or TensorRT for RTX) on an NVIDIA GPU, in half precision: the first choice of ``auto``.

The engine for each frame size is built at its first use (seconds) and stored on disk (``gpu.tensorrt.cache``); it takes
batches of 1 to 4. Whole frames run in slots (``gpu.slots``) with our kernels around the network; without the kernels
only ``run`` works, which takes tensors in host memory. Written against the documented API and tested without a GPU:
docs/gpu.md says what that leaves open.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
from typing import ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output
from animevid.backends.frames import FrameRunner
from animevid.errors import AnimevidError, BackendError, UsageError
from animevid.gpu.driver import Device, OutOfDeviceMemory, driver_version, load_driver, open_device
from animevid.gpu.fatbin import load_fatbin
from animevid.gpu.renderer import SlotRunner
from animevid.gpu.slots import SlotPlan
from animevid.gpu.tensorrt.cache import EngineCache
from animevid.gpu.tensorrt.engine import DEFAULT_BATCH, EngineRequest, EngineTooLarge, shape_range
from animevid.gpu.tensorrt.library import (
    LIBRARIES,
    Gpu,
    Library,
    find_library,
    missing,
)
from animevid.gpu.tensorrt.network import EngineNetwork, HostFed
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard
from animevid.styles.onnx_file import read_graph

_LOG = logging.getLogger(__name__)

#: Number of engines (frame sizes) that stay loaded for ``run``.
_MAX_ENGINES = 4


class TensorRtBackend(Backend):
    """Uses whichever library supports this GPU, preferring TensorRT for RTX; the subclasses fix the choice."""

    name: ClassVar[str] = "tensorrt"
    #: One of ``library.LIBRARIES``, or ``"auto"``.
    library_name: ClassVar[str] = "auto"

    def __init__(self, model: bytes, card: StyleCard, *, device: Device, library: Library) -> None:
        self._model, self._card, self._library = model, card, library
        self._batch = _batch_of(model)
        self._device: Device | None = device
        self._gpu = Gpu(device.name, device.compute_capability, device.driver_version)
        self._loaded: dict[tuple[int, int], HostFed] = {}
        self._frame_runner: SlotRunner | None = None
        try:
            self._frame_runner = SlotRunner(
                device,
                card,
                self._open_network,
                kernels=load_fatbin(driver_version=device.driver_version),
                batch=self._batch,
                prepares=True,
            )
        except BackendError as error:
            _LOG.info("frames are converted on the CPU: %s", error)
        # An execution context has one set of buffers: callers take turns.
        self._turn = threading.Lock()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        wanted = LIBRARIES if cls.library_name == "auto" else (cls.library_name,)
        if all(importlib.util.find_spec(library) is None for library in wanted):
            return missing(cls.library_name, driver_version=driver_version())
        for module, package in (("cuda", "cuda-bindings"), ("onnx", "onnx")):
            if importlib.util.find_spec(module) is None:
                return f'{package} is not installed; pip install "animevid[gpu]"'
        try:
            load_driver()
        except AnimevidError as error:
            return str(error)
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, options: RuntimeOptions | None = None) -> Self:
        device = (options or RuntimeOptions()).device
        match = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
        if match is None:
            raise UsageError(f"{device = }: tensorrt knows auto, cuda and cuda:N")
        opened = open_device(int(match.group(1) or 0))
        try:
            library = find_library(
                cls.library_name,
                compute_capability=opened.compute_capability,
                driver_version=opened.driver_version,
            )
            return cls(model, card, device=opened, library=library)
        except BaseException:
            opened.close()
            raise

    @property
    def preferred_batch(self) -> int:
        return self._batch

    @property
    def description(self) -> str:
        return f"tensorrt ({self._library.name} {self._library.version}) {self._gpu.name}, {self._precision}"

    @property
    def device_name(self) -> str:
        return self._gpu.name

    @property
    def frame_runner(self) -> FrameRunner | None:
        return self._frame_runner

    def run(self, batch: Tensor) -> Tensor:
        check_batch(batch, self._card)
        with self._turn:
            device = self._open_device()
            device.make_current()
            height, width = (batch.shape[axis] * self._card.layout.cell_px for axis in self._card.layout.spatial_axes)
            loaded = self._loaded.get((height, width)) or self._load(device, height, width)
            pieces = [loaded.run(batch[start : start + self._batch]) for start in range(0, len(batch), self._batch)]
        output: Tensor = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        check_output(output, batch, self._card)
        return output

    def close(self) -> None:
        if self._frame_runner is not None:
            self._frame_runner.close()
            self._frame_runner = None
        with self._turn:
            while self._loaded:
                self._loaded.popitem()[1].close()
            if self._device is not None:
                self._device.close()
                self._device = None

    @property
    def _precision(self) -> str:
        return "int8" if self._card.precision == "int8" else "fp16"

    def _open_device(self) -> Device:
        if self._device is None:
            raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
        return self._device

    def _load(self, device: Device, height: int, width: int) -> HostFed:
        if len(self._loaded) >= _MAX_ENGINES:
            self._loaded.pop(next(iter(self._loaded))).close()
        while True:
            try:
                network = self._network(device, height, width, max_batch=self._batch)
                break
            except EngineTooLarge:
                if self._batch == 1:
                    raise
                self._batch //= 2
                _LOG.warning("no engine of that size fits: going on with batches of %d", self._batch)
        loaded = HostFed(network, device, self._card.tensor_shape(self._batch, height, width))
        self._loaded[height, width] = loaded
        return loaded

    def _open_network(self, plan: SlotPlan) -> EngineNetwork:
        try:
            return self._network(self._open_device(), *plan.network_px, max_batch=plan.batch)
        except EngineTooLarge as error:
            # Slots then request an engine for half the batch, and finally for a tile.
            raise OutOfDeviceMemory(str(error)) from error

    def _network(self, device: Device, height: int, width: int, *, max_batch: int) -> EngineNetwork:
        # The same request as `animevid build STYLE --size WIDTHxHEIGHT`, so that its engine is found.
        shapes = shape_range(self._card, height_px=height, width_px=width, max_batch=max_batch)
        request = EngineRequest(shapes)
        engine, _ = EngineCache().load_or_build(self._model, self._card, request, gpu=self._gpu, library=self._library)
        return EngineNetwork(engine, device, self._library, cache=EngineCache().folder)


class TensorRtForRtxBackend(TensorRtBackend):
    """TensorRT for RTX only."""

    name: ClassVar[str] = "tensorrt-rtx"
    library_name: ClassVar[str] = "tensorrt_rtx"


class ClassicTensorRtBackend(TensorRtBackend):
    """TensorRT itself, not TensorRT for RTX."""

    name: ClassVar[str] = "tensorrt-classic"
    library_name: ClassVar[str] = "tensorrt"


def _batch_of(model: bytes) -> int:
    """1 for a network that takes one frame at a time, else the batch size of engines."""
    shape = read_graph(model).inputs[0].shape
    return 1 if shape and shape[0] == 1 else DEFAULT_BATCH
