"""Progress output: one line that is rewritten, or JSON lines."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from animevid.errors import AnimevidError
from animevid.redaction import redacted_text

if TYPE_CHECKING:
    from animevid.jobs.batch_progress import BatchProgress
    from animevid.run.report import ConversionReport, Progress

#: The window over which fps and ETA are computed.
_WINDOW_SECONDS = 4.0
_JSON_INTERVAL_SECONDS = 0.5
#: An estimate above a hundred hours is too uncertain to show.
_MAX_SECONDS = 100 * 3600.0


class Reporter(Protocol):
    """Receives the progress of a conversion."""

    def progress(self, progress: Progress) -> None: ...

    def done(self, report: ConversionReport) -> None: ...

    def failed(self, error: AnimevidError) -> None: ...

    def clear(self) -> None:
        """Clear the line before something else is printed."""
        ...


class QuietReporter:
    """Prints nothing."""

    def progress(self, progress: Progress) -> None:
        pass

    def done(self, report: ConversionReport) -> None:
        pass

    def failed(self, error: AnimevidError) -> None:
        pass

    def clear(self) -> None:
        pass


class BarReporter(QuietReporter):
    """A bar with frames, fps, time left and the load of the busiest stages; for terminals only."""

    def __init__(self, stream: TextIO, *, batch: BatchProgress | None = None) -> None:
        self._stream = stream
        self._batch = batch
        self._rate = _RecentRate()
        self._colour = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._drawn = False

    def progress(self, progress: Progress) -> None:
        self._rate.add(progress.frames_done)
        if self._batch is not None:
            self._batch.progress(progress.frames_done, progress.frames_total)
        columns = shutil.get_terminal_size().columns
        line = bar_line(
            progress,
            fps=self._rate.fps,
            columns=columns - 1,
            colour=self._colour,
            batch_seconds=None if self._batch is None else self._batch.seconds_left,
        )
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False


class JsonReporter(QuietReporter):
    """JSON lines: ``{"event": "progress", ...}`` now and then, ``"done"`` or ``"error"`` at the end."""

    def __init__(self, stream: TextIO, *, batch: BatchProgress | None = None, **context: object) -> None:
        self._stream = stream
        self._batch = batch
        self._context = context
        self._rate = _RecentRate()
        self._next_at = 0.0

    def progress(self, progress: Progress) -> None:
        self._rate.add(progress.frames_done)
        if self._batch is not None:
            self._batch.progress(progress.frames_done, progress.frames_total)
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _JSON_INTERVAL_SECONDS
        fps = self._rate.fps
        left = _seconds_left(progress, fps)
        self._write(
            event="progress",
            frames=progress.frames_done,
            frames_total=progress.frames_total,
            fps=round(fps, 2),
            eta_seconds=None if left is None else round(left, 1),
            elapsed_seconds=round(progress.statistics.elapsed_seconds, 3),
            load={stage.name: round(progress.statistics.load(stage.name), 3) for stage in progress.statistics.stages},
            **_batch_fields(self._batch),
        )

    def done(self, report: ConversionReport) -> None:
        if self._batch is not None:
            self._batch.progress(report.frames_out, report.frames_out)
        self._write(event="done", **report_fields(report), **_batch_fields(self._batch))

    def failed(self, error: AnimevidError) -> None:
        self._write(
            event="error", kind=type(error).__name__, message=redacted_text(str(error)), exit_code=error.exit_code
        )

    def _write(self, **fields: object) -> None:
        self._stream.write(json.dumps({**fields, **self._context}) + "\n")
        self._stream.flush()


def open_reporter(
    kind: str, *, output_is_stdout: bool, batch: BatchProgress | None = None, **context: object
) -> Reporter:
    """The reporter for ``--progress KIND``: ``auto`` is a bar on a terminal and nothing elsewhere.

    ``batch`` is the progress of a whole batch. ``context`` goes into each line of JSON.
    """
    if kind == "json":
        return JsonReporter(sys.stderr if output_is_stdout else sys.stdout, batch=batch, **context)
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return BarReporter(sys.stderr, batch=batch)
    return QuietReporter()


def bar_line(progress: Progress, *, fps: float, columns: int, colour: bool, batch_seconds: float | None = None) -> str:
    """One line of at most ``columns`` characters; parts are dropped from the right if it is narrow.

    ``batch_seconds``: the time left for all files of a batch.
    """
    done, total = progress.frames_done, progress.frames_total
    left = _seconds_left(progress, fps)
    count = f"{done}/{total}" if total else f"{done} frames"
    clock = f"ETA {clock_text(left)}" if left is not None else clock_text(progress.statistics.elapsed_seconds)
    parts = [count, f"{fps:.1f} fps" if fps else "-- fps", clock]
    if batch_seconds is not None and batch_seconds < _MAX_SECONDS:
        parts.append(f"all videos {clock_text(batch_seconds)}")
    stages = sorted(progress.statistics.stages, key=lambda stage: -stage.busy_seconds)[:3]
    parts.append(" ".join(f"{stage.name} {progress.statistics.load(stage.name):.0%}" for stage in stages))
    while len(parts) > 1 and len("  ".join(parts)) > columns:
        parts.pop()
    text = "  ".join(parts)[:columns]
    room = min(columns - len(text) - len("100%   "), 30)
    if not total or room < 6:
        return text
    share = min(done / total, 1.0)
    return f"{share:4.0%} {_bar(share, room, colour=colour)}  {text}"


def summary_line(report: ConversionReport) -> str:
    """A one-line summary: frames in and out, speed, time per stage."""
    if report.duration_seconds is None and report.frames_in == report.frames_out == 1:
        return f"1 image, {report.elapsed_seconds:.1f} s"
    counts = f"{report.frames_in} frames in, {report.frames_out} out"
    if report.frames_concealed:
        counts += f", {report.frames_concealed} damaged"
    if report.frames_reused:
        counts += f", {report.frames_reused} unchanged and reused"
    if not report.statistics.stages:
        return counts  # an earlier run had finished all of it
    stages = sorted(report.statistics.stages, key=lambda stage: -stage.busy_seconds)
    busy = ", ".join(f"{stage.name} {report.statistics.load(stage.name):.0%}" for stage in stages)
    speed = f"{report.elapsed_seconds:.1f} s, {report.fps:.1f} fps"
    if report.speed is not None:
        speed += f" ({report.speed:.2g}x real time)"
    return f"{counts}; {speed}; busy: {busy}"


def report_fields(report: ConversionReport) -> dict[str, object]:
    """The report as JSON values."""
    return {
        "output": report.output,
        "frames_in": report.frames_in,
        "frames_out": report.frames_out,
        "frames_concealed": report.frames_concealed,
        "frames_reused": report.frames_reused,
        "elapsed_seconds": round(report.elapsed_seconds, 3),
        "fps": round(report.fps, 2),
        "network": report.network,
        "notices": list(report.notices),
        "stages": [
            {
                "name": stage.name,
                "items": stage.items,
                "busy_seconds": round(stage.busy_seconds, 4),
                "cpu_seconds": round(stage.cpu_seconds, 4),
                "wait_in_seconds": round(stage.wait_in_seconds, 4),
                "wait_out_seconds": round(stage.wait_out_seconds, 4),
            }
            for stage in report.statistics.stages
        ],
    }


class _RecentRate:
    """The frame rate over the last few seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()

    def add(self, frames: int) -> None:
        now = self._clock()
        self._points.append((now, frames))
        while len(self._points) > 2 and now - self._points[0][0] > _WINDOW_SECONDS:
            self._points.popleft()

    @property
    def fps(self) -> float:
        if len(self._points) < 2:
            return 0.0
        (first_time, first), (last_time, last) = self._points[0], self._points[-1]
        return (last - first) / (last_time - first_time) if last_time > first_time else 0.0


def _seconds_left(progress: Progress, fps: float) -> float | None:
    if not progress.frames_total or fps <= 0:
        return None
    left = max(progress.frames_total - progress.frames_done, 0) / fps
    return left if left < _MAX_SECONDS else None


def _batch_fields(batch: BatchProgress | None) -> dict[str, object]:
    if batch is None:
        return {}
    left = batch.seconds_left
    return {
        "all_frames": batch.frames_done,
        "all_frames_total": batch.frames_total,
        "all_eta_seconds": None if left is None else round(left, 1),
    }


def clock_text(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _bar(share: float, width: int, *, colour: bool) -> str:
    filled = round(share * width)
    full, empty = "━" * filled, "━" * (width - filled) if colour else "─" * (width - filled)
    return f"\x1b[36m{full}\x1b[90m{empty}\x1b[0m" if colour else full + empty
