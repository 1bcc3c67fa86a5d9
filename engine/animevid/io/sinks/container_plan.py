"""The decisions about a video output that are made before its first frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.errors import UsageError
from animevid.files import check_target, takes_a_stream
from animevid.frame import Frame
from animevid.io.clock import output_time_base, ticks_from_seconds
from animevid.io.containers import muxer_for
from animevid.io.encoders import EncoderPlan, FrameFormat
from animevid.io.network.protocols import Spec, is_utf8, local_path, output_url
from animevid.io.source import Source
from animevid.io.streams import (
    StreamAction,
    StreamDecision,
    decide_streams,
)
from animevid.io.tags import lost_tags
from animevid.options import OutputOptions

if TYPE_CHECKING:
    from av.container.core import Chapter as ContainerChapter

    from animevid.io.packets import MediaPacket

#: A video-on-demand playlist (RFC 8216) with independently decodable segments of about this many seconds.
PLAYLIST_OPTIONS = {"hls_time": "6", "hls_playlist_type": "vod", "hls_flags": "independent_segments"}
#: No encoder reorders frames over this many ticks.
_IMPLAUSIBLE_TICKS = 1 << 32
#: Maximum distance of key frames in a published stream: a new viewer waits for the next one.
_MAX_WAIT_TO_TUNE_IN = Fraction(2)


def _for_playlist(decision: StreamDecision) -> StreamDecision:
    """``decision`` for a playlist, which holds only audio beside the video."""
    if decision.stream.kind == "audio" or decision.action is StreamAction.DROP:
        return decision
    return StreamDecision(decision.stream, StreamAction.DROP, reason="a playlist holds video and audio")


def easy_to_tune_in(settings: OutputOptions, frame_format: FrameFormat) -> OutputOptions:
    """``settings`` with key frames frequent enough for live viewers, unless the caller set their distance."""
    distance = max(1, round((frame_format.rate or 25) * _MAX_WAIT_TO_TUNE_IN))
    options = {"g": str(distance), **dict(settings.encoder.options)}
    return replace(settings, encoder=replace(settings.encoder, options=tuple(options.items())))


def frame_format_of(source: Source) -> FrameFormat:
    """The format in which ``source`` passes frames to an encoder."""
    info = source.info
    return FrameFormat(
        width=info.display_width,
        height=info.display_height,
        bit_depth=info.bit_depth,
        has_alpha=info.has_alpha,
        colour=info.colour,
        rate=info.average_rate,
        time_base=output_time_base(info.time_base, rate=info.average_rate),
        sample_aspect_ratio=info.sample_aspect_ratio,
    )


def shifted_chapters(source: Source) -> list[ContainerChapter]:
    """The chapters of a source's cut on the output's clock, in milliseconds (exact in MP4 and Matroska)."""
    base = Fraction(1, 1000)
    chapters: list[ContainerChapter] = []
    for number, chapter in enumerate(source.info.chapters):
        start = max(chapter.start_seconds, source.origin_seconds) - source.origin_seconds
        end = chapter.end_seconds - source.origin_seconds
        if source.end_seconds is not None:
            end = min(end, source.end_seconds - source.origin_seconds)
        if end > start:
            chapters.append(
                {
                    "id": number,
                    "start": ticks_from_seconds(start, base),
                    "end": ticks_from_seconds(end, base),
                    "time_base": base,
                    "metadata": dict(chapter.metadata),
                }
            )
    return chapters


def muxer_options(
    muxer: str, settings: OutputOptions, *, tick: Fraction, is_file: bool, tags: Mapping[str, str]
) -> dict[str, str]:
    """The options of FFmpeg's ``muxer``; the caller's own take precedence.

    Args:
        muxer (str): its name.
        settings (OutputOptions): the caller's options.
        tick (Fraction): the video's time base, in seconds.
        is_file (bool): whether the output is seekable.
        tags (Mapping[str, str]): the video's metadata.
    """
    options = dict(settings.muxer_options)
    if muxer == "rtsp":
        options.setdefault("rtsp_transport", "tcp")  # as for reading: a lost packet damages frames
    if muxer in ("mp4", "mov"):
        fragments = "+frag_keyframe+empty_moov+default_base_moof"
        options.setdefault("movflags", "+faststart" if is_file else fragments)
        if any(key.startswith(("com.apple.", "com.android.", "com.samsung.")) for key in tags) or (
            muxer == "mp4" and not tags.keys().isdisjoint(("make", "model"))
        ):
            # MP4 and MOV store a phone's make, model and location only under their full names; MP4 has none for
            # cameras.
            options["movflags"] += "+use_metadata_tags"
        # Edit lists, which store the streams' start times, use this time scale (default: milliseconds).
        options.setdefault("movie_timescale", str(min(max(tick.denominator, 1000), 1_000_000)))
    return options


def tags_lost(template: Source | None, settings: OutputOptions, *, muxer: str) -> tuple[str, ...]:
    """One line about the tags of ``template`` that ``muxer`` cannot hold."""
    tags = template.info.metadata if template is not None else {}
    options = muxer_options(muxer, settings, tick=Fraction(1, 1000), is_file=True, tags=tags)
    return lost_tags(tags, muxer=muxer, holds_any="use_metadata_tags" in options.get("movflags", ""))


def decide_for(template: Source, *, muxer: str, container_format: str) -> tuple[StreamDecision, ...]:
    """The decisions on the template's other streams in ``muxer``, whose streams are in a ``container_format``."""
    decisions = decide_streams(template, muxer=container_format)
    return tuple(map(_for_playlist, decisions)) if muxer == "hls" else decisions


def where_to(path: Spec, settings: OutputOptions, *, template: Source | None) -> tuple[Path | None, str, str]:
    """The file to write (``None``: a stream), the URL of a stream, and the muxer.

    Raises:
        UsageError: a suffix that is not a video container's.
        OutputError: the target exists, or cannot be written.
    """
    url = output_url(path)
    if url is not None:
        return None, url[0], settings.muxer or url[1]
    target, muxer = local_path(path), settings.muxer or muxer_for(path)
    if takes_a_stream(target):
        check_target(target, overwrite=True)
        return None, f"file:{target}", muxer
    check_target(target, overwrite=settings.overwrite, source=template.spec if template is not None else None)
    return target, "", muxer


def check_playlist(target: Path | None) -> None:
    """Raises:
    UsageError: not a valid name for a playlist and its segments.
    """
    if target is None or target.suffix.lower() != ".m3u8":
        raise UsageError("muxer = 'hls' writes a playlist and its segments beside it: give a file.m3u8")
    if not is_utf8(target):
        raise UsageError(f"path = {str(target)!r}: a playlist's name and folder must be UTF-8: rename")
    if "%" in str(target):
        raise UsageError(f"path = {str(target)!r}: a % has a meaning in names of segments; leave it out")


def check_size(frame: Frame, frame_format: FrameFormat) -> None:
    """Raises:
    UsageError: ``frame`` is of another size than ``frame_format``.
    """
    height, width = frame.planes.y.shape
    if (width, height) != (frame_format.width, frame_format.height):
        raise UsageError(
            f"frame {frame.index} is {width}x{height}, the first one was "
            f"{frame_format.width}x{frame_format.height}: the frame size must not change within an output"
        )


def correct_decoding_times(packets: Iterable[MediaPacket]) -> None:
    """Repair absurd decoding times in an encoder's packets: x265 leaves them uninitialized in very short videos."""
    for packet in packets:
        if packet.dts is not None and packet.pts is not None and not 0 <= packet.pts - packet.dts < _IMPLAUSIBLE_TICKS:
            packet.dts = packet.pts


def frame_format_after(template: Source | None) -> FrameFormat:
    """The format in which ``template`` passes frames to an encoder.

    Raises:
        UsageError: there is none.
    """
    if template is None:
        raise UsageError("a VideoSink needs a template source or a frame format: give one of them")
    return frame_format_of(template)


def reads_device_memory(plan: EncoderPlan, frame_format: FrameFormat) -> bool:
    """Whether the encoder reads frames directly from GPU memory."""
    same_size = (plan.width, plan.height) == (frame_format.width, frame_format.height)
    return plan.encoder.endswith("_nvenc") and same_size and not frame_format.has_alpha
