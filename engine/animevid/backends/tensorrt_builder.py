"""ONNX -> TensorRT engines ("plans"), built once and kept on disk, also for a GPU that is not in this machine.

One builder over two libraries with a common API: TensorRT for RTX (``tensorrt_rtx``, which also builds ahead of time
without a GPU, for SM75, SM80, SM86, SM89 and SM120) and TensorRT (``tensorrt``, which builds for the GPU it sees).
Both are strongly typed: the precision is in the graph (``animevid.backends.precision``).

A plan is code that a GPU driver runs. An engine file that others than its owner can write is refused, and a file whose
contents are not those that were written is never loaded. The file is one line of JSON (what it was built from, and the
SHA-256 of the plan) and the plan; it appears whole or not at all.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import importlib
import importlib.util
import json
import logging
import math
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from animevid.backends.base import one_line
from animevid.backends.norm_plugin import NAME, VERSION, fuse_norms, register
from animevid.errors import BackendError, OutputError, UsageError
from animevid.styles.card import StyleCard
from animevid.styles.folders import cache_folder

_LOG = logging.getLogger(__name__)

LIBRARIES = ("tensorrt_rtx", "tensorrt")
MISSING = "TensorRT is not installed; pip install tensorrt-rtx-cu13 (or tensorrt)"
#: Compute capabilities that TensorRT for RTX runs on (its support matrix, and 8.0 of its own list); no H100 or B200.
RTX_RUNS_ON = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
#: Scratch memory that the engine may use. Dynamic shapes up to 1080p are refused by the builder with less.
DEFAULT_WORKSPACE_BYTES = 4 << 30
#: Pictures that the backend ``tensorrt`` gives an engine at once, at most; ``animevid build`` builds for as many.
DEFAULT_BATCH = 4
#: Part of every engine's key; raised when the kernels or plugins that an engine calls change, or how it is built.
PLUGIN_VERSION = 2

_MAGIC = b"animevid-engine "
_FORMAT = 1
_MAX_HEADER = 65536

#: (phase, steps done, steps in all) while an engine is built; a false result stops the build.
Progress = Callable[[str, int, int], bool]


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch of ``count`` pictures of ``height_px`` by ``width_px``, as the network sees them (padded)."""

    count: int
    height_px: int
    width_px: int

    def __str__(self) -> str:
        return f"{self.count}x{self.width_px}x{self.height_px}"


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """What an engine accepts, and what it is tuned for. All three equal: an engine of one shape."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    @property
    def is_static(self) -> bool:
        return self.minimum == self.maximum

    def __str__(self) -> str:
        return str(self.optimum) if self.is_static else f"{self.minimum}-{self.maximum}@{self.optimum}"

    def contains(self, shape: Shape) -> bool:
        return all(
            low <= value <= high
            for low, value, high in zip(_sides(self.minimum), _sides(shape), _sides(self.maximum), strict=True)
        )

    @classmethod
    def static(cls, height_px: int, width_px: int, *, count: int = 1) -> ShapeRange:
        shape = Shape(count, height_px, width_px)
        return cls(shape, shape, shape)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Everything but the model that decides what an engine is.

    ``precision`` ``"fp16"`` engines also take and give float16 where ``half_io``. ``target`` is ``"sm86"`` and the like
    (TensorRT for RTX, no GPU needed) or ``"current"``, the GPU in this machine. ``norm_plugin``: norms run in our
    kernel, not in TensorRT's (see ``animevid.backends.norm_plugin``).
    """

    shapes: ShapeRange
    precision: str = "fp16"
    half_io: bool = True
    target: str = "current"
    workspace_bytes: int = DEFAULT_WORKSPACE_BYTES
    norm_plugin: bool = False


@dataclass(frozen=True, slots=True)
class Library:
    """``tensorrt_rtx`` or ``tensorrt``, imported."""

    name: str
    version: str
    module: ModuleType = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Gpu:
    """What an engine for the GPU in this machine depends on. An engine built ahead of time knows only ``target``."""

    name: str = ""
    compute_capability: str = ""
    driver: str = ""


