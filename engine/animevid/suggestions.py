"""Suggestions for unknown words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Common synonyms -> allowed choices.
_OTHER_NAMES = {
    "h265": "hevc",
    "h.265": "hevc",
    "x265": "hevc",
    "libx265": "hevc",
    "h.264": "h264",
    "x264": "h264",
    "libx264": "h264",
    "avc": "h264",
}


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The entry of ``known`` that ``word`` is a synonym or a misspelling of; ``None`` if nothing is close."""
    names = list(known)
    other = _OTHER_NAMES.get(word.lower())
    if other in names:
        return other
    return next(iter(get_close_matches(word.lower(), names, n=1, cutoff=likeness)), None)
