"""What someone probably meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Other names of what is a choice here.
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
    """The one of ``known`` that ``word`` stands for or is a slip of; ``None``: nothing is near."""
    names = list(known)
    other = _OTHER_NAMES.get(word.lower())
    if other in names:
        return other
    return next(iter(get_close_matches(word.lower(), names, n=1, cutoff=likeness)), None)