@dataclass(frozen=True, slots=True)
class IoTensor:
    """An engine's input or output. ``shape``: -1 where it is free. ``dtype``: ``"float16"`` or ``"float32"``."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Engine:
    """A plan, and what it reads and writes."""

    plan: bytes = field(repr=False)
    input: IoTensor
    output: IoTensor


def shape_range(
    card: StyleCard, *, height_px: int, width_px: int, dynamic: bool = False, max_batch: int = 1
) -> ShapeRange:
    """The shapes for pictures of ``height_px`` by ``width_px`` of a style: rounded up to its ``size_multiple``.

    In batches of 1 to ``max_batch``; that size only, or with ``dynamic`` every size from 64 px up to it.

    Raises:
        UsageError: a size or batch below 1, or another than the card's fixed one.
    """
    if min(height_px, width_px, max_batch) < 1:
        raise UsageError(f"{(height_px, width_px) = }, {max_batch = } must all be 1 or more")
    if card.fixed_size_px is not None and (height_px, width_px) != card.fixed_size_px:
        raise UsageError(f"{(height_px, width_px) = }: the style {card.name!r} takes {card.fixed_size_px} only")
    multiple = math.lcm(card.size_multiple, card.layout.cell_px) if card.fixed_size_px is None else 1
    height, width = (-(-side // multiple) * multiple for side in (height_px, width_px))
    one, largest = Shape(1, height, width), Shape(max_batch, height, width)
    if not dynamic or card.fixed_size_px is not None:
        return ShapeRange(one, one, largest)
    low = -(-64 // multiple) * multiple
    smallest = Shape(1, min(low, height), min(low, width))
    return ShapeRange(smallest, one, largest)


def find_library(name: str = "auto", *, compute_capability: str = "") -> Library:
    """Import ``tensorrt_rtx`` or, failing that, ``tensorrt``.

    ``compute_capability`` (``"9.0"``): of the GPU that is to run engines; TensorRT for RTX runs on some only.

    Raises:
        BackendError: neither is installed, it cannot be loaded, or none that is here runs on that GPU.
    """
    if name != "auto" and name not in LIBRARIES:
        raise UsageError(f"library = {name!r}: allowed are auto, {', '.join(LIBRARIES)}")
    passed_over = False
    for candidate in LIBRARIES if name == "auto" else (name,):
        if candidate == "tensorrt_rtx" and compute_capability not in ("", *RTX_RUNS_ON):
            passed_over = importlib.util.find_spec(candidate) is not None
            continue
        if importlib.util.find_spec(candidate) is None:
            continue
        try:
            if candidate == "tensorrt_rtx":
                _let_the_parser_find_its_library()
            module = importlib.import_module(candidate)
        except (ImportError, OSError) as error:
            raise BackendError(f"{candidate} cannot be loaded ({one_line(error)}); install it again") from error
        return Library(candidate, str(module.__version__), module)
    if passed_over:
        raise BackendError(
            f"TensorRT for RTX does not run on a GPU of compute capability {compute_capability}; "
            "pip install tensorrt-cu13, or use --backend torch"
        )
    raise BackendError(MISSING)


def _let_the_parser_find_its_library() -> None:
    """Load TensorRT for RTX through a folder in which its library also has its name without a version.

    Its parser opens ``libtensorrt_rtx.so`` when it meets a custom operator, beside itself and by that name, and ends
    the process where there is only ``libtensorrt_rtx.so.1``, which is all that the wheel has. The parser lies where it
    was loaded from first; the folder may go when the process ends.
    """
    for place in _rtx_libraries():
        parser, runtime = (place / f"lib{name}.so.1" for name in ("tensorrt_onnxparser_rtx", "tensorrt_rtx"))
        if "tensorrt_rtx" in sys.modules or not (parser.is_file() and runtime.is_file()):
            continue
        folder = Path(tempfile.mkdtemp(prefix="animevid-tensorrt-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for target, name in ((runtime, runtime.name), (runtime, runtime.stem), (parser, parser.name)):
            (folder / name).symlink_to(target)
        for name in (runtime.name, parser.name):
            ctypes.CDLL(str(folder / name))
        _prepared.add(place)


#: Where TensorRT for RTX lies that ``_let_the_parser_find_its_library`` has loaded.
_prepared: set[Path] = set()


def _rtx_libraries() -> list[Path]:
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def _refuse_what_would_crash(library: Library) -> None:
    """Raises:
    BackendError: the parser of TensorRT for RTX would end the process at a custom operator.
    """
    if library.name != "tensorrt_rtx" or _prepared:
        return
    searched = [*_rtx_libraries(), *map(Path, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))]
    if not any((place / "libtensorrt_rtx.so").exists() for place in searched):
        raise BackendError(
            "tensorrt_rtx was imported before animevid looked for it, and its parser would crash at our norm plugin; "
            "call animevid.backends.tensorrt_builder.find_library() first, or unset ANIMEVID_NORM_PLUGIN"
        )


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

    ``timing_cache``: a file that ``tensorrt`` reads and writes back, so that its next build measures less;
    ``tensorrt_rtx`` measures nothing when it builds.

    Raises:
        UsageError: a target or precision that this library does not know.
        BackendError: no TensorRT, or it refuses the style.
    """
    library = library or find_library()
    trt: Any = library.module
    graph = _graph_of(model, card, request)
    if request.norm_plugin:
        _refuse_what_would_crash(library)
        register(library)
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
        raise BackendError(f"the style {card.name!r} has {network.num_inputs} inputs; one picture is given")
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
        write_whole(timing_cache, bytes(config.get_timing_cache().serialize()))
    return Engine(bytes(plan), _io_tensor(trt, network.get_input(0)), _io_tensor(trt, network.get_output(0)))


