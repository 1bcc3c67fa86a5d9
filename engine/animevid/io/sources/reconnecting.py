"""A live stream that reconnects: one source, one clock, one output."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from animevid.errors import AnimevidError
from animevid.frame import Frame
from animevid.io.clock import ticks_from_seconds
from animevid.io.network.protocols import scheme_of
from animevid.io.retry import Backoff
from animevid.io.source import Source
from animevid.redaction import redacted

if TYPE_CHECKING:
    from av.stream import Stream

log = logging.getLogger(__name__)

#: Schemes where the end of a connection does not tell whether it was intended. Over HTTP, a regular end is intended and
#: a failed read is not.
_LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "rtp", "udp", "tcp"})


def may_come_back(source: Source) -> bool:
    """Whether to reconnect when ``source`` ends: true for network streams without an end."""
    return scheme_of(source.spec) not in (None, "file") and not source.is_finite


class ReconnectingSource(Source):
    """Reads ``first``, and after each break the result of ``reopen``, with growing pauses, on the clock of ``first``.

    A gap in the output is as long as the outage, so the output's clock follows the server's. A slow reader cannot
    measure the outage, since the server is back while its last frames still wait here. So the gap is at least the time
    that is missing since the first connection.

    Other streams continue if the new connection has a stream of the same kind at the same index. After
    ``patience_seconds`` without success the source ends, as it does when ``stop`` is set; the output is then complete.
    ``now`` is a clock in seconds.
    """

    def __init__(
        self,
        first: Source,
        reopen: Callable[[], Source],
        *,
        patience_seconds: float,
        stop: threading.Event,
        backoff: Backoff | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = first.spec
        self.info = first.info
        self.packets = first.packets
        self.origin_seconds = first.origin_seconds
        self.read_error: str | None = None
        self.reconnections = 0
        self._first = first
        self._current: Source = first
        self._reopen = reopen
        self._patience = patience_seconds
        self._stop = stop
        self._backoff = backoff or Backoff()
        self._now = now
        # Opening ends with the first frame.
        self._first_at = self._opened_at = now()
        self._decoded_before = 0
        self._concealed_before = 0

    @property
    def frames_decoded(self) -> int:  # type: ignore[override]
        return self._decoded_before + self._current.frames_decoded

    @property
    def frames_concealed(self) -> int:  # type: ignore[override]
        return self._concealed_before + self._current.frames_concealed

    @property
    def end_seconds(self) -> Fraction | None:
        return self._first.end_seconds

    @property
    def is_finite(self) -> bool:
        return False

    @property
    def is_live(self) -> bool:
        return True

    @property
    def media_streams(self) -> Sequence[Stream]:
        return self._first.media_streams

    def close(self) -> None:
        """Free all connections. Safe to call twice."""
        self._current.close()
        self._first.close()

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order of time, through all connections."""
        shift, index, seen_at = Fraction(0), 0, self._now()
        last_end = began = self.origin_seconds
        while True:
            begins = self._current is not self._first
            for frame in self._current:
                if begins:
                    begins = False
                    away = self._opened_at - seen_at
                    missed = self._opened_at - self._first_at - float(last_end - began)
                    gap = Fraction(max(0.0, away, missed)).limit_denominator(1000)
                    shift = last_end + gap - frame.pts_seconds
                    self._backoff.reset()
                elif index == 0:
                    began = frame.pts_seconds
                if self._current is not self._first:
                    self._pass_packets(shift)
                frame = replace(frame, pts_seconds=frame.pts_seconds + shift, index=index)
                last_end = frame.pts_seconds + (frame.duration_seconds or 0)
                index, seen_at = index + 1, self._now()
                yield frame
            if self._current is not self._first:
                self._pass_packets(shift)  # packets after the last frame
            reason = self._current.read_error
            if self._stop.is_set() or (reason is None and scheme_of(self.spec) not in _LIVE_SCHEMES):
                return
            if not self._find_again(reason or "it ended"):
                self.read_error = reason
                return

    def _find_again(self, reason: str) -> bool:
        name = redacted(self.spec)
        deadline = self._now() + self._patience
        log.warning("%s broke off (%s): looking for it again for %g s", name, reason, self._patience)
        wait = lambda seconds: not self._stop.wait(seconds)  # noqa: E731
        for _ in self._backoff.attempts(wait, until_seconds=deadline, now=self._now):
            try:
                found = self._reopen()
            except AnimevidError as error:
                log.info("%s", error)
                continue
            self._decoded_before, self._concealed_before = self.frames_decoded, self.frames_concealed
            if self._current is not self._first:  # the output was set up from the streams of the first
                self._current.close()
            self._current, self._opened_at = found, self._now()
            found.packets.subscribe(self._common_streams(found))
            self.reconnections += 1
            log.warning("%s is back", name)
            return True
        if not self._stop.is_set():
            log.warning("%s did not come back", name)
        return False

    def _common_streams(self, found: Source) -> frozenset[int]:
        wanted = self.packets.wanted or frozenset()
        before = {stream.index: (stream.kind, stream.codec) for stream in self.info.other_streams}
        now = {stream.index: (stream.kind, stream.codec) for stream in found.info.other_streams}
        return frozenset(index for index in wanted if index in now and now[index] == before.get(index))

    def _pass_packets(self, shift: Fraction) -> None:
        for packet in self._current.packets.take():
            ticks = ticks_from_seconds(shift, packet.time_base)
            if packet.pts is not None:
                packet.pts += ticks
            if packet.dts is not None:
                packet.dts += ticks
                last = self.packets.last_dts_seconds(packet.stream_index)
                if last is not None and packet.dts * packet.time_base <= last:
                    continue  # audio of the last connection outlasts its video, and muxers refuse earlier times
            self.packets.put(packet)
