"""Builds TensorRT engines ("plans") from ONNX, also for a GPU that is not in this machine.

One builder for two libraries with a common API: TensorRT for RTX (``tensorrt_rtx``, which also builds ahead of time
without a GPU, for SM75, SM80, SM86, SM89 and SM120) and TensorRT (``tensorrt``, which builds for the GPU it sees).
Both are strongly typed: the precision is in the graph (``animevid.gpu.precision``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from animevid.backends.base import one_line
from animevid.errors import BackendError, UsageError
from animevid.gpu.tensorrt.library import ErrorLog, Library, find_library, make_logger, without_collection
from animevid.styles.card import StyleCard
from animevid.trusted_files import atomic_write

if TYPE_CHECKING:
    import tensorrt

_LOG = logging.getLogger(__name__)

#: Scratch memory that an engine may use. With less, the builder refuses dynamic shapes up to 1080p.
DEFAULT_WORKSPACE_BYTES = 4 << 30
#: The largest batch of the backend ``tensorrt`` and of ``animevid build``.
DEFAULT_BATCH = 4
#: The shortest side that an engine of dynamic size takes.
_MIN_SIDE_PX = 64

#: (phase, steps done, steps in all) while an engine is built; a false result stops the build.
Progress = Callable[[str, int, int], bool]


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch of ``count`` frames of ``height_px`` by ``width_px``, padded, as the network sees them."""

    count: int
    height_px: int
    width_px: int

    def __str__(self) -> str:
        return f"{self.count}x{self.width_px}x{self.height_px}"


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """The shapes that an engine accepts and is tuned for. All three equal: an engine with a fixed shape."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    @property
    def is_static(self) -> bool:
        return self.minimum == self.maximum

    def __str__(self) -> str:
        return str(self.optimum) if self.is_static else f"{self.minimum}-{self.maximum}@{self.optimum}"


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Everything except the model that determines an engine.

    ``half_io``: ``"fp16"`` engines also have float16 inputs and outputs. ``target`` is ``"sm86"`` and the like
    (TensorRT for RTX, no GPU needed) or ``"current"``, the GPU in this machine.
    """

    shapes: ShapeRange
    precision: str = "fp16"
    half_io: bool = True
    target: str = "current"
    workspace_bytes: int = DEFAULT_WORKSPACE_BYTES


@dataclass(frozen=True, slots=True)
class IoTensor:
    """An engine's input or output. ``shape``: -1 for a dynamic axis. ``dtype``: ``"float16"`` or ``"float32"``."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Engine:
    """A plan, and its inputs and outputs."""

    plan: bytes = field(repr=False)
    input: IoTensor
    output: IoTensor


class EngineTooLarge(BackendError):
    """An engine could not be built for lack of memory; a smaller batch may fit."""


def shape_range(
    card: StyleCard, *, height_px: int, width_px: int, dynamic: bool = False, max_batch: int = 1
) -> ShapeRange:
    """The shapes for frames of ``height_px`` by ``width_px``, rounded up to the style's ``size_multiple``.

    For batches of 1 to ``max_batch``; only that size, or with ``dynamic`` every size from 64 px up to it.

    Raises:
        UsageError: a size or batch below 1, or another than the card's fixed one.
    """
    if min(height_px, width_px, max_batch) < 1:
        raise UsageError(f"{(height_px, width_px) = }, {max_batch = } must all be 1 or more")
    if card.fixed_size_px is not None and (height_px, width_px) != card.fixed_size_px:
        raise UsageError(f"{(height_px, width_px) = }: the style {card.name!r} takes {card.fixed_size_px} only")
    height, width = card.padded_px(height_px, width_px)
    one, largest = Shape(1, height, width), Shape(max_batch, height, width)
    if not dynamic or card.fixed_size_px is not None:
        return ShapeRange(one, one, largest)
    low = card.padded_px(_MIN_SIDE_PX, _MIN_SIDE_PX)
    smallest = Shape(1, min(low[0], height), min(low[1], width))
    return ShapeRange(smallest, one, largest)


@without_collection()
def build_engine(
    model: bytes,
    card: StyleCard,
    request: EngineRequest,
    *,
    library: Library | None = None,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Build ``model`` (a serialized ONNX file, float32 or already half).

    ``timing_cache``: a file that ``tensorrt`` reads and updates, so that its next build measures less; ``tensorrt_rtx``
    measures nothing during a build.

    Raises:
        UsageError: a target or precision that this library does not know.
        BackendError: no TensorRT, or it refuses the style.
    """
    library = library or find_library()
    trt = library.module
    graph = _graph_of(model, card, request)
    logger = make_logger(trt)
    target = _target_value(trt, library, request.target)
    try:
        builder = trt.Builder(logger)
    except Exception as error:
        raise BackendError(_build_failed(card, library, logger, one_line(error))) from error
    flags = 0
    strongly = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if strongly is not None:
        flags |= 1 << int(strongly)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        said = parser.get_error(0).desc() if parser.num_errors else "it says no more"
        raise BackendError(_build_failed(card, library, logger, said))
    if network.num_inputs != 1 or network.num_outputs < 1:
        raise BackendError(f"the style {card.name!r} has {network.num_inputs} inputs; one frame is given")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(target, 0)
    user_memory = getattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
    if user_memory is not None:
        # TensorRT for RTX: an engine that allocates while it runs cannot be captured into a graph.
        config.set_flag(user_memory)
    if progress is not None:
        config.progress_monitor = _make_monitor(trt, progress)
    _set_shapes(builder, network, config, card, request.shapes)
    # TensorRT for RTX times kernels when the engine first runs; its timing cache does nothing.
    cache = _load_timing_cache(config, timing_cache) if library.name == "tensorrt" else None
    try:
        plan = builder.build_serialized_network(network, config)
    except Exception as error:
        raise BackendError(_build_failed(card, library, logger, one_line(error))) from error
    if plan is None:
        said = _build_failed(card, library, logger, "no plan came out")
        raise (EngineTooLarge if "OutOfMemory" in said else BackendError)(said)
    if timing_cache is not None and cache is not None:
        atomic_write(timing_cache, bytes(config.get_timing_cache().serialize()))
    return Engine(bytes(plan), _io_tensor(trt, network.get_input(0)), _io_tensor(trt, network.get_output(0)))


