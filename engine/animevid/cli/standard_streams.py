"""Sets up a command's standard streams, whose failures must not end its work, and its termination signals."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import BinaryIO, TextIO, TypeAlias, cast

#: What ``signal.signal`` takes and returns.
SignalHandler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


class ForgivingStream(io.TextIOBase):
    """Standard error that ignores failed writes: only the message is lost."""

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
    def buffer(self) -> BinaryIO:
        return self.inner.buffer


@contextmanager
def standard_streams() -> Iterator[None]:
    """Open closed standard streams, and make standard error ignore failed writes.

    Otherwise an output file could get the descriptor of a closed stream, and receive messages of native libraries.
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
            pass  # keep our stream: Python would exit with code 120 after a failed write


def _fill_descriptors() -> None:
    while True:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle > 2:
            os.close(handle)
            break
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def ending_signals() -> tuple[signal.Signals, ...]:
    """The termination signals; SIGHUP only if it is not ignored (``nohup``)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    found = (getattr(signal, name) for name in names if hasattr(signal, name))
    return tuple(number for number in found if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """Handle SIGTERM and SIGHUP like Ctrl-C, so that no unfinished files remain."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: dict[signal.Signals, SignalHandler] = {}
    with suppress(ValueError):  # not the main thread: the caller handles signals
        for number in ending_signals():
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
