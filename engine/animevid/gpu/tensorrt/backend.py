"""TensorRT (or TensorRT for RTX) on an NVIDIA GPU, in half precision: the first choice of ``auto``.

The engine for each frame size is built at its first use (seconds) and stored on disk (``gpu.tensorrt.cache``); it takes
batches of 1 to 4. Whole frames run in slots (``gpu.slots``) with our kernels around the network; without the kernels
only ``run`` works, which takes tensors in host memory. Written against the documented API and tested without a GPU:
docs/gpu.md says what that leaves open.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output, one_line
from animevid.backends.frames import FrameRunner
from animevid.errors import AnimevidError, BackendError, DeviceError, UsageError
from animevid.gpu.driver import Device, OutOfDeviceMemory, driver_version, load_driver, open_device
from animevid.gpu.fatbin import load_fatbin
from animevid.gpu.renderer import SlotRunner
from animevid.gpu.slots import SlotPlan
from animevid.gpu.tensorrt.cache import EngineCache, trusted
from animevid.gpu.tensorrt.engine import DEFAULT_BATCH, Engine, EngineRequest, EngineTooLarge, shape_range
from animevid.gpu.tensorrt.library import (
    LIBRARIES,
    Gpu,
    Library,
    find_library,
    make_logger,
    missing,
    without_collection,
)
from animevid.styles.card import StyleCard
from animevid.styles.folders import cache_folder
from animevid.styles.onnx_file import read_graph
from animevid.trusted_files import atomic_write

if TYPE_CHECKING:
    import tensorrt

_LOG = logging.getLogger(__name__)

#: Number of engines (frame sizes) that stay loaded for ``run``.
_MAX_ENGINES = 4

_Shape = tuple[int, int, int, int]


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
        self._loaded: dict[tuple[int, int], _HostFed] = {}
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
    def open(cls, model: bytes, card: StyleCard, *, threads: int = 0, device: str = "auto") -> Self:
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

    def _load(self, device: Device, height: int, width: int) -> _HostFed:
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
        loaded = _HostFed(network, device, self._card.tensor_shape(self._batch, height, width))
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


class EngineNetwork:
    """An engine as a network for slots (``gpu.slots.Network``).

    Each slot has its own scratch memory, and an execution context per shape: a captured graph is only valid while its
    context is unchanged.

    TensorRT for RTX compiles kernels for the GPU and the shape when a context first runs; we make it compile all of
    them then, since a graph must not capture its fallback kernels. ``cache``: the folder for compiled kernels.
    """

    @without_collection()
    def __init__(self, engine: Engine, device: Device, library: Library, *, cache: Path | None = None) -> None:
        trt = library.module
        self.half = engine.input.dtype == "float16"
        self._engine, self._device, self._trt = engine, device, trt
        self._memory: dict[int, int] = {}
        self._contexts: dict[tuple[int, _Shape], tensorrt.IExecutionContext] = {}
        self._logger = make_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._native = self._runtime.deserialize_cuda_engine(engine.plan)
        if self._native is None:
            self._refuse_out_of_memory()
            raise DeviceError(
                f"the engine does not load on {device.name} ({self._said()}); it may be of another GPU or library: "
                f"delete it from {str(cache_folder() / 'engines')!r}, and it is built again"
            )
        self._compiled = _CompiledKernels(self._native, trt, _kernel_file(cache, engine, device, library))

    def enqueue(self, *, slot: int, stream: int, source: int, target: int, shape: _Shape) -> None:
        context = self._contexts.get((slot, shape))
        if context is None:
            context = self._new_context(slot, shape)
            for tensor, address in ((self._engine.input, source), (self._engine.output, target)):
                if not context.set_tensor_address(tensor.name, address):
                    raise DeviceError(
                        f"TensorRT refuses {tensor.name!r} its memory ({self._said()}); run again with -v -v"
                    )
            self._contexts[slot, shape] = context
        if not context.execute_async_v3(stream):
            self._refuse_out_of_memory()
            raise DeviceError(f"TensorRT refused to run the engine ({self._said()}); run again with -v -v for its log")

    def capturable(self, *, slot: int, stream: int, shape: _Shape) -> bool:
        context = self._contexts.get((slot, shape))
        # Only TensorRT for RTX calls this: it compiles some kernels during a run.
        asked = getattr(context, "is_stream_capturable", None)
        return asked is None or bool(asked(stream))

    def close(self) -> None:
        # TensorRT requires this order: contexts, then the engine, then the runtime.
        self._compiled.keep()
        self._contexts.clear()
        self._compiled.close()
        self._native = self._runtime = None
        while self._memory:
            self._device.call("cuMemFree", self._memory.popitem()[1])

    def _new_context(self, slot: int, shape: _Shape) -> tensorrt.IExecutionContext:
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._native.create_execution_context(self._compiled.config(strategy) or strategy)
        if context is None:
            self._refuse_out_of_memory()
            raise DeviceError(f"the engine does not start on {self._device.name} ({self._said()})")
        size = int(self._native.device_memory_size_v2)
        if size:
            if slot not in self._memory:
                self._memory[slot] = int(self._device.call("cuMemAlloc", size))
            context.set_device_memory(self._memory[slot], size)
        if not context.set_input_shape(self._engine.input.name, shape):
            raise DeviceError(f"{shape = } is outside the engine's profile; build one for it: animevid build --size")
        return context

    def _refuse_out_of_memory(self) -> None:
        if re.search(r"out ?of ?memory|MemoryAllocation", self._logger.first_error, re.IGNORECASE):
            raise OutOfDeviceMemory(
                f"the GPU is out of memory ({self._said()}); give a smaller --net-size, or close other programs"
            )

    def _said(self) -> str:
        return " ".join(self._logger.first_error.split())[:200] or "it does not say why"


class _CompiledKernels:
    """The kernels that TensorRT for RTX compiles for an engine at run time, stored in a file; unused by TensorRT.

    The file holds code: it is read only if nobody but its owner can write it. TensorRT refuses another GPU's or
    driver's.
    """

    def __init__(self, engine: tensorrt.ICudaEngine, trt: ModuleType, path: Path | None) -> None:
        self._trt, self._path = trt, path
        self._config: tensorrt.IRuntimeConfig | None = None
        self._cache: tensorrt.IRuntimeCache | None = None
        self._read = b""
        if not hasattr(engine, "create_runtime_config") or not hasattr(
            trt, "DynamicShapesKernelSpecializationStrategy"
        ):
            return
        self._config = engine.create_runtime_config()
        self._config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if path is None:
            return
        self._cache = self._config.create_runtime_cache()
        with suppress(OSError):
            known = trusted(path)
            self._read = known.read_bytes() if known is not None and known.is_file() else b""
        if self._read and not self._cache.deserialize(self._read):
            _LOG.info("the compiled kernels in %s are of another GPU, driver or library; they are compiled again", path)
        self._config.set_runtime_cache(self._cache)

    def config(self, strategy: tensorrt.ExecutionContextAllocationStrategy) -> tensorrt.IRuntimeConfig | None:
        """The configuration for an execution context; ``None``: only the strategy."""
        if self._config is not None:
            self._config.set_execution_context_allocation_strategy(strategy)
        return self._config

    def keep(self) -> None:
        """Write the file if new kernels were compiled. A failure only costs time at the next start."""
        if self._cache is None or self._path is None:
            return
        try:
            content = bytes(self._cache.serialize() or b"")
            if content and content != self._read:
                atomic_write(self._path, content)
                self._read = content
        except Exception as error:  # TensorRT may raise anything if the device is lost or the folder is read-only
            _LOG.info("the compiled kernels are not kept: %s", one_line(error))

    def close(self) -> None:
        self._config = self._cache = None


def _kernel_file(cache: Path | None, engine: Engine, device: Device, library: Library) -> Path | None:
    if cache is None:
        return None
    what = hashlib.sha256(engine.plan).hexdigest()[:16]
    gpu = re.sub(r"[^A-Za-z0-9_.-]", "_", device.name)
    return cache / f"{library.name}-{library.version}-{gpu}-{what}.kernels"


class _HostFed:
    """An engine with a stream and device memory for the largest batch, for tensors in host memory."""

    def __init__(self, network: EngineNetwork, device: Device, largest: tuple[int, ...]) -> None:
        self._network, self._device = network, device
        self._dtype = np.dtype(np.float16 if network.half else np.float32)
        size = self._dtype.itemsize * int(np.prod(largest))
        self._resources = ExitStack()
        self._resources.callback(network.close)
        try:
            self._stream = device.call("cuStreamCreate", 1)
            self._resources.callback(device.call, "cuStreamDestroy", self._stream)
            self._source, self._target = (self._allocate(size) for _ in range(2))
        except BaseException:
            self._resources.close()
            raise

    def run(self, batch: Tensor) -> Tensor:
        call, stream = self._device.call, self._stream
        given = np.ascontiguousarray(batch, self._dtype)
        output = np.empty(batch.shape, self._dtype)
        # The arrays are pageable: the driver stages them.
        call("cuMemcpyHtoDAsync", self._source, given.ctypes.data, given.nbytes, stream)
        self._network.enqueue(
            slot=0, stream=int(stream), source=self._source, target=self._target, shape=(*batch.shape,)
        )
        call("cuMemcpyDtoHAsync", output.ctypes.data, self._target, output.nbytes, stream)
        call("cuStreamSynchronize", stream)
        return output.astype(np.float32, copy=False)

    def close(self) -> None:
        self._device.make_current()
        self._resources.close()

    def _allocate(self, size: int) -> int:
        address = int(self._device.call("cuMemAlloc", size))
        self._resources.callback(self._device.call, "cuMemFree", address)
        return address
