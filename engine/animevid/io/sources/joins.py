"""Follows streams of an MPEG transport stream whose codec changes midway because recordings were joined."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Collection
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from animevid.io.coding import Coding, coding_of, new_coding
from animevid.io.programmes import late_streams, successors
from animevid.io.recoding import can_be_continued
from animevid.io.sources.opening import prepare_decoder

if TYPE_CHECKING:
    from av.stream import Stream
    from av.video.stream import VideoStream

    from animevid.io.network.protocols import MediaInput
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)

#: codec -> (mask, value) of a packet's first two bytes; other bytes mean another codec.
_SYNC_WORDS = {
    "aac": (0xFFF6, 0xFFF0),  # ISO/IEC 14496-3, 1.A.2: ADTS
    "aac_latm": (0xFFE0, 0x56E0),
    "mp2": (0xFFE6, 0xFFE4),  # ISO/IEC 11172-3, 2.4.1.3
    "mp3": (0xFFE6, 0xFFE2),
    "ac3": (0xFFFF, 0x0B77),
    "eac3": (0xFFFF, 0x0B77),
    "dts": (0xFFFF, 0x7FFE),
}


class Joins:
    """Follows joined recordings: to other streams (PIDs), or to another codec in the same stream.

    FFmpeg's demuxer changes the codec of a stream when a programme map table says so. PyAV's description of the stream
    (``stream.codec_context``) stays as it was when the file was opened.

    Args:
        container: the open PyAV container.
        video: the video stream whose frames are decoded.
        path: the local file; ``None`` for other inputs.
    """

    def __init__(self, container: MediaInput, video: VideoStream, *, path: Path | None) -> None:
        self._is_followed = container.format.name == "mpegts"
        self._streams, self._video_index, self._path = container.streams, video.index, path
        #: Times in notices are relative to this one.
        self.origin_seconds = Fraction(0)
        #: Index of a stream -> index of the earlier stream that it continues.
        self.successors: dict[int, int] = {}
        if self._is_followed and path is not None:
            self.successors = successors(container.streams, video, path=path)
        self._opened = {
            stream.index: stream.codec_context.codec.canonical_name
            for stream in container.streams
            if self._is_followed and stream.type in ("video", "audio") and stream.codec_context is not None
        }
        self._now = dict(self._opened)
        self._source = {index: index for index in self._opened}
        self._ended: set[int] = set()
        self._unsure: set[int] = set()
        self._parts = 0
        self._lines: dict[tuple[int, str], str] = {}
        self._left_out: dict[tuple[int, str], bool] = {}
        self._last_seconds: Fraction | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """One line for each codec that a stream changed to, and one for streams that were found too late."""
        return tuple(self._lines.values())

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The container's streams, except those that continue another one."""
        return tuple(stream for stream in self._streams if stream.index not in self.successors)

    def sound(self, unrelated_streams: Collection[int]) -> list[Stream]:
        """The audio streams, except those at the indices ``unrelated_streams``."""
        return [each for each in self.streams if each.type == "audio" and each.index not in unrelated_streams]

    def follow(self, packet: MediaPacket) -> bool:
        """Assign the packet to the earlier stream if its stream continues one; false for a packet that comes too late.

        The demuxer completes a stream's last packet only at the next packet or at the end of the file, so it may arrive
        after packets of the stream that continues it.
        """
        index = packet.stream_index
        goes_on = self.successors.get(index, index)
        if goes_on in self._source and self._source[goes_on] != index:
            if index in self._ended:
                return False
            self._ended.add(self._source[goes_on])
            self._source[goes_on] = index
            self._unsure.add(goes_on)
        if goes_on != index:
            packet.stream = self._streams[goes_on]
        return True

    def takes(self, packet: MediaPacket, *, parts: int) -> bool:
        """Whether to use ``packet``, on the video's clock; one in another codec gets its coding as ``opaque``.

        Args:
            packet: the ``av`` packet.
            parts: how often the clock has restarted.
        """
        index = packet.stream_index
        opened = self._opened.get(index)
        if opened is None:
            return True
        is_video = index == self._video_index
        if parts != self._parts or (is_video and packet.is_keyframe):
            self._parts = parts
            self._unsure.update(self._opened)
        mask, value = _SYNC_WORDS.get(self._now[index], (0, 0))
        is_alien = int.from_bytes(memoryview(packet)[:2], "big") & mask != value
        if index in self._unsure or is_alien:
            codec = codec_now(self._streams[self._source[index]])
            if codec is None and is_alien:
                return False  # unknown yet, but not the earlier one
            self._unsure.discard(index)
            self._now[index] = codec or self._now[index]
        stamp = packet.pts if packet.pts is not None else packet.dts
        seconds = None if stamp is None else stamp * packet.time_base - self.origin_seconds
        if is_video and seconds is not None:
            self._last_seconds = seconds
        codec = self._now[index]
        if codec == opened:
            return True
        packet.opaque = Coding(codec)
        if (index, codec) not in self._lines:
            how = self._how_decoded(index, codec)
            self._lines[index, codec] = (
                f"the {'video' if is_video else f'sound of stream {index}'} is {codec} in place of {opened}"
                f"{'' if seconds is None else f' from {max(0.0, float(seconds)):.2f} s on'} (recordings joined?): "
                + ("that part of it is left out" if how is None else how)
            )
            self._left_out[index, codec] = how is None
        return not self._left_out[index, codec]

    def _how_decoded(self, index: int, codec: str) -> str | None:
        """What happens to a part in another codec; ``None``: it is left out."""
        kind = av.Codec(codec, "r").type
        if index == self._video_index:
            return "each part is decoded as what it is" if kind == "video" else None
        return "that part of it is re-encoded" if kind == "audio" and can_be_continued(self._streams[index]) else None

    def note_video_end(self, percent: int) -> None:
        """Note that no video packet was read in the last ``percent`` of the file."""
        self._lines[-2, ""] = (
            f"the last {percent} % of the file hold no video in its first codec: any other is left out "
            "(recordings joined?)"
        )

    def note_end(self) -> None:
        """At the end of the file: note streams that began after FFmpeg had searched for streams."""
        late = late_streams(self._streams, path=self._path) if self._is_followed and self._path is not None else None
        if late:
            pids = ", ".join(map(str, sorted(late)))
            at = (
                ""
                if self._last_seconds is None
                else f"; the video's last frame is at {float(self._last_seconds):.2f} s"
            )
            self._lines[-1, ""] = (
                f"what begins late in the file is left out (recordings joined?): streams with PID {pids}, which its "
                f"beginning does not list{at}"
            )


