"""One row per container: what it can really hold, so that streams are decided before the first frame.

FFmpeg's muxers accept more than players can read: MPEG-TS stores FLAC as private data that no player decodes, and MP4
accepts PCM but fails when the file is finished. The tests write and read each pair of this table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from animevid.errors import UsageError

_PCM = frozenset(
    f"pcm_{kind}" for kind in ("s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "f64be")
)
_MILLISECONDS, _MPEG_CLOCK = Fraction(1, 1000), Fraction(1, 90000)
_NOTHING: frozenset[str] = frozenset()
#: MPEG-TS stores every other codec as private data that players ignore.
_BROADCAST = frozenset({"h264", "hevc"})
#: Their bitstreams do not store the sample aspect ratio, and FFmpeg's muxer is not given it here.
_SQUARE_ONLY = frozenset({"vp9", "av1"})
#: Tags that Apple's players require.
_APPLE_TAGS = {"hevc": "hvc1"}


@dataclass(frozen=True, slots=True)
class Container:
    """One of FFmpeg's muxers.

    Args:
        muxer (str): its name in FFmpeg.
        suffixes (tuple[str, ...]): the suffixes of output names that select it.
        tick (Fraction | None): its fixed time base, in seconds; frame times are rounded to it here, so that no two
            coincide. ``None``: it takes the encoder's.
        default_codec (str): the video codec if the user names none.
        codec_tags (dict[str, str]): video codec -> the tag that players require.
        alpha_encoders (frozenset[str]): encoders whose alpha channel it keeps.
        video (frozenset[str] | None): video codecs that players find in it; ``None``: those that the muxer accepts.
        square_only (frozenset[str]): video codecs for which it cannot store the sample aspect ratio.
        has_one_sound (bool): players use a single audio stream, however many are written.
        audio, subtitles, data (frozenset[str] | None): codecs that players find in it; ``None``: the muxer is
            asked.
        audio_encoder (str | None): re-encodes audio that it cannot hold.
        subtitle_codec (str | None): the codec to which text subtitles that it cannot hold are converted.
        shows_covers (bool): an attached picture is the cover (Matroska uses an attachment instead).
        has_adts (bool): each AAC packet has an ADTS header, as in MPEG-TS.
        asked_only_by_server (bool): the muxer can only be asked with a connection, so this table decides.
    """

    muxer: str
    suffixes: tuple[str, ...] = ()
    tick: Fraction | None = None
    default_codec: str = "h264"
    codec_tags: dict[str, str] = field(default_factory=dict)
    alpha_encoders: frozenset[str] = _NOTHING
    video: frozenset[str] | None = None
    square_only: frozenset[str] = _NOTHING
    has_one_sound: bool = False
    audio: frozenset[str] | None = None
    subtitles: frozenset[str] | None = None
    data: frozenset[str] | None = None
    audio_encoder: str | None = None
    subtitle_codec: str | None = None
    shows_covers: bool = False
    has_adts: bool = False
    asked_only_by_server: bool = False

    def holds(self, kind: str, codec: str) -> bool | None:
        """Whether it can hold ``codec`` ("audio", "subtitle" or "data"); ``None`` if the table does not say."""
        held = {"audio": self.audio, "subtitle": self.subtitles, "data": self.data}.get(kind)
        return None if held is None else codec in held

    @property
    def audio_fallback(self) -> str | None:
        """The encoder for audio that it cannot hold; ``None`` if this FFmpeg lacks it."""
        return self.audio_encoder if self.audio_encoder in av.codecs_available else None


CONTAINERS = (
    Container(
        "mp4",
        (".mp4", ".m4v"),
        codec_tags=_APPLE_TAGS,
        audio=frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac", "dts"}),
        subtitles=frozenset({"mov_text", "dvd_subtitle"}),
        audio_encoder="aac",
        subtitle_codec="mov_text",
        shows_covers=True,
    ),
    Container("ipod", audio=frozenset({"aac", "alac"}), audio_encoder="aac", shows_covers=True),
    Container(
        "mov",
        (".mov",),
        codec_tags=_APPLE_TAGS,
        video=frozenset({"h264", "hevc", "prores"}),
        alpha_encoders=frozenset({"prores_ks"}),
        audio=_PCM | {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "pcm_u8", "pcm_mulaw", "pcm_alaw", "amr_nb"},
        subtitles=frozenset({"mov_text"}),
        audio_encoder="aac",
        subtitle_codec="mov_text",
    ),
    Container(
        "matroska",
        (".mkv",),
        tick=_MILLISECONDS,
        square_only=_SQUARE_ONLY,
        alpha_encoders=frozenset({"libvpx-vp9", "prores_ks"}),
        subtitles=frozenset(
            {"subrip", "ass", "ssa", "webvtt", "text", "hdmv_pgs_subtitle", "hdmv_text_subtitle", "dvd_subtitle"}
        )
        | {"dvb_subtitle"},
        data=_NOTHING,
        audio_encoder="flac",
        subtitle_codec="subrip",
    ),
    Container(
        "webm",
        (".webm",),
        tick=_MILLISECONDS,
        default_codec="vp9",
        square_only=_SQUARE_ONLY,
        alpha_encoders=frozenset({"libvpx-vp9"}),
        audio=frozenset({"opus", "vorbis"}),
        subtitles=frozenset({"webvtt"}),
        data=_NOTHING,
        audio_encoder="libopus",
        subtitle_codec="webvtt",
    ),
    Container(
        "mpegts",
        (".ts",),
        tick=_MPEG_CLOCK,
        video=_BROADCAST,
        audio=frozenset({"aac", "aac_latm", "mp3", "mp2", "mp1", "ac3", "eac3", "dts", "opus"}),
        subtitles=frozenset({"dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"}),
        data=frozenset({"klv", "timed_id3", "scte_35"}),
        audio_encoder="aac",
        has_adts=True,
    ),
    Container("avi", (".avi",), subtitles=_NOTHING, data=_NOTHING, audio_encoder="ac3"),
    Container(
        "flv",
        (".flv",),
        tick=_MILLISECONDS,
        has_one_sound=True,
        audio=frozenset({"aac", "mp3"}),
        subtitles=_NOTHING,
        data=_NOTHING,
        audio_encoder="aac",
    ),
    # A playlist and its segments, which are MPEG-TS: that row says what they can hold.
    Container("hls", (".m3u8",), tick=_MPEG_CLOCK),
    Container("rtp_mpegts", tick=_MPEG_CLOCK, video=_BROADCAST, has_adts=True),
    Container("adts", has_adts=True),
    Container(
        "rtsp",
        audio=frozenset(
            {"aac", "opus", "mp3", "mp2", "ac3", "vorbis", "pcm_mulaw", "pcm_alaw", "adpcm_g722", "amr_nb"}
        ),
        subtitles=_NOTHING,
        data=_NOTHING,
        audio_encoder="aac",
        asked_only_by_server=True,
    ),
)
_BY_MUXER = {row.muxer: row for row in CONTAINERS}
#: Suffix of an output name -> FFmpeg's muxer.
MUXERS: dict[str, str] = {suffix: row.muxer for row in CONTAINERS for suffix in row.suffixes}


def container_of(muxer: str) -> Container:
    """The row of FFmpeg's ``muxer``; for a muxer without a row, an empty one: the muxer is asked about everything."""
    return _BY_MUXER.get(muxer) or Container(muxer)


def muxer_for(path: str | os.PathLike[str]) -> str:
    """FFmpeg's muxer for an output name.

    Raises:
        UsageError: a suffix that is not a video container's.
    """
    suffix = Path(os.fspath(path)).suffix.lower()
    if suffix not in MUXERS:
        raise UsageError(f"{suffix = } is no video container: use one of {', '.join(MUXERS)}")
    return MUXERS[suffix]
