"""Published streams are sent in real time; the test advances the clock."""

from __future__ import annotations

from fractions import Fraction

import pytest
from animevid.io.pacing import MAX_HOLD_SECONDS, Pacer


class Clock:
    """A clock that only sleeping and ``work`` advance."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.seconds += seconds

    def work(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def moments(clock: Clock, pacer: Pacer, times: list[Fraction], *, work: list[float] | None = None) -> list[float]:
    """When each frame was sent, relative to the first; ``work`` seconds pass before each."""
    gone = []
    for index, pts in enumerate(times):
        if work is not None:
            clock.work(work[index])
        pacer.hold(pts)
        gone.append(clock.seconds)
    return [round(moment - gone[0], 6) for moment in gone]


def test_each_frame_goes_at_its_moment(clock: Clock):
    times = [Fraction(7), Fraction(7) + Fraction(1, 25), Fraction(8), Fraction(17, 2)]  # an arbitrary start
    assert moments(clock, Pacer(now=clock.now, sleep=clock.sleep), times) == [0.0, 0.04, 1.0, 1.5]


def test_work_that_fits_between_frames_does_not_slow_them_down(clock: Clock):
    times = [Fraction(index, 10) for index in range(6)]
    pacer = Pacer(now=clock.now, sleep=clock.sleep)
    assert moments(clock, pacer, times, work=[0.09] * 6) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert pacer.behind_seconds == 0


def test_lost_time_is_made_up_for_and_reported(clock: Clock):
    times = [Fraction(index, 10) for index in range(6)]
    pacer = Pacer(now=clock.now, sleep=clock.sleep)
    gone = moments(clock, pacer, times, work=[0.0, 0.35, 0.0, 0.0, 0.0, 0.0])
    assert gone == [0.0, 0.35, 0.35, 0.35, 0.4, 0.5]
    assert pacer.behind_seconds == pytest.approx(0.25)


def test_nobody_waits_for_a_frame_once_it_is_over(clock: Clock):
    pacer = Pacer(now=clock.now, sleep=clock.sleep, should_stop=lambda: clock.seconds > 1000.25)
    assert moments(clock, pacer, [Fraction(0), Fraction(60)]) == [0.0, pytest.approx(0.3)]


def test_a_jump_of_the_clock_is_waited_for_no_longer_than_a_server_takes_silence(clock: Clock):
    hour = Fraction(3600)
    times = [Fraction(0), Fraction(1, 10), hour, hour + Fraction(1, 10), hour + Fraction(2)]
    pacer = Pacer(now=clock.now, sleep=clock.sleep)
    gone = moments(clock, pacer, times)
    jumped = 0.1 + MAX_HOLD_SECONDS
    assert gone == [0.0, 0.1, pytest.approx(jumped), pytest.approx(jumped + 0.1), pytest.approx(jumped + 2)]
    assert pacer.behind_seconds == pytest.approx(0, abs=1e-6)


def test_frames_that_are_looked_at_for_seconds_keep_their_time(clock: Clock):
    times = [Fraction(index * 9) for index in range(4)]
    assert moments(clock, Pacer(now=clock.now, sleep=clock.sleep), times) == [0.0, 9.0, 18.0, 27.0]
