"""Remuxes the other streams of a container as ``io.streams`` decided: copies or converts their packets."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream
from av.stream import Disposition

from animevid.io.aac import aac_configuration
from animevid.io.clock import ticks_from_seconds
from animevid.io.coding import new_coding
from animevid.io.containers import container_of
from animevid.io.cues import Cue, Stacked, subtitle_text, webvtt_text
from animevid.io.pyav import time_base_of
from animevid.io.recoding import Recoder, SoundDecoder
from animevid.io.sound import add_audio_stream, encoded_layout, encoded_rate_hz
from animevid.io.streams import COVER_TYPES, StreamAction, StreamDecision
from animevid.io.tags import stream_tags

if TYPE_CHECKING:
    from av.stream import Stream

    from animevid.io.network.protocols import MediaOutput
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)


class StreamMuxer(ABC):
    """Remuxes one stream's packets. ``origin_seconds`` on the source's clock is zero in the output."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.packets_written = 0
        self.packets_lost = 0

    @abstractmethod
    def remux(self, packet: MediaPacket) -> Iterable[MediaPacket]:
        """The output packets for ``packet``, ready to be muxed (``packet`` itself may be one of them)."""

    def flush(self) -> Iterable[MediaPacket]:
        """The last packets, when the source has ended."""
        return ()


class Copier(StreamMuxer):
    """Copies packets unchanged."""

    def __init__(self, stream: Stream, *, source: Stream, origin_seconds: Fraction) -> None:
        super().__init__(stream)
        self._time_base = time_base_of(source)
        self._shift = ticks_from_seconds(origin_seconds, self._time_base)
        self._waits_for_key = source.type == "video" and origin_seconds > 0
        self._last_ticks: int | None = None
        self._may_stand = source.type not in ("audio", "video")  # cues may share a start time
        self._source = source
        self._recoder: Recoder | None = None
        self._end_ticks: int | None = None

    def remux(self, packet: MediaPacket) -> Iterable[MediaPacket]:
        if new_coding(packet) is not None:
            return self._copied(self._recoded(packet))
        if self._recoder is not None:
            finished, self._recoder = self._recoder.finish(before=packet), None
            return (*self._copied(finished), *self._copy(packet))
        return self._copy(packet)

    def flush(self) -> Iterable[MediaPacket]:
        return () if self._recoder is None else self._copied(self._recoder.finish())

    def _recoded(self, packet: MediaPacket) -> Iterator[MediaPacket]:
        self._recoder = self._recoder or Recoder(self._source)
        yield from self._recoder.recode(packet)

    def _copied(self, packets: Iterator[MediaPacket]) -> Iterator[MediaPacket]:
        try:
            for packet in packets:
                yield from self._copy(packet)
        except (av.FFmpegError, ValueError) as error:
            self.packets_lost += 1
            log.debug("an audio packet cannot be re-encoded: %s", error)

    def _copy(self, packet: MediaPacket) -> Iterable[MediaPacket]:
        if packet.has_sidedata("new_extradata"):
            # A joined FLV repeats its configuration, and FFmpeg's Matroska muxer then writes over what follows its own.
            packet = _bare(packet, bytes(packet))
        if self._waits_for_key:
            if not packet.is_keyframe:
                return ()
            self._waits_for_key = False
        if self._shift:
            if packet.pts is not None:
                packet.pts -= self._shift
            if packet.dts is not None:
                packet.dts -= self._shift
        if packet.pts is None and packet.dts is None and self._source.type == "audio":  # muxers refuse it
            if self._end_ticks is None:
                self.packets_lost += 1
                return ()
            packet.pts = packet.dts = self._end_ticks
        if self._may_stand and packet.pts is not None and packet.pts < 0:
            # A cue from before the cut starts with it: a negative time would delay all other streams.
            packet.duration = (packet.duration or 0) + packet.pts
            packet.pts = packet.dts = 0
            if packet.duration <= 0:
                return ()
        if packet.dts is not None:
            # Muxers refuse times that do not increase on their own clock, which may be coarser.
            base = packet.time_base or self._time_base
            ratio = base / (self.stream.time_base or base)
            last = None if self._may_stand else self._last_ticks
            if last is not None and _rounded(packet.dts * ratio) <= last:
                packet.dts = ceil((last + 1) / ratio)
                packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
            self._last_ticks = _rounded(packet.dts * ratio)
            self._end_ticks = packet.dts + (packet.duration or 1)
        packet.stream = self.stream
        self.packets_written += 1
        return (packet,)


