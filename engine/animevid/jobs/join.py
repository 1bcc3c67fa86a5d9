"""Joins coded segments into one video without re-encoding; other streams are copied from the source."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from animevid.errors import InputError
from animevid.io import Source
from animevid.io.network.protocols import Spec
from animevid.io.sink import SinkReport
from animevid.io.sinks.container import VideoSink
from animevid.jobs.packets import CodedPacket, read_frame_format, read_packets, read_stamps
from animevid.options import OutputOptions


def join_segments(
    paths: Sequence[Path], dst: Spec, *, source: Source, settings: OutputOptions | None = None
) -> SinkReport:
    """Write the video whose frames are in ``paths``; audio, subtitles, chapters and tags come from ``source``.

    ``source`` is the segments' whole source, not iterated yet.

    Raises:
        OutputError: the disk is full or the target cannot be written (nothing is left behind).
        DamagedSegment: a segment's file is cut off.
    """
    frame_format = read_frame_format(paths[0])
    if any(read_frame_format(path) != frame_format for path in paths[1:]):
        raise InputError("the segments' frames differ in format: the source changes midway; give --no-resume")
    with VideoSink(dst, template=source, settings=settings, frame_format=frame_format) as sink:
        base = sink.frame_format.time_base
        packets = in_order(paths)
        waiting = next(packets, None)
        for seconds in source.passing_packets():
            # Copy the other streams up to here, so that the output is interleaved like the source.
            limit = seconds - source.origin_seconds
            while waiting is not None and waiting.dts * base <= limit:
                sink.write_coded(waiting)
                waiting = next(packets, None)
        while waiting is not None:
            sink.write_coded(waiting)
            waiting = next(packets, None)
        return sink.finish()


def in_order(paths: Iterable[Path]) -> Iterator[CodedPacket]:
    """The packets of all segments, with decoding times as from a single encoder.

    A packet's decoding time is the display time of the frame ``delay`` places before it (as H.264 and H.265 encoders
    do); ``delay`` is that of the encoder with the most reordering. So times stay in order at the seams, where those of
    two encoders might overlap.
    """
    paths = list(paths)
    delay = max((reordering(read_stamps(path)) for path in paths), default=0)
    shown: deque[int] = deque()  # display times in order: the decoding times of the next packets
    for number, path in enumerate(paths):
        stamps = read_stamps(path)  # read again, one segment at a time, since a video may last hours
        if number == 0:
            # Before the first frame: use the encoder's own times.
            shown.extend(dts for _, dts in stamps[:delay])
        shown.extend(sorted(pts for pts, _ in stamps))
        for packet in read_packets(path):
            yield replace(packet, dts=min(shown.popleft(), packet.pts))


def reordering(stamps: Sequence[tuple[int, int]]) -> int:
    """How many packets, ``(pts, dts)`` each, are decoded before the first frame is shown."""
    first = min((pts for pts, _ in stamps), default=0)
    return sum(dts < first for _, dts in stamps)
