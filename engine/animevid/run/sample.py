"""Samples of a video: one frame as an image, or ten frames to estimate time and size of the whole."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from animevid.errors import UsageError
from animevid.frame import Frame
from animevid.io import open_source
from animevid.io.network.protocols import is_local_file
from animevid.io.sink import Sink
from animevid.io.sinks.images import ImageSink
from animevid.io.source import Source
from animevid.options import ConversionOptions
from animevid.redaction import redacted
from animevid.run.conversion import Conversion, PathLike
from animevid.run.report import ConversionReport

_SAMPLE_FRAMES = 10
#: Encoders insert about one key frame in this many frames, and more at scene changes.
_GROUP_FRAMES = 250


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rough estimate of a conversion: seconds of work and bytes of output."""

    work_seconds: float
    size_bytes: int


def write_one_frame(
    src: PathLike,
    dst: PathLike,
    options: ConversionOptions,
    *,
    number: int | None = None,
    at_seconds: Fraction | None = None,
) -> ConversionReport:
    """Write one stylized frame of ``src`` into the image ``dst``.

    Args:
        src: a video or an image.
        dst: an image file; the suffix gives its format.
        options: as for a conversion; ``number`` and ``at_seconds`` count from the video's start.
        number: index of the frame, from 0; give this or ``at_seconds``.
        at_seconds: the first frame at or after this time.

    Raises:
        UsageError: ``src`` ends before that frame.
        AnimevidError: as a conversion.
    """
    asked = replace(options, start_seconds=at_seconds, end_seconds=None)
    try:
        opened = open_source(src, asked)
    except UsageError as error:  # its text names a start time that the user did not give
        raise error if at_seconds is None else UsageError(f"--preview {float(at_seconds):g}: {error}") from None
    with opened as source:
        is_still = source.info.is_still
        frames = iter(source)
        frame = _nth(frames, number or 0)
        if frame is None:
            ends = f"{redacted(os.fspath(src))!r} ends after {source.frames_decoded} frames"
            raise UsageError(f"{ends}: give an earlier --preview")
        after = next(frames, None)
    if not is_still:
        end = None if after is None else after.pts_seconds
        asked = replace(asked, start_seconds=frame.pts_seconds, end_seconds=end)
    asked = replace(asked, copy_streams=False, deflicker=False, skip_static=False)

    def open_image(path: PathLike, *, template: Source, settings: ConversionOptions, **_: object) -> Sink:
        return ImageSink(path, template=template, overwrite=settings.overwrite)

    with Conversion(src, dst, asked, open_sink=open_image) as conversion:
        return conversion.run()


def estimate(src: PathLike, dst: PathLike, conversion: Conversion) -> Estimate | None:
    """The estimate for ``conversion`` of ``src`` to ``dst``, from ten frames; ``None`` where it cannot be estimated.

    Raises:
        AnimevidError: the frames cannot be read, stylized or encoded.
    """
    options, info = conversion.options, conversion.source.info
    total, rate = info.frame_count, info.average_rate
    if not (total and rate and is_local_file(src) and is_local_file(dst)) or info.is_still:
        return None
    start = (options.start or Fraction(0)) + total / rate / 3
    end = start + _SAMPLE_FRAMES / rate
    asked = replace(
        options, style=conversion.stylizer, start_seconds=start, end_seconds=end, copy_streams=False, overwrite=True
    )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / Path(os.fspath(dst)).name
        with Conversion(src, target, asked) as sample:
            report = sample.run()
        size_bytes = _video_bytes(target, report.frames_out, total)
    each = (report.elapsed_seconds - report.first_frame_seconds) / max(1, report.frames_out - 1)
    if options.copy_streams:
        size_bytes += _sound_bytes(src, total / rate)
    return Estimate(report.first_frame_seconds + each * total, size_bytes)


def _nth(frames: Iterator[Frame], number: int) -> Frame | None:
    for passed, frame in enumerate(frames):
        if passed == number:
            return frame
    return None


def _video_bytes(target: Path, frames: int, total: int) -> int:
    """The estimated size of ``total`` frames, estimated from ``frames`` of them in ``target``."""
    if not target.is_file() or target.suffix.lower() == ".m3u8":
        return sum(path.stat().st_size for path in target.parent.rglob("*") if path.is_file()) * total // frames
    with av.open(str(target)) as container:
        packets = [(packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    whole = [size for size, is_whole in packets if is_whole]
    others = [size for size, is_whole in packets if not is_whole]
    if not whole or not others:
        return target.stat().st_size * total // frames
    groups = math.ceil(total / _GROUP_FRAMES)
    return groups * sum(whole) // len(whole) + max(0, total - groups) * sum(others) // len(others)


def _sound_bytes(src: PathLike, seconds: Fraction) -> int:
    try:
        with av.open(os.fspath(src)) as container:
            return sum(int((stream.bit_rate or 0) * seconds) // 8 for stream in container.streams.audio)
    except (av.FFmpegError, OSError):
        return 0
