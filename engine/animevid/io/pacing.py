"""Paces frames in real time: for publishing, and for files that stand in for a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

#: Waits check ``should_stop`` this often.
_MAX_SLEEP_SECONDS = 0.1
#: The longest time that a frame is held. Servers take a longer silence for a broken connection, and a longer gap is
#: more likely a jump of the video's clock than a frame that lasts so long.
MAX_HOLD_SECONDS = 10.0


class Pacer:
    """Holds each frame until its time, counted from the first one. One thread uses it.

    A late frame goes at once, and so do those after it until the delay is made up for, since it has
    drained the viewers' buffers. No frame is held for more than :data:`MAX_HOLD_SECONDS`: after a jump of the clock,
    time is counted from the frame that jumped.

    ``should_stop`` ends a wait early. ``now`` and ``sleep`` are those of a clock, in seconds.
    """

    def __init__(
        self,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._should_stop = should_stop
        self._now = now
        self._sleep = sleep
        self._start_seconds: float | None = None
        #: The largest delay of a frame so far, in seconds.
        self.behind_seconds = 0.0

    def restart(self, pts_seconds: Fraction) -> None:
        """Restart the clock: the frame at ``pts_seconds`` goes now, because the server was away."""
        self._start_seconds = self._now() - float(pts_seconds)

    def hold(self, pts_seconds: Fraction) -> None:
        """Return when the frame at ``pts_seconds`` is due."""
        if self._start_seconds is None:
            self._start_seconds = self._now() - float(pts_seconds)
        due = self._start_seconds + float(pts_seconds)
        too_far = due - self._now() - MAX_HOLD_SECONDS
        if too_far > 0:
            self._start_seconds -= too_far
            due -= too_far
        self.behind_seconds = max(self.behind_seconds, self._now() - due)
        while (left := due - self._now()) > 0 and not self._should_stop():
            self._sleep(min(left, _MAX_SLEEP_SECONDS))


def ticks(rate: Fraction, stopping: threading.Event) -> Iterator[int]:
    """Count frames at ``rate`` per second, each at its time, until ``stopping`` is set.

    Frames whose time has passed are skipped, as a camera does.
    """
    pacer = Pacer(should_stop=stopping.is_set, sleep=stopping.wait)
    start, index = time.monotonic(), 0
    while not stopping.is_set():
        pacer.hold(index / rate)
        yield index
        index = max(index + 1, int((time.monotonic() - start) * rate))
