"""Pauses between attempts to reach something again: short at first, then twice as long each time."""

from __future__ import annotations


class Backoff:
    """The pauses of one connection. ``reset`` after a success; one thread uses it."""

    def __init__(self, *, first_seconds: float = 0.5, longest_seconds: float = 15.0) -> None:
        self._first = first_seconds
        self._longest = longest_seconds
        self._next = first_seconds

    def reset(self) -> None:
        self._next = self._first

    def next_pause_seconds(self) -> float:
        """How long to wait before the next attempt."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause
