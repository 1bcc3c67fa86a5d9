"""Continues a copied sound whose packets change to another coding: decodes these, and encodes them in the first one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from animevid.io.aac import AAC_CHANNELS, AAC_RATES_HZ, with_adts
from animevid.io.clock import ticks_from_seconds
from animevid.io.coding import Coding, new_coding
from animevid.io.pyav import time_base_of, to_fraction

if TYPE_CHECKING:
    from av.stream import Stream

    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)


class SoundDecoder:
    """Decodes the packets of a sound, with a new decoder for each part that is coded in another way.

    Args:
        decoder: the ``av`` decoder for packets without a :class:`Coding`; ``None`` where all have one.
    """

    def __init__(self, decoder: av.AudioCodecContext | None) -> None:
        self._first = self._decoder = decoder
        self._coding: Coding | None = None

    def decode(self, packet: MediaPacket | None) -> Iterator[av.AudioFrame]:
        """The frames that ``packet`` completes; ``None`` flushes the decoder.

        Raises:
            av.FFmpegError, ValueError: the packet cannot be decoded.
        """
        coding = self._coding if packet is None else new_coding(packet)
        if coding != self._coding:
            if self._decoder is not None:
                yield from self._decoder.decode(None)
            self._coding, self._decoder = coding, self._first if coding is None else coding.open_audio()
            if self._decoder is not None and self._decoder.is_open:
                self._decoder.flush_buffers()
        if self._decoder is not None:
            yield from self._decoder.decode(packet)


class Recoder:
    """Encodes a part of a sound in the codec of the sound's first part, to follow its copied packets.

    Args:
        source: the ``av`` audio stream, as it was opened.

    Raises:
        av.FFmpegError, ValueError: there is no encoder for it; see :func:`can_be_continued`.
    """

    def __init__(self, source: Stream) -> None:
        context = source.codec_context
        if not isinstance(context, av.AudioCodecContext):
            raise ValueError("it is no sound")
        self._decoder = SoundDecoder(None)
        self._encoder = _open_encoder(context)
        self._base = time_base_of(source)
        is_adts = context.codec.canonical_name == "aac" and not context.extradata
        self._configuration = (context.sample_rate, context.layout.nb_channels) if is_adts else None
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None
        self._begin: Fraction | None = None

    def recode(self, packet: MediaPacket) -> Iterator[MediaPacket]:
        """Packets in the stream's codec and time base for ``packet``, which carries its coding.

        Raises:
            av.FFmpegError, ValueError: it cannot be decoded or encoded.
        """
        for frame in self._decoder.decode(packet):
            yield from self._encoded(frame)

    def finish(self, before: MediaPacket | None = None) -> Iterator[MediaPacket]:
        """The last packets; those that reach beyond the time of the packet ``before`` are left out."""
        end = None if before is None or before.pts is None else before.pts * _base_of(before)
        for frame in (*self._decoder.decode(None), None):
            for packet in self._encoded(frame):
                if end is None or ((packet.pts or 0) + Fraction(packet.duration or 0) / 2) * self._base <= end:
                    yield packet

    def _encoded(self, frame: av.AudioFrame | None) -> Iterator[MediaPacket]:
        if frame is not None and self._begin is None:
            if frame.pts is None:
                return  # nobody knows when it is to be heard
            self._begin = frame.pts * (to_fraction(frame.time_base) or self._base)
        kind = self._kind if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        pieces: list[av.AudioFrame | None] = []
        if self._resampler is not None and (kind != self._kind or frame is None):
            pieces += self._resampler.resample(None)
        if kind != self._kind:
            encoder = self._encoder
            self._kind, self._resampler = kind, av.AudioResampler(
                encoder.format, encoder.layout, encoder.sample_rate, frame_size=encoder.frame_size or None
            )  # fmt: skip
        if frame is not None and self._resampler is not None:
            pieces += self._resampler.resample(frame)
        for piece in (*pieces, *((None,) if frame is None else ())):
            for packet in self._encoder.encode(piece):
                begin = (packet.pts or 0) * _base_of(packet)
                length = (packet.duration or 0) * _base_of(packet)
                if self._begin is None or begin + length / 2 > self._begin:  # others only fill the encoder's delay
                    yield self._timed(packet, begin, length)

    def _timed(self, packet: MediaPacket, begin: Fraction, length: Fraction) -> MediaPacket:
        rate_and_channels = self._configuration
        timed = av.Packet(bytes(packet) if rate_and_channels is None else with_adts(bytes(packet), *rate_and_channels))
        timed.time_base = self._base
        timed.pts = timed.dts = ticks_from_seconds(begin, self._base)
        timed.duration = ticks_from_seconds(length, self._base)
        timed.is_keyframe = True
        return timed


def can_be_continued(source: Stream) -> bool:
    """Whether a part in another codec can be encoded so that it follows the copied packets of ``source``."""
    try:
        Recoder(source)
    except (av.FFmpegError, ValueError) as error:
        log.debug("stream %d cannot be continued: %s", source.index, error)
        return False
    return True


def _base_of(packet: MediaPacket) -> Fraction:
    return to_fraction(packet.time_base) or Fraction(1)


def _open_encoder(context: av.AudioCodecContext) -> av.AudioCodecContext:
    codec, rate, channels = context.codec.canonical_name, context.sample_rate, context.layout.nb_channels
    if codec == "aac" and (context.profile != "LC" or rate not in AAC_RATES_HZ or channels not in AAC_CHANNELS):
        raise ValueError(f"an encoder's AAC-LC does not continue {context.profile}")
    tries: Iterable[int] = (context.bit_rate, 0) if context.bit_rate else (0,)
    for bits in tries:
        encoder = av.Codec(codec, "w").create("audio")
        encoder.sample_rate, encoder.layout, encoder.time_base = rate, context.layout, Fraction(1, rate)
        encoder.format = (encoder.codec.audio_formats or [context.format])[0]
        if bits:
            encoder.bit_rate = bits
        try:
            encoder.open()
        except (av.FFmpegError, ValueError):
            if bits:
                continue
            raise
        return encoder
    raise AssertionError
