"""Backends execute a style's network. ``open_backend`` picks one; all implement ``base.Backend``.

A backend is a module with one class; adding one takes a line in ``_REGISTRY`` (and in ``_AUTO_ORDER`` if ``auto``
should use it), or in another package an entry point of the group ``animevid.backends`` (``name =
"package.module:Class"``). Modules are imported on demand, so a runtime that is not installed costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

from animevid.backends.base import Backend, Tensor
from animevid.backends.threads import default_threads
from animevid.declare import narrowed
from animevid.errors import BackendError, UsageError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard
from animevid.suggestions import nearest

__all__ = ["Backend", "BackendStatus", "Tensor", "available_backends", "backend_names", "open_backend"]

_REGISTRY: dict[str, tuple[str, str]] = {
    "onnxruntime": ("animevid.backends.onnxruntime", "OnnxRuntimeBackend"),
    "openvino": ("animevid.backends.openvino", "OpenVinoBackend"),
    "mnn": ("animevid.backends.mnn", "MnnBackend"),
    "torch": ("animevid.backends.torch", "TorchBackend"),
    "tensorrt": ("animevid.gpu.tensorrt.backend", "TensorRtBackend"),
    "tensorrt-rtx": ("animevid.gpu.tensorrt.backend", "TensorRtForRtxBackend"),
    "tensorrt-classic": ("animevid.gpu.tensorrt.backend", "ClassicTensorRtBackend"),
}
_ENTRY_POINTS = "animevid.backends"

#: The backends that ``auto`` tries, in order, on a machine with an NVIDIA GPU and on any machine. ONNX Runtime is
#: always installed; other backends are chosen by name.
_AUTO_GPU_ORDER: tuple[str, ...] = ("tensorrt", "torch")
_AUTO_ORDER: tuple[str, ...] = ("onnxruntime", "openvino", "mnn", "torch")


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """``unavailable_reason``: one line with a remedy; ``None`` if the backend can be used."""

    name: str
    unavailable_reason: str | None

    @property
    def available(self) -> bool:
        return self.unavailable_reason is None


def backend_names() -> tuple[str, ...]:
    """All backends, installed or not, including those of other packages."""
    return tuple({**_REGISTRY, **dict.fromkeys(_from_other_packages())})


def backend_class(name: str) -> type[Backend]:
    """The class of a backend; its module is imported now.

    Raises:
        UsageError: no backend has that name.
        BackendError: it comes from another package and cannot be imported, or is no backend.
    """
    if name in _REGISTRY:
        module, attribute = _REGISTRY[name]
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
        return found
    entry_point = _from_other_packages().get(name)
    if entry_point is None:
        meant = nearest(name, backend_names())
        question = f"; did you mean {meant!r}?" if meant else ""
        raise UsageError(f"backend = {name!r}: allowed are auto, {', '.join(backend_names())}{question}")
    try:
        loaded = entry_point.load()
    except Exception as error:  # another package's module may raise anything
        raise BackendError(f"backend {name!r} ({entry_point.value}) cannot be imported: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Backend)):
        raise BackendError(f"backend {name!r} ({entry_point.value}) is not a subclass of animevid.backends.Backend")
    return loaded


def _from_other_packages() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_ENTRY_POINTS)}


def available_backends() -> tuple[BackendStatus, ...]:
    """All backends, each with the reason why it cannot be used here, if any. Imports no runtime."""
    return tuple(BackendStatus(name, _why_unavailable(name)) for name in backend_names())


def _why_unavailable(name: str) -> str | None:
    try:
        return backend_class(name).unavailable_reason()
    except BackendError as error:
        return str(error)


def open_backend(
    model: bytes,
    card: StyleCard,
    options: RuntimeOptions | None = None,
    *,
    concurrency: int = 1,
    int8: Callable[[], tuple[bytes, StyleCard] | None] | None = None,
) -> Backend:
    """Open ``model`` (a serialized ONNX file).

    The backend ``"auto"`` takes a GPU if one can be used, else the first installed CPU runtime, and logs the reason in
    one line; a GPU that fails later is replaced in the same way (``backends.auto``). The device is ``"auto"``,
    ``"cpu"`` or a name that the backend supports (``"cuda:0"``). The backend gets the options whole.

    ``concurrency``: how many frames will run at once; a backend that is ``faster_concurrently`` divides the threads
    among them. ``int8`` returns the style's INT8 model and card; it is called if the backend ``prefers_int8``.

    Raises:
        UsageError: an unknown backend or device, or a negative number of threads.
        BackendError: the runtime is missing or refuses the model.
        DeviceError: the device does not exist.
    """
    asked = narrowed(options or RuntimeOptions(), RuntimeOptions)  # they may be part of a conversion's
    threads, device = asked.threads, asked.device
    if threads < 0:
        raise UsageError(f"{threads = } must be 0 (the backend chooses) or more")

    def opened(kind: type[Backend], where: str, at_once: int = concurrency) -> Backend:
        share = threads
        if at_once > 1 and kind.faster_concurrently:
            share = -(-(threads or default_threads()) // at_once)  # rounded up: no core stays idle
        smaller = int8() if int8 is not None and kind.prefers_int8(where) else None
        what, its_card = smaller or (model, card)
        backend = kind.open(what, its_card, replace(asked, threads=share, device=where))
        if where == "auto" and backend.device_name == "CPU" and kind.runs_on_cpu("cpu"):
            # This runtime supports GPUs but found none; the faster CPU runtimes have not been tried yet.
            backend.close()
            return opened(kind, "cpu", at_once)
        return backend

    if asked.backend != "auto":
        chosen = backend_class(asked.backend)
        reason = chosen.unavailable_reason()
        if reason is not None:
            raise BackendError(reason)
        return opened(chosen, device)

    def open_without_gpu(where: str, at_once: int = concurrency) -> Backend:
        usable = [kind for kind in map(backend_class, _AUTO_ORDER) if kind.unavailable_reason() is None]
        if not usable:
            raise BackendError(f"no backend is installed; one of {', '.join(_AUTO_ORDER)} is needed (pip install NAME)")
        return opened(usable[0], where, at_once)

    if device == "cpu":
        return open_without_gpu(device)
    from animevid.backends.auto import open_auto

    on_gpu = "cuda" if device == "auto" else device
    return open_auto(
        [backend_class(name) for name in _AUTO_GPU_ORDER],
        lambda kind: opened(kind, on_gpu),
        open_without_gpu,
        lambda: open_without_gpu("cpu", 1),  # one frame at a time, as on the GPU: all threads for each
        device=device,
    )
