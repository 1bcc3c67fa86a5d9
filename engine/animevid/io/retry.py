"""Retries with exponential backoff: each pause is twice as long as the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


class Backoff:
    """The pauses of one connection. ``reset`` after a success; one thread uses it.

    Args:
        first_seconds (float): the first pause. Default: 0.5.
        max_seconds (float): no pause is longer. Default: 15.
    """

    def __init__(self, *, first_seconds: float = 0.5, max_seconds: float = 15.0) -> None:
        self._first = first_seconds
        self._longest = max_seconds
        self._next = first_seconds

    def reset(self) -> None:
        self._next = self._first

    def next_pause_seconds(self) -> float:
        """How long to wait before the next attempt."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause

    def attempts(
        self,
        wait: Callable[[float], bool],
        *,
        until_seconds: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> Iterator[None]:
        """Pause, then let the caller try, over and over.

        Args:
            wait (Callable): waits for that many seconds; false: give up.
            until_seconds (float | None): no attempt begins after this moment of ``now``; ``None``: no limit.
            now (Callable): a clock in seconds. Default: ``time.monotonic``.
        """
        while True:
            pause = self.next_pause_seconds()
            if until_seconds is not None and now() + pause > until_seconds:
                return
            if not wait(pause):
                return
            yield
