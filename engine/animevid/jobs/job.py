"""Resumable conversions: segments, a journal beside the output, and a join at the end."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from animevid.errors import AnimevidError, Cancelled, InputError, OutputError, UsageError
from animevid.io.clock import ARBITRARY_CLOCK_FORMATS
from animevid.io.network.protocols import is_local_file, local_path, output_error
from animevid.jobs.cuts import DEFAULT_SEGMENT_SECONDS, Segment, cut_points, segments_between
from animevid.jobs.identity import differences, job_identity, source_identity, style_identity
from animevid.jobs.join import join_segments
from animevid.jobs.journal import JobDescription, Journal
from animevid.jobs.locks import FileLock
from animevid.jobs.packets import checksum, sync_folder
from animevid.jobs.part import open_part
from animevid.jobs.segment_sink import FinishedSegment
from animevid.options import ConversionOptions
from animevid.redaction import redacted
from animevid.run import PipelineStatistics
from animevid.run.conversion import Conversion, PathLike
from animevid.run.report import ConversionPlan, ConversionReport, Progress

_LEFT_BY_WORKERS = re.compile(r"\d{6}-[0-9a-f]{8}\.pkts")
#: Sources of at least this length are converted in segments by default; shorter ones are cheap to restart.
RESUMABLE_SECONDS = 4 * DEFAULT_SEGMENT_SECONDS


def open_conversion(
    src: PathLike,
    dst: PathLike,
    options: ConversionOptions,
    *,
    resumable: bool | None = None,
    restart: bool = False,
    segment_seconds: Fraction = DEFAULT_SEGMENT_SECONDS,
) -> Conversion | Job:
    """A conversion, or a job if resuming is possible and worthwhile.

    Args:
        resumable: whether to make it resumable; ``None``: sources of two minutes and more, if source and output allow
            it, and any job already begun.
        restart: discard an earlier run's work.
        segment_seconds: the length of a segment, the most that is lost when it is killed.

    Raises:
        UsageError: it cannot be resumable as requested; or it was started with other settings.
    """
    if is_local_file(dst) and local_path(dst).name:  # "." has no name, and no job
        _remove_if_joined(local_path(dst))
    conversion = Conversion(src, dst, options)
    try:
        reason = (
            None if resumable is False else why_not_resumable(conversion, start_seconds=options.start or Fraction(0))
        )
        if resumable and reason is not None:
            raise UsageError(f"--resume: {reason}; leave it out")
        if resumable is False or reason is not None:
            if is_local_file(dst):
                _refuse_while_it_is_made(local_path(dst))
            return conversion
        duration = conversion.source.info.duration_seconds or 0
        if resumable is None and duration < RESUMABLE_SECONDS and not job_folder(local_path(dst)).exists():
            return conversion
        return Job(conversion, src, dst, options, restart=restart, segment_seconds=segment_seconds)
    except BaseException:
        conversion.close()
        raise


def why_not_resumable(conversion: Conversion, *, start_seconds: Fraction) -> str | None:
    """Why a conversion cannot be made in segments, in a few words; ``None`` if it can."""
    source, sink = conversion.source, conversion.sink
    if not source.can_be_sought:
        return "only a video file can be sought"
    if sink.why_not_joined is not None:
        return sink.why_not_joined
    if source.info.container.split(",")[0] in ARBITRARY_CLOCK_FORMATS or source.origin_seconds != start_seconds:
        return "this container's clock may restart in the middle (.mp4 and .mkv do not)"
    if source.info.duration_seconds is None:
        return "the source does not say how long it is"
    if source.is_on_device:
        return "frames stay on the GPU"
    return None


def job_folder(target: Path) -> Path:
    """The hidden folder of a job's journal and segments, beside its output."""
    name = target.name
    if len(os.fsencode(name)) > 200:
        name = f"{name[:40]}-{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}"
    return target.with_name(f".{name}.job")


def _refuse_while_it_is_made(target: Path) -> None:
    path = job_folder(target) / "lock"
    if path.exists():
        FileLock(path, what=f"path = {redacted(target)!r}").release()


