"""How a stream is coded: with this a decoder can be opened for packets that are coded in another way than the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from av.stream import Stream

    from animevid.io.packets import MediaPacket


@dataclass(frozen=True, slots=True)
class Coding:
    """A codec (FFmpeg's name) and its configuration; a packet carries it in ``opaque`` where its stream changed."""

    codec: str
    extradata: bytes = b""

    def open_video(self) -> av.VideoCodecContext:
        """A new decoder.

        Raises:
            av.FFmpegError, ValueError: this FFmpeg has none.
        """
        decoder = av.Codec(self.codec, "r").create("video")
        if self.extradata:
            decoder.extradata = self.extradata
        return decoder

    def open_audio(self) -> av.AudioCodecContext:
        """As :meth:`open_video`."""
        decoder = av.Codec(self.codec, "r").create("audio")
        if self.extradata:
            decoder.extradata = self.extradata
        return decoder


def coding_of(stream: Stream) -> Coding:
    """The coding that an ``av`` stream was opened with."""
    context = stream.codec_context
    return Coding(
        "unknown" if context is None else context.codec.canonical_name, getattr(context, "extradata", None) or b""
    )


def new_coding(packet: MediaPacket) -> Coding | None:
    """How a packet is coded, if in another way than its stream was opened with."""
    coding = packet.opaque
    return coding if isinstance(coding, Coding) else None
