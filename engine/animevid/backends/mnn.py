"""MNN on CPUs (``pip install MNN``): its Winograd convolutions make plain 3x3 networks 1.6 times as fast in float32 as
ONNX Runtime on a CPU with AVX2 but without VNNI.

MNN reads its own format only. The converter is a native module of its wheel, which is called directly in a child
process (it prints, and reports failure with exit code 0); MNN's converter *script*, which installs a telemetry package
and contacts the network, is never run. A network is converted once and kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output, one_line
from animevid.backends.threads import default_threads
from animevid.errors import BackendError, UsageError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard
from animevid.styles.folders import cache_folder

if TYPE_CHECKING:
    import MNN

_LOG = logging.getLogger(__name__)
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
_CONVERT_SECONDS = 120


class MnnBackend(Backend):
    name: ClassVar[str] = "mnn"

    def __init__(
        self, mnn: ModuleType, interpreter: MNN.Interpreter, session: MNN.Session, card: StyleCard, *, description: str
    ) -> None:
        self._mnn = mnn
        self._interpreter: MNN.Interpreter | None = interpreter
        self._session: MNN.Session | None = session
        self._card = card
        self._description = description
        self._shape: tuple[int, ...] = ()
        # A session has one set of buffers: callers take turns.
        self._turn = threading.Lock()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        if importlib.util.find_spec("MNN") is None:
            return "MNN is not installed; pip install MNN"
        if importlib.util.find_spec("_tools") is None:
            return "this MNN has no converter (its module _tools); pip install MNN from PyPI"
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, options: RuntimeOptions | None = None) -> Self:
        options = options or RuntimeOptions()
        device, count = options.device, options.threads or default_threads()
        if device not in ("auto", "cpu"):
            raise UsageError(f"{device = }: mnn knows auto and cpu")
        if card.precision == "int8":
            raise BackendError(f"mnn runs no quantized ONNX, and {card.name!r} is int8; take its fp32 file")
        path = convert_to_mnn(model)
        with _native_output_to_stderr():
            import MNN

            interpreter = MNN.Interpreter(str(path))
            # "high" is float32; "normal" may be half precision on ARM.
            session = interpreter.createSession({"numThread": count, "backend": "CPU", "precision": "high"})
        if len(interpreter.getSessionInputAll(session)) != 1:
            raise BackendError(f"the style {card.name!r} has more than one input; one frame is given")
        return cls(MNN, interpreter, session, card, description=f"mnn {MNN.version()} CPU, {count} threads")

    @property
    def preferred_batch(self) -> int:
        return 1

    @property
    def description(self) -> str:
        return self._description

    def run(self, batch: Tensor) -> Tensor:
        with self._turn:
            if self._session is None:
                raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
            check_batch(batch, self._card)
            try:
                output = self._run(batch)
            except (RuntimeError, ValueError) as error:
                raise BackendError(f"MNN failed on {batch.shape} ({one_line(error)})") from error
        check_output(output, batch, self._card)
        return output

    def close(self) -> None:
        with self._turn:
            self._session = self._interpreter = None

    def _run(self, batch: Tensor) -> Tensor:
        mnn, interpreter, session = self._mnn, self._interpreter, self._session
        assert interpreter is not None  # run() refuses a closed backend
        given = interpreter.getSessionInput(session)
        if batch.shape != self._shape:
            interpreter.resizeTensor(given, batch.shape)
            interpreter.resizeSession(session)
            self._shape = batch.shape
        # Both layouts come from an ONNX graph, whose axes MNN keeps in order under the name "Caffe".
        source = mnn.Tensor(batch.shape, mnn.Halide_Type_Float, batch, mnn.Tensor_DimensionType_Caffe)
        given.copyFrom(source)
        if interpreter.runSession(session) != 0:
            raise RuntimeError("runSession did not succeed")
        result = interpreter.getSessionOutput(session)
        shape = result.getShape()
        host = mnn.Tensor(shape, mnn.Halide_Type_Float, np.empty(shape, np.float32), mnn.Tensor_DimensionType_Caffe)
        result.copyToHostTensor(host)
        # getNumpyData is a view of the tensor's memory, which is freed with it.
        return np.array(host.getNumpyData(), np.float32)


def convert_to_mnn(model: bytes, *, folder: Path | None = None) -> Path:
    """``model`` (a serialized ONNX file) in MNN's format, in ``folder`` (default: the user's cache). Needs no network.

    Raises:
        BackendError: MNN's converter refuses it, or the cache cannot be written.
    """
    import importlib.metadata

    version = importlib.metadata.version("MNN")
    folder = folder or cache_folder() / "mnn"
    target = folder / f"{hashlib.sha256(model).hexdigest()[:32]}-{version}.mnn"
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source, result = Path(scratch, "style.onnx"), Path(scratch, "style.mnn")
            source.write_bytes(model)
            arguments = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(result), "--bizCode", "animevid"]
            done = subprocess.run(
                [sys.executable, "-c", _CONVERT, *arguments],
                capture_output=True,
                text=True,
                timeout=_CONVERT_SECONDS,
                check=False,
            )
            if done.returncode != 0 or not result.is_file() or not result.stat().st_size:
                lines = (done.stdout + done.stderr).splitlines()
                said = next((line for line in lines if "rror" in line or "failed" in line), "it gave no file")
                raise BackendError(f"MNN cannot convert this style ({said.strip()}); try --backend onnxruntime")
            os.replace(result, target)
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"MNN's converter took over {_CONVERT_SECONDS} s; try --backend onnxruntime") from error
    except OSError as error:
        raise BackendError(f"{str(folder)!r} cannot be written ({error.strerror}); MNN converts there") from error
    _LOG.info("converted for MNN: %s", target)
    return target


@contextmanager
def _native_output_to_stderr() -> Iterator[None]:
    """MNN prints about the CPU on stdout when it loads, which is reserved for ``--progress json``."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
