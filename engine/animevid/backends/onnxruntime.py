"""ONNX Runtime: the backend that is always installed. CPU, and CUDA if the installed build has it.

Session options are chosen by measurement (packed nets of 1.0 and 1.5 GMAC at 640x360, 2 threads, beside a busy codec;
CPU time a frame against the default's):

- All graph optimizations, for the blocked NCHWc layout: without it a frame costs 1.5 to 1.9 times as much.
- No spinning: waiting threads that spin cost 1.6 times as much and take the codec's cores.
- The memory arena stays on, memory patterns are off: speed is the same either way within noise, but at 1080p the peak
  is 174 MB with the arena alone, 231 with both, 251 with neither.
- One inter-op thread: the graph is a chain.
- No cache of the optimized model: creating a session takes 8 to 15 ms, importing the runtime 200.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import re
import threading
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output, one_line, run_in_pieces
from animevid.backends.threads import default_threads
from animevid.errors import BackendError, DeviceError, UsageError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard
from animevid.styles.onnx_file import may_loop
from animevid.styles.trial import SECONDS_VARIABLE, seconds_allowed

if TYPE_CHECKING:
    import onnxruntime

_LOG = logging.getLogger(__name__)

_FATAL_ONLY = 4  # ONNX Runtime would also print to stderr what it raises
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


class OnnxRuntimeBackend(Backend):
    name: ClassVar[str] = "onnxruntime"
    faster_concurrently: ClassVar[bool] = True

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        card: StyleCard,
        *,
        description: str,
        on_gpu: bool,
        max_seconds: float | None = None,
    ) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._card = card
        self._description = description
        self._on_gpu = on_gpu
        given = session.get_inputs()[0]
        self._input_name: str = given.name
        self._output_name: str = session.get_outputs()[0].name
        first = given.shape[0] if given.shape else None
        self._fixed_batch = first if isinstance(first, int) and first > 0 else None
        #: The run options that can stop each running call.
        self._running: set[onnxruntime.RunOptions] = set()
        self._max_seconds = max_seconds

    @classmethod
    def prefers_int8(cls, device: str) -> bool:
        return cls.runs_on_cpu(device)

    @classmethod
    def runs_on_cpu(cls, device: str) -> bool:
        import onnxruntime

        return _is_cpu(device, onnxruntime.get_available_providers())

    @classmethod
    def unavailable_reason(cls) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed; pip install onnxruntime"
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, options: RuntimeOptions | None = None) -> Self:
        import onnxruntime

        options = options or RuntimeOptions()
        device = options.device
        onnxruntime.disable_telemetry_events()  # Windows ignores the variable that animevid/__init__.py sets
        providers = _providers(device, onnxruntime.get_available_providers())
        if providers != [_CPU]:
            _preload_cuda()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = _FATAL_ONLY
        settings.intra_op_num_threads = options.threads or default_threads()
        settings.inter_op_num_threads = 1
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.enable_cpu_mem_arena = True
        settings.enable_mem_pattern = False
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(model, settings, providers=providers)
            for value in (*session.get_inputs(), *session.get_outputs()):
                _ = value.name, value.shape  # names that are not UTF-8 raise here, and nowhere later
        except Exception as error:  # the only base of its exception classes is Exception
            raise BackendError(f"ONNX Runtime refuses the style {card.name!r} ({one_line(error)})") from error
        if len(session.get_inputs()) != 1 or not session.get_outputs():
            raise BackendError(f"the style {card.name!r} has {len(session.get_inputs())} inputs; one frame is given")
        on_gpu = session.get_providers()[0] == _CUDA
        if not on_gpu and device.startswith("cuda"):
            raise DeviceError(f"{device = }: ONNX Runtime could not start CUDA; try --device cpu, or update the driver")
        place = f"CUDA ({device})" if on_gpu else f"CPU, {_counted(settings.intra_op_num_threads)}"
        precision = "" if card.precision == "fp32" else f", {card.precision}"
        return cls(
            session,
            card,
            description=f"onnxruntime {onnxruntime.__version__} {place}{precision}",
            on_gpu=on_gpu,
            # A network without loops always terminates.
            max_seconds=seconds_allowed() if may_loop(model) else None,
        )

    @property
    def preferred_batch(self) -> int:
        # On a CPU a batch of N takes N times as long and only adds delay.
        return 4 if self._on_gpu and self._fixed_batch is None else 1

    @property
    def description(self) -> str:
        return self._description

    @property
    def device_name(self) -> str:
        return "CUDA" if self._on_gpu else "CPU"

    def run(self, batch: Tensor) -> Tensor:
        session = self._session  # held here, so that a concurrent close cannot free it under the run
        if session is None:
            raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
        check_batch(batch, self._card)
        return run_in_pieces(batch, self._fixed_batch or len(batch), partial(self._run_once, session))

    def interrupt(self) -> None:
        for run in tuple(self._running):
            run.terminate = True

    def close(self) -> None:
        self._session = None

    def _run_once(self, session: onnxruntime.InferenceSession, batch: Tensor) -> Tensor:
        import onnxruntime

        run = onnxruntime.RunOptions()
        timer = None
        if self._max_seconds is not None:
            timer = threading.Timer(self._max_seconds, setattr, (run, "terminate", True))
            timer.daemon = True
            timer.start()
        self._running.add(run)
        try:
            output = session.run([self._output_name], {self._input_name: batch}, run)[0]
        except Exception as error:
            if timer is not None and not timer.is_alive():
                raise BackendError(
                    f"the style {self._card.name!r} did not finish one frame in {self._max_seconds:g} s; if it is "
                    f"yours and only slow, set {SECONDS_VARIABLE} to more seconds"
                ) from error
            kind = DeviceError if self._on_gpu else BackendError
            raise kind(f"ONNX Runtime failed on {batch.shape} ({one_line(error)})") from error
        finally:
            self._running.discard(run)
            if timer is not None:
                timer.cancel()
        result: Tensor = np.asarray(output, np.float32)
        check_output(result, batch, self._card)
        return result


def _counted(threads: int) -> str:
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _is_cpu(device: str, present: list[str]) -> bool:
    return device == "cpu" or (device == "auto" and _CUDA not in present)


def _providers(device: str, present: list[str]) -> list[str | tuple[str, dict[str, int]]]:
    """ONNX Runtime's provider list for ``device``.

    Raises:
        UsageError: a device that this backend does not support.
        DeviceError: CUDA was requested and this build has none.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise UsageError(f"{device = }: onnxruntime knows auto, cpu, cuda and cuda:N")
    if _is_cpu(device, present):
        return [_CPU]
    if _CUDA not in present:
        raise DeviceError(f"{device = }: this ONNX Runtime has no CUDA; pip install onnxruntime-gpu, or --device cpu")
    return [(_CUDA, {"device_id": int(match.group(1) or 0)}), _CPU]


def _preload_cuda() -> None:
    """Load CUDA and cuDNN from NVIDIA's wheels (``onnxruntime-gpu[cuda,cudnn]``), which are not on the loader's path.

    The function prints missing libraries, but those of the system may still be found.
    """
    import onnxruntime

    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:  # before ONNX Runtime 1.21
        return
    with redirect_stdout(io.StringIO()) as said:
        preload()
    if said.getvalue():
        _LOG.debug("onnxruntime.preload_dlls: %s", " ".join(said.getvalue().split()))
