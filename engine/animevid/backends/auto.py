"""``--backend auto``: the GPU if one can be used, else the CPU, with the reason in one line of the log.

The line is a warning if there is an NVIDIA driver or card; otherwise no GPU is expected, and only ``-v`` shows it.

The same applies later: a GPU that fails at its first frame (no engine can be built, no memory, an engine of another
GPU) or is lost during a run is replaced by the CPU, which repeats the current frame, so no frame is lost.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from animevid.backends.base import Backend, Tensor
from animevid.backends.frames import FrameRunner
from animevid.errors import BackendError, DeviceError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard

_LOG = logging.getLogger(__name__)

_PCI_DEVICES = Path("/sys/bus/pci/devices")

_said: set[str] = set()


def open_auto(
    gpus: Sequence[type[Backend]],
    open_gpu: Callable[[type[Backend]], Backend],
    open_other: Callable[[str], Backend],
    open_later: Callable[[], Backend],
    *,
    device: str = "auto",
) -> Backend:
    """The first of ``gpus`` that opens, else the result of ``open_other`` for a device.

    ``open_later`` opens the replacement of a GPU that fails. A GPU chosen by name (``device``) is not replaced.

    Raises:
        BackendError: nothing opens.
    """
    reason = _no_driver()
    if reason is None:
        for kind in gpus:
            said = kind.unavailable_reason()
            if said is None:
                try:
                    opened = open_gpu(kind)
                except BackendError as error:
                    said = str(error)
                else:
                    return AutoBackend(opened, open_later) if device == "auto" else opened
            # With a GPU the first reason is the relevant one; the others are only logged for -v.
            _LOG.debug("%s: %s", kind.name, said)
            reason = reason or said
    backend = open_other(device)
    _say(f"--backend auto takes {backend.description}: {reason}", expected=_gpu_is_expected())
    return backend


class AutoBackend(Backend):
    """A GPU's backend that is replaced by the CPU's when it fails."""

    name: ClassVar[str] = "auto"

    def __init__(self, gpu: Backend, open_cpu: Callable[[], Backend]) -> None:
        self._gpu, self._open_cpu = gpu, open_cpu
        self._cpu: Backend | None = None
        self._turn = threading.Lock()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, options: RuntimeOptions | None = None) -> Self:
        raise BackendError("auto is opened by animevid.backends.open_backend")

    @property
    def preferred_batch(self) -> int:
        return self._current.preferred_batch

    @property
    def description(self) -> str:
        return self._current.description

    @property
    def device_name(self) -> str:
        return self._current.device_name

    @property
    def frame_runner(self) -> FrameRunner | None:
        return self._current.frame_runner

    def fall_back(self, error: BackendError) -> bool:
        with self._turn:
            if self._cpu is None:
                self._cpu = self._open_cpu()
                # The GPU's backend stays open until the end: other threads may still hold its frames.
                _say(f"--backend auto continues with {self._cpu.description}: {error}", expected=True)
        return True

    def run(self, batch: Tensor) -> Tensor:
        if self._cpu is not None:
            return self._cpu.run(batch)
        try:
            return self._gpu.run(batch)
        except BackendError as error:
            self.fall_back(error)
            return self._current.run(batch)

    def interrupt(self) -> None:
        self._current.interrupt()

    def close(self) -> None:
        self._gpu.close()
        if self._cpu is not None:
            self._cpu.close()

    @property
    def _current(self) -> Backend:
        return self._cpu or self._gpu


def driver_library_is_there() -> bool:
    """Whether the system's loader finds NVIDIA's driver library. Takes a millisecond; does not test the driver."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _no_driver() -> str | None:
    # Ask the system's loader first: a machine without a GPU should not import the bindings.
    if not driver_library_is_there():
        return "there is no NVIDIA driver here"
    from animevid.gpu.driver import load_driver

    try:
        load_driver()
    except (BackendError, DeviceError) as error:
        return str(error)
    return None


def _gpu_is_expected() -> bool:
    """Whether a GPU is expected: there is a driver, or at least a card."""
    return driver_library_is_there() or _nvidia_card_is_there()


def _nvidia_card_is_there() -> bool:
    """Whether Linux lists an NVIDIA display device on the PCI bus; false if unknown."""
    for device in _PCI_DEVICES.glob("*"):
        with suppress(OSError):
            vendor, kind = ((device / name).read_text() for name in ("vendor", "class"))
            if vendor.startswith("0x10de") and kind.startswith("0x03"):
                return True
    return False


def _say(line: str, *, expected: bool) -> None:
    """Log once per process, even if many styles are opened."""
    if line not in _said:
        _said.add(line)
        _LOG.log(logging.WARNING if expected else logging.INFO, "%s", line)
