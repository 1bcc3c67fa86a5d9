"""A TensorRT engine as a network: for slots, and for tensors in host memory."""

from __future__ import annotations

import hashlib
import logging
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from animevid.backends.base import Tensor, one_line
from animevid.errors import DeviceError
from animevid.gpu.driver import Device, OutOfDeviceMemory
from animevid.gpu.tensorrt.cache import trusted
from animevid.gpu.tensorrt.engine import Engine
from animevid.gpu.tensorrt.library import Library, make_logger, without_collection
from animevid.styles.folders import cache_folder
from animevid.trusted_files import atomic_write

if TYPE_CHECKING:
    import tensorrt

_LOG = logging.getLogger(__name__)

_Shape = tuple[int, int, int, int]


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


class HostFed:
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
