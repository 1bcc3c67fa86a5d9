"""Captions inside a video stream (CEA-608/708): read from decoded frames, put back into the coded frames.

They are stored as in ATSC A/53, three bytes for each pair of characters. In H.264 and HEVC they are an SEI message
before the slices of their frame; encoders could write it, but PyAV passes no side data to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from animevid.io.packets import MediaPacket

#: Codec -> the header of a NAL unit with SEI messages, and the types of NAL units that hold slices.
_UNITS = {"h264": (b"\x06", range(1, 6)), "hevc": (b"\x4e\x01", range(0, 32))}
#: ATSC A/53 part 4, 6.2.3: country, provider, identifier, kind.
_HEAD = b"\xb5\x00\x31GA94\x03"
_REGISTERED_MESSAGE = 4
_MAX_TRIPLETS = 31
_MAX_WAITING = 1000


def can_hold_captions(encoder: str, codec: str) -> bool:
    """Whether captions can be put into the output of ``encoder``."""
    return codec in _UNITS and not encoder.endswith("_videotoolbox")  # its NAL units have lengths, not start codes


class Captions:
    """Keeps each frame's captions until its packet is encoded. One thread uses it."""

    def __init__(self) -> None:
        self._waiting: dict[Fraction, bytes] = {}

    def note(self, seconds: Fraction, captions: bytes) -> None:
        """Store the ``captions`` of the frame at ``seconds`` on the packets' clock."""
        if len(self._waiting) < _MAX_WAITING:
            self._waiting[seconds] = captions

    def put_into(self, packets: Iterable[MediaPacket], *, codec: str) -> Iterator[MediaPacket]:
        """An encoder's ``packets``, with captions where there are some."""
        for packet in packets:
            captions = b""
            if self._waiting and packet.pts is not None:
                captions = self._waiting.pop(packet.pts * packet.time_base, b"")
            yield _with_message(packet, captions, codec) if captions and codec in _UNITS else packet


def _with_message(packet: MediaPacket, captions: bytes, codec: str) -> MediaPacket:
    data = bytes(packet)
    header, slices = _UNITS[codec]
    for found in re.finditer(rb"\x00?\x00\x00\x01", data):
        first = data[found.end() : found.end() + 1]
        kind = (first[0] & 31 if codec == "h264" else first[0] >> 1 & 63) if first else -1
        if kind in slices:
            unit = b"\0\0\0\1" + header + _escaped(_message(captions))
            fuller = av.Packet(data[: found.start()] + unit + data[found.start() :])
            fuller.pts, fuller.dts, fuller.duration = packet.pts, packet.dts, packet.duration
            fuller.time_base, fuller.is_keyframe = packet.time_base, packet.is_keyframe
            fuller.stream = packet.stream
            return fuller
    return packet


def _message(captions: bytes) -> bytes:
    """The SEI message, and the stop bit of the NAL unit's payload."""
    count = min(len(captions) // 3, _MAX_TRIPLETS)
    body = _HEAD + bytes([0xC0 | count, 0xFF]) + captions[: 3 * count] + b"\xff"
    return bytes([_REGISTERED_MESSAGE, len(body)]) + body + b"\x80"  # at most 104 bytes: one byte holds the length


def _escaped(payload: bytes) -> bytes:
    """``payload`` with emulation prevention bytes (ISO/IEC 14496-10, 7.4.1)."""
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload)