def _bare(packet: MediaPacket, data: bytes) -> MediaPacket:
    """A packet of ``data`` with the times of ``packet``, without its side data."""
    bare = av.Packet(data)
    bare.pts, bare.dts, bare.duration, bare.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    bare.is_keyframe = packet.is_keyframe
    return bare


def _rounded(number: Fraction) -> int:
    """The nearest whole number; halves are rounded up, as in FFmpeg."""
    return floor(number + Fraction(1, 2))


class AdtsCopier(Copier):
    """Copies AAC packets without their ADTS headers.

    For seekable outputs FFmpeg's muxers do that themselves and write the configuration afterwards; for a pipe or the
    network they cannot.
    """

    def _copy(self, packet: MediaPacket) -> Iterable[MediaPacket]:
        data = bytes(packet)
        if len(data) < 9 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
            return super()._copy(packet)
        # Two bytes of checksum unless the flag says there is none.
        return super()._copy(_bare(packet, data[7 if data[1] & 1 else 9 :]))


class AudioReencoder(StreamMuxer):
    """Decodes a stream and encodes it with a codec that the output holds. Packets that do not decode are counted."""

    stream: AudioStream

    def __init__(self, stream: AudioStream, *, source: AudioStream, origin_seconds: Fraction) -> None:
        super().__init__(stream)
        self._decoder = SoundDecoder(source.codec_context)
        self._origin = origin_seconds
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None

    def remux(self, packet: MediaPacket) -> Iterable[MediaPacket]:
        try:
            frames = list(self._decoder.decode(packet))
        except (av.FFmpegError, ValueError) as error:
            self.packets_lost += 1
            log.debug("audio packet at pts %s cannot be decoded: %s", packet.pts, error)
            return
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                frame.pts -= ticks_from_seconds(self._origin, frame.time_base)
            yield from self._encode(frame)

    def flush(self) -> Iterable[MediaPacket]:
        yield from self._encode(None)
        yield from self._count(self.stream.encode(None))

    def _encode(self, frame: av.AudioFrame | None) -> Iterable[MediaPacket]:
        context = self.stream.codec_context
        kind = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is not None and kind not in (None, self._kind):  # a part that is coded in another way
            yield from self._encode(None)
            self._resampler = None
        if self._resampler is None:
            self._kind = kind
            self._resampler = av.AudioResampler(
                format=context.format,
                layout=context.layout,
                rate=context.sample_rate,
                frame_size=context.frame_size or None,
            )
        try:
            resampled = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError) as error:
            self.packets_lost += 1
            log.debug("audio cannot be resampled: %s", error)
            return
        for part in resampled:
            yield from self._count(self.stream.encode(part))

    def _count(self, packets: Iterable[MediaPacket]) -> Iterable[MediaPacket]:
        for packet in packets:
            self.packets_written += 1
            yield packet


