"""AAC-LC as containers hold it: its configuration, and frames with ADTS headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from av.stream import Stream

#: ISO/IEC 14496-3, table 1.18: the sampling rates that have an index.
AAC_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
#: ISO/IEC 14496-3, table 1.19: number of channels -> configuration.
AAC_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 8: 7}


def aac_configuration(stream: Stream) -> bytes | None:
    """The AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) of AAC with ADTS headers, which lacks one.

    ``None``: the stream has one, is not AAC, or of a profile that its header does not describe exactly (HE-AAC).
    """
    context = stream.codec_context
    if not isinstance(context, av.AudioCodecContext) or context.codec.canonical_name != "aac":
        return None
    if context.extradata or context.profile != "LC":
        return None
    channels = AAC_CHANNELS.get(context.layout.nb_channels)
    if channels is None or context.sample_rate not in AAC_RATES_HZ:
        return None
    return (2 << 11 | AAC_RATES_HZ.index(context.sample_rate) << 7 | channels << 3).to_bytes(2, "big")


def with_adts(frame: bytes, rate_hz: int, channels: int) -> bytes:
    """A coded frame with an ADTS header before it (ISO/IEC 14496-3, 1.A.2.2).

    Args:
        frame: without a header.
        rate_hz: one of ``AAC_RATES_HZ``.
        channels: one of ``AAC_CHANNELS``.
    """
    fields = ((0xFFF1, 16), (1, 2), (AAC_RATES_HZ.index(rate_hz), 4), (0, 1), (AAC_CHANNELS[channels], 3), (0, 4),
              (len(frame) + 7, 13), (0x7FF, 11), (0, 2))  # fmt: skip
    header = 0
    for value, bits in fields:
        header = header << bits | value
    return header.to_bytes(7, "big") + frame
