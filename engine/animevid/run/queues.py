"""A bounded queue that can end, be cancelled, and say how many items it dropped."""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum, auto
from typing import Generic, TypeVar

T = TypeVar("T")


class WhenFull(Enum):
    """What a put does on a full queue."""

    WAIT = auto()  # back-pressure: the producer waits (files)
    DROP_OLDEST = auto()  # the newest wins: the oldest waiting item is dropped and counted (cameras)


class QueueCancelled(Exception):
    """The queue was cancelled while, or before, a thread waited on it. Never leaves the pipeline."""


class BoundedQueue(Generic[T]):
    """At most ``capacity`` items between one producer and one consumer (more of either are safe too).

    ``queue.Queue`` cannot wake its waiters for cancellation nor hand over all that waits in one call.
    """

    def __init__(self, capacity: int, *, when_full: WhenFull = WhenFull.WAIT) -> None:
        if capacity < 1:
            raise ValueError(f"{capacity = } must be 1 or more")
        self._capacity = capacity
        self._when_full = when_full
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._not_empty = threading.Condition(self._lock)
        self._not_full = threading.Condition(self._lock)
        self._ended = False
        self._cancelled = False
        self._dropped = 0

    def put(self, item: T) -> None:
        """Append ``item``; on a full queue wait or drop the oldest, as the queue was made.

        Raises:
            QueueCancelled: the queue was cancelled.
        """
        with self._lock:
            if self._when_full is WhenFull.WAIT:
                while len(self._items) >= self._capacity and not self._cancelled:
                    self._not_full.wait()
            elif len(self._items) >= self._capacity:
                self._items.popleft()
                self._dropped += 1
            if self._cancelled:
                raise QueueCancelled
            self._items.append(item)
            self._not_empty.notify()

    def get_batch(self, limit: int) -> list[T]:
        """The 1 to ``limit`` oldest items; waits for the first, never for more. An empty list means the end.

        Raises:
            QueueCancelled: the queue was cancelled.
        """
        with self._lock:
            while not self._items and not self._ended and not self._cancelled:
                self._not_empty.wait()
            if self._cancelled:
                raise QueueCancelled
            batch = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
            self._not_full.notify(max(len(batch), 1))
            return batch

    def end(self) -> None:
        """No item follows: consumers take what is left, then see the end."""
        with self._lock:
            self._ended = True
            self._not_empty.notify_all()

    def cancel(self) -> None:
        """Drop everything and wake every waiter with ``QueueCancelled``."""
        with self._lock:
            self._cancelled = True
            self._items.clear()
            self._not_empty.notify_all()
            self._not_full.notify_all()

    @property
    def dropped(self) -> int:
        """Items dropped because the queue was full."""
        return self._dropped

    def __len__(self) -> int:
        return len(self._items)
