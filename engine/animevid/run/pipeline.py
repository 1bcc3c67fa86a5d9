"""Runs a source and its stages, one thread each, until the end, the first error or a cancellation."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from animevid.errors import Cancelled
from animevid.run.queues import BoundedQueue, QueueCancelled, WhenFull
from animevid.run.stage import AnyStage
from animevid.run.statistics import PipelineStatistics, StageMeter

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Waits are split into slices of this length: it bounds the delay of Ctrl-C where a wait cannot be interrupted.
_POLL_SECONDS = 0.1
_NO_LOCK = nullcontext()


class Pipeline(Generic[T]):
    """A source and its stages, joined by bounded queues. A context manager; used once.

    Items keep their order. A full queue makes its producer wait, so at most
    ``(number of stages) * (capacity + batch)`` items exist at a time, however long the source is. The first exception
    raised anywhere cancels everything and is raised to the caller with its own traceback.

    Three uses: ``run()`` to the end, where the last stage is the sink; iterate over the last stage's items; or enter
    it, ``offer`` items and ``take`` the results. A stage that returns ``None`` for an item drops it.

    ``source`` ``None``: items are offered. ``source_name`` names the source's thread and statistics. ``when_full``:
    what the queues do when they are full.
    A source that is a generator is closed in its own thread.
    """

    def __init__(
        self,
        source: Iterable[object] | None,
        stages: Sequence[AnyStage],
        *,
        capacity: int = 2,
        when_full: WhenFull = WhenFull.WAIT,
        source_name: str = "source",
    ) -> None:
        self._source = source
        self._stages = tuple(stages)
        self._queues: list[BoundedQueue[Any]] = [
            BoundedQueue(capacity, when_full=when_full) for _ in range(len(self._stages) + 1)
        ]
        self._meters = [StageMeter(source_name), *(StageMeter(stage.name) for stage in self._stages)]
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._error_lock = threading.Lock()
        self._started_at = 0.0
        self._ended_at: float | None = None
        self._discard_results = False

    def run(
        self,
        *,
        watch: Callable[[PipelineStatistics], None] | None = None,
        watch_seconds: float = 0.2,
    ) -> PipelineStatistics:
        """Run to the end and return the statistics. What the last stage returns is dropped.

        ``watch`` is called in the caller's thread about every ``watch_seconds``, and at the end.

        Raises:
            Cancelled: ``cancel`` was called, or Ctrl-C was pressed in the main thread.
            BaseException: the first exception that a stage, the source or ``watch`` raised.
        """
        self._discard_results = True
        with self:
            next_watch = time.monotonic() + watch_seconds
            try:
                for thread in self._threads:
                    while thread.is_alive() and self._error is None:
                        thread.join(min(_POLL_SECONDS, watch_seconds))
                        if watch is not None and time.monotonic() >= next_watch:
                            watch(self.statistics())
                            next_watch = time.monotonic() + watch_seconds
            except KeyboardInterrupt:
                self.cancel()
            except BaseException as error:
                self._fail(error)
        self._raise_error()
        statistics = self.statistics()
        if watch is not None:
            watch(statistics)  # a short run ends before the first call
        return statistics

    def __iter__(self) -> Iterator[T]:
        """The last stage's items, in order. Leaving the loop early cancels the rest."""
        with self:
            try:
                while batch := self._queues[-1].get_batch(1):
                    yield batch[0]
            except QueueCancelled:
                pass
        self._raise_error()

    def offer(self, item: object) -> None:
        """Put an item into the first queue; if it is full, ``when_full`` applies."""
        self._meters[0].items += 1
        self._queues[0].offer(item)

    def take(self, *, timeout_seconds: float | None = None) -> T | None:
        """The oldest result; ``None`` after ``timeout_seconds``, at the end or once cancelled."""
        found: T | None = self._queues[-1].take(timeout_seconds=timeout_seconds)
        return found

    @property
    def is_cancelled(self) -> bool:
        return self._queues[0].is_cancelled

    def cancel(self) -> None:
        """Stop once every stage has finished its current item; ``run`` then raises ``Cancelled``.

        From any thread, any number of times; it has no effect after an error or the end.
        """
        if any(thread.is_alive() for thread in self._threads):
            self._fail(Cancelled("cancelled before the end"))

    @property
    def is_ending(self) -> bool:
        """Whether it was cancelled or has failed, so that a stage should stop waiting."""
        return self._error is not None

    def statistics(self) -> PipelineStatistics:
        """A snapshot, at any time and from any thread."""
        end = time.perf_counter() if self._ended_at is None else self._ended_at
        return PipelineStatistics(
            elapsed_seconds=end - self._started_at if self._started_at else 0.0,
            stages=tuple(
                meter.snapshot(dropped=queue.dropped) for meter, queue in zip(self._meters, self._queues, strict=True)
            ),
        )

    def __enter__(self) -> Self:
        if self._threads:
            raise RuntimeError("a Pipeline runs once; make another")
        targets = [self._feed, *(self._work_at(index) for index in range(len(self._stages)))]
        self._threads = [
            threading.Thread(target=self._guard, args=(target,), name=f"animevid-{meter.name}", daemon=True)
            for target, meter in zip(targets, self._meters, strict=True)
            if target != self._feed or self._source is not None
        ]
        self._started_at = time.perf_counter()
        try:
            for thread in self._threads:
                thread.start()
        except BaseException as error:  # Ctrl-C, or the system cannot start another thread
            self._fail(error)
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for queue in self._queues:
            queue.cancel()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
                if thread.is_alive():  # it may have started new work since the last interruption
                    self._interrupt()
        self._ended_at = time.perf_counter()

    def _feed(self) -> None:
        meter, queue = self._meters[0], self._queues[0]
        assert self._source is not None
        iterator = iter(self._source)
        clock, cpu_clock = time.perf_counter, time.thread_time
        begun, cpu_begun = clock(), cpu_clock()
        try:
            for item in iterator:
                done, cpu = clock(), cpu_clock() - cpu_begun
                queue.put(item)
                meter.items += 1
                passed_on = clock()
                meter.add(busy=done - begun, cpu=cpu, wait_out=passed_on - done)
                begun, cpu_begun = passed_on, cpu_clock()
            meter.add(busy=clock() - begun, cpu=cpu_clock() - cpu_begun)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        queue.end()

    def _work_at(self, index: int) -> Callable[[], None]:
        stage, meter = self._stages[index], self._meters[index + 1]
        before, behind = self._queues[index], self._queues[index + 1]
        is_sink = index == len(self._stages) - 1 and self._discard_results

        def work() -> None:
            clock, cpu_clock = time.perf_counter, time.thread_time
            begun = clock()
            while stage.turns is None or before.wait():
                with stage.turns or _NO_LOCK:
                    items = before.get_batch(stage.batch_limit)
                    if not items:
                        break
                    taken, cpu_taken = clock(), cpu_clock()
                    results = stage(items)
                    done, cpu = clock(), cpu_clock() - cpu_taken
                del items  # do not keep an item alive while its stage waits
                for result in results:
                    if not is_sink and result is not None:
                        behind.put(result)
                    meter.items += 1
                    del result
                del results
                passed_on = clock()
                meter.add(wait_in=taken - begun, busy=done - taken, cpu=cpu, wait_out=passed_on - done)
                begun = passed_on
            meter.add(wait_in=clock() - begun)
            behind.end()

        return work

    def _guard(self, target: Callable[[], None]) -> None:
        try:
            target()
        except QueueCancelled:
            pass
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._error_lock:
            if self._error is None:
                self._error = error
            elif not isinstance(error, Cancelled):
                _log.debug("after the first error: %r", error)
        for queue in self._queues:
            queue.cancel()
        self._interrupt()

    def _interrupt(self) -> None:
        for stage in self._stages:
            if stage.interrupt is not None:
                stage.interrupt()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
