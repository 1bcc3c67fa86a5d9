"""A network output that reconnects: one stream and one clock over several connections."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from urllib.parse import urlsplit

import av

from animevid.errors import AnimevidError, OutputError
from animevid.frame import Frame
from animevid.io.network.protocols import Spec, scheme_of
from animevid.io.retry import Backoff
from animevid.io.sink import Sink, SinkReport
from animevid.io.source import Source
from animevid.redaction import redacted, redacted_text

log = logging.getLogger(__name__)

#: A shorter connection does not reset the time limit for reconnecting: a server that accepts and then disconnects,
#: because the stream key is wrong, is not tried for ever.
_LASTS_SECONDS = 5.0
#: Waits check ``should_stop`` this often.
_MAX_WAIT_SECONDS = 0.1
_PROBE_SECONDS = 5.0
_RTSP_PORTS = {"rtsp": 554, "rtsps": 322}


class PublishedSink(Sink):
    """Writes to ``first``, and after each break to the result of ``connect``, with growing pauses, on one clock.

    Each connection begins with a key frame. With ``drops`` (for a live source, which does not wait), video and
    audio are dropped while the server is away, and time goes on. Otherwise the frame that did not arrive is held, and
    the stream continues from it. Data in the encoder or in flight is lost in both cases. ``on_back(pts_seconds)`` is
    called when the held frame is sent.

    After ``patience_seconds`` without success ``write`` raises. A first connection that fails is not retried.

    ``should_stop`` ends every wait: frames are dropped then. ``now`` is a clock in seconds.
    """

    def __init__(
        self,
        first: Sink,
        connect: Callable[[], Sink],
        *,
        template: Source,
        patience_seconds: float,
        drops: bool,
        should_stop: Callable[[], bool],
        on_back: Callable[[Fraction], None] = lambda pts_seconds: None,
        backoff: Backoff | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path: Spec = first.path
        self.keeps_captions = first.keeps_captions
        self.frames_dropped = 0
        self.reconnections = 0
        self._current = first
        self._connect = connect
        self._template = template
        self._patience = patience_seconds
        self._drops = drops
        self._should_stop = should_stop
        self._on_back = on_back
        self._backoff = backoff or Backoff()
        self._now = now
        self._search: _Search | None = None
        self._deadline = 0.0
        self._connected_at: float | None = None
        self._packets_copied = self._packets_lost = 0

    @property
    def description(self) -> str:
        return self._current.description

    @property
    def decision_lines(self) -> tuple[str, ...]:
        return self._current.decision_lines

    @property
    def notices(self) -> tuple[str, ...]:
        notices = self._current.notices
        if self.frames_dropped:
            notices += (f"{self.frames_dropped} frames were dropped while {redacted(self.path)} was away",)
        return notices

    @property
    def encodes_on_device(self) -> bool:
        """Whether the connection's sink does."""
        return self._current.encodes_on_device

    def _write(self, frame: Frame) -> None:
        """Send the next frame, or drop it or hold it back while the server is away.

        Raises:
            OutputError: the server did not come back, or never answered.
            UsageError: a frame that does not fit, or the sink is finished.
        """
        while self._search is None or self._takes_found(frame):
            try:
                self._current.write(frame)
            except OutputError as error:
                if self._connected_at is None or not _is_of_the_network(error):
                    raise
                self._begin_search(frame, error)
                continue
            if self._connected_at is None:
                self._connected_at = self._now()
            self._count(frame.pts_seconds, frame.duration_seconds)
            return
        self.frames_dropped += 1

    def _finish(self) -> SinkReport:
        """Send the remaining data and disconnect.

        Raises:
            OutputError: no frame was written, or the server is away and did not get the last ones.
        """
        if self._search is None:
            try:
                return self._finished(self._current.finish())
            except OutputError as error:
                # The server left during the last packets: no error if the user ended the stream.
                if not (self._should_stop() and _is_of_the_network(error)):
                    raise
        elif not self._should_stop():
            reason = self._search.reason
            self.abort()
            raise OutputError(f"url = {redacted(self.path)!r} was away when the source ended ({reason})")
        self.abort()
        return self._report(packets=(self._packets_copied, self._packets_lost))

    def _finished(self, last: SinkReport) -> SinkReport:
        """The report of the whole stream; ``last`` is that of the last connection."""
        return replace(
            last,
            frames_written=self.frames_written,
            duration_seconds=self._end_seconds - (self._first_seconds or 0),
            packets_copied=self._packets_copied + last.packets_copied,
            packets_lost=self._packets_lost + last.packets_lost,
            notices=self.notices,
        )

    def abort(self) -> None:
        """Disconnect at once and stop reconnecting. Safe to call twice, and after ``finish``."""
        if self._done:
            return
        self._done = True
        if self._search is not None:
            self._search.close()
        self._current.abort()

    def _begin_search(self, frame: Frame, error: OutputError) -> None:
        reason, now = _reason(error), self._now()
        if not self._deadline or (self._connected_at is not None and now - self._connected_at >= _LASTS_SECONDS):
            self._deadline = now + self._patience
            self._backoff.reset()
        copied, lost = self._current.packets_so_far
        self._packets_copied, self._packets_lost = self._packets_copied + copied, self._packets_lost + lost
        log.warning(
            "%s broke off (%s): looking for it again for %.0f s",
            redacted(self.path),
            reason,
            max(0.0, self._deadline - now),
        )
        self._search = _Search(
            lambda: self._connected(frame),
            backoff=self._backoff,
            seconds=self._deadline - now,
            should_stop=self._should_stop,
            reason=reason,
        )

    def _connected(self, frame: Frame) -> Sink:
        """A new connection, made in the search's thread.

        Raises:
            AnimevidError: there is none.
        """
        _probe(self.path)
        sink = self._connect()
        sink.open(frame)
        return sink

    def _takes_found(self, frame: Frame) -> bool:
        """Whether ``frame`` can be written to a new connection; false if it is to be dropped.

        Raises:
            OutputError: the server did not come back.
        """
        search = self._search
        assert search is not None
        if self._drops:
            self._template.packets.take()
        else:
            while not search.is_done.wait(_MAX_WAIT_SECONDS) and not self._should_stop():
                pass
        if self._should_stop() or not search.is_done.is_set():
            return False
        if search.found is None:
            raise OutputError(
                f"url = {redacted(self.path)!r} did not come back in {self._patience:g} s ({search.reason}): check the "
                "server and the network"
            )
        self._search, self._current, self._connected_at = None, search.found, self._now()
        self.reconnections += 1
        log.warning("%s is back", redacted(self.path))
        if not self._drops:
            self._on_back(frame.pts_seconds)
        return True


