"""TensorRT for tests without a GPU: the part of its API that runs an engine, on the fake driver.

A "plan" is the half-precision ONNX graph that the real builder would be given; executing it puts a host function on the
stream, which runs ONNX Runtime on the context's memory, in the stream's order. It runs in two steps, with the
intermediate result in the context's scratch memory: executions that share scratch memory, or one context on two streams
at once, corrupt each other's result, as on a GPU. Everything around it (engines, contexts, slots, copies, kernels,
graphs) is the code for a GPU. A test compares names and arguments with ``tensorrt_rtx``.
"""

from __future__ import annotations

import ctypes
import itertools
import types
from enum import Enum
from typing import Any

import numpy as np
import onnxruntime
from animevid.gpu.tensorrt import engine as engines
from animevid.gpu.tensorrt.engine import Engine, IoTensor
from animevid.gpu.tensorrt.library import Library
from animevid.styles.onnx_file import read_graph
from gpu.fake_gpu import IMAGE

_SCRATCH_BYTES = 4096
_MARKS = itertools.count(1)
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class DynamicShapesKernelSpecializationStrategy(Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class _RuntimeConfig:
    """Like that of TensorRT for RTX; its cache is the list of compiled shapes, in plain text."""

    def __init__(self) -> None:
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self._strategy: Any = None
        self._cache: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> Any:
        return _RuntimeCache()

    def set_runtime_cache(self, cache: Any = None) -> bool:
        self._cache = cache
        return True


class _RuntimeCache:
    def __init__(self) -> None:
        self._shapes: set[str] = set()

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"compiled for a fake GPU"):
            return False
        self._shapes |= set(blob.decode().splitlines()[1:])
        return True

    def serialize(self) -> bytes:
        return "\n".join(["compiled for a fake GPU", *sorted(self._shapes)]).encode()


class ILogger:
    def __init__(self) -> None:
        pass


class Runtime:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if not plan.startswith(b"\x08"):  # the first field of a serialized ONNX model
            self.logger.log(types.SimpleNamespace(name="ERROR"), "the plan is of another device")
            return None
        return _NativeEngine(plan)


class _NativeEngine:
    device_memory_size_v2 = _SCRATCH_BYTES
    contexts_made = compiled = 0

    def __init__(self, plan: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(plan, options, providers=["CPUExecutionProvider"])

    def create_runtime_config(self) -> Any:
        return _RuntimeConfig()

    def create_execution_context(self, config: _RuntimeConfig) -> Any:
        assert config._strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        _NativeEngine.contexts_made += 1
        return _Context(self, config)


class _Context:
    spoiled = 0  # executions that found another one's data

    def __init__(self, engine: _NativeEngine, config: _RuntimeConfig) -> None:
        self._session = engine.session
        self._config = config
        self._compiled = False
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self._scratch = self._running = 0
        self._functions: list[Any] = []  # a graph may call them during the context's life

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= _SCRATCH_BYTES
        self._scratch = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return shape[0] <= engines.DEFAULT_BATCH

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        # A capture while kernels are still being compiled would contain their fallbacks.
        eager = DynamicShapesKernelSpecializationStrategy.EAGER
        return self._compiled and self._config.dynamic_shapes_kernel_specialization_strategy is eager

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._scratch, "no scratch memory"
        shapes = self._config._cache._shapes if self._config._cache is not None else set()
        _NativeEngine.compiled += str(self._shape) not in shapes and not self._compiled
        shapes.add(str(self._shape))
        self._compiled = True
        given, drawn = self._session.get_inputs()[0], self._session.get_outputs()[0]
        source, target, shape = self._addresses[given.name], self._addresses[drawn.name], self._shape
        dtype = np.dtype(np.float16 if "16" in given.type else np.float32)
        scratch = _array(self._scratch, (_SCRATCH_BYTES // 8,), np.dtype(np.int64))
        running = 0  # a graph runs the same two functions repeatedly

        def begin(_: Any) -> None:
            nonlocal running
            running = next(_MARKS)
            self._running = running
            scratch[:] = running

        def finish(_: Any) -> None:
            batch = _array(source, shape, dtype).copy()
            if self._running != running or (scratch != running).any():
                _Context.spoiled += 1
                batch[:] = 0
            scratch[:] = 0
            _array(target, shape, dtype)[:] = self._session.run(None, {given.name: batch})[0]

        driver = ctypes.CDLL("libcuda.so.1")
        driver.cuLaunchHostFunc.argtypes = (ctypes.c_void_p, _HOST_FUNCTION, ctypes.c_void_p)
        functions = [_HOST_FUNCTION(step) for step in (begin, finish)]
        self._functions += functions
        return all(driver.cuLaunchHostFunc(stream_handle, step, None) == 0 for step in functions)


def _array(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)


def install() -> None:
    """Make this module this process's TensorRT. Only for children of ``in_child``: it cannot be undone."""
    from animevid.gpu.tensorrt import backend as tensorrt

    module = types.ModuleType("tensorrt")
    for part in (
        ExecutionContextAllocationStrategy, DynamicShapesKernelSpecializationStrategy, ILogger, Runtime,
    ):  # fmt: skip
        setattr(module, part.__name__, part)
    tensorrt.find_library = lambda *_, **__: Library("tensorrt", "0.0-fake", module)
    engines.build_engine = _build
    tensorrt.load_fatbin = lambda **_: IMAGE


def _build(model: bytes, card: Any, request: Any, **_: Any) -> Engine:
    plan = engines._graph_of(model, card, request)
    graph = read_graph(plan)
    dtype = "float16" if request.half_io and card.precision != "int8" else "float32"
    shape = (-1, *card.tensor_shape(1, request.shapes.maximum.height_px, request.shapes.maximum.width_px)[1:])
    return Engine(plan, IoTensor(graph.inputs[0].name, shape, dtype), IoTensor(graph.outputs[0].name, shape, dtype))
