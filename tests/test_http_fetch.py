"""Where a bounded download may be led. tests/styles/test_download.py and io/test_protocols.py download real bytes."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from animevid import http_fetch
from animevid.http_fetch import FetchError, FetchLimits, TooLarge, body, open_response

LIMITS = FetchLimits(max_bytes=100, max_seconds=5, silence_seconds=5)


class Server(ThreadingHTTPServer):
    """Redirects ``/`` to ``leads_to``; notes each request's path and authorization."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.leads_to = "/file"
        self.asked: list[tuple[str, str | None]] = []
        self.host = f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(302 if self.path == "/" else 200)
        if self.path == "/":
            self.send_header("Location", self.server.leads_to)
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with Server() as first, Server() as second:
        for server in (first, second):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield first, second
        first.shutdown()
        second.shutdown()


def read(url: str, *, max_bytes: int = 100) -> bytes:
    limits = replace(LIMITS, max_bytes=max_bytes)
    with open_response(url, limits) as response:
        return b"".join(body(response, limits, shown=url))


def test_a_password_follows_a_redirect_on_its_server_and_to_no_other(servers):
    first, second = servers
    expected = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert read(f"http://me:p%40ss@{first.host}/") == b"content"
    assert first.asked == [("/", expected), ("/file", expected)]
    first.leads_to = f"http://{second.host}/file"
    assert read(f"http://me:p%40ss@{first.host}/") == b"content"
    assert second.asked == [("/file", None)]


def test_a_file_without_a_length_may_not_exceed_the_limit(servers):
    url = f"http://{servers[0].host}/file"
    assert read(url, max_bytes=len(b"content")) == b"content"
    with pytest.raises(TooLarge, match="larger than"):
        read(url, max_bytes=len(b"content") - 1)


def test_a_redirect_out_of_https_is_followed_only_where_that_is_allowed():
    request = http_fetch.urllib.request.Request("https://example.org/x.onnx")

    def led_to(url: str, *, https_to_http: bool = False) -> str:
        redirects = http_fetch._Redirects(https_to_http=https_to_http)
        return redirects.redirect_request(request, None, 302, "Found", {}, url).full_url

    with pytest.raises(FetchError, match="leads to http://"):
        led_to("http://example.org/x.onnx")
    with pytest.raises(FetchError, match="leads to file://"):
        led_to("file:///etc/passwd", https_to_http=True)
    assert led_to("https://example.com/x.onnx") == "https://example.com/x.onnx"
    assert led_to("http://example.org/x.onnx", https_to_http=True) == "http://example.org/x.onnx"


def test_only_http_is_opened():
    with pytest.raises(FetchError, match="neither http nor https"):
        open_response("file:///etc/passwd", LIMITS)