def codec_now(stream: Stream) -> str | None:
    """The codec that FFmpeg's demuxer currently assigns to a stream's packets; ``None`` if it cannot be determined.

    PyAV has no attribute for it, so this writes a header of FFmpeg's ``framecrc`` format, which names the codec.
    """
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="framecrc") as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        log.debug("the codec of stream %d cannot be told: %s", stream.index, error)
        return None
    _, found, rest = header.getvalue().partition(b"#codec_id 0: ")
    return rest.split(b"\n")[0].decode() if found else None


#: codec -> start code and first byte of the header before a key frame (H.264: 7.3.1, SPS; HEVC: 7.3.1.2, VPS).
_SEQUENCE_STARTS = {
    "h264": re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67]"),
    "hevc": re.compile(rb"\x00\x00\x01\x40"),
    "mpeg2video": re.compile(rb"\x00\x00\x01\xb3"),
}
_NOTHING = re.compile(rb"(?!)")


def _divided(packet: MediaPacket, codec: str) -> tuple[MediaPacket | None, MediaPacket]:
    """What ``packet`` holds of the part before ``codec`` begins, and the packet without it.

    FFmpeg exchanges its parser at a change of codec, and may take the last frame and the next part's first for one.
    """
    data = bytes(packet)
    start = _SEQUENCE_STARTS.get(codec, _NOTHING).search(data)
    if start is None or not start.start():
        return None, packet
    pieces = [av.Packet(data[: start.start()]), av.Packet(data[start.start() :])]
    for piece in pieces:
        piece.pts, piece.dts, piece.time_base, piece.is_keyframe = packet.pts, packet.dts, packet.time_base, True
    if packet.pts is not None:
        pieces[1].pts = packet.pts + (packet.duration or 0)
    return pieces[0], pieces[1]


class VideoDecoder:
    """Decodes a video, with a new decoder for each part that is coded in another way (see :class:`Coding`).

    Args:
        decoder: the ``av`` decoder for the first part.
        stream: the ``av`` stream that it was opened for.
    """

    def __init__(self, decoder: av.VideoCodecContext, stream: VideoStream) -> None:
        self._decoder = decoder
        self._first = self._coding = coding_of(stream)
        self._waits_for_key = False

    def decode(self, packet: MediaPacket | None) -> list[av.VideoFrame]:
        """The frames that ``packet`` completes; ``None`` flushes the decoder.

        Raises:
            av.FFmpegError: the packet cannot be decoded.
        """
        frames: list[av.VideoFrame] = []
        coding = self._coding if packet is None else new_coding(packet) or self._first
        if packet is not None and coding != self._coding:
            before, packet = _divided(packet, coding.codec)
            if before is not None:
                with suppress(av.FFmpegError):
                    frames.extend(self._decoder.decode(before))
            frames.extend(self._decoder.decode(None))
            self._decoder = prepare_decoder(coding.open_video(), self._decoder.thread_count)
            self._coding, self._waits_for_key = coding, True
        if self._waits_for_key and packet is not None:
            if not packet.is_keyframe:
                return frames
            self._waits_for_key = False
        frames.extend(self._decoder.decode(packet))
        return frames
