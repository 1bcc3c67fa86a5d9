"""Styles from a URL, from a real HTTP server that can break off, ignore ranges, or send wrong data."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from animevid.errors import StyleError, UsageError
from animevid.styles import StyleCard, download, load_style, write_card
from animevid.styles.download import fetch
from small_networks import packed_network, rgb_network

CARD = StyleCard(name="far", size_multiple=2)
CONTENT = write_card(rgb_network(), CARD)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content``; disconnects after ``break_after`` bytes of a response, ``breaks`` times."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.honours_range = True
        self.break_after = 0
        self.breaks = 0
        self.asked: list[str | None] = []
        self.headers: dict[str, str] = {}
        self.leads_to: str | None = None
        self.trickles = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}/folder/far.onnx"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if "far.onnx" not in self.path:
            self.send_error(404)
            return
        if server.leads_to is not None:
            self.send_response(302)
            self.send_header("Location", server.leads_to)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.honours_range else 0
        if start and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        for name, value in {"Content-Length": str(len(body)), **server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if server.trickles:
            with suppress(OSError):
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.01)
            return
        if server.breaks > 0:
            server.breaks -= 1
            body = body[: server.break_after]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_url_with_its_checksum_is_a_style_and_is_fetched_once(server):
    style = load_style(server.url, sha256=DIGEST)
    assert (style.card, style.model) == (CARD, CONTENT)
    assert load_style(f"{server.url}#sha256={DIGEST.upper()}").model == CONTENT
    assert server.asked == [None]


def test_a_file_without_a_card_is_named_after_its_url(server):
    server.content = packed_network()
    digest = hashlib.sha256(server.content).hexdigest()
    assert load_style(f"{server.url}?download=1", sha256=digest).card.name == "far"


def test_what_was_fetched_is_there_without_a_network(server, tmp_path):
    first = fetch(server.url, tmp_path, sha256=DIGEST)
    server.shutdown()
    server.server_close()
    assert fetch(server.url, tmp_path, sha256=DIGEST) == first


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.break_after, server.breaks = 3000, 2
    assert fetch(server.url, tmp_path, sha256=DIGEST).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-", "bytes=6000-"]


def test_after_three_breaks_it_says_so_and_the_next_call_goes_on(server, tmp_path):
    server.break_after, server.breaks = 1000, 3
    with pytest.raises(StyleError, match="interrupted at 3000 bytes"):
        fetch(server.url, tmp_path, sha256=DIGEST)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    assert fetch(server.url, tmp_path, sha256=DIGEST).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=3000-"


def test_a_server_that_ignores_ranges_starts_again(server, tmp_path):
    server.break_after, server.breaks, server.honours_range = 2000, 1, False
    assert fetch(server.url, tmp_path, sha256=DIGEST).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / f"{DIGEST}.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, tmp_path, sha256=DIGEST).read_bytes() == CONTENT


def test_a_part_of_another_file_ends_in_a_wrong_checksum_and_is_not_kept(server, tmp_path):
    (tmp_path / f"{DIGEST}.part").write_bytes(b"\0" * 500)
    with pytest.raises(StyleError, match="nothing was kept"):
        fetch(server.url, tmp_path, sha256=DIGEST)
    assert list(tmp_path.iterdir()) == []
    assert fetch(server.url, tmp_path, sha256=DIGEST).read_bytes() == CONTENT


def test_another_content_than_promised_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(StyleError, match=f"sha256 {DIGEST}, not 0000"):
        fetch(server.url, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_folder_is_fetched_again(server, tmp_path):
    fetch(server.url, tmp_path, sha256=DIGEST).write_bytes(b"rot")
    assert fetch(server.url, tmp_path, sha256=DIGEST).read_bytes() == CONTENT


def test_a_missing_file_says_404(server, tmp_path):
    with pytest.raises(StyleError, match="404"):
        fetch(server.url.replace("far", "gone"), tmp_path, sha256=DIGEST)


def test_offline_is_one_clear_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(StyleError) as caught:
        fetch(server.url, tmp_path, sha256=DIGEST)
    assert "are you offline?" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "sha256"),
    [
        ("http://127.0.0.1:9/x.onnx", None),
        ("http://127.0.0.1:9/x.onnx", "12ab"),
        ("http://127.0.0.1:9/x.onnx#sha256=xyz", None),
        ("file:///etc/passwd", "0" * 64),
        ("ftp://127.0.0.1/x.onnx", "0" * 64),
    ],
)
def test_a_url_without_a_checksum_or_of_another_kind_is_refused(tmp_path: Path, url, sha256):
    with pytest.raises(UsageError):
        fetch(url, tmp_path, sha256=sha256)
    with pytest.raises(UsageError):
        load_style(url, sha256=sha256)


def test_a_folder_that_cannot_be_made_is_one_clear_line(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StyleError, match="cannot hold"):
        fetch(server.url, tmp_path / "file" / "styles", sha256=DIGEST)


def test_a_server_that_trickles_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_LIMITS", replace(download._LIMITS, grace_seconds=0.3))
    server.trickles = True
    began = time.monotonic()
    with pytest.raises(StyleError, match="bytes a second"):
        fetch(server.url, tmp_path, sha256=DIGEST)
    assert time.monotonic() - began < 20


def test_a_download_has_a_longest_time(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_LIMITS", replace(download._LIMITS, max_seconds=0.3))
    server.trickles = True
    with pytest.raises(StyleError, match="run again to resume"):
        fetch(server.url, tmp_path, sha256=DIGEST)
    assert 0 < (tmp_path / f"{DIGEST}.part").stat().st_size < len(CONTENT)


def test_headers_that_do_not_come_are_not_waited_for(server, tmp_path):
    class Slow(_Handler):
        def do_GET(self) -> None:
            with suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: b\r\n" if _ == 0 else b"X-A: b\r\n")
                    time.sleep(0.05)

    server.RequestHandlerClass = Slow
    began = time.monotonic()
    with pytest.raises(StyleError, match="does not answer"):
        fetch(server.url, tmp_path, sha256=DIGEST, timeout_seconds=0.4)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("length", [str(2 << 30), "-1", "9" * 30, "many"])
def test_a_length_that_cannot_be_is_refused_before_anything_comes(server, tmp_path, length):
    server.headers = {"Content-Length": length}
    with pytest.raises(StyleError, match=r"larger than|has no length"):
        fetch(server.url, tmp_path, sha256=DIGEST)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_it_is_led_to_no_other_protocol(server, tmp_path, target):
    server.leads_to = target
    with pytest.raises(StyleError, match=r"not followed|refused by its server"):
        fetch(server.url, tmp_path, sha256=DIGEST)


def test_round_and_round_is_an_end(server, tmp_path):
    server.leads_to = server.url
    with pytest.raises(StyleError, match="refused by its server"):
        fetch(server.url, tmp_path, sha256=DIGEST)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.parametrize("suffix", [".part", ".onnx"])
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_file_of_ours_in_the_cache_is_refused(server, tmp_path, suffix, kind):
    cache, secret = tmp_path / "cache", tmp_path / "secret"
    cache.mkdir()
    secret.write_text("mine")
    path = cache / f"{DIGEST}{suffix}"
    {"fifo": lambda: os.mkfifo(path), "link": lambda: path.symlink_to(secret), "folder": path.mkdir}[kind]()
    with pytest.raises(StyleError) as caught:
        fetch(server.url, cache, sha256=DIGEST)
    assert str(path) in str(caught.value) or "cannot hold" in str(caught.value)
    assert secret.read_text() == "mine"


def test_two_do_not_fetch_the_same_file_at_once(server, tmp_path):
    with download._open_part(tmp_path / f"{DIGEST}.part"), pytest.raises(StyleError, match="another animevid"):
        fetch(server.url, tmp_path, sha256=DIGEST)


def test_what_a_server_says_does_not_speak_to_the_terminal(server, tmp_path):
    class Rude(_Handler):
        def do_GET(self) -> None:
            self.send_response(403, "go\x1b[2J away")
            self.end_headers()

    server.RequestHandlerClass = Rude
    with pytest.raises(StyleError) as caught:
        fetch(server.url + "?token=secret", tmp_path, sha256=DIGEST)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)
