"""Makes neighbouring segments with one conversion, which waits after each until the next is requested."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from animevid.errors import AnimevidError, Cancelled
from animevid.jobs.segment_sink import FinishedSegment
from animevid.run.conversion import Conversion


class SegmentRun:
    """Segments from ``first`` to ``last``, as many as ``make_next`` is called for.

    Only the first one has a lead-in: decoder, network and temporal filter keep their state between segments. While it
    waits between two segments, a few frames of the next are ready.

    Args:
        open_part: opens the conversion of all these segments; its argument is called with each finished one.
        first: the index of the first segment.
        last: the index of the last segment.
    """

    def __init__(
        self, open_part: Callable[[Callable[[FinishedSegment], None]], Conversion], *, first: int, last: int
    ) -> None:
        self.next_index = first
        self._last = last
        self._outcomes: SimpleQueue[FinishedSegment | BaseException] = SimpleQueue()
        self._turns = threading.Semaphore(0)
        self._ended = False
        self._part = open_part(self._add)
        self._thread = threading.Thread(target=self._run, name="animevid-segments", daemon=True)
        self._thread.start()

    def make_next(self) -> FinishedSegment:
        """Make the next segment.

        Raises:
            AnimevidError: the conversion failed and cannot be used again.
        """
        if self.next_index > self._last:
            raise ValueError(f"{self.next_index = } is beyond {self._last}, the last segment")
        self._turns.release()
        outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        self.next_index += 1
        return outcome

    def close(self) -> None:
        """End the conversion; unfinished output is removed. Safe to call twice."""
        self._ended = True
        self._turns.release()
        self._thread.join()
        self._part.close()

    def _run(self) -> None:
        try:
            self._turns.acquire()
            if not self._ended:
                self._part.run()
            self._outcomes.put(AnimevidError(f"segment {self.next_index} has no frame: check the source"))
        except BaseException as error:
            self._outcomes.put(error)

    def _add(self, segment: FinishedSegment) -> None:
        """Called in the encoder's thread for each segment on disk."""
        self._outcomes.put(segment)
        if segment.index < self._last:
            self._turns.acquire()
            if self._ended:
                raise Cancelled("no more segments are wanted")
