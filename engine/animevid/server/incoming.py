"""Limits and low latency for incoming WebRTC: offers, encoded frames, the jitter buffer."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import av
from aiortc.jitterbuffer import JitterBuffer, JitterFrame

from animevid.errors import LiveError

if TYPE_CHECKING:
    from aiortc import RTCRtpCodecParameters
    from aiortc.codecs.base import Decoder
    from av.frame import Frame

log = logging.getLogger(__name__)

#: A browser's offer has one camera, perhaps a microphone and a data channel, and a dozen candidates.
_MAX_MEDIA = 4
_MAX_CANDIDATES = 32
_MAX_LINES = 2000
_MAX_BYTES = 64 << 10
#: Larger frames are not decoded. 4K is allowed; the page requests far less.
MAX_FRAME_PIXELS = 3840 * 2160


def check_offer(sdp: str) -> None:
    """Refuse an offer that asks for more than a viewer needs, before it is parsed.

    Each candidate is an address that the server would send packets to, or a name that it would look up.

    Raises:
        LiveError: too long, too many media or candidates, or a candidate that is a name (but those of mDNS).
    """
    lines = sdp.splitlines()
    candidates = [line for line in lines if line.startswith("a=candidate")]
    for count, limit, what in (
        (len(sdp), _MAX_BYTES, "bytes"),
        (len(lines), _MAX_LINES, "lines"),
        (sum(line.startswith("m=") for line in lines), _MAX_MEDIA, "media"),
        (len(candidates), _MAX_CANDIDATES, "candidates"),
    ):
        if count > limit:
            raise LiveError(f"the browser's offer has {count} {what}; allowed are {limit}")
    for line in candidates:
        parts = line.split()
        address = parts[4] if len(parts) > 4 else ""
        if not re.fullmatch(r"[0-9A-Fa-f:.]+|[0-9A-Za-z-]{1,64}\.local", address):
            raise LiveError(f"the browser's offer has the candidate {address[:40]!r}, which is no address")


def vp8_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels of a VP8 key frame (RFC 6386, section 9.1); ``None`` for other frames."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


class BoundedDecoder:
    """Wraps one of aiortc's decoders and drops frames that are too large.

    VP8 stores its size at the start of each key frame; FFmpeg's H.264 decoder gets the limit as an option and refuses
    before it allocates.
    """

    def __init__(self, inner: Decoder, max_pixels: int = MAX_FRAME_PIXELS) -> None:
        self._inner = inner
        self._max_pixels = max_pixels
        codec = getattr(inner, "codec", None)
        if isinstance(codec, av.VideoCodecContext):
            codec.options = {**codec.options, "max_pixels": str(max_pixels)}

    def decode(self, encoded_frame: JitterFrame) -> list[Frame]:
        """The frames in ``encoded_frame``; none if it is too large."""
        size = vp8_size(encoded_frame.data)
        if size is not None and size[0] * size[1] > self._max_pixels:
            log.warning("a frame of %dx%d is too large and was not decoded", *size)
            return []
        return self._inner.decode(encoded_frame)


class PromptJitterBuffer(JitterBuffer):
    """aiortc's buffer, but it releases a frame as soon as its last packet arrives.

    aiortc waits for the first packet of the next frame, which adds the time of a frame to the latency; but the last
    packet of a frame has the marker bit (RFC 7741 section 4.1 and RFC 6184 section 5.1).
    """

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        waiting: list[Any] = self._packets  # with ``_data``, which aiortc adds to them
        while (head := waiting[(first := self._origin or 0) % self._capacity]) is not None:
            parts: list[bytes] = []
            whole = False
            for offset in range(self._capacity):
                packet = waiting[(first + offset) % self._capacity]
                if packet is None:
                    break
                if packet.timestamp != head.timestamp:
                    whole = True
                    break
                parts.append(packet._data)
                if packet.marker:
                    whole = True
                    break
            if not whole:
                return None
            self.remove(len(parts))
            if data := b"".join(parts):  # padding alone is no frame, and would break the decoder
                return JitterFrame(data=data, timestamp=head.timestamp)
        return None


def patch_aiortc() -> None:
    """Tune aiortc for low latency.

    Its encoders start at 500 kbit/s, which suits talking heads at 320x240; here they start at a rate that suits the
    frame size, and the browser's reports lower it. Its receivers release frames promptly.
    """
    from aiortc import rtcrtpreceiver
    from aiortc.codecs import h264, vpx

    vpx.DEFAULT_BITRATE = h264.DEFAULT_BITRATE = 2_500_000
    vpx.MAX_BITRATE = h264.MAX_BITRATE = 6_000_000
    receiver: Any = rtcrtpreceiver
    receiver.JitterBuffer = _jitter_buffer
    receiver.get_decoder = _bounded_decoder


def _jitter_buffer(capacity: int, prefetch: int = 0, is_video: bool = False) -> JitterBuffer:
    kind = PromptJitterBuffer if is_video else JitterBuffer
    return kind(capacity, prefetch, is_video)


def _bounded_decoder(codec: RTCRtpCodecParameters) -> Decoder | BoundedDecoder:
    from aiortc.codecs import get_decoder

    decoder = get_decoder(codec)
    return BoundedDecoder(decoder) if codec.mimeType.lower().startswith("video/") else decoder
