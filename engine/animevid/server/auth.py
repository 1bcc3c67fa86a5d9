"""Access control: token, origin and host checks, and security headers."""

from __future__ import annotations

import asyncio
import hmac
import html
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from animevid.server.listen import connection_of

COOKIE = "animevid_token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: The delay after a wrong token, which makes guessing impractical.
_WRONG_TOKEN_SECONDS = 0.5
#: Served without a token: the login form and its style sheet.
_OPEN_PATHS = frozenset({"/login", "/style.css"})

SECURITY_HEADERS = {
    # Nothing from other origins, no inline scripts, no framing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with that, browsers send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "animevid",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str) -> bool:
    """Whether a server bound to ``host`` is reachable from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A random token of 192 bits."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class Guard:
    """The access rules of one server. ``token`` ``None``: anyone on this machine has access.

    ``origins``: ``https://name`` of a proxy in front, besides the server's own addresses.
    """

    bound_host: str
    token: str | None = None
    origins: tuple[str, ...] = ()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a foreign host name, a foreign page or a missing token."""
        if not self.host_allowed(request.host):
            # DNS rebinding: a web page elsewhere reaches a local server by a foreign name that resolves here.
            raise web.HTTPMisdirectedRequest(text="this host name is not served here; see --origin\n")
        # Reads too, except for the page itself: an image on another site must not switch the host's camera on.
        foreign = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and request.path != "/"
        if foreign or (request.method not in _SAFE_METHODS and not self.origin_allowed(request)):
            raise web.HTTPForbidden(text="this page may not speak to this server; see --origin\n")
        if request.path not in _OPEN_PATHS:
            given = request.query.get("token")
            if request.path == "/" and given is not None and self.token_fits(given):
                # Remove the token from the address bar and the history.
                return self.welcome(request)
            if not self.token_fits(self._token_of(request)):
                if self._token_of(request) or given:
                    await asyncio.sleep(_WRONG_TOKEN_SECONDS)
                return self.refusal(request)
            connection = connection_of(request)
            if connection is not None:
                connection.is_trusted = True
        return await handler(request)

    def host_allowed(self, host: str) -> bool:
        """Whether the Host header names this server. Beyond loopback, where a token is required, any name may."""
        name = _hostname(f"//{host}")
        if any(_hostname(origin) == name for origin in self.origins):
            return True
        return is_loopback(name) or not is_loopback(self.bound_host)

    def origin_allowed(self, request: web.Request) -> bool:
        """Whether a request that changes state comes from the server's own page. Without Origin it is not a browser."""
        origin = request.headers.get("Origin")
        if origin is None:
            return request.headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")
        if origin in self.origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:  # "http://[": an invalid address
            return False
        return parts.scheme in ("http", "https") and parts.netloc == request.host

    def token_fits(self, given: str | None) -> bool:
        """Compares in constant time, so that timing reveals nothing about the token."""
        if self.token is None:
            return True
        return hmac.compare_digest((given or "").encode("utf-8", "replace"), self.token.encode("utf-8", "replace"))

    def welcome(self, request: web.Request) -> web.Response:
        """Store the token in a cookie that scripts and other sites cannot read, and show the page."""
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(
            COOKIE, self.token or "", httponly=True, samesite="Strict", path="/", secure=request.secure, max_age=86400
        )
        return answer

    def refusal(self, request: web.Request, *, wrong: bool = False) -> web.Response:
        """401: a form that asks for the token for a browser, one line for a program."""
        if "text/html" not in request.headers.get("Accept", ""):
            return web.json_response({"error": "the token is missing or wrong"}, status=401)
        note = "That token is wrong." if wrong else "This server asks for the token that was printed at its start."
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>animevid</title>'
            '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css">'
            f'<main class="login"><h1>anime<b>vid</b></h1><p>{html.escape(note)}</p>'
            '<form method="post" action="/login">'
            '<label>Token <input name="token" type="password" autocomplete="current-password" autofocus></label>'
            "<button>Open</button></form></main></html>"
        )
        return web.Response(status=401, text=page, content_type="text/html")

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Handles the login form."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise web.HTTPUnsupportedMediaType(text="send the token as a form: token=...\n")
        given = (await request.post()).get("token")
        if isinstance(given, str) and self.token_fits(given):
            return self.welcome(request)
        await asyncio.sleep(_WRONG_TOKEN_SECONDS)
        return self.refusal(request, wrong=True)

    def _token_of(self, request: web.Request) -> str | None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE)


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # "[::1": brackets that do not close
        return ""


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For ``Application.on_response_prepare``: all responses, errors too."""
    response.headers.update(SECURITY_HEADERS)
