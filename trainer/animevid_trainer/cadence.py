"""Schedules for periodic actions of a run, by steps or by time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from animevid.errors import TrainingError

_UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Every:
    """Every ``steps`` steps, or (with ``steps`` 0) by time: first after ``first_seconds``, then after intervals that
    double up to ``seconds``. So a run shows something early and is not slowed down later.

    Args:
        steps: interval in steps; 0: by time.
        seconds: the longest interval.
        first_seconds: the first interval; default 0, which means ``seconds``.
    """

    steps: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0

    def __str__(self) -> str:
        if self.steps:
            return f"every {self.steps} steps"
        first = f"after {_duration(self.first_seconds)}, then " if 0 < self.first_seconds < self.seconds else ""
        return f"{first}every {_duration(self.seconds)}"


def parse_every(text: str, *, first_seconds: float = 0.0) -> Every:
    """``500`` (steps) or ``90s``, ``10min``, ``2h``.

    Raises:
        TrainingError: anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)?", text.strip())
    if found is None or float(found[1]) <= 0 or (found[2] is None and "." in found[1]):
        raise TrainingError(f"{text!r}: give steps (500) or a time (90s, 10min, 2h)")
    if found[2] is None:
        return Every(steps=int(found[1]))
    seconds = float(found[1]) * _UNITS[found[2]]
    return Every(seconds=seconds, first_seconds=min(first_seconds, seconds))


class Cadence:
    """Tracks one :class:`Every`. ``now`` is a time in seconds on any fixed clock.

    Args:
        every: the schedule; a number means steps.
        start: when the run began, on that clock.
    """

    def __init__(self, every: Every | int, *, start: float) -> None:
        self.every = Every(steps=every) if isinstance(every, int) else every
        self._gap = self.every.first_seconds or self.every.seconds
        self._next = start + self._gap

    def is_due(self, step: int, now: float) -> bool:
        return step % self.every.steps == 0 if self.every.steps else now >= self._next

    def done(self, now: float) -> None:
        """Record that the action was done."""
        self._gap = min(2.0 * self._gap, self.every.seconds) if self.every.seconds else 0.0
        self._next = now + self._gap


def _duration(seconds: float) -> str:
    if seconds >= 3600 and seconds % 3600 == 0:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:.0f} s"
