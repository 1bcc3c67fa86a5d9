"""Time per stage, readable while the pipeline runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStatistics:
    """What one stage's thread has done so far.

    ``items``: items that left the stage. ``busy_seconds``: wall time inside the stage's function; ``cpu_seconds``: CPU
    time of the stage's thread there (threads that a codec or runtime starts are not included).
    ``wait_in_seconds``: wall time waiting for an item; ``wait_out_seconds``: waiting for room in the next queue.
    ``dropped``: items that newer ones replaced in that queue.
    """

    name: str
    items: int = 0
    busy_seconds: float = 0.0
    cpu_seconds: float = 0.0
    wait_in_seconds: float = 0.0
    wait_out_seconds: float = 0.0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """A snapshot of all stages, source first. ``elapsed_seconds`` is wall time since the start."""

    elapsed_seconds: float
    stages: tuple[StageStatistics, ...]

    @property
    def items(self) -> int:
        """Items that left the last stage."""
        return self.stages[-1].items

    def load(self, name: str) -> float:
        """The share of elapsed time, 0..1, that stage ``name`` was busy; the largest is the bottleneck."""
        busy = sum(stage.busy_seconds for stage in self.stages if stage.name == name)
        return min(busy / self.elapsed_seconds, 1.0) if self.elapsed_seconds > 0 else 0.0


class StageMeter:
    """Counts for one stage. Written by that stage's thread only; a snapshot from elsewhere may be one item behind."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items = 0
        self._busy_seconds = 0.0
        self._cpu_seconds = 0.0
        self._wait_in_seconds = 0.0
        self._wait_out_seconds = 0.0

    def add(self, *, wait_in: float = 0.0, busy: float = 0.0, cpu: float = 0.0, wait_out: float = 0.0) -> None:
        """Add one round of the stage's loop, in seconds."""
        self._wait_in_seconds += wait_in
        self._busy_seconds += busy
        self._cpu_seconds += cpu
        self._wait_out_seconds += wait_out

    def snapshot(self, *, dropped: int) -> StageStatistics:
        return StageStatistics(
            self.name,
            self.items,
            self._busy_seconds,
            self._cpu_seconds,
            self._wait_in_seconds,
            self._wait_out_seconds,
            dropped,
        )
