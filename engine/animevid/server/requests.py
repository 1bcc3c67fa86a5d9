"""Reads requests within limits, and answers errors with one line and the right status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from animevid.errors import AnimevidError, LiveError
from animevid.run.live import BusyError
from animevid.server.listen import NO_RESOURCES, ConnectionLimits, connection_of
from animevid.server.receive import TooLargeError

log = logging.getLogger(__name__)

RETRY_SECONDS = 5
#: The maximum body in bytes, except for uploads.
MAX_REQUEST = 128 << 10
#: Uploads, which have their own limits.
_UPLOADS = frozenset({"/api/jobs", "/convert"})
_MAX_WORD = 200
_MAX_PARTS = 8
_NO_SPACE = 28  # errno.ENOSPC
#: Exceptions of aiohttp's and Python's parsers for malformed requests.
_NONSENSE = (ValueError, LookupError, RuntimeError, AssertionError, HttpProcessingError, web.RequestPayloadError)
_BODY_SECONDS = ConnectionLimits().body_seconds


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Our errors as one line of JSON; 503 with Retry-After if busy; 400 for malformed requests."""
    connection = connection_of(request)
    if connection is not None:
        connection.request_began()
    try:
        return await handler(request)
    except BusyError as error:
        return _busy(str(error))
    except TooLargeError as error:
        return web.json_response({"error": str(error)}, status=413)
    except AnimevidError as error:
        return web.json_response({"error": str(error)}, status=400)
    except _NONSENSE as error:
        log.debug("%s %s", request.method, type(error).__name__, exc_info=error)
        return web.json_response({"error": f"the request cannot be understood ({type(error).__name__})"}, status=400)
    except ConnectionError:  # the client is gone
        return web.Response(status=400)
    except OSError as error:
        if error.errno not in NO_RESOURCES and error.errno != _NO_SPACE:
            raise
        log.warning("a request was refused (%s)", error.strerror)
        return _busy("this server has no room at the moment: try again later")
    finally:
        if connection is not None:
            connection.request_ended()


@web.middleware
async def bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read small bodies at once, within limits of time and size."""
    if request.path not in _UPLOADS and request.can_read_body:
        await read_body(request)
    return await handler(request)


async def read_body(request: web.Request) -> bytes:
    """All of a small request.

    Raises:
        HTTPRequestTimeout, HTTPRequestEntityTooLarge: it takes too long, or is too large.
    """
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the request took longer than {_BODY_SECONDS:g} s\n") from None


def _busy(message: str) -> web.Response:
    body = {"error": message, "retryAfterSeconds": RETRY_SECONDS}
    return web.json_response(body, status=503, headers={"Retry-After": str(RETRY_SECONDS)})


class Form:
    """A form with one file, read part by part, within limits of number, length and time."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._reader: MultipartReader | None = None
        self._parts = 0

    async def next(self) -> BodyPartReader | None:
        """The next part; ``None`` at the end.

        Raises:
            LiveError: no form, too many parts, a nested form, or a timeout.
        """
        if not self._request.content_type.startswith("multipart/"):
            raise LiveError("send the video as a form (multipart/form-data)")
        if self._reader is None:
            self._reader = await self._request.multipart()
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise LiveError(f"the form has more than {_MAX_PARTS} fields")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                part = await self._reader.next()
        except TimeoutError:
            raise LiveError(f"nothing came for {_BODY_SECONDS:g} s: send the form again") from None
        if isinstance(part, MultipartReader):
            raise LiveError("a form within a form is not understood")
        return part


async def chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    """The content of a form's file."""
    while chunk := await part.read_chunk(256 << 10):
        yield chunk


async def form_word(part: BodyPartReader) -> str:
    """A short form field; a longer one is refused before it is read.

    Raises:
        LiveError: longer than 200 bytes, or a timeout.
    """
    word = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while chunk := await part.read_chunk(_MAX_WORD):
                word += chunk
                if len(word) > _MAX_WORD:
                    name = str(part.name)[:20]
                    raise LiveError(f"the field {name!r} is longer than {_MAX_WORD} bytes: give a name")
    except TimeoutError:
        raise LiveError(f"nothing came for {_BODY_SECONDS:g} s: send the form again") from None
    return word.decode("utf-8", "replace")
