"""Both supported versions of PyAV: 18 gives rationals as Fraction, 19 as its own AVRational without ``abs``."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from animevid.io.pyav import LENIENT_METADATA, to_fraction
from animevid.io.sources.container import VideoSource


class _AVRational:
    """The used part of PyAV 19's rational: it has no ``abs`` and is not a ``Fraction``."""

    def __init__(self, numerator: int, denominator: int) -> None:
        self.numerator, self.denominator = numerator, denominator

    def __bool__(self) -> bool:
        return self.numerator != 0


def test_either_version_s_rational_becomes_a_fraction():
    for value in (Fraction(30000, 1001), _AVRational(30000, 1001)):
        assert type(to_fraction(value)) is Fraction
        assert to_fraction(value) == Fraction(30000, 1001)


@pytest.mark.parametrize("value", [None, _AVRational(0, 1), _AVRational(1, 0), Fraction(0)])
def test_an_undefined_rational_is_none(value):
    assert to_fraction(value) is None


def test_the_installed_pyav_takes_our_arguments_for_reading(make_clip):
    with av.open(str(make_clip("even.mp4")), "r", **LENIENT_METADATA) as container:
        assert container.streams.video


def test_what_a_source_says_of_time_is_fractions(make_clip):
    with VideoSource(make_clip("even.mp4")) as source:
        assert type(source.info.time_base) is Fraction
        assert type(source.info.average_rate) is Fraction
