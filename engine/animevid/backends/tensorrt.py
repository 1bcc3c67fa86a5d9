"""TensorRT (or TensorRT for RTX) on an NVIDIA GPU, in half precision. Asked for by name; ``auto`` does not take it yet.

The engine of each picture size is built at its first use (seconds) and kept on disk (``tensorrt_builder``); it takes
batches of 1 to 4. Written against the documented API and checked as far as a machine without a GPU can: see
docs/gpu.md for what that leaves open.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from contextlib import ExitStack
from typing import Any, ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output
from animevid.backends.cuda.driver import Device, load_driver, open_device
from animevid.backends.tensorrt_builder import (
    DEFAULT_BATCH,
    LIBRARIES,
    MISSING,
    Engine,
    EngineCache,
    EngineRequest,
    Gpu,
    Library,
    find_library,
    make_logger,
    shape_range,
)
from animevid.errors import AnimevidError, BackendError, DeviceError, UsageError
from animevid.styles.card import StyleCard
from animevid.styles.folders import cache_folder
from animevid.styles.onnx_file import read_graph

#: Picture sizes whose engine stays loaded.
_MOST_ENGINES = 4


class TensorRtBackend(Backend):
    name: ClassVar[str] = "tensorrt"

    def __init__(self, model: bytes, card: StyleCard, *, device: Device, library: Library) -> None:
        self._model, self._card, self._library = model, card, library
        self._batch = _batch_of(model)
        self._device: Device | None = device
        self._gpu = Gpu(device.name, device.compute_capability, device.driver_version)
        self._loaded: dict[tuple[int, int], _Loaded] = {}
        # An execution context has one set of buffers: callers take turns.
        self._turn = threading.Lock()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        if all(importlib.util.find_spec(library) is None for library in LIBRARIES):
            return MISSING
        for module in ("cuda", "onnx"):
            if importlib.util.find_spec(module) is None:
                return f'the backend tensorrt needs {module}; pip install "animevid[gpu]"'
        try:
            load_driver()
        except AnimevidError as error:
            return str(error)
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, *, threads: int = 0, device: str = "auto") -> Self:
        match = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
        if match is None:
            raise UsageError(f"{device = }: tensorrt knows auto, cuda and cuda:N")
        library = find_library()
        return cls(model, card, device=open_device(int(match.group(1) or 0)), library=library)

    @property
    def preferred_batch(self) -> int:
        return self._batch

    @property
    def description(self) -> str:
        return f"tensorrt ({self._library.name} {self._library.version}) {self._gpu.name}, fp16"

    def run(self, batch: Tensor) -> Tensor:
        check_batch(batch, self._card)
        with self._turn:
            if self._device is None:
                raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
            self._device.make_current()
            height, width = (batch.shape[axis] * self._card.layout.cell_px for axis in self._card.layout.spatial_axes)
            loaded = self._loaded.get((height, width)) or self._load(self._device, height, width)
            pieces = [loaded.run(batch[start : start + self._batch]) for start in range(0, len(batch), self._batch)]
        output: Tensor = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        check_output(output, batch, self._card)
        return output

    def close(self) -> None:
        with self._turn:
            while self._loaded:
                self._loaded.popitem()[1].close()
            if self._device is not None:
                self._device.close()
                self._device = None

    def _load(self, device: Device, height: int, width: int) -> _Loaded:
        if len(self._loaded) >= _MOST_ENGINES:
            self._loaded.pop(next(iter(self._loaded))).close()
        # What `animevid build STYLE --size WIDTHxHEIGHT` builds, so that nothing is built here after it.
        shapes = shape_range(self._card, height_px=height, width_px=width, max_batch=self._batch)
        request = EngineRequest(shapes, half_io=False)
        engine, _ = EngineCache().load_or_build(self._model, self._card, request, gpu=self._gpu, library=self._library)
        loaded = _Loaded(engine, device, self._library, self._card.tensor_shape(self._batch, height, width))
        self._loaded[height, width] = loaded
        return loaded


def _batch_of(model: bytes) -> int:
    """1 for a network that takes one picture at a time, else what engines are built for."""
    shape = read_graph(model).inputs[0].shape
    return 1 if shape and shape[0] == 1 else DEFAULT_BATCH


class _Loaded:
    """An engine with an execution context, a stream, and device memory for the largest batch."""

    def __init__(self, engine: Engine, device: Device, library: Library, largest: tuple[int, ...]) -> None:
        trt: Any = library.module
        self._device, self._engine = device, engine
        self._resources = ExitStack()
        logger = make_logger(trt)
        self._runtime = trt.Runtime(logger)
        self._native = self._runtime.deserialize_cuda_engine(engine.plan)
        if self._native is None:
            said = " ".join(logger.first_error.split())[:200]
            raise DeviceError(
                f"the engine does not load on {device.name} ({said}); it may be of another GPU or library: "
                f"delete it from {str(cache_folder() / 'engines')!r}, and it is built again"
            )
        self._context = self._native.create_execution_context()
        if self._context is None:
            raise DeviceError(f"the engine does not start on {device.name} (no memory?); give a smaller --net-size")
        size = 4 * int(np.prod(largest))
        try:
            self._stream = device.call("cuStreamCreate", 1)
            self._resources.callback(device.call, "cuStreamDestroy", self._stream)
            self._source, self._target = (self._memory(size) for _ in range(2))
        except BaseException:
            self._resources.close()
            raise
        self._context.set_tensor_address(engine.input.name, self._source)
        self._context.set_tensor_address(engine.output.name, self._target)

    def run(self, batch: Tensor) -> Tensor:
        call, stream = self._device.call, self._stream
        if not self._context.set_input_shape(self._engine.input.name, batch.shape):
            raise UsageError(
                f"{batch.shape = } is outside the engine's profile; build one for it: animevid build --size"
            )
        output = np.empty(batch.shape, np.float32)
        # The arrays are pageable: the driver stages them. Slots (cuda/slots.py) are for those who want overlap.
        call("cuMemcpyHtoDAsync", self._source, batch.ctypes.data, batch.nbytes, stream)
        if not self._context.execute_async_v3(int(stream)):
            raise DeviceError("TensorRT refused to run the engine; run again with -v -v for its log")
        call("cuMemcpyDtoHAsync", output.ctypes.data, self._target, output.nbytes, stream)
        call("cuStreamSynchronize", stream)
        return output

    def close(self) -> None:
        self._device.make_current()
        # Context before engine before runtime, as TensorRT asks.
        self._context = self._native = self._runtime = None
        self._resources.close()

    def _memory(self, size: int) -> int:
        address = int(self._device.call("cuMemAlloc", size))
        self._resources.callback(self._device.call, "cuMemFree", address)
        return address
