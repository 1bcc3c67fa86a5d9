"""TensorRT for RTX (``tensorrt_rtx``) and TensorRT (``tensorrt``): which is installed, which runs on a GPU, its log."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from animevid.backends.base import one_line
from animevid.errors import BackendError, UsageError

if TYPE_CHECKING:
    import tensorrt

_LOG = logging.getLogger(__name__)

LIBRARIES = ("tensorrt_rtx", "tensorrt")
_TITLES = {"tensorrt_rtx": "TensorRT for RTX", "tensorrt": "TensorRT"}
_EXTRAS = {"tensorrt_rtx": "tensorrt-rtx", "tensorrt": "tensorrt"}
#: Compute capabilities that TensorRT for RTX supports (its support matrix, and 8.0 from its own list); no H100 or B200.
RTX_RUNS_ON = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def missing(name: str, *, driver_version: str = "") -> str:
    """The message if ``name`` (of ``LIBRARIES``, or ``"auto"``) is not installed; names wheels for the driver."""
    if name != "auto":
        return f"{_TITLES[name]} is not installed; pip install {_extra(name, driver_version)}"
    rtx, classic = (_extra(library, driver_version) for library in LIBRARIES)
    return f"TensorRT is not installed; pip install {rtx} (RTX cards) or {classic}"


def _extra(library: str, driver_version: str) -> str:
    suffix = "-cu12" if driver_version and int(driver_version.split(".")[0]) < 13 else ""
    return f'"animevid[{_EXTRAS[library]}{suffix}]"'


@dataclass(frozen=True, slots=True)
class Library:
    """``tensorrt_rtx`` or ``tensorrt``, imported."""

    name: str
    version: str
    module: ModuleType = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU properties that an engine depends on. An engine built ahead of time has only ``target``."""

    name: str = ""
    compute_capability: str = ""
    driver: str = ""


def find_library(name: str = "auto", *, compute_capability: str = "", driver_version: str = "") -> Library:
    """Import ``tensorrt_rtx`` or, failing that, ``tensorrt``.

    Args:
        name: one of ``LIBRARIES``, or ``"auto"``.
        compute_capability: of the GPU that is to run engines (``"9.0"``; default: not asked); TensorRT for RTX runs on
            some only.
        driver_version: the CUDA version of its driver (``"12.8"``; default: not asked); wheels for CUDA 13 need 13.

    Raises:
        BackendError: neither is installed or can be loaded, or none supports that GPU and driver.
    """
    if name != "auto" and name not in LIBRARIES:
        raise UsageError(f"library = {name!r}: allowed are auto, {', '.join(LIBRARIES)}")
    passed_over, too_new = False, ""
    for candidate in LIBRARIES if name == "auto" else (name,):
        if candidate == "tensorrt_rtx" and compute_capability not in ("", *RTX_RUNS_ON):
            passed_over = importlib.util.find_spec(candidate) is not None
            continue
        if importlib.util.find_spec(candidate) is None:
            continue
        needed = _cuda_of(candidate)
        if driver_version and needed is not None and int(driver_version.split(".")[0]) < needed:
            too_new = too_new or (
                f"{candidate} is installed for CUDA {needed}, and this driver is for {driver_version}; update the "
                f"driver (580 or later), or pip install {_extra(candidate, driver_version)} in its place, or "
                "--backend torch"
            )
            continue
        try:
            module = importlib.import_module(candidate)
        except (ImportError, OSError) as error:
            raise BackendError(f"{candidate} cannot be loaded ({one_line(error)}); install it again") from error
        return Library(candidate, str(module.__version__), module)
    if too_new:
        raise BackendError(too_new)
    if passed_over:
        raise BackendError(
            f"TensorRT for RTX does not run on a GPU of compute capability {compute_capability}; "
            f"pip install {_extra('tensorrt', driver_version)}, or use --backend torch"
        )
    raise BackendError(missing(name, driver_version=driver_version))


def _cuda_of(library: str) -> int | None:
    """The major CUDA version of a library's wheel; ``None`` if unknown."""
    for major in (12, 13):
        with suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(f"{library}_cu{major}")
            return major
    return None


@contextmanager
def without_collection() -> Iterator[None]:
    """Disables garbage collection; also usable as a decorator.

    TensorRT calls our logger while it holds its lock. A collection at that point may free an earlier builder or engine,
    which waits for the same lock: a deadlock.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class ErrorLog(Protocol):
    """An ``ILogger`` of TensorRT that keeps the first error."""

    first_error: str


def make_logger(trt: Any) -> ErrorLog:
    """An ``ILogger`` for the library ``trt`` that writes to our log and keeps ``first_error``."""
    levels = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.ERROR, "WARNING": logging.DEBUG}

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Write to our log at debug level, since errors are raised. Keeps the first error for the message."""

        def __init__(self) -> None:
            super().__init__()
            self.first_error = ""

        def log(self, severity: tensorrt.ILogger.Severity, message: str) -> None:
            level = levels.get(severity.name, 0)
            if level == logging.ERROR and not self.first_error:
                self.first_error = message
            if level:
                _LOG.debug("%s", message)

    _LOGGERS.append(Logger())
    return _LOGGERS[-1]


#: TensorRT keeps the first logger's address for as long as any of its objects exist.
_LOGGERS: list[ErrorLog] = []
