"""Which representations of a period are taken: the best video, and the best of each sound."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import av

from animevid.errors import InputError, UnsupportedInputError
from animevid.io.dash.manifest import Period, Representation

#: What ``codecs`` begins with (RFC 6381) -> FFmpeg's name; longer ones first.
_CODECS = {
    "avc": "h264", "hev1": "hevc", "hvc1": "hevc", "dvh": "hevc", "vp08": "vp8", "vp8": "vp8", "vp09": "vp9",
    "vp9": "vp9", "av01": "av1", "vvc1": "vvc", "vvi1": "vvc", "mp4v": "mpeg4", "mp4a.69": "mp3", "mp4a.6b": "mp3",
    "mp4a.a5": "ac3", "mp4a.a6": "eac3", "mp4a": "aac", "ac-3": "ac3", "ec-3": "eac3", "ac-4": "ac4", "opus": "opus",
    "vorbis": "vorbis", "flac": "flac", "dts": "dts", "mhm": "mpegh_3d_audio", "mha": "mpegh_3d_audio",
}  # fmt: skip
#: Dolby Vision without a base that other decoders show right: only where there is nothing else.
_LAST_RESORT = ("dvh", "dvav", "dav1")
#: More than any presentation has.
_MAX_SOUNDS = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """What is taken of one period: the video, and sounds by a key that is the same in all periods, the main one first.

    ``others`` is the number of further variants of the video; ``subtitles`` that of the texts.
    """

    video: Representation
    sounds: dict[tuple[str, ...], Representation]
    others: int
    subtitles: int


def choose(period: Period, *, name: str) -> Choice:
    """What is taken of ``period``; ``name`` is that of the manifest, for messages.

    Raises:
        InputError, UnsupportedInputError: it has no video, or none that can be read.
    """
    videos = [each for each in period.representations if each.kind == "video"]
    if not videos:
        kinds = ", ".join(sorted({each.kind or "unknown" for each in period.representations})) or "nothing"
        raise InputError(f"path = {name!r} has no video (it has {kinds})")
    clear = [each for each in videos if not each.is_encrypted]
    if not clear:
        raise UnsupportedInputError(f"path = {name!r} is encrypted: decrypt it first, animevid takes no keys")
    readable = [each for each in clear if _certainty(each) is not None]
    if not readable:
        codecs = ", ".join(sorted({codec for each in clear for codec in each.codecs}))
        raise UnsupportedInputError(f"path = {name!r} is coded as {codecs[:80]!r}, which this FFmpeg cannot decode")
    texts = {(each.language, each.roles, each.label) for each in period.representations if each.kind == "text"}
    return Choice(
        video=_best(readable, lambda each: (each.width * each.height, each.rate, each.bandwidth)),
        sounds=_sounds([each for each in period.representations if each.kind == "audio"]),
        others=len(videos) - 1,
        subtitles=len(texts),
    )


def _sounds(sounds: Sequence[Representation]) -> dict[tuple[str, ...], Representation]:
    groups: dict[tuple[str, ...], list[Representation]] = {}
    for each in sounds:
        if not each.is_encrypted and _certainty(each) is not None:
            groups.setdefault((each.language, each.label, *each.roles), []).append(each)
    keys = sorted(groups, key=lambda key: "main" not in groups[key][0].roles)[:_MAX_SOUNDS]
    return {key: _best(groups[key], lambda each: (each.bandwidth,)) for key in keys}


def _best(among: Sequence[Representation], value: Callable[[Representation], tuple[object, ...]]) -> Representation:
    """The best by ``value`` of those whose codec is known best; the first one among equals."""
    return max(among, key=lambda each: (_certainty(each), *value(each)))


def _certainty(representation: Representation) -> int | None:
    """``None``: cannot be decoded; else the larger, the surer it is that the picture comes out right."""
    certainty = 2
    for codec in representation.codecs:
        known = next((name for start, name in _CODECS.items() if codec.lower().startswith(start)), None)
        if known is None or codec.startswith(_LAST_RESORT):
            certainty = min(certainty, 0 if known is not None else 1)
        if known is not None and not _has_decoder(known):
            return None
    return certainty if representation.codecs else 1


@functools.cache
def _has_decoder(name: str) -> bool:
    try:
        return bool(av.Codec(name, "r"))
    except ValueError:
        return False
