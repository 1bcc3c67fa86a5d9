"""Converts a run of neighbouring segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from animevid.io import FrameFormat, Sink, Source, VideoSink
from animevid.jobs.cuts import LEAD_IN_SECONDS, Segment
from animevid.jobs.journal import JobDescription
from animevid.jobs.segment_sink import FinishedSegment, SegmentSink
from animevid.options import ConversionOptions, OutputOptions
from animevid.run.conversion import Conversion, PathLike


def open_part(
    src: PathLike,
    dst: PathLike,
    options: ConversionOptions,
    segments: Sequence[Segment],
    description: JobDescription,
    *,
    path_of: Callable[[int], Path],
    add: Callable[[FinishedSegment], None],
) -> Conversion:
    """The conversion of neighbouring ``segments`` of a job, with a lead-in, into one file each.

    ``options`` are those of the whole job; ``add`` is called with each segment on disk.
    """
    first = options.start
    start = segments[0].start_seconds
    if segments[0].index > 0 and start is not None:
        lead = start - LEAD_IN_SECONDS
        start = max(lead, first or Fraction(0))

    def open_segments(
        path: PathLike,
        *,
        template: Source,
        settings: OutputOptions,
        frame_format: FrameFormat | None,
        should_stop: Callable[[], bool],
    ) -> Sink:
        planned = VideoSink(
            path, template=template, settings=settings, frame_format=frame_format, should_stop=should_stop
        )
        template.packets.subscribe(frozenset())  # other streams are copied in the final join
        return SegmentSink(
            planned,
            segments,
            origin_seconds=description.origin_seconds,
            file_start=description.file_start,
            path_of=path_of,
            on_segment=add,
        )

    return Conversion(
        src,
        dst,
        replace(options, start_seconds=start, end_seconds=segments[-1].end_seconds),
        open_sink=open_segments,
    )
