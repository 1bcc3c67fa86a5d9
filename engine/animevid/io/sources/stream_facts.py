"""Properties of a container and its streams, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from av.stream import Disposition

from animevid.io.colour import colour_from_tags
from animevid.io.immersive import immersive_of
from animevid.io.orientation import Orientation
from animevid.io.pyav import MICROSECOND, time_base_of, to_fraction
from animevid.io.side_data import side_data_of
from animevid.io.source import Chapter, SourceInfo, StreamInfo
from animevid.pixels.colour import Colour
from animevid.pixels.device import software_format
from animevid.pixels.planes import PlanesYUV420
from animevid.redaction import printable

if TYPE_CHECKING:
    import av
    from av.stream import Stream
    from av.video.stream import VideoStream

    from animevid.io.network.protocols import MediaInput
    from animevid.io.pyav import Rational

#: Anamorphic video comes near 3.
_WIDEST_PIXEL = Fraction(16)
_PROBED_INDEX_ENTRIES = 600


def describe_stream(stream: Stream) -> StreamInfo:
    """The properties of a stream of an open ``av`` container."""
    context = stream.codec_context
    # A stream that FFmpeg cannot classify (an unknown elementary stream of MPEG-TS) has no codec name.
    codec = context.codec.canonical_name if context is not None else getattr(stream, "name", None) or "unknown"
    return StreamInfo(
        index=stream.index,
        kind=stream.type or "unknown",
        codec=codec,
        language=_text(stream, "language"),
        title=_text(stream, "title"),
        is_default=bool(stream.disposition & Disposition.default),
        is_cover=bool(stream.disposition & Disposition.attached_pic),
    )


def _text(stream: Stream, key: str) -> str | None:
    """A tag for messages: a damaged file may hold control characters."""
    value = stream.metadata.get(key)
    return None if value is None else printable(value)


def container_colour(stream: VideoStream) -> Colour:
    """The colour tags that a container declares for a video stream.

    Raises:
        UnsupportedInputError: a matrix that is not supported.
    """
    context = stream.codec_context
    return colour_from_tags(
        matrix=context.colorspace,
        colour_range=context.color_range,
        primaries=context.color_primaries,
        transfer=context.color_trc,
        pixel_format=context.pix_fmt or "",
    )


def duration_seconds_of(container: MediaInput, stream: Stream) -> Fraction | None:
    if stream.duration:
        return stream.duration * time_base_of(stream)
    if container.duration:
        return Fraction(container.duration) * MICROSECOND
    return None


def is_variable_rate(stream: Stream) -> bool:
    """Whether the index (or, without one, the two rates FFmpeg derives) shows steps that differ by more than a tick."""
    entries = stream.index_entries
    stamps = sorted([entries[i].timestamp for i in range(min(len(entries), _PROBED_INDEX_ENTRIES))])
    steps = [later - earlier for earlier, later in pairwise(stamps)]
    if len(steps) > 1 and len(entries) == stream.frames:
        return bool(max(steps) - min(steps) > 1 and max(steps) > 1.1 * min(steps))
    average, base = to_fraction(stream.average_rate), to_fraction(stream.base_rate)
    return bool(average and base and abs(average - base) > base / 100)


def chapters_of(container: MediaInput) -> Iterator[Chapter]:
    for chapter in container.chapters():
        base = to_fraction(chapter["time_base"]) or MICROSECOND
        metadata = chapter["metadata"]
        yield Chapter(
            chapter["start"] * base, chapter["end"] * base, metadata.get("title", ""), tuple(sorted(metadata.items()))
        )


def pixel_shape(value: Rational | None) -> Fraction:
    """The sample aspect ratio; 1 if it is unknown or implausible (a damaged header)."""
    ratio = to_fraction(value)
    return ratio if ratio is not None and 1 / _WIDEST_PIXEL <= ratio <= _WIDEST_PIXEL else Fraction(1)


def describe_source(
    container: MediaInput,
    stream: VideoStream,
    frame: av.VideoFrame,
    *,
    planes: PlanesYUV420,
    orientation: Orientation,
    upright: bool,
    start: Fraction | None,
    end: Fraction | None,
    time_base: Fraction,
    notices: tuple[str, ...],
) -> SourceInfo:
    """The properties of a video.

    Args:
        container, stream, frame: PyAV objects; the frame is the first decoded one.
        planes (PlanesYUV420): that frame as planes, before it is turned upright.
        orientation (Orientation): the orientation of the video.
        upright (bool): whether frames are turned upright.
        start, end (Fraction | None): in seconds, if only a part is read.
        time_base (Fraction): the stream's time base, in seconds.
        notices (tuple[str, ...]): one-line remarks for users.
    """
    width, height = planes.width, planes.height
    turned = upright and orientation.swaps_sides
    ratio = pixel_shape(stream.sample_aspect_ratio)
    rate = to_fraction(stream.average_rate) or to_fraction(stream.guessed_rate)
    duration = duration_seconds_of(container, stream)
    count = stream.frames or (round(duration * rate) if duration and rate else None)
    if start is not None or end is not None:
        first, last = start or Fraction(0), end
        if duration is not None:
            last = duration if last is None else min(last, duration)
        duration = last - first if last is not None else None
        count = round(duration * rate) if duration is not None and rate else None
    return SourceInfo(
        width=frame.width,
        height=frame.height,
        display_width=height if turned else width,
        display_height=width if turned else height,
        rotation_degrees=orientation.rotation_degrees,
        sample_aspect_ratio=1 / ratio if turned else ratio,
        average_rate=rate,
        is_variable_rate=is_variable_rate(stream),
        time_base=time_base,
        duration_seconds=duration,
        frame_count=count,
        colour=planes.colour,
        bit_depth=planes.bit_depth,
        pixel_format=software_format(frame).name,
        has_alpha=planes.alpha is not None,
        codec=stream.codec_context.codec.canonical_name,
        container=container.format.name,
        stream_index=stream.index,
        other_streams=tuple(describe_stream(other) for other in container.streams if other.index != stream.index),
        chapters=tuple(chapters_of(container)),
        metadata=dict(container.metadata),
        immersive=immersive_of(side_data_of(frame, codec=stream.codec_context.codec.canonical_name)),
        notices=notices,
    )
