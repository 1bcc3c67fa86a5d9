"""Rate and latency of live frames over the last seconds."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from animevid.run.statistics import StageStatistics

#: The window over which rates and latencies are measured.
_WINDOW_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class LiveStatistics:
    """A snapshot. Latency is from capture to ``Meter.note``; ``frames_dropped`` counts from the start.

    ``stages``: time per stage, source first.
    """

    fps: float
    latency_median_seconds: float
    latency_p95_seconds: float
    frames_dropped: int
    frames_shown: int
    stages: tuple[StageStatistics, ...] = ()


class Meter:
    """Rate and latency over the last two seconds. One thread records; any thread may read."""

    def __init__(self) -> None:
        self._shown: deque[tuple[float, float]] = deque()
        self.frames_shown = 0

    def note(self, now_seconds: float, *, captured_at_seconds: float) -> None:
        """Record that a frame captured at ``captured_at_seconds`` is shown now."""
        self._shown.append((now_seconds, now_seconds - captured_at_seconds))
        self.frames_shown += 1
        while now_seconds - self._shown[0][0] > _WINDOW_SECONDS:
            self._shown.popleft()

    def statistics(self, now_seconds: float, *, frames_dropped: int) -> LiveStatistics:
        recent = [item for item in tuple(self._shown) if now_seconds - item[0] <= _WINDOW_SECONDS]
        latencies = sorted(latency for _, latency in recent)
        span = recent[-1][0] - recent[0][0] if len(recent) > 1 else 0.0
        return LiveStatistics(
            fps=(len(recent) - 1) / span if span > 0 else 0.0,
            latency_median_seconds=percentile(latencies, 0.5),
            latency_p95_seconds=percentile(latencies, 0.95),
            frames_dropped=frames_dropped,
            frames_shown=self.frames_shown,
        )


def percentile(ordered: list[float], share: float) -> float:
    """The value below which ``share`` of the ``ordered`` values lie (nearest rank); 0 for none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
