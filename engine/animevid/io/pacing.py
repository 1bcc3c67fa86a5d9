"""Real time: for what is published, at the pace at which it is watched, and for what stands in for a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

#: How long a wait lasts before it looks whether it is still wanted.
_MAX_SLEEP_SECONDS = 0.1
#: How long a picture is held back at most. Servers take a longer silence for a broken connection, and what asks for it
#: is rather a jump of the film's clock than a picture to be looked at for so long.
MAX_HOLD_SECONDS = 10.0


class Pacer:
    """Holds each picture back until its moment, counted from the first one. One thread uses it.

    A picture that is late goes at once, and so do those behind it until the lost time is made up for: a server's
    viewers have that much less in their buffers. None is held for more than :data:`MAX_HOLD_SECONDS`: behind a jump
    of the clock, time is counted from the picture that jumped.

    ``should_stop`` ends a wait early. ``now`` and ``sleep`` are a clock's, in seconds.
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
        #: By how much the latest picture of all was late, in seconds.
        self.behind_seconds = 0.0

    def restart(self, pts_seconds: Fraction) -> None:
        """Count time anew: the picture at ``pts_seconds`` goes now, since the server was not there before."""
        self._start_seconds = self._now() - float(pts_seconds)

    def hold(self, pts_seconds: Fraction) -> None:
        """Return when it is time for the picture at ``pts_seconds``."""
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
    """Counts the frames of a camera of ``rate`` a second, each at its moment, until ``stopping`` is set.

    Moments that have passed already are skipped, as a camera would.
    """
    pacer = Pacer(should_stop=stopping.is_set, sleep=stopping.wait)
    start, index = time.monotonic(), 0
    while not stopping.is_set():
        pacer.hold(index / rate)
        yield index
        index = max(index + 1, int((time.monotonic() - start) * rate))
