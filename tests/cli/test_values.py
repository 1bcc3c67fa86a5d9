"""The values that options accept and refuse."""

from __future__ import annotations

from argparse import ArgumentTypeError
from fractions import Fraction

import pytest
from animevid.values import (
    parse_bitrate,
    parse_compare,
    parse_count,
    parse_net_size,
    parse_range,
    parse_share,
    parse_size,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", Fraction(0)),
        ("12.5", Fraction(25, 2)),
        ("90", Fraction(90)),
        ("1:30", Fraction(90)),
        ("1:02:03.25", Fraction(14893, 4)),
        ("0.04", Fraction(1, 25)),
    ],
)
def test_times_are_exact(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1280x720", (1280, 720)),
        ("720p", (1280, 720)),
        ("x360", (640, 360)),
        ("640x", (640, 360)),
        ("50%", (960, 540)),
        ("33.3%", (640, 360)),
        ("1x1", (2, 2)),
    ],
)
def test_sizes_keep_the_shape_and_are_even(text, expected):
    assert parse_size(text).of(1920, 1080) == expected


def test_one_side_of_a_portrait_frame():
    assert parse_size("480p").of(540, 960) == (270, 480)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_net_size, "640x360", 230400),
        (parse_net_size, "full", 0),
        (parse_share, "0.25", 0.25),
        (parse_share, "40%", 0.4),
        (parse_count, "12", 12),
        (parse_bitrate, "2500k", 2_500_000),
        (parse_bitrate, "1.5M", 1_500_000),
        (parse_bitrate, "800000", 800_000),
        (parse_range, "-1:1", (-1.0, 1.0)),
        (parse_range, "0:255", (0.0, 255.0)),
        (parse_compare, "side", ("side", 0.5)),
        (parse_compare, "split", ("split", 0.5)),
        (parse_compare, "split:0.3", ("split", 0.3)),
    ],
)
def test_values_mean_what_people_write(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_time, "-1"),
        (parse_time, "1:75:00"),
        (parse_time, "soon"),
        (parse_time, ""),
        (parse_size, "big"),
        (parse_size, "0x100"),
        (parse_size, "0%"),
        (parse_size, "100000x2"),
        (parse_net_size, "8x8"),
        (parse_net_size, "half"),
        (parse_share, "1.1"),
        (parse_share, "nan"),
        (parse_share, "much"),
        (parse_count, "-3"),
        (parse_count, "1.5"),
        (parse_bitrate, "0"),
        (parse_bitrate, "fast"),
        (parse_range, "1:1"),
        (parse_range, "0-255"),
        (parse_range, "nan:1"),
        (parse_compare, "up"),
        (parse_compare, "side:0.2"),
        (parse_compare, "split:7"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(parse, text):
    with pytest.raises(ArgumentTypeError, match=r"give|limits|whole"):
        parse(text)
