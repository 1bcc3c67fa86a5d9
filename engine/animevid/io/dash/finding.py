"""Finds out whether a file or an address holds a DASH manifest, and reads it within limits."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from animevid.errors import InputError
from animevid.io.dash.places import Place
from animevid.redaction import redacted

SUFFIX = ".mpd"
_MAX_BYTES = 8 << 20
_MAX_SECONDS = 10.0
_HEAD_BYTES = 4096
_XML = re.compile(rb"(\xef\xbb\xbf)?\s*<|\xff\xfe|\xfe\xff")
_ROOT = re.compile(rb"<(\w+:)?MPD\b")


def local_manifest(path: Path) -> tuple[bytes, Place] | None:
    """The manifest in a file and its place; ``None`` where the file holds something else or cannot be read.

    Raises:
        InputError: it is too large.
    """
    with suppress(OSError), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if _XML.match(head) and (path.suffix.lower() == SUFFIX or _ROOT.search(head)):
            return _checked(head + file.read(_MAX_BYTES), str(path)), Place.of_file(path)
    return None


def remote_manifest(url: str) -> tuple[bytes, Place] | None:
    """The manifest that a web server sends for ``url`` and its place; ``None`` where it sends something else.

    Raises:
        InputError: it is too large.
    """
    from animevid.http_fetch import FetchError, FetchLimits, TooLarge, body, open_response, within

    shown, is_named_so = redacted(url), names_manifest(url)
    limits = FetchLimits(
        max_bytes=_MAX_BYTES, max_seconds=_MAX_SECONDS, silence_seconds=_MAX_SECONDS,
        https_to_http=True,  # as FFmpeg does
    )  # fmt: skip

    def receive() -> tuple[bytes, str] | None:
        with open_response(url, limits) as response:
            pieces = body(response, limits, shown=shown)
            head = next(pieces, b"")
            if _XML.match(head) and (is_named_so or _ROOT.search(head[:_HEAD_BYTES])):
                return b"".join((head, *pieces)), response.geturl()
        return None

    try:
        found = within(_MAX_SECONDS, receive)
    except TooLarge as error:
        if not is_named_so:
            return None
        raise InputError(_too_large(shown)) from error
    except (FetchError, TimeoutError):
        return None
    return None if found is None else (found[0], Place(shown, _with_user_of(url, found[1])))


def _with_user_of(url: str, end: str) -> str:
    """``end``, to which ``url`` led, with the user and password of ``url`` if the server is the same."""
    user, at, host = urlsplit(url).netloc.rpartition("@")
    parts = urlsplit(end)
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) if parts.netloc == host else end


def names_manifest(url: str) -> bool:
    """Whether a URL ends like that of a manifest on a web server."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and PurePosixPath(parts.path).suffix.lower() == SUFFIX


def _checked(data: bytes, name: str) -> bytes:
    if len(data) > _MAX_BYTES:
        raise InputError(_too_large(name))
    return data


def _too_large(name: str) -> str:
    return f"path = {name!r} is larger than any manifest: {_MAX_BYTES >> 20} MiB are allowed"
