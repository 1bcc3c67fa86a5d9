"""Accepts connections within limits: their number, idle time and reading speed.

asyncio accepts without limit and logs a traceback for each attempt once file descriptors run out; here connections wait
in the system's queue until there is room. This is below HTTP, so it also applies without a token.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = logging.getLogger(__name__)

#: Errors that the connection itself did not cause.
NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LOG_EVERY_SECONDS = 60.0
_SWEEP_SECONDS = 0.5
_OTHER_DESCRIPTORS = 128
_MAX_DESCRIPTORS = 4096


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of connections.

    Args:
        max_connections: at a time (default 256; fewer if the system allows few open files). At the limit, the
            oldest one without a token is closed, else the one that was idle longest.
        head_seconds: until the first request's headers are complete (default 10).
        idle_seconds: between a response and the next request's headers (default 30).
        stall_seconds: for a client to read one buffer of a response, 48 KiB (default 30).
        body_seconds: for a request's body, except uploads (default 20).
    """

    max_connections: int = 256
    head_seconds: float = 10.0
    idle_seconds: float = 30.0
    stall_seconds: float = 30.0
    body_seconds: float = 20.0


class Connection(asyncio.Protocol):
    """One connection; its data goes to ``inner``, aiohttp's protocol."""

    def __init__(self, inner: asyncio.Protocol, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self.transport: asyncio.Transport | None = None
        self.is_trusted = False
        self.opened_at = self._quiet_since = time.monotonic()
        self._requests = 0
        self._is_new = True
        self._stalled_since: float | None = None

    @property
    def idle_since(self) -> float | None:
        """When the last response ended; ``None`` during a request."""
        return None if self._requests else self._quiet_since

    def request_began(self) -> None:
        self._requests += 1
        self._is_new = False

    def request_ended(self) -> None:
        self._requests -= 1
        self._quiet_since = time.monotonic()

    def is_overdue(self, now: float, limits: ConnectionLimits) -> bool:
        """Whether it exceeds one of its time limits."""
        if self._stalled_since is not None and now - self._stalled_since > limits.stall_seconds:
            return True
        allowed = limits.head_seconds if self._is_new else limits.idle_seconds
        return not self._requests and now - self._quiet_since > allowed

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._stalled_since = time.monotonic()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since = None
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.forget(self)
        self._inner.connection_lost(exc)


class Gate:
    """All connections of one listening socket."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: set[Connection] = set()
        self._left = asyncio.Event()
        self._said_at = -_LOG_EVERY_SECONDS

    def __len__(self) -> int:
        return len(self._open)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._left.set()

    async def accept(self, listening: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections until cancelled, with a ``make()`` for each."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        while True:
            await self._room()
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in NO_RESOURCES:
                    self._say(f"no more connections for now ({error.strerror})")
                    self._make_room()
                    await asyncio.sleep(_SWEEP_SECONDS)
                continue  # or it was closed before it was accepted
            connection = Connection(make(), self)
            self._open.add(connection)
            try:
                await loop.connect_accepted_socket(lambda made=connection: made, accepted)  # type: ignore[misc]
            except OSError as error:
                accepted.close()
                self.forget(connection)
                self._say(f"a connection could not be taken ({error.strerror})")

    async def sweep(self) -> None:
        """Close overdue connections, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for connection in tuple(self._open):
                if connection.is_overdue(now, self.limits):
                    connection.abort()

    async def _room(self) -> None:
        while len(self._open) >= self.limits.max_connections:
            self._left.clear()
            self._make_room()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await self._left.wait()

    def _make_room(self) -> None:
        strangers = [connection for connection in self._open if not connection.is_trusted]
        idle = [connection for connection in self._open if connection.idle_since is not None]
        if strangers:
            min(strangers, key=lambda connection: connection.opened_at).abort()
        elif idle:
            min(idle, key=lambda connection: connection.idle_since or 0.0).abort()

    def _say(self, line: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= _LOG_EVERY_SECONDS:
            self._said_at = now
            log.warning("%s", line)


def connection_of(request: web.Request) -> Connection | None:
    """The connection of ``request``; ``None`` if :func:`serve` did not accept it."""
    protocol = None if request.transport is None else request.transport.get_protocol()
    return protocol if isinstance(protocol, Connection) else None


class _Seldom(logging.Filter):
    """Limits log records per minute, so that clients cannot fill the disk with logs."""

    def __init__(self, count: int = 10) -> None:
        super().__init__()
        self._count = count
        self._since = -_LOG_EVERY_SECONDS
        self._passed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, HttpProcessingError):
            return False  # invalid HTTP: the 400 response is enough
        now = time.monotonic()
        if now - self._since >= _LOG_EVERY_SECONDS:
            self._since, self._passed = now, 0
        self._passed += 1
        return self._passed <= self._count


async def serve(
    app: web.Application,
    listening: socket.socket,
    *,
    limits: ConnectionLimits | None = None,
    farewell_seconds: float = 0.5,
) -> None:
    """Serve ``app`` on ``listening`` until SIGINT, SIGTERM or SIGHUP, or until cancelled.

    Args:
        app: the application.
        listening: a bound socket that listens; closed at the end.
        limits: of connections.
        farewell_seconds: for running requests at the end (default 0.5).
    """
    loop = asyncio.get_running_loop()
    http_log = logging.getLogger("animevid.server.http")
    for logger in (http_log, logging.getLogger("asyncio"), logging.getLogger("aiortc"), logging.getLogger("aioice")):
        logger.addFilter(_Seldom())
    limits = _within_descriptors(limits or ConnectionLimits())
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=http_log,
        keepalive_timeout=limits.idle_seconds,
        shutdown_timeout=farewell_seconds,
    )
    await runner.setup()
    gate = Gate(limits)
    stop = asyncio.Event()
    _on_signals(loop, stop)
    server = cast(Callable[[], asyncio.Protocol], runner.server)
    tasks = [asyncio.ensure_future(work) for work in (gate.accept(listening, server), gate.sweep(), stop.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        listening.close()
        await runner.cleanup()


def _on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number: signal.Signals | None = getattr(signal, name, None)
        # Only the main thread can set handlers, and Windows has none (Ctrl-C raises there).
        with suppress(NotImplementedError, ValueError, RuntimeError):
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                loop.add_signal_handler(number, stop.set)


def _within_descriptors(limits: ConnectionLimits) -> ConnectionLimits:
    """Raise the limit on file descriptors, and lower that on connections if it is not enough."""
    from dataclasses import replace

    try:
        import resource
    except ImportError:  # Windows
        return limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    taken = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
    room = limits.max_connections if soft == resource.RLIM_INFINITY else soft - taken - _OTHER_DESCRIPTORS
    return replace(limits, max_connections=max(8, min(limits.max_connections, room)))
