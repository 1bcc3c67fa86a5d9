"""What each container really carries: decided before the first frame, from a table and never by trying at the end.

FFmpeg's muxers take more than players find there again: MPEG-TS takes FLAC as private data that nobody hears, MP4 takes
PCM and breaks off over it when the file is finished. The tests write and read each pair of these tables.
"""

from __future__ import annotations

from typing import Any

import av

_PCM = frozenset(
    f"pcm_{kind}" for kind in ("s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "f64be")
)
#: FFmpeg's muxer -> audio codecs that it carries so that others find them. A muxer that is not here is asked itself.
AUDIO: dict[str, frozenset[str]] = {
    "mp4": frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac", "dts"}),
    "ipod": frozenset({"aac", "alac"}),
    "mov": frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", "pcm_u8", "pcm_mulaw", "pcm_alaw", "amr_nb"}) | _PCM,
    "webm": frozenset({"opus", "vorbis"}),
    "mpegts": frozenset({"aac", "aac_latm", "mp3", "mp2", "mp1", "ac3", "eac3", "dts", "truehd", "opus"}),
    "flv": frozenset({"aac", "mp3"}),
    "rtsp": frozenset({"aac", "opus", "mp3", "mp2", "ac3", "vorbis", "pcm_mulaw", "pcm_alaw", "adpcm_g722", "amr_nb"}),
}
#: The same for subtitles.
SUBTITLES: dict[str, frozenset[str]] = {
    "mp4": frozenset({"mov_text", "dvd_subtitle"}),
    "mov": frozenset({"mov_text"}),
    "matroska": frozenset(
        {"subrip", "ass", "ssa", "webvtt", "text", "hdmv_pgs_subtitle", "hdmv_text_subtitle", "dvd_subtitle",
         "dvb_subtitle"}
    ),
    "webm": frozenset({"webvtt"}),
    "mpegts": frozenset({"dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"}),
    "flv": frozenset(),
    "avi": frozenset(),
    "rtsp": frozenset(),
}  # fmt: skip
#: The same for data tracks (marks of a broadcast, positions of a drone).
DATA: dict[str, frozenset[str]] = {
    "mpegts": frozenset({"klv", "timed_id3", "scte_35"}),
    "matroska": frozenset(),
    "webm": frozenset(),
    "avi": frozenset(),
    "flv": frozenset(),
    "rtsp": frozenset(),
}
#: Muxers that show an attached picture as the film's cover; Matroska does so with an attachment.
COVERS = frozenset({"mp4", "ipod"})

#: The audio codec to change to, by muxer, where the source's cannot be held.
_FALLBACK = {
    "mp4": "aac",
    "mov": "aac",
    "ipod": "aac",
    "webm": "libopus",
    "flv": "aac",
    "rtsp": "aac",
    "mpegts": "aac",
    "avi": "ac3",
    "matroska": "flac",
}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_RATES_HZ = {
    "aac": (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    "libopus": (48000,),
    "ac3": (48000, 44100, 32000),
}


def is_carried(kind: str, codec: str, *, muxer: str) -> bool | None:
    """Whether ``muxer`` carries ``codec`` ("audio", "subtitle" or "data"); ``None`` where the table does not say."""
    table = {"audio": AUDIO, "subtitle": SUBTITLES, "data": DATA}.get(kind, {})
    held = table.get(muxer)
    return None if held is None else codec in held


def audio_fallback(muxer: str) -> str | None:
    """The encoder whose sound ``muxer`` carries; ``None`` where there is none here."""
    codec = _FALLBACK.get(muxer)
    return codec if codec in av.codecs_available else None


def encoded_rate_hz(encoder: str, source_hz: int) -> int:
    """The rate at which ``encoder`` writes sound of ``source_hz``: the same, or the nearest that it knows."""
    allowed = _RATES_HZ.get(encoder)
    if allowed is None or source_hz in allowed:
        return source_hz
    return min(allowed, key=lambda rate: abs(rate - source_hz))


def encoded_layout(encoder: str, layout: Any, *, rate_hz: int) -> str:
    """The layout in which ``encoder`` writes sound of ``layout`` (``av.AudioLayout``): as many channels as it can."""
    count = layout.nb_channels
    candidates = [name for name in (layout.name, _LAYOUTS.get(count), "5.1(side)" if count == 6 else None) if name]
    candidates += ["5.1", "5.1(side)"] if count > 6 else []
    for name in [*candidates, "stereo"]:
        try:
            context: Any = av.CodecContext.create(encoder, "w")
            context.layout, context.sample_rate = name, rate_hz
            context.format = context.codec.audio_formats[0]
            context.open()
        except (av.FFmpegError, ValueError, TypeError):
            continue
        return name
    return "stereo"
