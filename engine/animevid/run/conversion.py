"""Plans and runs a conversion: source, stylizer and sink."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self, TypeAlias

from animevid.backends.threads import default_threads
from animevid.errors import Cancelled, InputError
from animevid.io import (
    Frame,
    ReconnectingSource,
    Sink,
    Source,
    may_come_back,
    open_sink,
    open_source,
)
from animevid.io.network.protocols import is_local_file, is_published
from animevid.io.open import keeps_pixel_shape, reads_images
from animevid.io.pacing import Pacer
from animevid.io.sinks.published import PublishedSink
from animevid.options import ConversionOptions
from animevid.redaction import redacted
from animevid.render.renderer import AnyRenderer
from animevid.render.stylizer import Stylizer
from animevid.render.temporal import Filter, FrameReuse, TemporalFilter
from animevid.run.output_frames import OutputFrames
from animevid.run.report import ConversionPlan, ConversionReport, Progress, describe_source
from animevid.run.session import FILES, Session, stylized
from animevid.styles.trial import ended_by_ctrl_c

PathLike: TypeAlias = str | os.PathLike[str]

#: Warn when publishing lags by more than this.
_WORTH_TELLING_SECONDS = 1.0
#: More would cost more memory than they save time.
_MAX_AT_ONCE = 4


def frames_at_once(threads: int) -> int:
    """How many frames a file's conversion keeps in the network, on ``threads`` (0: all cores)."""
    return min(threads or default_threads(), _MAX_AT_ONCE)


def open_stylizer(options: ConversionOptions, *, concurrency: int = 1) -> Stylizer:
    """The stylizer that ``options`` ask for; an open one is returned as it is.

    Args:
        options (ConversionOptions): style, backend and their options.
        concurrency (int): frames in the network at once. Default: 1.

    Raises:
        StyleError, BackendError, UsageError: see ``Stylizer``.
    """
    if isinstance(options.style, Stylizer):
        return options.style
    return Stylizer.open(options, options, concurrency=concurrency)


def renderer_for(stylizer: Stylizer, options: ConversionOptions, *, separate_images: bool = False) -> AnyRenderer:
    """``stylizer`` with the filters of ``options``, for one stream; separate images get no temporal filter."""
    filtered: Stylizer | Filter = TemporalFilter(stylizer) if options.deflicker and not separate_images else stylizer
    return FrameReuse(filtered) if options.skip_static else filtered


