"""Checks a local playlist before FFmpeg follows it: one that refers to itself would be followed for ever."""

from __future__ import annotations

import re
from pathlib import Path

from animevid.errors import InputError

SUFFIXES = frozenset({".m3u8", ".m3u"})
_MAX_BYTES = 8 << 20
_VARIANT, _SEGMENT = (re.compile(rb"^\s*#" + tag, re.MULTILINE) for tag in (rb"EXT-X-STREAM-INF\b", rb"EXTINF\b"))
_ATTRIBUTE = re.compile(rb'URI="([^"]*)"')


def check_playlist(path: Path, leading: tuple[Path, ...] = ()) -> None:
    """Refuse a local playlist that refers to itself, directly or through others, is too large or is malformed.

    Raises:
        InputError: it does.
    """
    try:
        here = path.resolve()
        if here in leading:
            raise InputError(f"path = {str(leading[0])!r} is a playlist that refers to itself")
        if not here.is_file():
            return
        if here.stat().st_size > _MAX_BYTES:
            raise InputError(f"path = {str(path)!r} is larger than any playlist: {_MAX_BYTES >> 20} MiB are allowed")
        text = here.read_bytes()
    except (OSError, ValueError, RuntimeError):
        return  # FFmpeg will report what is wrong with it
    if _VARIANT.search(text) and _SEGMENT.search(text):  # FFmpeg 8.1 crashes on some of them
        raise InputError(f"path = {str(path)!r} lists variants and segments at once, which no playlist may (RFC 8216)")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(b"#")]
    for name in dict.fromkeys((*lines, *_ATTRIBUTE.findall(text))):
        local = name.decode("utf-8", "surrogateescape").removeprefix("file:")
        if Path(local).suffix.lower() in SUFFIXES and "://" not in local and "\0" not in local:
            check_playlist(here.parent / local, (*leading, here))
