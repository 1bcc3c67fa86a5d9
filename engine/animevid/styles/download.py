"""A file from the web whose content is known beforehand: resumable, verified by SHA-256, whole or not there."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from animevid.errors import StyleError, UsageError

_LOG = logging.getLogger(__name__)

_TRIES = 3
_CHUNK = 1 << 16
#: No style is larger; a server that never stops sending must not fill the disk.
MAX_BYTES = 1 << 30


def fetch(url: str, folder: Path, *, sha256: str | None = None, timeout_seconds: float = 30.0) -> Path:
    """The file of that content, from ``folder`` or, where it is not there yet, from ``url``.

    ``sha256`` is 64 hex digits; it may stand in the URL instead: ``https://host/x.onnx#sha256=...``. A broken download
    is resumed where it stopped (HTTP ``Range``), at once up to three times, or by the next call. The file is
    ``folder/SHA256.onnx``; with it there, nothing is asked of the network.

    Raises:
        UsageError: no checksum, not one, or not an http(s) URL.
        StyleError: offline, refused by the server, interrupted, or of another content.
    """
    url, sha256 = _checked(url, sha256)
    target = folder / f"{sha256}.onnx"
    if target.is_file() and _sha256_of(target) == sha256:
        return target
    part = folder / f"{sha256}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _TRIES + 1):
            if _receive(url, part, timeout_seconds=timeout_seconds):
                break
            _LOG.info("%s: interrupted at %d bytes (%d of %d tries)", url, _size(part), attempt, _TRIES)
        else:
            raise StyleError(f"{url} was interrupted at {_size(part)} bytes; run again to go on from there")
        found = _sha256_of(part)
        if found != sha256:
            part.unlink()
            raise StyleError(f"{url} has sha256 {found}, not {sha256} as given; nothing was kept")
        os.replace(part, target)
    except OSError as error:
        raise StyleError(f"{str(folder)!r} cannot hold {url} ({error.strerror or error})") from error
    return target


def _checked(url: str, sha256: str | None) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"{url = } must be http:// or https://")
    in_url = urllib.parse.parse_qs(parts.fragment).get("sha256", [None])[0]
    checksum = (sha256 or in_url or "").lower()
    if not checksum:
        raise UsageError(f"{url = } needs the sha256 of its file: add #sha256=... to the URL")
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise UsageError(f"sha256 = {checksum!r} must be 64 hex digits")
    return urllib.parse.urlunsplit(parts._replace(fragment="")), checksum


def _receive(url: str, part: Path, *, timeout_seconds: float) -> bool:
    """Append what is missing to ``part``; true once the server has sent all of it."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "animevid", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
            resumed = response.status == 206 and _starts_at(response.headers.get("Content-Range", "")) == have
            if response.status == 206 and not resumed:
                part.unlink(missing_ok=True)
                return False
            length = response.headers.get("Content-Length")
            with open(part, "ab" if resumed else "wb") as file:
                received = 0
                while chunk := _next_chunk(response, url):
                    received += len(chunk)
                    if received + (have if resumed else 0) > MAX_BYTES:
                        raise StyleError(f"{url} is larger than {MAX_BYTES} bytes; no style is")
                    file.write(chunk)
            return length is None or received == int(length)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: start again
            part.unlink(missing_ok=True)
            return False
        raise StyleError(f"{url} is refused by its server: {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise StyleError(
            f"{url} cannot be reached ({reason}); are you offline? A style file on disk works too"
        ) from error


def _next_chunk(response: http.client.HTTPResponse, url: str) -> bytes:
    """Nothing at the end or where the connection broke; the number of bytes tells one from the other."""
    try:
        return response.read(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        _LOG.info("%s: %s", url, error)
        return b""


def _starts_at(content_range: str) -> int:
    match = re.match(r"bytes (\d+)-", content_range)
    return int(match.group(1)) if match else -1


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
