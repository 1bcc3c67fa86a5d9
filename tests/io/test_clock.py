"""Time stamps are exact: given ones are kept, missing ones filled in, and they always increase."""

from __future__ import annotations

import itertools
from fractions import Fraction

from animevid.io.clock import FrameClock, output_time_base, ticks_from_seconds
from hypothesis import given
from hypothesis import strategies as st

time_bases = st.sampled_from(
    [Fraction(1, 1000), Fraction(1, 12800), Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 16000)]
)


@given(ticks=st.integers(-(2**40), 2**40), base=time_bases)
def test_a_tick_survives_the_way_to_seconds_and_back(ticks, base):
    assert ticks_from_seconds(ticks * base, base) == ticks


@given(stamps=st.lists(st.one_of(st.none(), st.integers(0, 10_000)), max_size=40), base=time_bases)
def test_time_always_moves_forward_whatever_the_file_says(stamps, base):
    clock = FrameClock(time_base=base, nominal_rate=Fraction(25))
    seconds = [clock.stamp(pts, duration=0) for pts in stamps]
    assert all(earlier < later for earlier, later in itertools.pairwise(seconds))


@given(steps=st.lists(st.integers(1, 5000), min_size=1, max_size=40), base=time_bases)
def test_increasing_time_stamps_are_taken_as_they_are(steps, base):
    stamps = [sum(steps[: i + 1]) for i in range(len(steps))]
    clock = FrameClock(time_base=base, nominal_rate=None)
    assert [clock.stamp(pts, duration=0) for pts in stamps] == [pts * base for pts in stamps]
    assert clock.repaired == 0


def test_a_missing_time_stamp_lies_one_step_after_its_predecessor():
    clock = FrameClock(time_base=Fraction(1, 100), nominal_rate=Fraction(25))
    assert clock.stamp(0, duration=0) == 0
    assert clock.stamp(5, duration=0) == Fraction(1, 20)
    assert clock.stamp(None, duration=0) == Fraction(1, 10)
    assert clock.repaired == 1


def test_the_output_keeps_the_clock_of_the_source():
    assert output_time_base(Fraction(1, 12800), rate=Fraction(25)) == Fraction(1, 12800)
    assert output_time_base(None, rate=Fraction(30000, 1001)) == Fraction(1001, 30000)


def test_a_clock_finer_than_a_microsecond_is_coarsened():
    assert output_time_base(Fraction(1, 10**9), rate=None) == Fraction(1, 90000)
