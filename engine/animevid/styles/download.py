"""Downloads a file of known SHA-256: resumable, verified and atomic."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import queue
import re
import stat
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any

from animevid.errors import StyleError, UsageError
from animevid.redaction import printable, redacted

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOG = logging.getLogger(__name__)

_TRIES = 3
_CHUNK = 1 << 16
#: The download fails if the server's average rate falls below this.
_SLOWEST_BYTES_PER_SECOND = 16 << 10
_GRACE_SECONDS = 30.0
#: The longest time of a call; the next call resumes.
_MAX_SECONDS = 3600.0
#: The maximum size: a server that never stops sending must not fill the disk.
MAX_BYTES = 1 << 30


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
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _open_part(part) as file:
            for attempt in range(1, _TRIES + 1):
                if _receive(url, file, timeout_seconds=timeout_seconds):
                    break
                _LOG.info("%s: interrupted at %d bytes (%d of %d tries)", shown, _size(file), attempt, _TRIES)
            else:
                raise StyleError(f"{shown} was interrupted at {_size(file)} bytes; run again to go on from there")
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
    return path.stat().st_size <= MAX_BYTES and _sha256_of(path) == sha256


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


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, from https to https only."""

    max_redirections = 5

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = (urllib.parse.urlsplit(url).scheme for url in (req.full_url, newurl))
        if new not in ("http", "https") or (old == "https" and new != "https"):
            raise StyleError(f"{printable(redacted(req.full_url))} leads to {new}://, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(request: urllib.request.Request, timeout_seconds: float) -> Any:
    """The response with complete headers, within a time limit.

    Raises:
        TimeoutError: they do not arrive in time. The waiting thread ends with the process.
    """
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        try:
            found.put(urllib.request.build_opener(_Redirects).open(request, timeout=timeout_seconds))
        except BaseException as error:
            found.put(error)

    threading.Thread(target=work, name="animevid-download", daemon=True).start()
    try:
        result = found.get(timeout=2 * timeout_seconds)
    except queue.Empty:
        raise TimeoutError("its server does not answer") from None
    if isinstance(result, BaseException):
        raise result
    return result


def _receive(url: str, file: BufferedRandom, *, timeout_seconds: float) -> bool:
    """Append what is missing to ``file``; true once the server has sent all of it."""
    shown, have = printable(redacted(url)), _size(file)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "animevid", "Accept-Encoding": "identity"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        with _opened(request, timeout_seconds) as response:
            resumed = response.status == 206 and _starts_at(response.headers.get("Content-Range", "")) == have
            if response.status == 206 and not resumed:
                file.truncate(0)
                return False
            if not resumed:
                file.truncate(0)
                have = 0
            length = _length(response.headers.get("Content-Length"), shown)
            if have + (length or 0) > MAX_BYTES:
                raise _too_large(shown)
            return _copy(response, file, have, length, shown)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: start again
            file.truncate(0)
            return False
        raise StyleError(f"{shown} is refused by its server: {error.code} {printable(error.reason)[:200]}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = printable(str(getattr(error, "reason", None) or error))[:200]
        raise StyleError(
            f"{shown} cannot be reached ({reason}); are you offline? A style file on disk works too"
        ) from error


def _copy(response: Any, file: BufferedRandom, have: int, length: int | None, shown: str) -> bool:
    """Whether all of ``length`` has arrived. Fails if the server sends too slowly or too much."""
    file.seek(have)
    received, began = 0, time.monotonic()
    while chunk := _next_chunk(response, shown):
        received += len(chunk)
        if have + received > MAX_BYTES or (length is not None and received > length):
            raise _too_large(shown)
        file.write(chunk)
        seconds = time.monotonic() - began
        if seconds > _MAX_SECONDS:
            raise StyleError(f"{shown} took {_MAX_SECONDS / 60:.0f} minutes so far; run again to go on from there")
        if seconds > _GRACE_SECONDS and received < seconds * _SLOWEST_BYTES_PER_SECOND:
            raise StyleError(f"{shown} comes at fewer than {_SLOWEST_BYTES_PER_SECOND} bytes a second; try again later")
    file.flush()
    return length is None or received == length


def _too_large(shown: str) -> StyleError:
    return StyleError(f"{shown} is larger than it said, or than the {MAX_BYTES} bytes that a style has at most")


def _length(text: str | None, shown: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise StyleError(f"{shown} has no length: its server says {printable(text)[:40]!r}")
    return int(text)


def _next_chunk(response: http.client.HTTPResponse, shown: str) -> bytes:
    """The next bytes; empty at the end or if the connection broke (the caller checks the length)."""
    try:
        return response.read1(_CHUNK)  # available bytes only, so that a slow server is noticed
    except (http.client.HTTPException, OSError) as error:
        _LOG.info("%s: %s", shown, printable(str(error)))
        return b""


def _starts_at(content_range: str) -> int:
    match = re.match(r"bytes (\d{1,18})-", content_range, re.ASCII)
    return int(match.group(1)) if match else -1


def _size(file: BufferedRandom) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