class Conversion:
    """One opened conversion: ``plan`` says what ``run`` will do. A context manager.

    Opening reads the source's headers and loads the style; nothing is written before ``run``. ``open_sink`` opens the
    output; default: the function of that name.
    """

    def __init__(
        self,
        src: PathLike,
        dst: PathLike,
        options: ConversionOptions | None = None,
        *,
        open_sink: Callable[..., Sink] = open_sink,
    ) -> None:
        self._src, self._make_sink = src, open_sink
        options = options or ConversionOptions()
        self._are_images = reads_images(src)
        if options.quality is None and self._are_images:
            options = replace(options, quality="high")
        self._options = options
        self._dst = os.fspath(dst)
        self._stopped = threading.Event()
        self._session: Session[Frame] | None = None
        self._lasting_notices: tuple[str, ...] = ()
        self._pacer: Pacer | None = None
        self._captions_lost = False
        # Load the style while the source opens: both take time, mostly in native code.
        with ExitStack() as stack, ThreadPoolExecutor(1, "animevid-open") as executor, ended_by_ctrl_c():
            opening = executor.submit(open_stylizer, options, concurrency=frames_at_once(options.threads))
            if not isinstance(options.style, Stylizer):
                stack.callback(_close_if_opened, opening)
            device_index = opening.result().device_index if self._may_stay_on_device(src) else None
            self._source = stack.enter_context(self._open_source(src, device_index=device_index))
            self._on_device = self._source.is_on_device
            are_squared = self._source.info.container not in ("image", "images") and not keeps_pixel_shape(dst, options)
            self._output_frames = OutputFrames(options, self._source, square_pixels=are_squared)
            self._sink = stack.enter_context(self._open_sink())
            self._separate_images = self._sink.separate_images
            self._stylizer = opening.result()
            if device_index is not None:
                self._stylizer.keep_results_on_device(self._sink.encodes_on_device)
            self._stack = stack.pop_all()

    @property
    def is_endless(self) -> bool:
        """True for a source that may never end by itself (a live stream): ``stop`` is then the normal end."""
        return not self._source.is_finite

    @property
    def source(self) -> Source:
        """The source, which the conversion closes."""
        return self._source

    @property
    def sink(self) -> Sink:
        """The sink, which the conversion closes."""
        return self._sink

    @property
    def stylizer(self) -> Stylizer:
        """The stylizer, which the conversion closes unless it came with the options."""
        return self._stylizer

    @property
    def options(self) -> ConversionOptions:
        """The options."""
        return self._options

    def reopen_source(self) -> Source:
        """The source opened again from its beginning; the caller closes it."""
        return self._open_source(self._src, device_index=None)

    @property
    def plan(self) -> ConversionPlan:
        """What ``run`` will do."""
        source, sink = self._source, self._sink
        return ConversionPlan(
            source=describe_source(source.info),
            output=redacted(self._dst),
            style=self._stylizer.card.name,
            quality=self._stylizer.card.quality,
            network=self._stylizer.description,
            size=self._output_frames.size,
            net_size=self._stylizer.net_size(*self._output_frames.size),
            output_size=self._output_frames.output_size,
            frames_total=source.info.frame_count,
            encoder=sink.description,
            decisions=sink.decision_lines,
            notices=self._notices(),
        )

    def run(self, *, on_progress: Callable[[Progress], None] | None = None) -> ConversionReport:
        """Convert everything. ``on_progress`` is called a few times a second in this thread, and at the end.

        Raises:
            AnimevidError: any part failed; an existing output is then unchanged.
        """
        source, sink, options = self._source, self._sink, self._options
        on_device, frames = self._on_device, self._output_frames
        renderer = renderer_for(self._stylizer, options, separate_images=self._separate_images)
        total = source.info.frame_count
        started_at = first_frame_at = time.perf_counter()

        self._pacer = pacer = self._open_pacer()

        def encode(frame: Frame) -> None:
            nonlocal first_frame_at
            if pacer is not None:
                pacer.hold(frame.pts_seconds)
            self._captions_lost |= bool(frame.captions) and not sink.keeps_captions
            sink.write(frame)
            if sink.frames_written == 1:
                first_frame_at = time.perf_counter()
                if pacer is not None:
                    pacer.restart(frame.pts_seconds)  # do not count the time it took to connect

        self._session = session = Session(
            self._frames(),
            renderer,
            [encode],
            FILES,
            # Frames that stay on the device are not resized by the CPU.
            fit=None if on_device else frames.fit_each if self._separate_images else frames.fit,
            finish=stylized if on_device or options.compare is None else frames.compared,
        )
        watch = None
        if on_progress is not None:
            watch = lambda statistics: on_progress(Progress(sink.frames_written, total, statistics))  # noqa: E731
        try:
            statistics = session.run(watch=watch)
        except Cancelled as error:
            raise Cancelled(f"stopped before the end: {redacted(self._dst)!r} is not written") from error
        written = sink.finish()
        return ConversionReport(
            output=written.path,
            frames_in=source.frames_decoded,
            frames_out=written.frames_written,
            frames_concealed=source.frames_concealed,
            frames_reused=renderer.skipped if isinstance(renderer, FrameReuse) else 0,
            elapsed_seconds=time.perf_counter() - started_at,
            first_frame_seconds=first_frame_at - started_at,
            duration_seconds=None if source.info.is_still else written.duration_seconds,
            network=self._stylizer.description,
            notices=self._notices(),
            statistics=statistics,
        )

    def stop(self) -> None:
        """End the source after the current frame and finish the output as usual. From any thread or signal handler."""
        self._stopped.set()

    def close(self) -> None:
        """Close everything; an unfinished output is removed. Safe to call twice."""
        self._stack.close()
        # Its stages refer to this object: without a cycle, decoder and encoder are freed now, not at a collection.
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open_sink(self) -> Sink:
        options = self._options
        itself = weakref.ref(self)

        def should_stop() -> bool:
            conversion = itself()  # the sink must not keep its owner alive
            return conversion is None or conversion._should_stop()

        def connect() -> Sink:
            return self._make_sink(
                self._dst,
                template=self._source,
                settings=options,
                frame_format=self._output_frames.frame_format,
                should_stop=should_stop,
            )

        first = connect()
        if not is_published(self._dst) or options.reconnect_seconds <= 0:
            return first
        return PublishedSink(
            first,
            connect,
            template=self._source,
            patience_seconds=options.reconnect_seconds,
            drops=self._source.is_live,
            should_stop=self._should_stop,
            on_back=lambda pts_seconds: self._pacer.restart(pts_seconds) if self._pacer is not None else None,
        )

    def _open_pacer(self) -> Pacer | None:
        """Paces frames for a live server; ``None`` where the source is live or the output is not published."""
        if not self._options.real_time or self._source.is_live or not is_published(self._dst):
            return None
        return Pacer(should_stop=self._should_stop)

    def _should_stop(self) -> bool:
        """Whether waits for pacing or for a server should end."""
        return self._stopped.is_set() or self._session is None or self._session.is_ending

    def _may_stay_on_device(self, src: PathLike) -> bool:
        """Whether frames may stay in GPU memory, provided that decoder, network and encoder are on one GPU."""
        options = self._options
        wanted = options.encoder.hardware in ("auto", "nvenc")
        wanted = wanted and keeps_pixel_shape(self._dst, options)
        return wanted and options.compare is None and options.size is None and is_local_file(src)

    def _open_source(self, src: PathLike, *, device_index: int | None) -> Source:
        options = self._options

        def open_once(*, device_index: int | None = None) -> Source:
            return open_source(src, options, device_index=device_index, are_images=self._are_images)

        source = open_once(device_index=device_index)
        if device_index is not None and not source.is_on_device:
            # Open it again for a decoder with all threads; keep the reason.
            self._lasting_notices = source.info.notices
            source.close()
            source = open_once()
        if options.reconnect_seconds > 0 and may_come_back(source):
            return ReconnectingSource(source, open_once, patience_seconds=options.reconnect_seconds, stop=self._stopped)
        return source

    def _frames(self) -> Iterator[Frame]:
        self._refuse_losses()
        strict, stopped = self._options.strict, self._stopped.is_set
        for frame in self._source:
            if stopped():
                return
            if strict:
                self._refuse_losses()
            yield frame
        self._refuse_losses()

    def _refuse_losses(self) -> None:
        """With ``strict``, raise what would otherwise be a notice."""
        source = self._source
        if not self._options.strict or not (source.lost_images or source.frames_concealed):
            return
        counted = f"{source.frames_concealed} damaged frame(s) among the first {source.frames_decoded}"
        what = source.lost_images[0] if source.lost_images else counted
        raise InputError(f"{what}; repair or remove it, or convert without --strict (strict=False)")

    def _notices(self) -> tuple[str, ...]:
        notices = [
            *self._lasting_notices,
            *self._source.info.notices,
            *self._source.notices_so_far,
            *self._sink.notices,
        ]
        notices += self._output_frames.notices
        if self._captions_lost:
            notices.append("the captions inside the frames (CEA-608/708) are lost: only H.264 and HEVC hold them")
        if self._source.read_error:
            notices.append(f"reading stopped early: {self._source.read_error}")
        if self._pacer is not None and self._pacer.behind_seconds > _WORTH_TELLING_SECONDS:
            notices.append(
                f"published up to {self._pacer.behind_seconds:.0f} s late: this machine is too slow for it; "
                "a smaller --size is quicker"
            )
        return tuple(dict.fromkeys(notices))


def _close_if_opened(opening: Future[Stylizer]) -> None:
    if opening.exception() is None:
        opening.result().close()
