"""Attacks on a server: it keeps running, serves other clients, and fills neither disk nor memory."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from animevid.confinement import missing
from animevid.errors import LiveError
from animevid.styles import load_style

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")

import av
from aiortc.jitterbuffer import JitterFrame
from animevid.server import converter, requests
from animevid.server.app import ServerOptions, make_app
from animevid.server.auth import Guard
from animevid.server.incoming import BoundedDecoder, check_offer, vp8_size
from animevid.server.listen import Connection, ConnectionLimits, Gate, serve
from animevid.server.uploads import JobLimits

TOKEN = "a token that nobody guesses"


@pytest.fixture
def attacked(packed_style: Path) -> Callable[..., Any]:
    """``attacked(attack, limits, **options)`` runs ``attack(port)`` against a server like that of the command."""

    def run(attack: Callable[[int], Awaitable[Any]], limits: ConnectionLimits | None = None, **changes: Any) -> Any:
        options = ServerOptions(**{"styles": (load_style(packed_style),), "guard": Guard("127.0.0.1"), **changes})
        if missing():
            options = replace(options, jobs=replace(options.jobs, may_be_unconfined=True))

        async def session() -> Any:
            listening = socket.create_server(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            server = asyncio.create_task(serve(make_app(options), listening, limits=limits))
            try:
                async with asyncio.timeout(60):
                    return await attack(port)
            finally:
                server.cancel()
                await asyncio.gather(server, return_exceptions=True)

        return asyncio.run(session())

    return run


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def status(port: int, request: bytes) -> int:
    """The status of the response to ``request``; 0 if the server disconnects."""
    async with connected(port) as (reader, writer):
        writer.write(request)
        try:
            line = await reader.readline()
        except ConnectionError:
            return 0
        return int(line.split()[1]) if line else 0


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")).encode()


def post(path: str, body: bytes, content_type: str = "application/json", *headers: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {content_type}", *headers)
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body


FORM = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n\r\n\r\n" * 180_000 + b"--b--\r\n",
        b"--b\r\n" + b"a: b\r\n" * 300_000 + b"\r\n\r\n--b--\r\n",
        b"--b\r\n" + b"a" * 1_800_000,
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" * 30_000,
    ],
    ids=["empty parts", "headers of a part", "one long line", "forms in forms"],
)
def test_a_form_that_is_made_to_cost_time_costs_none(attacked: Callable[..., Any], body: bytes) -> None:
    async def attack(port: int) -> tuple[int, float, int]:
        began = time.monotonic()
        evil = asyncio.create_task(status(port, post("/convert", body, FORM)))
        others = await status(port, get("/api/config"))
        return await evil, time.monotonic() - began, others

    answered, seconds, others = attacked(attack)
    assert (answered, others) == (400, 200)
    assert seconds < 15


def test_idle_connections_without_a_token_keep_nobody_out(
    attacked: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def attack(port: int) -> list[int]:
        async with connected(port) as (reader, writer):
            authorized = get("/api/config", f"Authorization: Bearer {TOKEN}")
            writer.write(authorized)
            await reader.readuntil(b'"durationSeconds"')
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
            found = [await status(port, authorized) for _ in range(3)]
            writer.write(authorized)  # the connection that sent the token is still open
            await reader.readuntil(b'"styles"')
            for _, other in idle:
                other.transport.abort()
        return found

    assert attacked(attack, ConnectionLimits(max_connections=10), guard=Guard("0.0.0.0", TOKEN)) == [200, 200, 200]
    assert len(caplog.text) < 2000


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "], ids=["silent", "slow"])
def test_a_request_that_does_not_come_is_not_waited_for(attacked: Callable[..., Any], sent: bytes) -> None:
    async def attack(port: int) -> float:
        async with connected(port) as (reader, writer):
            began = time.monotonic()
            writer.write(sent)
            while time.monotonic() - began < 20:
                try:
                    writer.write(b"x" if sent else b"")
                    async with asyncio.timeout(0.1):
                        if not await reader.read(1):
                            break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            return time.monotonic() - began

    assert 0.4 < attacked(attack, ConnectionLimits(head_seconds=0.5)) < 10


def test_a_body_that_does_not_come_is_not_waited_for(
    attacked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_BODY_SECONDS", 0.3)
    form = "application/x-www-form-urlencoded"

    async def attack(port: int) -> list[int]:
        half = [post("/login", b"token=x", form)[:-3], post("/api/peers", b'{"sdp": ""}')[:-3]]
        return [await status(port, request) for request in (*half, post("/convert", b"--b\r\n", FORM)[:-1])]

    assert attacked(attack) == [408, 408, 400]


def test_an_upload_that_trickles_gives_its_place_away(attacked: Callable[..., Any]) -> None:
    async def attack(port: int) -> bytes:
        async with connected(port) as (reader, writer):
            writer.write(post("/api/jobs", bytes(100_000), "video/mp4")[:-100_000])
            for _ in range(100):
                writer.write(b"x")
                try:
                    async with asyncio.timeout(0.05):
                        return (await reader.read(4000)).split(b"\r\n\r\n")[1]
                except TimeoutError:
                    continue
            return b"never"

    limits = JobLimits(stall_seconds=0.4, slowest_bytes_per_second=1000)
    assert b"fewer than 1000 bytes a second" in attacked(attack, jobs=limits)


def test_a_reader_that_does_not_read_is_overdue() -> None:
    async def attack() -> list[bool]:
        connection = Connection(asyncio.Protocol(), Gate(ConnectionLimits()))
        connection.request_began()
        limits, found = ConnectionLimits(stall_seconds=5), []
        for step in (connection.pause_writing, connection.resume_writing):
            step()
            found.append(connection.is_overdue(time.monotonic() + 6, limits))
        return found

    assert asyncio.run(attack()) == [True, False]


def test_out_of_file_descriptors_it_waits_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("animevid.server.listen._SWEEP_SECONDS", 0.001)
    tries = []

    async def no_descriptor(*_: Any) -> Any:
        tries.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    async def attack() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "sock_accept", no_descriptor)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            task = asyncio.create_task(Gate(ConnectionLimits()).accept(listening, asyncio.Protocol))
            await asyncio.sleep(0.3)
            assert not task.done()
            task.cancel()

    asyncio.run(attack())
    assert len(tries) > 20
    assert [record.getMessage() for record in caplog.records] == ["no more connections for now (Too many open files)"]


STYLE = b"Content-Disposition: form-data; name=style\r\n"
ODD_REQUESTS = [
    get("/", "Cookie: animevid_token=RAW").replace(b"RAW", b"\xff\xfe"),
    get("/?token=%ED%A0%80%FF"),
    get("/api/config", "Authorization: Bearer RAW").replace(b"RAW", b"\xff"),
    get("/api/config").replace(b"127.0.0.1", b"[::1"),
    get("/api/config").replace(b"127.0.0.1", b"[v1.x]"),
    get("/styles/%2e%2e%2f%00.jpg"),
    get("/jobs/%00%ff"),
    get("/" + "%" * 50),
    post("/api/peers", b"{}", "application/json; charset=nothing"),
    post("/api/peers", b"\xff\xfe"),
    post("/api/peers", b'{"sdp": "v=0", "strength": 1e999}'),
    post("/api/peers", b'{"sdp": "v=0", "strength": ' + b"9" * 5000 + b"}"),
    post("/api/peers", b'{"sdp": "v=0", "style": {"a": []}}'),
    post("/api/peers", b"x", "application/json", "Content-Encoding: gzip"),
    post("/api/peers", b"{}", "application/json", "Origin: http://["),
    post("/api/jobs?strength=nan", b"x"),
    post("/api/jobs?name=%FF%ED%A0%80&compare=%00", b""),
    post("/login", b"token=x", "multipart/form-data"),
    post("/login", b"--b\r\n\r\n" * 9000, FORM),
    post("/login", b"%" * 5000, "application/x-www-form-urlencoded"),
    post("/convert", b"x", "multipart/form-data"),
    post("/convert", b"x", "text/plain"),
    post("/convert", b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n", FORM),
    post("/convert", b"--b\r\n" + STYLE + b"Content-Transfer-Encoding: odd\r\n\r\nx\r\n--b", FORM),
    post("/convert", b"--b\r\n" + STYLE + b"Content-Length: -5\r\n\r\nx\r\n--b--", FORM),
    b"DELETE /api/jobs/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"BREW /pot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 2000 + b"\r\n\r\n",
]  # fmt: skip


def test_no_request_gives_a_500(attacked: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    async def attack(port: int) -> list[int]:
        found = [await status(port, request + b"\r\n\r\n") for request in ODD_REQUESTS]
        assert await status(port, get("/api/config", f"Authorization: Bearer {TOKEN}")) == 200
        return found

    for guard in (Guard("127.0.0.1"), Guard("127.0.0.1", TOKEN)):
        with caplog.at_level(logging.WARNING):
            found = attacked(attack, guard=guard)
        assert [(code, sent[:80]) for code, sent in zip(found, ODD_REQUESTS, strict=True) if code >= 500] == []
        assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "says", ["[1]", "[" * 100_000, "null", '{"progress": "x"}', "{" * 200_000, '{"error": "\\u001b[2J"}', "\\xff"]
)
def test_an_odd_line_of_the_child_frees_its_place(
    attacked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str
) -> None:
    child = tmp_path / "python"
    child.write_text(f"#!{sys.executable}\nprint({says!r}, flush=True)\nprint({says!r} * 20, flush=True)\n")
    child.chmod(0o755)
    monkeypatch.setattr(converter.sys, "executable", str(child))

    async def attack(port: int) -> list[str]:
        errors = []
        for _ in range(2):
            async with connected(port) as (reader, writer):
                writer.write(post("/api/jobs", b"a video"))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split()[0])
                job = json.loads(await reader.readexactly(length))
                while job["state"] not in ("done", "failed"):
                    await asyncio.sleep(0.05)
                    writer.write(get(f"/api/jobs/{job['id']}"))
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length: ")[1].split()[0])
                    job = json.loads(await reader.readexactly(length))
                errors.append(job["error"])
        return errors

    for error in attacked(attack):
        assert error.strip() == "[2J" if "error" in says else "stopped by a limit" in error


def coded(name: str, width: int, height: int) -> bytes:
    """The key frame of a grey frame."""
    encoder = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = width, height, "yuv420p", 30
    encoder.options = {"deadline": "realtime", "cpu-used": "8"} if name == "libvpx" else {"preset": "ultrafast"}
    frame = av.VideoFrame(width, height, "yuv420p")
    return bytes([*encoder.encode(frame), *encoder.encode(None)][0])


@pytest.mark.parametrize("name", ["libvpx", "libx264"])
def test_a_frame_beyond_the_limit_is_not_decoded(name: str) -> None:
    from aiortc.codecs.h264 import H264Decoder
    from aiortc.codecs.vpx import Vp8Decoder

    decoder = BoundedDecoder(Vp8Decoder() if name == "libvpx" else H264Decoder(), max_pixels=640 * 480)
    small, large = coded(name, 320, 240), coded(name, 1280, 720)
    decoder.decode(JitterFrame(data=small, timestamp=0))
    try:
        assert decoder.decode(JitterFrame(data=large, timestamp=1)) == []
    except av.FFmpegError:
        assert name == "libx264"
    if name == "libvpx":
        assert vp8_size(large) == (1280, 720)
        assert len(decoder.decode(JitterFrame(data=small, timestamp=2))) == 1


def test_aiortc_is_given_the_bounded_decoder() -> None:
    from aiortc import RTCRtpCodecParameters, rtcrtpreceiver
    from animevid.server.incoming import patch_aiortc

    patch_aiortc()
    decoder = rtcrtpreceiver.get_decoder(RTCRtpCodecParameters(mimeType="video/H264", clockRate=90000))
    assert isinstance(decoder, BoundedDecoder)
    assert decoder._inner.codec.options["max_pixels"]


CANDIDATE = "a=candidate:1 1 udp 2113937151 {} 50000 typ host"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([CANDIDATE.format("10.0.0.1")] * 33, "33 candidates"),
        ([CANDIDATE.format("metadata.internal")], "is no address"),
        (["m=video 9 UDP/TLS/RTP/SAVPF 96"] * 5, "5 media"),
        (["a=x"] * 2001, "2002 lines"),
        (["a=" + "x" * 70_000], "bytes"),
    ],
)
def test_an_offer_that_asks_for_too_much_is_refused(lines: list[str], says: str) -> None:
    with pytest.raises(LiveError, match=says):
        check_offer("\r\n".join(["v=0", *lines]))


def test_a_browsers_candidates_are_taken() -> None:
    names = ("10.0.0.1", "2001:db8::1", "5b2f1f5e-0f0e-4c3d-9a57-0a2b3c4d5e6f.local")
    check_offer("\r\n".join(["v=0", "m=video 9 UDP/TLS/RTP/SAVPF 96", *map(CANDIDATE.format, names)]))
