"""Joins coded segments to one film: no picture is encoded again, all else is carried over from the source."""

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
from animevid.jobs.packets import CodedPicture, read_packets, read_picture_kind, read_stamps
from animevid.options import OutputOptions


def join_segments(
    paths: Sequence[Path], dst: Spec, *, source: Source, settings: OutputOptions | None = None
) -> SinkReport:
    """Write the film whose pictures lie in ``paths``; sound, subtitles, chapters and tags come from ``source``.

    ``source`` is the whole of what the segments were made of, not iterated yet.

    Raises:
        OutputError: the disk is full or the target cannot be written (nothing is left behind).
        DamagedSegment: a segment's file is cut off.
    """
    picture = read_picture_kind(paths[0])
    if any(read_picture_kind(path) != picture for path in paths[1:]):
        raise InputError("the segments' pictures differ in kind: the source changes within the film; give --no-resume")
    with VideoSink(dst, template=source, settings=settings, picture=picture) as sink:
        base = sink.picture.time_base
        packets = in_order(paths)
        waiting = next(packets, None)
        for seconds in source.passing_packets():
            # What the source was to decode by now has its drawing by now: the output is as interleaved as the source.
            limit = seconds - source.origin_seconds
            while waiting is not None and waiting.dts * base <= limit:
                sink.write_coded(waiting)
                waiting = next(packets, None)
        while waiting is not None:
            sink.write_coded(waiting)
            waiting = next(packets, None)
        return sink.finish()


def in_order(paths: Iterable[Path]) -> Iterator[CodedPicture]:
    """The packets of all segments with the decoding times of one encoder.

    A packet is decoded when, of all pictures, the one ``delay`` places before it is shown (H.264 and H.265 encoders
    number so); ``delay`` is that of the encoder with the most reordering. At a seam these times run on, where those of
    two encoders might overlap.
    """
    paths = list(paths)
    delay = max((reordering(read_stamps(path)) for path in paths), default=0)
    shown: deque[int] = deque()  # times of display, in order, that the next packets are to be decoded at
    for number, path in enumerate(paths):
        stamps = read_stamps(path)  # again: of a film of hours, those of one segment at a time
        if number == 0:
            # Before the film begins there is no picture to go by: the encoder's own times lead in.
            shown.extend(dts for _, dts in stamps[:delay])
        shown.extend(sorted(pts for pts, _ in stamps))
        for packet in read_packets(path):
            yield replace(packet, dts=min(shown.popleft(), packet.pts))


def reordering(stamps: Sequence[tuple[int, int]]) -> int:
    """How many packets, ``(pts, dts)`` each, are decoded before the first picture is shown."""
    first = min((pts for pts, _ in stamps), default=0)
    return sum(dts < first for _, dts in stamps)