class _Search:
    """Tries to reconnect in its own thread until ``seconds`` have passed; ``is_done`` tells when it has ended."""

    def __init__(
        self,
        connect: Callable[[], Sink],
        *,
        backoff: Backoff,
        seconds: float,
        should_stop: Callable[[], bool],
        reason: str,
    ) -> None:
        self.found: Sink | None = None
        self.is_done = threading.Event()
        self.reason = reason
        self._connect = connect
        self._backoff = backoff
        self._deadline = time.monotonic() + seconds
        self._should_stop = should_stop
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="animevid-reconnect", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the search and close what it opened."""
        self._closing.set()
        self._thread.join(timeout=2)
        if self.found is not None:
            self.found.abort()

    def _run(self) -> None:
        try:
            for _ in self._backoff.attempts(self._waits, until_seconds=self._deadline):
                try:
                    found = self._connect()
                except AnimevidError as error:
                    self.reason = _reason(error)
                    log.info("%s", error)
                    continue
                if self._closing.is_set():
                    found.abort()
                else:
                    self.found = found
                return
        except Exception as error:  # a thread has no caller to raise to
            log.debug("the search ended", exc_info=True)
            self.reason = f"{type(error).__name__}: {error}"
        finally:
            self.is_done.set()

    def _waits(self, pause_seconds: float) -> bool:
        """Wait; false if the search has ended."""
        until = time.monotonic() + pause_seconds
        while (left := until - time.monotonic()) > 0:
            if self._closing.wait(min(left, _MAX_WAIT_SECONDS)) or self._should_stop():
                return False
        return not self._closing.is_set() and not self._should_stop()


def _is_of_the_network(error: OutputError) -> bool:
    """Whether the error is of the network, not of the encoder or the frames."""
    return isinstance(error.__cause__, OSError | av.error.EOFError | av.error.ExitError)


def _reason(error: BaseException) -> str:
    cause = error.__cause__
    return redacted_text(str(getattr(cause, "strerror", None) or cause or error))


def _probe(spec: Spec) -> None:
    """Connect to an RTSP server first, since FFmpeg's muxer would wait for a connection for ever.

    Raises:
        OutputError: it does not answer.
    """
    scheme = scheme_of(spec)
    if scheme not in _RTSP_PORTS:
        return
    parts = urlsplit(str(spec))
    try:
        address = (parts.hostname or "", parts.port or _RTSP_PORTS[scheme])
        socket.create_connection(address, timeout=_PROBE_SECONDS).close()
    except (OSError, ValueError) as error:
        raise OutputError(f"url = {redacted(spec)!r} cannot be reached") from error
