"""A mailbox for one thing: what comes newer replaces what waits, and is counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds at most one item between threads. A live picture that waits grows old, so the newest one wins.

    ``dropped`` counts items that were replaced before anyone took them. ``condition`` may be shared among mailboxes,
    for one thread that waits for any of them.
    """

    def __init__(self, condition: threading.Condition | None = None) -> None:
        self._condition = condition or threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.dropped = 0

    def put(self, item: T) -> None:
        """Leave ``item``; what nobody took is dropped and counted. After ``close`` it is let go."""
        with self._condition:
            if self._closed:
                return
            self.dropped += self._item is not None
            self._item = item
            self._condition.notify_all()

    def take(self, *, timeout_seconds: float | None = None) -> T | None:
        """The item, waiting for one; ``None`` after ``timeout_seconds`` or once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed, timeout_seconds)
            item, self._item = self._item, None
            return item

    @property
    def is_waiting(self) -> bool:
        """Whether an item waits. A hint, unless the shared condition is held."""
        return self._item is not None

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let go of the item and wake whoever waits. Safe to call twice."""
        with self._condition:
            self._closed = True
            self._item = None
            self._condition.notify_all()
