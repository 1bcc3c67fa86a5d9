"""Decides about the other streams of a container: copied if the output can hold them, else converted or dropped."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream

from animevid.io.containers import container_of
from animevid.io.sound import change_of_sound
from animevid.io.source import Source, StreamInfo
from animevid.io.sources.stream_facts import describe_stream

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.stream import Stream

log = logging.getLogger(__name__)


class StreamAction(StrEnum):
    COPY = "copied"
    REENCODE = "re-encoded"
    DROP = "dropped"


@dataclass(frozen=True, slots=True)
class StreamDecision:
    """The decision about one stream and its reason; ``str()`` is the line to print."""

    stream: StreamInfo
    action: StreamAction
    target_codec: str | None = None
    reason: str = ""

    def __str__(self) -> str:
        stream = self.stream
        language = f", {stream.language}" if stream.language and stream.language != "und" else ""
        what = f"{'cover image' if stream.is_cover else stream.kind} stream {stream.index} ({stream.codec}{language})"
        how = f"{self.action} as {self.target_codec}" if self.action is StreamAction.REENCODE else str(self.action)
        return f"{what}: {how}" + (f", {self.reason}" if self.reason else "")


#: Codecs of cover images -> MIME type and suffix.
COVER_TYPES = {
    "mjpeg": ("image/jpeg", "jpg"),
    "png": ("image/png", "png"),
    "bmp": ("image/bmp", "bmp"),
    "gif": ("image/gif", "gif"),
    "tiff": ("image/tiff", "tiff"),
}
_TEXT_SUBTITLES = frozenset({"mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text"})


def decide_streams(source: Source, *, muxer: str) -> tuple[StreamDecision, ...]:
    """The decision about each stream of ``source`` but the video, for FFmpeg's ``muxer``. Nothing is written."""
    unrelated_streams = source.unrelated_streams
    decisions = tuple(
        StreamDecision(describe_stream(stream), StreamAction.DROP, reason=unrelated_streams[stream.index])
        if stream.index in unrelated_streams
        else _decide(stream, muxer=muxer)
        for stream in source.media_streams
        if stream.index != source.info.stream_index
    )
    return tuple(_only_one_sound(decisions, muxer=muxer)) if container_of(muxer).has_one_sound else decisions


def _only_one_sound(decisions: Iterable[StreamDecision], *, muxer: str) -> Iterator[StreamDecision]:
    """``decisions`` with a single audio stream: the default one, or the first."""
    decisions = tuple(decisions)
    kept = [d for d in decisions if d.stream.kind == "audio" and d.action is not StreamAction.DROP]
    best = next((decision for decision in kept if decision.stream.is_default), kept[0] if kept else None)
    for decision in decisions:
        if decision in kept and decision is not best:
            yield StreamDecision(decision.stream, StreamAction.DROP, reason=f"{muxer} holds one sound (.mkv holds all)")
        else:
            yield decision


def _decide(stream: Stream, *, muxer: str) -> StreamDecision:
    info = describe_stream(stream)
    if info.kind == "attachment":
        if muxer == "matroska":
            return StreamDecision(info, StreamAction.COPY)
        return StreamDecision(info, StreamAction.DROP, reason=f"{muxer} holds no attachments (.mkv does)")
    if info.kind == "data" and "timecode" in stream.metadata:
        # MOV's muxer makes this track itself from the video's tag, and fails on a second one.
        return StreamDecision(info, StreamAction.DROP, reason="the time code is kept as a tag of the video")
    known = stream.codec_context is not None or info.kind == "data"
    if info.kind not in ("audio", "video", "subtitle", "data") or not known:
        return StreamDecision(info, StreamAction.DROP, reason="its kind is not known here")
    if isinstance(stream, AudioStream) and not stream.codec_context.sample_rate:
        return StreamDecision(info, StreamAction.DROP, reason="no sound of it was found where the file begins")
    if info.is_cover:
        return _decide_cover(stream, info, muxer=muxer)
    row = container_of(muxer)
    if row.holds(info.kind, info.codec) is not False and _muxer_takes(stream, muxer=muxer):
        return StreamDecision(info, StreamAction.COPY)
    if isinstance(stream, AudioStream):
        fallback = row.audio_fallback
        if fallback is not None and stream.codec_context.layout.nb_channels:
            reason = f"{muxer} does not hold {info.codec}" + change_of_sound(fallback, stream.codec_context)
            return StreamDecision(info, StreamAction.REENCODE, fallback, reason)
    if info.kind == "subtitle" and info.codec in _TEXT_SUBTITLES:
        fallback = row.subtitle_codec
        if fallback is not None:
            return StreamDecision(info, StreamAction.REENCODE, fallback, f"{muxer} does not hold {info.codec}")
    return StreamDecision(info, StreamAction.DROP, reason=f"{muxer} does not hold {info.codec}")


def _decide_cover(stream: Stream, info: StreamInfo, *, muxer: str) -> StreamDecision:
    shows_it = container_of(muxer).shows_covers and _muxer_takes(stream, muxer=muxer)
    if shows_it or (muxer == "matroska" and info.codec in COVER_TYPES):
        return StreamDecision(info, StreamAction.COPY)
    if container_of(muxer).shows_covers or muxer == "matroska":
        return StreamDecision(info, StreamAction.DROP, reason=f"{muxer} holds no cover images of this kind")
    return StreamDecision(info, StreamAction.DROP, reason=f"{muxer} holds no cover images (.mp4 and .mkv do)")


def _muxer_takes(stream: Stream, *, muxer: str) -> bool:
    """Whether the muxer can write a header and a trailer with this stream."""
    if container_of(muxer).asked_only_by_server:
        return stream.type in ("audio", "subtitle", "data")
    trial = av.open(io.BytesIO(), "w", format=muxer)
    try:
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
        trial.close()
    except (av.FFmpegError, ValueError):
        return False
    finally:
        _close_quietly(trial)
    return True


def _close_quietly(container: OutputContainer) -> None:
    try:
        container.close()
    except (av.FFmpegError, ValueError, OSError) as error:
        log.debug("closing a trial container: %s", error)
