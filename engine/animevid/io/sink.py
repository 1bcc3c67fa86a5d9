"""What every sink promises, whatever lies behind: a file, a folder of images, a window, a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

from animevid.frame import Frame


@dataclass(frozen=True, slots=True)
class SinkReport:
    """What was written. ``decisions`` and ``notices`` are lines for people."""

    path: str
    frames_written: int
    duration_seconds: Fraction
    bytes_written: int | None
    encoder: str
    decisions: tuple[str, ...] = ()
    packets_copied: int = 0
    packets_lost: int = 0
    notices: tuple[str, ...] = ()


class Sink(ABC):
    """Takes frames in order and leaves a whole output or nothing. A context manager that aborts without ``finish``.

    One thread calls ``write`` and ``finish``.
    """

    frames_written: int
    _done: bool

    @property
    @abstractmethod
    def description(self) -> str:
        """The encoder and its settings, in a few words."""

    @property
    def decision_lines(self) -> tuple[str, ...]:
        """What becomes of the template's other streams, one line each."""
        return ()

    @property
    def notices(self) -> tuple[str, ...]:
        """One-line remarks for people."""
        return ()

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Take the next frame.

        Raises:
            OutputError: the disk is full or the target cannot be written (nothing is left behind).
            UsageError: a frame that does not fit, or the sink is finished.
        """

    @abstractmethod
    def finish(self) -> SinkReport:
        """Complete the output and give it its name.

        Raises:
            OutputError: no frame was written, or the target cannot be written (nothing is left behind).
        """

    @abstractmethod
    def abort(self) -> None:
        """Throw away what was written. Safe to call twice, and after ``finish``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._done:
            self.abort()