class EngineCache:
    """Engines on disk. ``load_or_build`` is what a backend calls at first use."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "engines"

    def load_or_build(
        self,
        model: bytes,
        card: StyleCard,
        request: EngineRequest,
        *,
        gpu: Gpu | None = None,
        library: Library | None = None,
        progress: Progress | None = None,
    ) -> tuple[Engine, Path]:
        """The engine for ``model`` from the folder, built and kept if it is not there, stale or damaged.

        Raises:
            BackendError: as ``build_engine``; or a file or folder that others can write.
            OutputError: the folder cannot be written.
        """
        library = library or find_library()
        key = engine_key(model, request, library=library, gpu=gpu)
        path = self.folder / _file_name(card, key)
        self._prepare_folder()
        try:
            return read_engine(path, key=key), path
        except FileNotFoundError:
            _LOG.info("building an engine for %s: %s", card.name, path.name)
        except StaleEngine as reason:
            _LOG.warning("the engine %s %s; it is built again", path, reason)
        timing_cache = self.folder / f"{library.name}-{library.version}-{request.target}.timing"
        engine = build_engine(
            model, card, request, library=library, timing_cache=trusted(timing_cache), progress=progress
        )
        write_engine(path, engine, key=key)
        return engine, path

    def _prepare_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"{str(self.folder)!r} cannot be made ({error.strerror}); engines lie there") from error
        refuse_what_others_can_write(self.folder)


class EngineTooLarge(BackendError):
    """An engine that is not built for want of memory: one for fewer pictures at once may be."""


class StaleEngine(BackendError):
    """An engine file that must be built again. The message completes "the engine FILE ..."."""


def engine_key(model: bytes, request: EngineRequest, *, library: Library, gpu: Gpu | None = None) -> Mapping[str, str]:
    """Everything that an engine depends on, by name. Two equal keys may share an engine."""
    gpu = gpu or Gpu()
    return {
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "target": request.target,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver,
        "library": f"{library.name} {library.version}",
        "shapes": str(request.shapes),
        "precision": request.precision + ("-io" if request.half_io and request.precision == "fp16" else ""),
        "workspace_bytes": str(request.workspace_bytes),
        "plugin_version": str(PLUGIN_VERSION) + (f" {NAME} {VERSION}" if request.norm_plugin else ""),
    }


def write_engine(path: Path, engine: Engine, *, key: Mapping[str, str]) -> None:
    """Raises:
    OutputError: the file cannot be written; an earlier one is left as it was.
    """
    tensors = {
        role: {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
        for role, tensor in (("input", engine.input), ("output", engine.output))
    }
    header = {"key": dict(key), "plan_sha256": hashlib.sha256(engine.plan).hexdigest(), **tensors}
    line = json.dumps(header, sort_keys=True).encode()
    write_whole(path, _MAGIC + str(_FORMAT).encode() + b"\n" + line + b"\n" + engine.plan)


def read_engine(path: Path, *, key: Mapping[str, str] | None = None) -> Engine:
    """The engine in ``path``, which must have been built from ``key`` (``None``: from anything).

    Raises:
        FileNotFoundError: there is none.
        StaleEngine: it is damaged, or of another key.
        BackendError: others can write it, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # Asked of the open file, so that nobody can swap it between the look and the read.
            _refuse_writable(os.fstat(file.fileno()), path)
            content = file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BackendError(f"{str(path)!r} cannot be read ({error.strerror})") from error
    head, _, rest = content.partition(b"\n")
    line, found, plan = rest.partition(b"\n")
    if head != _MAGIC + str(_FORMAT).encode() or not found or len(line) > _MAX_HEADER:
        raise StaleEngine("is damaged, or of another version of animevid")
    try:
        header = json.loads(line)
        tensors = [
            IoTensor(str(raw["name"]), tuple(int(side) for side in raw["shape"]), str(raw["dtype"]))
            for raw in (header["input"], header["output"])
        ]
        expected, built_from = header["plan_sha256"], {str(k): str(v) for k, v in header["key"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StaleEngine("is damaged") from error
    if hashlib.sha256(plan).hexdigest() != expected:
        raise StaleEngine("is damaged")
    if key is not None and built_from != dict(key):
        changed = [f"{k}: {built_from.get(k, '')} -> {v}" for k, v in key.items() if built_from.get(k) != v]
        raise StaleEngine(f"is stale ({', '.join(changed) or 'another format'})")
    return Engine(plan, *tensors)


def refuse_what_others_can_write(path: Path) -> None:
    """Raises:
    BackendError: ``path`` belongs to another user, or its group or everybody can write it.
    """
    try:
        _refuse_writable(path.stat(), path)
    except OSError as error:
        raise BackendError(f"{str(path)!r} cannot be read ({error.strerror})") from error


def _refuse_writable(status: os.stat_result, path: Path) -> None:
    if not hasattr(os, "getuid"):  # Windows: access lists, not modes
        return
    if status.st_uid not in (os.getuid(), 0):
        raise BackendError(f"{str(path)!r} belongs to another user; engines are code: delete it, or set another cache")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BackendError(f"{str(path)!r} can be written by others; engines are code: chmod go-w it, or delete it")


def _graph_of(model: bytes, card: StyleCard, request: EngineRequest) -> bytes:
    if card.precision == "int8":
        from animevid.backends.quantized import to_symmetric

        return to_symmetric(model)
    if request.norm_plugin:
        model = fuse_norms(model)
    if request.precision == "fp32":
        return model
    if request.precision != "fp16":
        raise UsageError(f"precision = {request.precision!r}: an engine is fp16 or fp32")
    from animevid.backends.precision import to_half

    return to_half(model, half_io=request.half_io)


def _target_value(trt: Any, library: Library, target: str) -> Any:
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


def _set_shapes(builder: Any, network: Any, config: Any, card: StyleCard, shapes: ShapeRange) -> None:
    given = network.get_input(0)
    fixed = tuple(given.shape)
    wanted = [card.tensor_shape(*_sides(shape)) for shape in (shapes.minimum, shapes.optimum, shapes.maximum)]
    for shape in (wanted[0], wanted[2]):
        if len(fixed) != 4 or any(side not in (-1, want) for side, want in zip(fixed, shape, strict=True)):
            raise UsageError(f"the style {card.name!r} takes {fixed}; an engine for {shape} cannot be built of it")
    # A side that never changes is told as such: the fewer sides are free, the better the kernels that fit.
    given.shape = tuple(low if low == high else -1 for low, high in zip(wanted[0], wanted[2], strict=True))
    if -1 in tuple(given.shape):
        profile = builder.create_optimization_profile()
        profile.set_shape(given.name, *wanted)
        config.add_optimization_profile(profile)


def _load_timing_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    known = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(known)
    if (cache is None or not config.set_timing_cache(cache, False)) and known:
        _LOG.info("the timing cache %s is of another library or GPU; a new one is begun", path)
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def trusted(path: Path) -> Path | None:
    """``path``, unless others can write it: whoever asks then goes without."""
    try:
        if path.exists():
            refuse_what_others_can_write(path)
    except BackendError as error:
        _LOG.warning("%s", error)
        return None
    return path


def _io_tensor(trt: Any, tensor: Any) -> IoTensor:
    dtype = {trt.DataType.HALF: "float16", trt.DataType.FLOAT: "float32"}.get(tensor.dtype, str(tensor.dtype))
    return IoTensor(str(tensor.name), tuple(int(side) for side in tensor.shape), dtype)


def make_logger(trt: Any) -> Any:
    """An ``ILogger`` of the library ``trt`` that writes into our log and keeps ``first_error``."""
    levels = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.ERROR, "WARNING": logging.DEBUG}

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Into our log, quietly: what matters is raised. Keeps the first error for the message."""

        def __init__(self) -> None:
            super().__init__()
            self.first_error = ""

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity.name, 0)
            if level == logging.ERROR and not self.first_error:
                self.first_error = message
            if level:
                _LOG.debug("%s", message)

    _LOGGERS.append(Logger())
    return _LOGGERS[-1]


#: TensorRT keeps the first logger that it was given, by its address, for as long as anything of its own lives.
_LOGGERS: list[Any] = []


def _make_monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}
            self._goes_on = True

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            # An exception must not fly through the library's C++ frames.
            try:
                self._goes_on = self._goes_on and progress(phase_name, step + 1, self._steps.get(phase_name, 0))
            except Exception:
                _LOG.exception("progress failed")
                self._goes_on = False
            return self._goes_on

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _build_failed(card: StyleCard, library: Library, logger: Any, said: str) -> str:
    reason = re.sub(r"\s+", " ", logger.first_error or said)[:300]
    if "cudaError 35" in reason or "cudaError 100" in reason or "no CUDA" in reason:
        return f"{library.name} finds no NVIDIA driver or GPU here; give --gpu sm86 (or another) to build for one"
    return f"{library.name} {library.version} cannot build the style {card.name!r} ({reason}); try --precision fp32"


def _file_name(card: StyleCard, key: Mapping[str, str]) -> str:
    """Of what a person chooses; what changes by itself (driver, library) replaces the file instead."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", card.name)[:60]
    gpu = re.sub(r"[^A-Za-z0-9_.-]", "_", key["gpu"]) or key["target"]
    norms = "-norms" if NAME in key["plugin_version"] else ""
    return f"{name}-{key['model_sha256'][:12]}-{key['shapes']}-{key['precision']}{norms}-{gpu}.engine"


def write_whole(path: Path, content: bytes) -> None:
    """``path`` whole or not at all, readable and writable by its owner alone.

    Raises:
        OutputError: it cannot be written; an earlier one is left as it was.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes it readable and writable by its owner alone.
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            with contextlib.suppress(OSError):
                os.unlink(partial)
        raise OutputError(f"{str(path)!r} cannot be written ({error.strerror})") from error


def _sides(shape: Shape) -> tuple[int, int, int]:
    return shape.count, shape.height_px, shape.width_px
