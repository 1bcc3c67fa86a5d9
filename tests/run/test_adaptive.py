"""The governor on a simulated clock. A machine is a function from time and level to seconds of work."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from animevid.errors import UsageError
from animevid.run.adaptive import ArrivalRate, QualityGovernor, QualityStep, quality_ladder
from hypothesis import given, settings
from hypothesis import strategies as st

FRAME = 1 / 30


def run(machine: Callable[[float, QualityStep], float], *, seconds: float, quality: str = "fast") -> list[QualityStep]:
    """The level of each frame, on a machine that processes one frame at a time."""
    governor = QualityGovernor(quality_ladder(quality), frame_seconds=FRAME)
    now, steps = 0.0, []
    while now < seconds:
        cost = machine(now, governor.step)
        now += max(cost, FRAME)
        steps.append(governor.observe(now, cost))
    return steps


def changes(steps: list[QualityStep]) -> int:
    return sum(one != other for one, other in itertools.pairwise(steps))


def test_a_fast_machine_stays_at_full_resolution():
    assert set(run(lambda now, step: 0.6 * FRAME * step.net_share, seconds=60)) == {quality_ladder("fast")[0]}


def test_a_machine_half_as_fast_as_needed_steps_down_until_the_rate_holds():
    steps = run(lambda now, step: 2 * FRAME * step.net_share, seconds=60)
    assert 2 * steps[-1].net_share <= 0.95


def test_when_the_load_goes_away_it_steps_up_again():
    steps = run(lambda now, step: (3 if now < 20 else 0.5) * FRAME * step.net_share, seconds=60)
    assert steps[-1] == quality_ladder("fast")[0]
    assert min(step.net_share for step in steps) < 0.5


def test_it_moves_one_level_at_a_time_and_not_at_once():
    ladder = quality_ladder("fast")
    steps = run(lambda now, step: 9 * FRAME, seconds=10)
    places = [ladder.index(step) for step in steps]
    assert {later - one for one, later in itertools.pairwise(places)} == {0, 1}
    assert places[:2] == [0, 0]


@settings(max_examples=30, deadline=None)
@given(load=st.floats(0.2, 6.0), fixed=st.floats(0.0, 0.5), jitter=st.floats(0.0, 0.3))
def test_under_any_steady_load_it_settles_and_does_not_oscillate(load: float, fixed: float, jitter: float):
    """Even if a level's cost is not proportional to its pixels (``fixed``: the cost common to all levels)."""

    def machine(now: float, step: QualityStep) -> float:
        wobble = 1 + jitter * ((int(now * 30) * 7919 % 100) / 50 - 1)
        return (fixed + load * step.net_share) * FRAME * wobble

    first, rest = 60, 240
    steps_late = run(machine, seconds=first + rest)[-30 * rest // 4 :]
    assert changes(steps_late) <= 4


@pytest.mark.parametrize("rate", [10, 15, 25])
def test_a_camera_slower_than_asked_for_is_no_overload(rate: int):
    """Each frame costs nine tenths of the time until the next one: more than 1/30 s, but no overload."""
    governor, arrivals = QualityGovernor(quality_ladder("fast"), frame_seconds=FRAME), ArrivalRate()
    for number in range(20 * rate):
        now = number / rate + (0.02 if number % 2 else 0)  # networks deliver in pairs
        arrivals.observe(now)
        governor.observe(now, 0.9 / rate, arrival_seconds=arrivals.frame_seconds)
        if number > 2 * rate:
            assert 1 / arrivals.frame_seconds == pytest.approx(rate, rel=0.05)
    assert not governor.is_reduced


def test_a_slow_camera_that_costs_more_than_it_leaves_time_for_is_an_overload_too():
    governor = QualityGovernor(quality_ladder("fast"), frame_seconds=FRAME)
    for number in range(100):
        governor.observe(number / 10, 0.2, arrival_seconds=0.1)
    assert governor.is_reduced


def test_a_camera_that_stood_still_is_measured_again():
    arrivals = ArrivalRate()
    for number in range(10):
        arrivals.observe(number / 10)
    arrivals.observe(60.0)
    assert arrivals.frame_seconds is None


def test_a_single_slow_frame_changes_nothing():
    slow: list[float] = []

    def machine(now: float, step: QualityStep) -> float:
        if now > 5 and not slow:
            slow.append(now)
            return 20 * FRAME
        return 0.5 * FRAME

    assert changes(run(machine, seconds=20)) == 0
    assert len(slow) == 1


def test_each_step_up_that_did_not_hold_makes_the_next_one_wait_longer():
    # From below, the upper level looks affordable, but it is not.
    steps = run(lambda now, step: FRAME * (1.5 if step.net_share == 1.0 else 0.3), seconds=200)
    ups = [index for index in range(1, len(steps)) if steps[index].net_share > steps[index - 1].net_share]
    gaps = [later - one for one, later in itertools.pairwise(ups)]
    assert len(ups) >= 3
    assert gaps == sorted(gaps)
    assert gaps[-1] > 1.5 * gaps[0]


def test_resolution_goes_before_quality():
    ladder = quality_ladder("high")
    assert [step.quality for step in ladder] == ["high"] * 4 + ["fast"] * 3
    assert str(ladder[1]) == "80% of the resolution, high quality"


def test_a_rate_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="above 0"):
        QualityGovernor(quality_ladder("fast"), frame_seconds=0)
