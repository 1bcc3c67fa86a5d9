"""Several frames in the network at once, one thread each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from animevid.backends.base import Tensor

_POLL_SECONDS = 0.1


class ConcurrentRuns:
    """A pool of ``count`` threads whose waiting work can be cancelled without closing it."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="animevid-infer")
        self._lock = threading.Lock()
        self._pending: set[Future[Tensor]] = set()

    def submit(self, run: Callable[[Tensor], Tensor], tensor: Tensor) -> Future[Tensor]:
        """Run ``run(tensor)`` when a thread is free.

        Raises:
            RuntimeError: it is closed.
        """
        with self._lock:
            future = self._pool.submit(run, tensor)
            self._pending.add(future)
        future.add_done_callback(self._forget)
        return future

    def cancel_waiting(self) -> None:
        """Cancel work that has not started; its ``result`` raises ``CancelledError``."""
        with self._lock:
            waiting = tuple(self._pending)
        for future in waiting:
            future.cancel()

    def close(self, interrupt: Callable[[], None]) -> None:
        """Cancel waiting work and return when the threads are done; ``interrupt`` ends running work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        while True:
            with self._lock:
                running = tuple(self._pending)
            if not wait(running, _POLL_SECONDS).not_done:
                break
            interrupt()
        self._pool.shutdown()

    def _forget(self, future: Future[Tensor]) -> None:
        with self._lock:
            self._pending.discard(future)
