"""Adaptive quality: lowers the network's resolution, then its variant, while the machine is too slow.

Hysteresis keeps it from oscillating: two thresholds, two delays, and a delay that doubles after each failed step up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from animevid.errors import UsageError
from animevid.render.geometry import QUALITY_SHARES


@dataclass(frozen=True, slots=True)
class QualityStep:
    """One level: the share of the usual number of pixels that the network sees, and the variant of the style."""

    net_share: float
    quality: str

    def __str__(self) -> str:
        sides = f"{self.net_share**0.5:.0%} of the resolution"
        return sides if self.quality == "fast" else f"{sides}, {self.quality} quality"


def quality_ladder(quality: str) -> tuple[QualityStep, ...]:
    """The levels from best to cheapest: lower resolution first, then (from ``"high"``) the cheaper variant."""
    levels = tuple(QualityStep(share, quality) for share in QUALITY_SHARES)
    return levels if quality == "fast" else (*levels, *quality_ladder("fast")[1:])


@dataclass(frozen=True, slots=True)
class GovernorLimits:
    """When to move. Loads are seconds of work per frame over seconds between frames."""

    load_too_high: float = 0.95
    load_allowed_after_step_up: float = 0.75
    seconds_before_down: float = 1.0
    seconds_before_up: float = 5.0
    max_patience_seconds: float = 120.0
    #: A step up that is undone within this time has failed, and the next one waits longer.
    regret_seconds: float = 15.0
    window_seconds: float = 1.0


class ArrivalRate:
    """The mean time between a camera's frames over the last two seconds.

    One thread observes; any may read ``frame_seconds``.
    """

    _WINDOW_SECONDS = 2.0
    #: Fewer intervals than this give no estimate.
    _ENOUGH = 4

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque()
        #: Mean time between frames in seconds; ``None`` until there are enough of them.
        self.frame_seconds: float | None = None

    def observe(self, now_seconds: float) -> None:
        """Note that a frame came. The mean, not the median: networks deliver frames in pairs."""
        self._arrivals.append(now_seconds)
        while now_seconds - self._arrivals[0] > self._WINDOW_SECONDS:
            self._arrivals.popleft()
        gaps = len(self._arrivals) - 1
        if gaps >= self._ENOUGH:
            self.frame_seconds = (now_seconds - self._arrivals[0]) / gaps
        elif len(self._arrivals) == 1:
            self.frame_seconds = None  # after a pause, earlier intervals do not count


class QualityGovernor:
    """Chooses a quality level from the cost of frames. It has no clock of its own: the caller passes the time.

    One thread uses it.
    """

    def __init__(
        self, ladder: tuple[QualityStep, ...], *, frame_seconds: float, limits: GovernorLimits | None = None
    ) -> None:
        """``frame_seconds``: the time between frames at the target rate.

        Raises:
            UsageError: no level, or a time that is not above 0.
        """
        if not ladder or not frame_seconds > 0:
            raise UsageError(f"{len(ladder) = }, {frame_seconds = }: give at least one level and a time above 0")
        self.ladder = ladder
        self.frame_seconds = frame_seconds
        self._limits = limits or GovernorLimits()
        self._patience = self._limits.seconds_before_up
        self._costs: deque[tuple[float, float]] = deque()
        self._index = 0
        self._changed_at: float | None = None
        self._stepped_up_at: float | None = None

    @property
    def step(self) -> QualityStep:
        return self.ladder[self._index]

    @property
    def is_reduced(self) -> bool:
        return self._index > 0

    def observe(self, now_seconds: float, cost_seconds: float, *, arrival_seconds: float | None = None) -> QualityStep:
        """Record that a frame at the current level cost ``cost_seconds``; returns the level for the next one.

        ``arrival_seconds``: the measured time between frames. A source slower than the target rate leaves more time
        for each frame.
        """
        limits = self._limits
        frame_seconds = max(self.frame_seconds, arrival_seconds or 0.0)
        if self._changed_at is None:
            self._changed_at = now_seconds
        self._costs.append((now_seconds, cost_seconds))
        while now_seconds - self._costs[0][0] > limits.window_seconds:
            self._costs.popleft()
        costs = sorted(cost for _, cost in self._costs)
        load = costs[len(costs) // 2] / frame_seconds  # the median ignores a single outlier
        settled = now_seconds - self._changed_at
        if load > limits.load_too_high:
            if settled >= limits.seconds_before_down and self._index + 1 < len(self.ladder):
                self._step_down(now_seconds)
        elif self._index > 0 and settled >= self._patience:
            here, above = self.ladder[self._index], self.ladder[self._index - 1]
            # The cost of the better variant is unknown: assume three times the work.
            price = above.net_share / here.net_share if above.quality == here.quality else 3.0
            if load * price < limits.load_allowed_after_step_up:
                self._index -= 1
                self._stepped_up_at = now_seconds
                self._note_change(now_seconds)
        return self.step

    def _step_down(self, now_seconds: float) -> None:
        limits = self._limits
        if self._stepped_up_at is not None:
            if now_seconds - self._stepped_up_at < limits.regret_seconds:
                self._patience = min(self._patience * 2, limits.max_patience_seconds)
            else:
                self._patience = limits.seconds_before_up
        self._stepped_up_at = None
        self._index += 1
        self._note_change(now_seconds)

    def _note_change(self, now_seconds: float) -> None:
        self._changed_at = now_seconds
        self._costs.clear()  # costs of the old level do not apply to the new one
