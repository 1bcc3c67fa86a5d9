"""HTTP downloads with limits of size, time and rate, and redirects within http and https only.

Importing this module takes 40 ms, since urllib does: import it where something is downloaded.
"""

from __future__ import annotations

import base64
import http.client
import logging
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from typing import IO, TypeVar

from animevid.redaction import printable, redacted

_LOG = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 16
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """What a download may cost.

    Args:
        max_bytes (int): size of the file.
        max_seconds (float): time for the body.
        min_bytes_per_second (int): average rate, once ``grace_seconds`` have passed. Default: 0, any rate.
        grace_seconds (float): see ``min_bytes_per_second``. Default: 30.
        silence_seconds (float): the longest wait for the next bytes; the headers may take twice as long. Default: 30.
        https_to_http (bool): follow redirects from https to http. Default: no.
    """

    max_bytes: int
    max_seconds: float
    min_bytes_per_second: int = 0
    grace_seconds: float = 30.0
    silence_seconds: float = 30.0
    https_to_http: bool = False


class FetchError(Exception):
    """A download failed. The message is one line that begins with the URL, without its secrets.

    ``status`` is the server's HTTP status if that is the reason.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(FetchError):
    """The server does not answer, or not in HTTP."""


class TooLarge(FetchError):
    """The file is larger than the server said, or than the limit."""


class TookTooLong(FetchError):
    """The time is over before the file has arrived."""


def open_response(url: str, limits: FetchLimits, *, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """The response to a GET, its headers complete. User and password in ``url`` are sent as basic authentication.

    Raises:
        FetchError: unreachable, too slow, refused, or led elsewhere than to http or https.
    """
    shown = printable(redacted(url))
    try:
        request = _request(url, headers or {})
        opener = urllib.request.build_opener(_Redirects(https_to_http=limits.https_to_http))
        # In a thread, since a server that sends its headers byte by byte keeps within every timeout of a socket.
        response: HTTPResponse = within(
            2 * limits.silence_seconds, lambda: opener.open(request, timeout=limits.silence_seconds)
        )
        return response
    except urllib.error.HTTPError as error:
        reason = f"{error.code} {printable(error.reason)[:200]}"
        raise FetchError(f"{shown} is refused by its server: {reason}", status=error.code) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = printable(str(getattr(error, "reason", None) or error))[:200]
        raise Unreachable(f"{shown} cannot be reached ({reason})") from error


def content_length(response: HTTPResponse, shown: str) -> int | None:
    """The number of bytes that the server announces, if it does.

    Raises:
        FetchError: it announces something else than a number.
    """
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise FetchError(f"{shown} has no length: its server says {printable(text)[:40]!r}")
    return int(text)


def body(response: HTTPResponse, limits: FetchLimits, *, shown: str, have_bytes: int = 0) -> Iterator[bytes]:
    """The body as it arrives, up to its end or to where the connection breaks: compare with :func:`content_length`.

    Args:
        response (HTTPResponse): of :func:`open_response`.
        limits (FetchLimits): checked after each piece.
        shown (str): the URL for messages.
        have_bytes (int): what is there already of a download that is resumed. Default: 0.

    Raises:
        FetchError: too large, too slow or too long.
    """
    length = content_length(response, shown)
    if have_bytes + (length or 0) > limits.max_bytes:
        raise _too_large(shown, limits)
    received, began = 0, time.monotonic()
    while chunk := _next_chunk(response, shown):
        received += len(chunk)
        if have_bytes + received > limits.max_bytes or (length is not None and received > length):
            raise _too_large(shown, limits)
        yield chunk
        seconds = time.monotonic() - began
        if seconds > limits.max_seconds:
            raise TookTooLong(f"{shown} took {seconds:.0f} seconds so far")
        if seconds > limits.grace_seconds and received < seconds * limits.min_bytes_per_second:
            raise FetchError(
                f"{shown} comes at fewer than {limits.min_bytes_per_second} bytes a second; try again later"
            )


def within(seconds: float, work: Callable[[], _T]) -> _T:
    """What ``work()`` returns or raises, in a thread that is left behind if it takes longer.

    Raises:
        TimeoutError: it takes longer. The thread ends with the process.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="animevid-fetch", daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or "its server does not answer") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and hands a password on to the same server only."""

    max_redirections = 5

    def __init__(self, *, https_to_http: bool) -> None:
        self._https_to_http = https_to_http

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = (urllib.parse.urlsplit(url) for url in (req.full_url, newurl))
        downgrade = old.scheme == "https" and new.scheme == "http"
        if new.scheme not in ("http", "https") or (downgrade and not self._https_to_http):
            raise FetchError(f"{printable(redacted(req.full_url))} leads to {new.scheme}://, which is not followed")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.unredirected_hdrs.get("Authorization")
        if following is not None and authorization is not None and new[:2] == old[:2]:
            following.add_unredirected_header("Authorization", authorization)
        return following


def _request(url: str, headers: Mapping[str, str]) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{parts.scheme}:// is neither http nor https")
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(
        parts._replace(netloc=host, fragment="").geturl(),
        headers={"User-Agent": "animevid", "Accept-Encoding": "identity", **headers},
    )
    if user:
        credentials = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    return request


def _too_large(shown: str, limits: FetchLimits) -> TooLarge:
    return TooLarge(f"{shown} is larger than it said, or than the {limits.max_bytes} bytes that are allowed")


def _next_chunk(response: HTTPResponse, shown: str) -> bytes:
    """The next bytes; empty at the end or if the connection broke."""
    try:
        return response.read1(_CHUNK_BYTES)  # available bytes only, so that a slow server is noticed
    except (http.client.HTTPException, OSError) as error:
        _LOG.info("%s: %s", shown, printable(str(error)))
        return b""
