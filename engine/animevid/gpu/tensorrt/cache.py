"""Engines on disk, built once.

A plan is code that a GPU driver runs. An engine file that others can write is refused, and a file whose checksum is
wrong is never loaded. The file holds one line of JSON (what it was built from, and the plan's SHA-256), followed by the
plan; it is written atomically.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from animevid.errors import BackendError, OutputError
from animevid.gpu.tensorrt import engine as engines
from animevid.gpu.tensorrt.engine import Engine, EngineRequest, IoTensor, Progress
from animevid.gpu.tensorrt.library import Gpu, Library, find_library
from animevid.styles.card import StyleCard
from animevid.styles.folders import cache_folder
from animevid.trusted_files import atomic_write, check_owner_only

_LOG = logging.getLogger(__name__)

#: Part of every engine's key; increase it when the kernels that an engine calls, or the build, change.
BUILD_VERSION = 2

_MAGIC = b"animevid-engine "
_FORMAT = 1
_MAX_HEADER = 65536


class EngineCache:
    """Engines on disk. A backend calls ``load_or_build`` at first use."""

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
        """The engine for ``model`` from the folder; built and stored if it is missing, stale or damaged.

        Raises:
            BackendError: as ``build_engine``; or a file or folder that others can write.
            OutputError: the folder cannot be written.
        """
        library = library or find_library()
        if (library.name, request.target) == ("tensorrt_rtx", "current") and gpu is not None and gpu.compute_capability:
            # Without a named capability, a TensorRT for RTX engine supports only 8.6, 8.9 and 12.0.
            request = replace(request, target=f"sm{gpu.compute_capability.replace('.', '')}")
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
        engine = engines.build_engine(
            model, card, request, library=library, timing_cache=trusted(timing_cache), progress=progress
        )
        write_engine(path, engine, key=key)
        return engine, path

    def _prepare_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"{str(self.folder)!r} cannot be made ({error.strerror}); engines lie there") from error
        check_owner_only(self.folder)


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
        "build_version": str(BUILD_VERSION),
    }


def write_engine(path: Path, engine: Engine, *, key: Mapping[str, str]) -> None:
    """Raises:
    OutputError: the file cannot be written; an existing one is unchanged.
    """
    tensors = {
        role: {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
        for role, tensor in (("input", engine.input), ("output", engine.output))
    }
    header = {"key": dict(key), "plan_sha256": hashlib.sha256(engine.plan).hexdigest(), **tensors}
    line = json.dumps(header, sort_keys=True).encode()
    atomic_write(path, _MAGIC + str(_FORMAT).encode() + b"\n" + line + b"\n" + engine.plan)


def read_engine(path: Path, *, key: Mapping[str, str] | None = None) -> Engine:
    """The engine in ``path``, which must have been built from ``key`` (``None``: from anything).

    Raises:
        FileNotFoundError: there is none.
        StaleEngine: it is damaged, or of another key.
        BackendError: others can write it, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # Checked on the open file, so that it cannot be replaced between the check and the read.
            check_owner_only(path, os.fstat(file.fileno()))
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


def trusted(path: Path) -> Path | None:
    """``path``; ``None`` if others can write it."""
    try:
        if path.exists():
            check_owner_only(path)
    except BackendError as error:
        _LOG.warning("%s", error)
        return None
    return path


def _file_name(card: StyleCard, key: Mapping[str, str]) -> str:
    """The file name, from the user's choices; changes of driver or library replace the file instead."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", card.name)[:60]
    gpu = re.sub(r"[^A-Za-z0-9_.-]", "_", key["gpu"]) or key["target"]
    return f"{name}-{key['model_sha256'][:12]}-{key['shapes']}-{key['precision']}-{gpu}.engine"
