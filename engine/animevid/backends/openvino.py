"""OpenVINO on Intel and ARM CPUs (``pip install openvino``). Faster than ONNX Runtime where the CPU has VNNI or AMX.

``import openvino`` reports to its vendor's web analytics through the package ``openvino-telemetry``. animevid sends no
telemetry, so that package is hidden while OpenVINO is imported; OpenVINO then uses its own silent stub.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import queue
import sys
import threading
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output, one_line, run_in_pieces
from animevid.backends.threads import default_threads
from animevid.errors import BackendError, UsageError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard

if TYPE_CHECKING:
    import openvino


class OpenVinoBackend(Backend):
    name: ClassVar[str] = "openvino"

    def __init__(self, compiled: openvino.CompiledModel, card: StyleCard, *, description: str) -> None:
        self._compiled: openvino.CompiledModel | None = compiled
        self._card = card
        self._description = description
        # A request serves one caller at a time; one is created per concurrent caller.
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        first = compiled.input(0).partial_shape[0]
        self._fixed_batch: int | None = first.get_length() if first.is_static else None

    @classmethod
    def unavailable_reason(cls) -> str | None:
        if importlib.util.find_spec("openvino") is None:
            return "openvino is not installed; pip install openvino"
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, options: RuntimeOptions | None = None) -> Self:
        options = options or RuntimeOptions()
        device, count = options.device, options.threads or default_threads()
        if device not in ("auto", "cpu"):
            raise UsageError(f"{device = }: openvino knows auto and cpu")
        openvino = _import_without_telemetry()
        settings = {
            "INFERENCE_NUM_THREADS": count,
            "PERFORMANCE_HINT": "LATENCY",
            # Its default on AMX is bfloat16, whose 8 bits of mantissa cause banding in skies.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            core = shared_core()
            network = core.read_model(model)
            if len(network.inputs) != 1 or not network.outputs:
                raise BackendError(f"the style {card.name!r} has {len(network.inputs)} inputs; one frame is given")
            compiled = core.compile_model(network, "CPU", settings)
        except BackendError:
            raise
        except Exception as error:  # RuntimeError and its private subclasses
            raise BackendError(f"OpenVINO refuses the style {card.name!r} ({one_line(error)})") from error
        version = openvino.__version__.split("-")[0]
        return cls(compiled, card, description=f"openvino {version} CPU, {count} threads")

    @property
    def preferred_batch(self) -> int:
        return 1

    @property
    def description(self) -> str:
        return self._description

    def run(self, batch: Tensor) -> Tensor:
        compiled = self._compiled
        if compiled is None:
            raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
        check_batch(batch, self._card)
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        try:
            output = run_in_pieces(batch, self._fixed_batch or len(batch), partial(_infer, request))
        finally:
            self._idle.put(request)
        check_output(output, batch, self._card)
        return output

    def close(self) -> None:
        self._compiled = None
        self._idle = queue.SimpleQueue()


_IMPORTING = threading.Lock()


def _import_without_telemetry() -> ModuleType:
    with _IMPORTING:
        if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
            # None makes the import of that name fail, as if it were not installed.
            sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
            try:
                return importlib.import_module("openvino")
            finally:
                del sys.modules["openvino_telemetry"]
        return importlib.import_module("openvino")


@functools.cache
def shared_core() -> openvino.Core:
    """The process's only OpenVINO ``Core``, never freed; all models are opened with it.

    Each ``Core`` sets an alternate signal stack for the thread and unmaps it when destroyed. Two that are destroyed in
    the order of their creation leave the thread with an unmapped stack, and the next signal (Ctrl-C) crashes.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    return _import_without_telemetry().Core()


def _infer(request: openvino.InferRequest, batch: Tensor) -> Tensor:
    try:
        request.infer([batch], share_inputs=True)
    except Exception as error:
        raise BackendError(f"OpenVINO failed on {batch.shape} ({one_line(error)})") from error
    # Copy: the next run overwrites the request's buffer.
    return np.array(request.get_output_tensor(0).data, np.float32)
