"""The base class of sinks: files, folders of images, windows, servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import av

from animevid.errors import AnimevidError, UsageError
from animevid.frame import Frame
from animevid.io.network.protocols import Spec, output_error
from animevid.redaction import redacted


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
    """Takes frames in order and leaves a complete output or nothing. A context manager that aborts without ``finish``.

    One thread calls ``write`` and ``finish``. A new sink is a subclass with ``_write``, ``_finish``, ``abort``
    and ``description``; this class refuses calls after the end, turns system errors into one line of ours and sums up
    what was written (``_count``, ``_report``). Properties describe a sink's capabilities, so callers need not check its
    class.
    """

    #: The output, for messages.
    path: Spec
    frames_written: int = 0
    #: Whether captions inside the frames (``Frame.captions``) are kept in the output.
    keeps_captions: bool = False
    _done: bool = False
    #: Where the written frames begin and end, on the output's clock.
    _first_seconds: Fraction | None = None
    _end_seconds: Fraction = Fraction(0)

    @property
    def separate_images(self) -> bool:
        """Whether each frame is an output of its own: sizes may differ, and no temporal filter applies."""
        return False

    @property
    def why_not_joined(self) -> str | None:
        """Why coded segments cannot be joined to this output, in a few words; ``None`` if they can."""
        return "only a video in one file can be joined"

    @property
    def encodes_on_device(self) -> bool:
        """Whether frames may stay in GPU memory."""
        return False

    @property
    @abstractmethod
    def description(self) -> str:
        """The encoder and its settings, in a few words."""

    @property
    def decision_lines(self) -> tuple[str, ...]:
        """The decision about each other stream of the template, one line each."""
        return ()

    @property
    def notices(self) -> tuple[str, ...]:
        """One-line remarks for people."""
        return ()

    @property
    def packets_so_far(self) -> tuple[int, int]:
        """The number of packets of other streams written and lost so far."""
        return 0, 0

    def open(self, frame: Frame) -> None:  # noqa: B027  (most sinks open with their first frame)
        """Open the target for frames like ``frame``, if possible before the first one is written.

        Raises:
            OutputError: the target cannot be written (nothing is left behind).
        """

    def write(self, frame: Frame) -> None:
        """Take the next frame.

        Args:
            frame: its time is on the source's clock, in seconds.

        Raises:
            OutputError: the disk is full or the target cannot be written (nothing is left behind).
            UsageError: a frame that does not fit, or the sink is finished.
        """
        if self._done:
            raise self._too_late()
        try:
            self._write(frame)
        except (av.FFmpegError, OSError) as error:
            raise self._aborted(error) from error

    def finish(self) -> SinkReport:
        """Complete the output and give it its name.

        Raises:
            OutputError: no frame was written, or the target cannot be written (nothing is left behind).
        """
        if self._done:
            raise self._too_late()
        with self._errors_translated():
            report = self._finish()
        self._done = True
        return report

    @abstractmethod
    def _write(self, frame: Frame) -> None:
        """Take the next frame; ``OSError`` and FFmpeg's errors may be raised as they are."""

    @abstractmethod
    def _finish(self) -> SinkReport:
        """Complete the output; ``OSError`` and FFmpeg's errors may be raised as they are."""

    @abstractmethod
    def abort(self) -> None:
        """Discard the output. Safe to call twice, and after ``finish``."""

    def _count(self, seconds: Fraction, duration_seconds: Fraction | None = None) -> None:
        """Count a frame written at ``seconds`` on the output's clock."""
        self.frames_written += 1
        if self._first_seconds is None:
            self._first_seconds = seconds
        self._end_seconds = seconds + (duration_seconds or 0)

    def _report(self, *, bytes_written: int | None = None, packets: tuple[int, int] = (0, 0)) -> SinkReport:
        """What ``_finish`` returns; ``packets``: the numbers of packets of other streams copied and lost."""
        copied, lost = packets
        return SinkReport(
            path=redacted(self.path),
            frames_written=self.frames_written,
            duration_seconds=self._end_seconds - (self._first_seconds or 0),
            bytes_written=bytes_written,
            encoder=self.description,
            decisions=self.decision_lines,
            packets_copied=copied,
            packets_lost=lost,
            notices=self.notices,
        )

    def _too_late(self) -> UsageError:
        return UsageError("the sink is finished or aborted: make a new one")

    def _aborted(self, error: av.FFmpegError | OSError) -> AnimevidError:
        """Abort, and return the error to raise."""
        self.abort()
        return output_error(self.path, error)

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise self._aborted(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._done:
            self.abort()