def _graph_of(model: bytes, card: StyleCard, request: EngineRequest) -> bytes:
    if card.precision == "int8":
        from animevid.gpu.quantized import to_symmetric

        return to_symmetric(model)
    if request.precision == "fp32":
        return model
    if request.precision != "fp16":
        raise UsageError(f"precision = {request.precision!r}: an engine is fp16 or fp32")
    from animevid.gpu.precision import to_half

    return to_half(model, half_io=request.half_io)


def _target_value(trt: ModuleType, library: Library, target: str) -> tensorrt.ComputeCapability | None:
    """``ComputeCapability.SM86`` for ``"sm86"``; ``None`` for the GPU in this machine.

    Raises:
        UsageError: a target that the library cannot build for.
    """
    if target == "current":
        return None
    known = getattr(trt, "ComputeCapability", None)
    if known is None:
        raise UsageError(f"{target = }: {library.name} builds for this machine's GPU only; install tensorrt-rtx-cu13")
    names = [name for name in known.__members__ if name.startswith("SM")]
    if target.upper() not in names:
        raise UsageError(f"{target = }: {library.name} builds for {', '.join(name.lower() for name in names)}")
    return known.__members__[target.upper()]


def _set_shapes(
    builder: tensorrt.Builder, network: tensorrt.INetworkDefinition, config: tensorrt.IBuilderConfig, card: StyleCard,
    shapes: ShapeRange,
) -> None:  # fmt: skip
    given = network.get_input(0)
    fixed = tuple(given.shape)
    wanted = [card.tensor_shape(*_sides(shape)) for shape in (shapes.minimum, shapes.optimum, shapes.maximum)]
    for shape in (wanted[0], wanted[2]):
        if len(fixed) != 4 or any(side not in (-1, want) for side, want in zip(fixed, shape, strict=True)):
            raise UsageError(f"the style {card.name!r} takes {fixed}; an engine for {shape} cannot be built of it")
    # Declare sides that never change as fixed: fewer dynamic sides allow better kernels.
    given.shape = tuple(low if low == high else -1 for low, high in zip(wanted[0], wanted[2], strict=True))
    if -1 in tuple(given.shape):
        profile = builder.create_optimization_profile()
        profile.set_shape(given.name, *wanted)
        config.add_optimization_profile(profile)


def _load_timing_cache(config: tensorrt.IBuilderConfig, path: Path | None) -> tensorrt.ITimingCache | None:
    if path is None:
        return None
    known = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(known)
    if (cache is None or not config.set_timing_cache(cache, False)) and known:
        _LOG.info("the timing cache %s is of another library or GPU; a new one is begun", path)
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _io_tensor(trt: ModuleType, tensor: tensorrt.ITensor) -> IoTensor:
    dtype = {trt.DataType.HALF: "float16", trt.DataType.FLOAT: "float32"}.get(tensor.dtype, str(tensor.dtype))
    return IoTensor(str(tensor.name), tuple(int(side) for side in tensor.shape), dtype)


def _make_monitor(trt: Any, progress: Progress) -> tensorrt.IProgressMonitor:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}
            self._goes_on = True

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            # An exception must not pass through the library's C++ frames.
            try:
                self._goes_on = self._goes_on and progress(phase_name, step + 1, self._steps.get(phase_name, 0))
            except Exception:
                _LOG.exception("progress failed")
                self._goes_on = False
            return self._goes_on

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _build_failed(card: StyleCard, library: Library, logger: ErrorLog, said: str) -> str:
    reason = re.sub(r"\s+", " ", logger.first_error or said)[:300]
    if "cudaError 35" in reason or "cudaError 100" in reason or "no CUDA" in reason:
        return f"{library.name} finds no NVIDIA driver or GPU here; give --gpu sm86 (or another) to build for one"
    return f"{library.name} {library.version} cannot build the style {card.name!r} ({reason}); try --precision fp32"


def _sides(shape: Shape) -> tuple[int, int, int]:
    return shape.count, shape.height_px, shape.width_px
