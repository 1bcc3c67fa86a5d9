"""Lets a video end where its last frame does, whatever order and durations its encoder gives packets."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from animevid.io.clock import ticks_from_seconds

if TYPE_CHECKING:
    from animevid.io.packets import MediaPacket

#: Muxers that store a packet's duration as its distance to the next one in decoding order.
_DECODING_ORDER = frozenset({"mp4", "mov", "ipod", "3gp", "3g2"})


def set_last_durations(
    packets: Sequence[MediaPacket],
    *,
    muxer: str,
    begin_seconds: Fraction,
    end_seconds: Fraction,
    first_dts_seconds: Fraction | None,
) -> None:
    """Set the durations of an encoder's last ``packets``, in place.

    Encoders of AV1 forget the frames' durations. In MP4 and MOV the packet that is last in decoding order ends the
    track, whichever frame it holds.

    Args:
        packets (Sequence[MediaPacket]): what the encoder returned when it was flushed, in decoding order.
        muxer (str): FFmpeg's name of the muxer.
        begin_seconds (Fraction): when the first frame is shown.
        end_seconds (Fraction): when the last frame ends.
        first_dts_seconds (Fraction | None): decoding time of the video's first packet.
    """
    base = packets[0].time_base if packets else None
    if base is None:
        return
    end = ticks_from_seconds(end_seconds, base)
    shown = max(packets, key=lambda packet: packet.pts or 0)
    shown.duration = max(shown.duration or 0, end - (shown.pts or 0))
    last = packets[-1]
    if muxer in _DECODING_ORDER and last.dts is not None and first_dts_seconds is not None:
        length = end - ticks_from_seconds(begin_seconds, base)
        decoded = last.dts - ticks_from_seconds(first_dts_seconds, base)
        last.duration = max(last.duration or 0, length - decoded)