def _remove_if_joined(target: Path) -> None:
    """Remove the folder of a job that was killed after publishing its output."""
    folder = job_folder(target)
    path = folder / "journal.sqlite"
    if not target.exists() or not folder.is_dir():
        return
    if not path.exists():  # killed while removing it: segments without a journal are useless
        shutil.rmtree(folder, ignore_errors=True)
        return
    if target.stat().st_mtime < path.stat().st_mtime:
        return
    with suppress(AnimevidError, OSError), FileLock(folder / "lock", what=str(target)):
        with Journal(path, output=str(target)) as journal:
            is_joined = not journal.is_new and len(journal.finished()) == len(journal.read().segments)
        if is_joined:
            shutil.rmtree(folder)


class Job:
    """An open, resumable conversion with the interface of :class:`Conversion`; it owns and closes one. A context
    manager.

    Raises:
        UsageError: started with another source, style, option or version (all are named); or another run is active.
        OutputError: its journal is damaged or cannot be written.
    """

    is_endless = False

    def __init__(
        self,
        conversion: Conversion,
        src: PathLike,
        dst: PathLike,
        options: ConversionOptions,
        *,
        restart: bool = False,
        segment_seconds: Fraction = DEFAULT_SEGMENT_SECONDS,
    ) -> None:
        self._conversion, self._src, self._dst = conversion, src, dst
        self.src, self.dst = local_path(src), local_path(dst)
        self.style_digest = style_identity(conversion.stylizer)
        self._options = replace(options, style=conversion.stylizer)
        self._segment_seconds = segment_seconds
        self._part: Conversion | None = None
        self._stopped = False
        self._total = conversion.source.info.frame_count
        self._plan = conversion.plan
        self.folder = job_folder(local_path(dst))
        with ExitStack() as stack:
            self._journal = self._open_journal(stack, restart=restart)
            if self._journal.is_new:
                self._journal.begin(self._describe())
            self.description = self._journal.read()
            self._check_identity()
            self._finished = self._whole_segments()
            conversion.source.close()  # only its header was needed; the parts open their own
            stack.callback(conversion.close)
            self._stack = stack.pop_all()
        self._kept = len(self._finished)

    # --- the interface of a conversion --------------------------------------------------------------------------------

    @property
    def plan(self) -> ConversionPlan:
        """What ``run`` will do."""
        kept = self._kept_line()
        return replace(self._plan, notices=(*self._plan.notices, *((kept,) if kept else ())))

    def run(self, *, on_progress: Callable[[Progress], None] | None = None) -> ConversionReport:
        """Make the missing segments and join all. ``on_progress`` is called as in a conversion.

        Raises:
            AnimevidError: any part failed. Finished segments are kept, and the same command resumes.
        """
        reports = []
        for segments in self.missing_runs():
            reports.append(self._make(segments, on_progress))
            if self._stopped:
                raise Cancelled(self._stopped_line())
        written = self.join()
        return self._report(reports, written)

    def stop(self) -> None:
        """Stop after the current frame; finished segments are kept."""
        self._stopped = True
        if self._part is not None:
            self._part.stop()

    def close(self) -> None:
        """Close everything; finished segments stay on disk. Safe to call twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- for callers that make segments elsewhere (farm) ------------------------------------------------------------

    def missing_runs(self) -> list[tuple[Segment, ...]]:
        """The missing segments, grouped into runs of neighbours."""
        return [
            tuple(run)
            for is_missing, run in groupby(self.description.segments, lambda s: s.index not in self._finished)
            if is_missing
        ]

    def path_of(self, index: int) -> Path:
        """The path of a segment's file."""
        return self.folder / f"{index:06}.pkts"

    def add(self, segment: FinishedSegment) -> None:
        """Record that a segment's file is in place."""
        self._journal.add(segment)
        self._finished[segment.index] = segment

    def join(self) -> int:
        """Join all segments to the output and remove them; returns the number of frames.

        Raises:
            InputError: the source changed meanwhile.
            OutputError: for example, the disk is full. Finished segments are kept.
        """
        if source_identity(self.src) != self.description.identity["source"]:
            raise InputError(
                f"path = {redacted(self._src)!r} changed while it was converted: give --restart, or bring back the "
                "file that it was"
            )
        with self._keeping():
            return self._join()

    def _join(self) -> int:
        indices = [segment.index for segment in self.description.segments]
        filled = [self.path_of(index) for index in indices if self._finished[index].frames]
        source = self._conversion.reopen_source()
        with source:
            report = join_segments(filled, self._dst, source=source, settings=self._conversion.options)
        self._journal.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return report.frames_written

    # --- inside -----------------------------------------------------------------------------------------------------

    def _open_journal(self, stack: ExitStack, *, restart: bool) -> Journal:
        output = redacted(self._dst)
        try:
            self.folder.mkdir(exist_ok=True)
            stack.enter_context(FileLock(self.folder / "lock", what=f"path = {output!r}"))
            for path in self.folder.iterdir():
                if (
                    path.name.endswith(".part")
                    or _LEFT_BY_WORKERS.fullmatch(path.name)
                    or (restart and path.name != "lock")
                ):
                    path.unlink()
            sync_folder(self.folder.parent)
        except OSError as error:
            raise output_error(self._dst, error) from error
        return stack.enter_context(Journal(self.folder / "journal.sqlite", output=output))

    def _describe(self) -> JobDescription:
        source, options = self._conversion.source, self._options
        start = options.start or Fraction(0)
        file_start = source.origin_seconds - start
        end = options.end
        last = start + (source.info.duration_seconds or 0) if end is None else end
        cuts = cut_points(
            self._src,
            stream_index=source.info.stream_index,
            file_start=file_start,
            start=start,
            end=last,
            segment_seconds=self._segment_seconds,
            options=dict(options.input_options) or None,
        )
        return JobDescription(
            self._identity(),
            segments_between(cuts, start=options.start, end=end),
            source.origin_seconds,
            file_start,
        )

    def _identity(self) -> dict[str, str]:
        return job_identity(
            local_path(self._src), self._options, stylizer=self._conversion.stylizer, size=self._plan.output_size
        )

    def _check_identity(self) -> None:
        changed = differences(self.description.identity, self._identity())
        if changed:
            raise UsageError(
                f"path = {redacted(self._dst)!r} was started with other settings ({'; '.join(changed)}): give "
                "--restart to start over, or the same settings to resume"
            )

    def _whole_segments(self) -> dict[int, FinishedSegment]:
        """The finished segments whose files are intact."""
        finished = self._journal.finished()
        damaged = [i for i, segment in finished.items() if checksum(self.path_of(i)) != segment.checksum]
        self._journal.forget(damaged)
        return {i: segment for i, segment in finished.items() if i not in damaged}

    def _make(self, segments: Sequence[Segment], on_progress: Callable[[Progress], None] | None) -> ConversionReport:
        before = sum(segment.frames for segment in self._finished.values())

        def tell(progress: Progress) -> None:
            if on_progress is not None:
                on_progress(replace(progress, frames_done=before + progress.frames_done, frames_total=self._total))

        try:
            with (
                self._keeping(),
                open_part(
                    self._src, self._dst, self._options, segments, self.description, path_of=self.path_of, add=self.add
                ) as self._part,
            ):
                return self._part.run(on_progress=tell)
        except Cancelled as error:
            raise Cancelled(self._stopped_line()) from error
        finally:
            self._part = None

    def _report(self, reports: Sequence[ConversionReport], frames: int) -> ConversionReport:
        info = self._conversion.source.info
        notices = [notice for report in reports for notice in report.notices]
        kept = self._kept_line()
        if kept:
            notices.append(kept)
        base = reports[-1] if reports else None
        return ConversionReport(
            output=redacted(self._dst),
            frames_in=sum(report.frames_in for report in reports),
            frames_out=frames,
            frames_concealed=sum(report.frames_concealed for report in reports),
            frames_reused=sum(report.frames_reused for report in reports),
            elapsed_seconds=sum(report.elapsed_seconds for report in reports),
            first_frame_seconds=reports[0].first_frame_seconds if reports else 0.0,
            duration_seconds=info.duration_seconds,
            network=self._conversion.stylizer.description,
            notices=tuple(dict.fromkeys(notices)),
            statistics=base.statistics if base is not None else PipelineStatistics(0.0, ()),
        )

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """On a disk error, add to the message that finished segments are kept."""
        try:
            yield
        except OutputError as error:
            raise OutputError(f"{error}; {self._progress_words()}") from error

    def _kept_line(self) -> str | None:
        if not self._kept:
            return None
        return f"resumes where it stopped: {self._kept} of {len(self.description.segments)} segments are kept"

    def _stopped_line(self) -> str:
        return f"stopped before the end of {redacted(self._dst)!r}: {self._progress_words()}"

    def _progress_words(self) -> str:
        done, all_of_them = len(self._finished), len(self.description.segments)
        return f"{done} of {all_of_them} segments are kept, and the same command resumes"
