"""Checks a local playlist before FFmpeg follows it: one that refers to itself would be followed for ever."""

from __future__ import annotations

import re
import time
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin, urlsplit

from animevid.errors import InputError
from animevid.redaction import redacted

SUFFIXES = frozenset({".m3u8", ".m3u"})
_MAX_BYTES = 8 << 20
#: For all playlists of one URL.
_MAX_PLAYLISTS = 32
_MAX_SECONDS = 10.0
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
            raise InputError(_too_large("path", str(path)))
        text = here.read_bytes()
    except (OSError, ValueError, RuntimeError):
        return  # FFmpeg will report what is wrong with it
    _refuse_mixture(text, str(path))
    for name in _names(text):
        local = name.decode("utf-8", "surrogateescape").removeprefix("file:")
        if Path(local).suffix.lower() in SUFFIXES and "://" not in local and "\0" not in local:
            check_playlist(here.parent / local, (*leading, here))


def check_remote_playlist(url: str) -> None:
    """Refuse a playlist on a web server, or one it leads to, as :func:`check_playlist` does local ones.

    At most 32 playlists are fetched, in ten seconds altogether; what does not arrive in time, or at all, is left to
    FFmpeg and its messages.

    Raises:
        InputError: it leads to itself, is too large, or lists variants and segments at once.
    """
    _check_remote(url, (), [_MAX_PLAYLISTS], time.monotonic() + _MAX_SECONDS)


def _check_remote(url: str, leading: tuple[str, ...], left: list[int], deadline: float) -> None:
    if url in leading:
        raise InputError(f"url = {redacted(leading[0])!r} is a playlist that leads to itself")
    left[0] -= 1
    text = _fetched(url, deadline) if left[0] >= 0 else None
    if text is None:
        return
    _refuse_mixture(text, redacted(url))
    for name in _names(text):
        next_url = urljoin(url, name.decode("utf-8", "replace"))
        if is_remote_playlist(next_url):
            _check_remote(next_url, (*leading, url), left, deadline)


def is_remote_playlist(url: str) -> bool:
    """Whether ``url`` names a playlist on a web server."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and PurePosixPath(parts.path).suffix.lower() in SUFFIXES


def _fetched(url: str, deadline: float) -> bytes | None:
    """What ``url`` holds; ``None`` where it does not come by ``deadline``, or at all."""
    from animevid.http_fetch import FetchError, FetchLimits, TooLarge, body, open_response, within

    left_seconds = max(0.1, deadline - time.monotonic())
    limits = FetchLimits(
        max_bytes=_MAX_BYTES, max_seconds=left_seconds, silence_seconds=left_seconds,
        https_to_http=True,  # as FFmpeg does
    )  # fmt: skip

    def receive() -> bytes:
        with open_response(url, limits) as response:
            return b"".join(body(response, limits, shown=redacted(url)))

    try:
        return within(left_seconds, receive)
    except TooLarge as error:
        raise InputError(_too_large("url", redacted(url))) from error
    except (FetchError, TimeoutError):
        return None


def _too_large(what: str, shown: str) -> str:
    return f"{what} = {shown!r} is larger than any playlist: {_MAX_BYTES >> 20} MiB are allowed"


def _refuse_mixture(text: bytes, shown: str) -> None:
    if _VARIANT.search(text) and _SEGMENT.search(text):  # FFmpeg 8.1 crashes on some of them
        raise InputError(f"path = {shown!r} lists variants and segments at once, which no playlist may (RFC 8216)")


def _names(text: bytes) -> list[bytes]:
    """What a playlist refers to, each once."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(b"#")]
    return list(dict.fromkeys((*lines, *_ATTRIBUTE.findall(text))))
