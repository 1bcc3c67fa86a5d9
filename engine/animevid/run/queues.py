"""A bounded queue that can end, be cancelled, and say how many items it dropped."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from enum import Enum, auto
from typing import Generic, TypeVar

T = TypeVar("T")


class WhenFull(Enum):
    """What a put does on a full queue."""

    WAIT = auto()  # back-pressure: the producer waits (files)
    KEEP_LATEST = auto()  # the newest wins: the oldest waiting item is dropped and counted (cameras)


class QueueCancelled(Exception):
    """The queue was cancelled while, or before, a thread waited on it. Never leaves the pipeline."""


class BoundedQueue(Generic[T]):
    """At most ``capacity`` items between one producer and one consumer (more of either are safe too).

    ``queue.Queue`` can neither wake its waiters for cancellation nor return all waiting items in one call.
    """

    def __init__(
        self,
        capacity: int,
        *,
        when_full: WhenFull = WhenFull.WAIT,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"{capacity = } must be 1 or more")
        self._capacity = capacity
        self._when_full = when_full
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._cancelled = False
        self._dropped = 0

    def put(self, item: T) -> None:
        """Append ``item``; on a full queue wait or drop the oldest, as ``when_full`` says.

        Raises:
            QueueCancelled: the queue was cancelled.
        """
        with self._changed:
            if self._when_full is WhenFull.WAIT:
                while len(self._items) >= self._capacity and not self._cancelled:
                    self._changed.wait()
            elif len(self._items) >= self._capacity:
                self._items.popleft()
                self._dropped += 1
            if self._cancelled:
                raise QueueCancelled
            self._items.append(item)
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait for an item; false at the end.

        Raises:
            QueueCancelled: the queue was cancelled.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._cancelled)
            if self._cancelled:
                raise QueueCancelled
            return bool(self._items)

    def get_batch(self, limit: int) -> list[T]:
        """The 1 to ``limit`` oldest items; waits for the first, never for more. An empty list means the end.

        Raises:
            QueueCancelled: the queue was cancelled.
        """
        with self._changed:
            while not self._items and not self._ended and not self._cancelled:
                self._changed.wait()
            if self._cancelled:
                raise QueueCancelled
            batch: list[T] = []
            while self._items and len(batch) < limit:
                batch.append(self._items.popleft())
            self._changed.notify_all()
            return batch

    def offer(self, item: T) -> None:
        """As ``put``, but a cancelled queue drops the item."""
        with suppress(QueueCancelled):
            self.put(item)

    def take(self, *, timeout_seconds: float | None = None) -> T | None:
        """The oldest item, waiting for one; ``None`` after ``timeout_seconds``, at the end or once cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._cancelled, timeout_seconds)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """Mark the end: consumers take the remaining items, then see the end."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Drop everything and wake every waiter with ``QueueCancelled``."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._changed.notify_all()

    @property
    def dropped(self) -> int:
        """Items dropped because the queue was full."""
        return self._dropped

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled

    def __len__(self) -> int:
        return len(self._items)


class Turns:
    """A lock that waiters get in order of arrival. A context manager."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next = self._served = 0

    def __enter__(self) -> None:
        with self._changed:
            number, self._next = self._next, self._next + 1
            self._changed.wait_for(lambda: self._served == number)

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._served += 1
            self._changed.notify_all()
