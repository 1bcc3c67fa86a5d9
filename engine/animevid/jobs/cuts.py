"""Chooses the cuts between segments: key frames of the source, about every half minute."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import av

from animevid.io.clock import ticks_from_seconds
from animevid.io.network.protocols import Spec, open_input
from animevid.io.pyav import to_fraction

if TYPE_CHECKING:
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)

DEFAULT_SEGMENT_SECONDS = Fraction(30)
#: The lead-in: this much before a segment is stylized but not written, until the temporal filter (``pixels.deflicker``)
#: has forgotten its start (a still cell keeps 0.9 of its state per frame).
LEAD_IN_SECONDS = Fraction(2)


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames in ``[start, end)``, in seconds as ``start_seconds`` of a conversion; ``None``: from or to the end."""

    index: int
    start_seconds: Fraction | None
    end_seconds: Fraction | None


def segments_between(cuts: Sequence[Fraction], *, start: Fraction | None, end: Fraction | None) -> tuple[Segment, ...]:
    """The segments between ``cuts``, from ``start`` to ``end``."""
    edges = [start, *cuts, end]
    return tuple(Segment(index, *edge) for index, edge in enumerate(pairwise(edges)))


def cut_points(
    spec: Spec,
    *,
    stream_index: int,
    file_start: Fraction,
    start: Fraction,
    end: Fraction,
    segment_seconds: Fraction = DEFAULT_SEGMENT_SECONDS,
    options: dict[str, str] | None = None,
) -> list[Fraction]:
    """Times, in seconds after ``file_start``, of frames at which the source can be cut.

    Each is that of a key frame if there is one nearby, else of another frame. Only the parts of the file around the
    cuts are read. A source without time stamps has no cuts.

    Args:
        spec: the video file.
        stream_index: the container's index of the video stream.
        file_start: the container's time at the start of the video.
        start: where the first segment begins, in seconds.
        end: where the last one ends, in seconds.
        segment_seconds: the target length of a segment.
    """
    container = open_input(spec, options=options)
    cuts: list[Fraction] = []
    try:
        stream = container.streams[stream_index]
        base = to_fraction(stream.time_base) or Fraction(1, 1_000_000)
        first = Fraction(0) if stream.start_time is None else stream.start_time * base - file_start
        last = max(start, first)  # the video may begin late, and no segment may be empty
        wanted = last + segment_seconds
        while wanted < end - segment_seconds / 2:
            container.seek(ticks_from_seconds(wanted + file_start, base), stream=stream, backward=True)
            found = _first_cut(
                container.demux(stream), base, wanted + file_start, last + file_start, segment_seconds=segment_seconds
            )
            if found is None or found - file_start >= end:
                break
            last = found - file_start
            cuts.append(last)
            wanted = last + segment_seconds
    except av.FFmpegError as error:
        log.debug("no more cuts: %s", error)
    finally:
        container.close()
    return cuts


def _first_cut(
    packets: Iterable[MediaPacket], base: Fraction, wanted: Fraction, last: Fraction, *, segment_seconds: Fraction
) -> Fraction | None:
    """The first key frame well after ``last``; without one within a segment's length, a frame after ``wanted``."""
    other: Fraction | None = None
    for packet in packets:
        if packet.pts is None or packet.is_discard or not packet.size:
            continue
        seconds = packet.pts * base
        if packet.is_keyframe and seconds > last + segment_seconds / 2:
            return Fraction(seconds)
        if other is None and seconds >= wanted:
            other = seconds
        if other is not None and seconds > wanted + segment_seconds:
            break
    return other
