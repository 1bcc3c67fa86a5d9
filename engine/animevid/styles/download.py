"""Downloads a file of known SHA-256: resumable, verified and atomic."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPResponse
from io import BufferedRandom
from pathlib import Path
from types import ModuleType

from animevid.errors import StyleError, UsageError
from animevid.http_fetch import (
    FetchError,
    FetchLimits,
    TookTooLong,
    Unreachable,
    body,
    content_length,
    open_response,
)
from animevid.redaction import printable, redacted
from animevid.styles.onnx_file import MAX_BYTES

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOG = logging.getLogger(__name__)

_TRIES = 3
_LIMITS = FetchLimits(
    max_bytes=MAX_BYTES,  # a server that never stops sending must not fill the disk
    max_seconds=3600.0,  # of a call; the next one resumes
    min_bytes_per_second=16 << 10,
)


def fetch(url: str, folder: Path, *, sha256: str | None = None, timeout_seconds: float = 30.0) -> Path:
    """The file with that checksum, from ``folder`` or, if missing there, from ``url``.

    ``sha256`` is 64 hex digits; it may stand in the URL instead: ``https://host/x.onnx#sha256=...``. A broken download
    is resumed where it stopped (HTTP ``Range``), at once up to three times, or by the next call. The file is
    ``folder/SHA256.onnx``; if it exists, the network is not used.

    Raises:
        UsageError: no checksum, an invalid one, or not an http(s) URL.
        StyleError: offline, refused by the server, interrupted, too slow, or of another content; or the file's name in
        the
            cache is taken.
    """
    url, sha256 = _checked(url, sha256)
    shown = printable(redacted(url))
    target = folder / f"{sha256}.onnx"
    if _is_whole(target, sha256):
        return target
    part = folder / f"{sha256}.part"
    limits = replace(_LIMITS, silence_seconds=timeout_seconds)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _open_part(part) as file:
            for attempt in range(1, _TRIES + 1):
                if _receive(url, file, limits):
                    break
                _LOG.info("%s: interrupted at %d bytes (%d of %d tries)", shown, _size(file), attempt, _TRIES)
            else:
                raise StyleError(f"{shown} was interrupted at {_size(file)} bytes; run again to resume")
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                part.unlink()
                raise StyleError(f"{shown} has sha256 {found}, not {sha256} as given; nothing was kept")
            os.replace(part, target)
    except OSError as error:
        raise StyleError(f"{str(folder)!r} cannot hold {shown} ({error.strerror or error})") from error
    return target


def _checked(url: str, sha256: str | None) -> tuple[str, str]:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise UsageError(f"url = {printable(redacted(url))!r} is no address ({error})") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"{url = } must be http:// or https://")
    in_url = urllib.parse.parse_qs(parts.fragment).get("sha256", [None])[0]
    checksum = (sha256 or in_url or "").lower()
    if not checksum:
        raise UsageError(f"{url = } needs the sha256 of its file: add #sha256=... to the URL")
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise UsageError(f"sha256 = {checksum!r} must be 64 hex digits")
    return urllib.parse.urlunsplit(parts._replace(fragment="")), checksum


def _is_whole(path: Path, sha256: str) -> bool:
    """Whether ``path`` is the file with that checksum.

    Raises:
        StyleError: ``path`` is not a regular file: a link, a folder, a FIFO.
    """
    try:
        kind = path.lstat().st_mode
    except OSError:
        return False
    if not stat.S_ISREG(kind):
        raise StyleError(f"{str(path)!r} is a link or no file: delete it, or set another cache ($XDG_CACHE_HOME)")
    return path.stat().st_size <= _LIMITS.max_bytes and _sha256_of(path) == sha256


@contextmanager
def _open_part(path: Path) -> Iterator[BufferedRandom]:
    """The partial download, locked against other processes.

    Raises:
        StyleError: it is not a regular file, or another process downloads it.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        if path.is_symlink():
            raise StyleError(f"{str(path)!r} is a link: delete it, or set another cache ($XDG_CACHE_HOME)") from error
        raise
    with os.fdopen(handle, "r+b") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise StyleError(f"{str(path)!r} is no file: delete it, or set another cache ($XDG_CACHE_HOME)")
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StyleError(f"{str(path)!r} is being fetched by another animevid: wait for it") from error
        yield file


def _receive(url: str, file: BufferedRandom, limits: FetchLimits) -> bool:
    """Append what is missing to ``file``; true once the server has sent all of it."""
    have = _size(file)
    try:
        with open_response(url, limits, headers={"Range": f"bytes={have}-"} if have else {}) as response:
            resumed = response.status == 206 and _starts_at(response.headers.get("Content-Range", "")) == have
            if not resumed:
                file.truncate(0)
                if response.status == 206:
                    return False
                have = 0
            return _copy(response, file, limits, have_bytes=have, shown=printable(redacted(url)))
    except Unreachable as error:
        raise StyleError(f"{error}; are you offline? A style file on disk works too") from error
    except TookTooLong as error:
        raise StyleError(f"{error}; run again to resume") from error
    except FetchError as error:
        if error.status == 416:  # the part is longer than the file: start again
            file.truncate(0)
            return False
        raise StyleError(str(error)) from error


def _copy(response: HTTPResponse, file: BufferedRandom, limits: FetchLimits, *, have_bytes: int, shown: str) -> bool:
    """Whether all that the server announced has arrived."""
    file.seek(have_bytes)
    received = sum(file.write(chunk) for chunk in body(response, limits, shown=shown, have_bytes=have_bytes))
    file.flush()
    return content_length(response, shown) in (None, received)


def _starts_at(content_range: str) -> int:
    match = re.match(r"bytes (\d{1,18})-", content_range, re.ASCII)
    return int(match.group(1)) if match else -1


def _size(file: BufferedRandom) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
