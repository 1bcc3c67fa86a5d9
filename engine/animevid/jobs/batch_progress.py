"""Progress and time estimate of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av

from animevid.errors import AnimevidError
from animevid.io.network.protocols import open_input
from animevid.io.pyav import to_fraction


class BatchProgress:
    """Counts the finished frames of a batch and estimates the total.

    Call ``begin``, ``progress`` any number of times and ``end`` for each file. Files of unknown length are assumed to
    have the others' mean length.

    Args:
        paths: the files known now; ``begin`` adds others.
        start_seconds: the videos' ``--start``.
        end_seconds: the videos' ``--end``.
        clock: seconds.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        start_seconds: Fraction | float | None = None,
        end_seconds: Fraction | float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._cut = (start_seconds, end_seconds)
        self._left: dict[Path, int | None] = {path: frame_count(path, *self._cut) for path in paths}
        self._path: Path | None = None
        self._known: list[int] = [count for count in self._left.values() if count]
        self._ended = self._done = self._kept = self._worked = 0
        self._seconds = 0.0
        self._begun_at: float | None = None

    @property
    def frames_done(self) -> int:
        """Frames of finished files and of the current one."""
        return self._ended + self._done

    @property
    def frames_total(self) -> int | None:
        """Estimated frames of all files that are not skipped; ``None`` if no length is known."""
        if not self._known:
            return None
        usual = round(sum(self._known) / len(self._known))
        left = sum(usual if count is None else count for count in self._left.values())
        return max(self._ended + left, self.frames_done)

    @property
    def seconds_left(self) -> float | None:
        """Estimated from this run's rate, without frames that an earlier run had finished."""
        worked, seconds = self._worked, self._seconds
        if self._begun_at is not None:
            worked += self._done - self._kept
            seconds += self._clock() - self._begun_at
        total = self.frames_total
        return (total - self.frames_done) * seconds / worked if total is not None and worked > 0 else None

    def begin(self, path: Path) -> None:
        """Record that ``path`` was opened."""
        if path not in self._left:
            self._left[path] = frame_count(path, *self._cut)
        self._path, self._begun_at, self._done, self._kept = path, None, 0, 0

    def progress(self, frames_done: int, frames_total: int | None) -> None:
        """Record the progress of the current file."""
        if self._path is None:
            return
        if self._begun_at is None:
            self._begun_at, self._kept = self._clock(), frames_done
        self._done = frames_done
        if frames_total is not None:
            self._left[self._path] = frames_total
            self._known = self._known or [frames_total]

    def end(self, path: Path, *, frames: int) -> None:
        """Record that ``path`` is done, skipped or failed, with ``frames`` finished."""
        self._left.pop(path, None)
        self._ended += frames
        if self._begun_at is not None:
            self._worked += max(frames, self._done) - self._kept
            self._seconds += self._clock() - self._begun_at
        self._path, self._begun_at, self._done, self._kept = None, None, 0, 0


def frame_count(path: Path, start: Fraction | float | None = None, end: Fraction | float | None = None) -> int | None:
    """The number of frames between two times in seconds, by the file's header; ``None`` if unknown.

    0 for a file that cannot be opened.
    """
    try:
        container = open_input(str(path))
    except (AnimevidError, av.FFmpegError, OSError):
        return 0
    with container:
        stream = container.streams.best("video")
        rate = None if stream is None else to_fraction(stream.average_rate)
        if stream is None or rate is None or container.duration is None:
            return None
        seconds = Fraction(container.duration, av.time_base)
        if end is not None:
            seconds = min(seconds, Fraction(end))
        return max(0, round((seconds - Fraction(start or 0)) * rate))
