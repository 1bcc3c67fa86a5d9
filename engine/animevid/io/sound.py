"""The sample rate and channel layout of re-encoded audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream

if TYPE_CHECKING:
    from animevid.io.network.protocols import MediaOutput

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_RATES_HZ = {
    "aac": (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    "libopus": (48000,),
    "ac3": (48000, 44100, 32000),
}


def encoded_rate_hz(encoder: str, source_hz: int) -> int:
    """The sample rate at which ``encoder`` writes audio of ``source_hz``: the same, or the nearest supported."""
    allowed = _RATES_HZ.get(encoder)
    if allowed is None or source_hz in allowed:
        return source_hz
    return min(allowed, key=lambda rate: abs(rate - source_hz))


def encoded_layout(encoder: str, layout: av.AudioLayout, *, rate_hz: int) -> str:
    """The layout in which ``encoder`` writes audio of ``layout`` (``av.AudioLayout``): as many channels as possible."""
    count = layout.nb_channels
    candidates = [name for name in (layout.name, _LAYOUTS.get(count), "5.1(side)" if count == 6 else None) if name]
    candidates += ["5.1", "5.1(side)"] if count > 6 else []
    for name in [*candidates, "stereo"]:
        try:
            context = av.Codec(encoder, "w").create("audio")
            context.layout, context.sample_rate = name, rate_hz
            if context.codec.audio_formats is None:
                continue
            context.format = context.codec.audio_formats[0]
            context.open()
        except (av.FFmpegError, ValueError, TypeError):
            continue
        return name
    return "stereo"


def add_audio_stream(output: MediaOutput, encoder: str, *, rate_hz: int) -> AudioStream:
    """A new audio stream of ``output`` that ``encoder`` codes."""
    stream = output.add_stream(encoder, rate=rate_hz)
    assert isinstance(stream, AudioStream)
    return stream


def change_of_sound(encoder: str, context: av.AudioCodecContext) -> str:
    """How rate and layout change when ``encoder`` writes audio of ``context``: ``", 7.1 becomes 5.1"``."""
    rate = encoded_rate_hz(encoder, context.sample_rate)
    before, after = context.layout, encoded_layout(encoder, context.layout, rate_hz=rate)
    changes = []
    is_known = before.name != f"{before.nb_channels} channels"
    same_count = av.AudioLayout(after).nb_channels == before.nb_channels
    if after.partition("(")[0] != before.name.partition("(")[0] and (is_known or not same_count):
        changes.append(f", {before.name} becomes {after}")
    if rate < context.sample_rate:
        changes.append(f", {context.sample_rate} Hz become {rate}")
    return "".join(changes)
