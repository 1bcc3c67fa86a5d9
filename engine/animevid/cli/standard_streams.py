"""What a command starts with: three standard streams that never end its work, and signals that end it in order."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, cast


class ForgivingStream(io.TextIOBase):
    """Standard error, of which nobody need be there: closed, full or gone, what is written to it is lost, no more."""

    def __init__(self, inner: TextIO) -> None:
        super().__init__()
        self.inner = inner

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self.inner.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.inner.flush()

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self.inner.isatty()
        return False

    def fileno(self) -> int:
        return self.inner.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.inner.encoding or "ascii"

    @property
    def buffer(self) -> Any:
        return self.inner.buffer


@contextmanager
def standard_streams() -> Iterator[None]:
    """Open what is closed of the three standard streams (else the output would get its number, and with it what native
    libraries say), and write to a standard error that forgives.
    """
    _fill_descriptors()
    before = sys.stderr
    sys.stderr = cast(TextIO, ForgivingStream(before))
    if sys.stdout is None:  # closed when Python started
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        yield
    finally:
        try:
            before.flush()
            sys.stderr = before
        except (OSError, ValueError):
            pass  # the forgiving one stays: Python would end with 120 for what it cannot write


def _fill_descriptors() -> None:
    while True:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle > 2:
            os.close(handle)
            break
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def ending_signals() -> tuple[signal.Signals, ...]:
    """Those that ask this process to end, but for a hang-up that ``nohup`` has it ignore."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    found = (getattr(signal, name) for name in names if hasattr(signal, name))
    return tuple(number for number in found if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does, so that nothing half-written stays."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # not the main thread: whoever calls minds the signals
        for number in ending_signals():
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