class SubtitleConverter(StreamMuxer):
    """Changes text subtitles from one packet form to another. MP4's cues may not overlap, so they are merged."""

    def __init__(self, stream: Stream, *, source: Stream, target_codec: str, origin_seconds: Fraction) -> None:
        super().__init__(stream)
        self._codec = source.codec_context.codec.canonical_name
        self._target = target_codec
        self._origin = origin_seconds
        self._time_base = time_base_of(source)
        self._stacked = Stacked() if target_codec == "mov_text" else None

    def remux(self, packet: MediaPacket) -> Iterable[MediaPacket]:
        text = subtitle_text(bytes(packet), codec=self._codec).strip("\r\n\0")
        if not text.strip() or packet.pts is None:
            return ()
        begin = packet.pts - ticks_from_seconds(self._origin, self._time_base)
        start = max(0, begin)
        cue = Cue(start, max(start + 1, begin + (packet.duration or 0)), text)
        if self._stacked is None:
            return (self._packet(cue),)
        return [self._packet(shown) for shown in self._stacked.add(cue)]

    def flush(self) -> Iterable[MediaPacket]:
        return [self._packet(shown) for shown in self._stacked.flush()] if self._stacked is not None else ()

    def _packet(self, cue: Cue) -> MediaPacket:
        body = (webvtt_text(cue.text) if self._target == "webvtt" else cue.text).encode()
        packet = av.Packet(len(body).to_bytes(2, "big") + body if self._target == "mov_text" else body)
        packet.time_base = self._time_base
        packet.pts = packet.dts = cue.start
        packet.duration = cue.end - cue.start
        packet.stream = self.stream
        self.packets_written += 1
        return packet


class CoverMuxer(StreamMuxer):
    """A cover that was already written to the output as an attachment."""

    def remux(self, packet: MediaPacket) -> Iterable[MediaPacket]:
        return ()


def add_cover(
    output: MediaOutput, source_stream: Stream, decision: StreamDecision, packet: MediaPacket | None
) -> StreamMuxer | None:
    """Attach the image in ``packet`` as Matroska holds covers: by the name ``cover.jpg`` and its MIME type."""
    known = COVER_TYPES.get(decision.stream.codec)
    if decision.action is not StreamAction.COPY or packet is None or known is None:
        return None
    kind, suffix = known
    name = source_stream.metadata.get("filename") or f"cover.{suffix}"
    stream_muxer = CoverMuxer(output.add_attachment(name, kind, bytes(packet)))
    stream_muxer.packets_written = 1
    return stream_muxer


def add_stream_muxer(
    output: MediaOutput, source_stream: Stream, decision: StreamDecision, *, origin_seconds: Fraction
) -> StreamMuxer | None:
    """Make the output stream that ``decision`` asks for; ``None`` if it is dropped."""
    stream_muxer: StreamMuxer | None = None
    if decision.action is StreamAction.COPY:
        stream = output.add_stream_from_template(source_stream, opaque=True)
        configuration = None if container_of(output.format.name).has_adts else aac_configuration(source_stream)
        if configuration is None:
            stream_muxer = Copier(stream, source=source_stream, origin_seconds=origin_seconds)
        else:
            stream.codec_context.extradata = configuration
            stream_muxer = AdtsCopier(stream, source=source_stream, origin_seconds=origin_seconds)
    elif decision.action is StreamAction.REENCODE and isinstance(source_stream, AudioStream):
        assert decision.target_codec is not None
        rate = encoded_rate_hz(decision.target_codec, source_stream.codec_context.sample_rate)
        sound = add_audio_stream(output, decision.target_codec, rate_hz=rate)
        layout = source_stream.codec_context.layout
        sound.codec_context.layout = encoded_layout(decision.target_codec, layout, rate_hz=rate)
        sound.time_base = Fraction(1, rate)
        stream_muxer = AudioReencoder(sound, source=source_stream, origin_seconds=origin_seconds)
    elif decision.action is StreamAction.REENCODE and decision.target_codec is not None:
        stream = output.add_mux_stream(decision.target_codec)
        stream.time_base = source_stream.time_base
        stream_muxer = SubtitleConverter(
            stream, source=source_stream, target_codec=decision.target_codec, origin_seconds=origin_seconds
        )
    if stream_muxer is not None:
        stream_muxer.stream.metadata.update(stream_tags(dict(source_stream.metadata), muxer=output.format.name))
        stream_muxer.stream.disposition = Disposition(source_stream.disposition)
    return stream_muxer
