"""Resizing, blending and comparing planes."""

from __future__ import annotations

import numpy as np
import pytest
from animevid.errors import UsageError
from animevid.pixels import blend, compare_side_by_side, compare_split, resize_planes
from pixels.frames import furthest, grey, noise, planes_of


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (20, 30), (40, 60), (31, 90), (60, 20)])
def test_one_colour_stays_one_colour_at_any_size(size: tuple[int, int]):
    result = resize_planes(grey(20, 30, 77, u=3, v=250), size)
    assert result.y.shape == size
    assert [np.unique(plane).tolist() for plane in planes_of(result)] == [[77], [3], [250]]


def test_shrinking_keeps_the_mean():
    frame = noise(60, 90)
    assert resize_planes(frame, (7, 11)).y.mean() == pytest.approx(frame.y.mean(), abs=0.5)


def test_enlarging_a_ramp_gives_a_ramp():
    ramp = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (4, 1))
    frame = grey(4, 25, 0).with_planes(ramp, *planes_of(grey(4, 25, 0))[1:])
    row = resize_planes(frame, (8, 50)).y[0].astype(int)
    assert (np.diff(row[1:-1]) == 5).all()


def test_the_same_size_is_the_same_object():
    frame = noise(9, 9)
    assert resize_planes(frame, (9, 9)) is frame


def test_alpha_is_resized_too():
    frame = noise(8, 8)
    frame = frame.with_planes(*planes_of(frame), alpha=np.full((8, 8), 90, np.uint8))
    alpha = resize_planes(frame, (4, 4)).alpha
    assert alpha is not None
    assert np.unique(alpha).tolist() == [90]


def test_strength_nought_is_the_original_and_one_is_the_style():
    original, stylized = noise(8, 8, seed=1), noise(8, 8, seed=2)
    assert blend(original, stylized, strength=0.0) is original
    assert blend(original, stylized, strength=1.0) is stylized


def test_strength_moves_every_code_in_proportion():
    mixed = blend(grey(8, 8, 100, u=0, v=255), grey(8, 8, 200, u=255, v=0), strength=0.25)
    assert [int(plane[0, 0]) for plane in planes_of(mixed)] == [125, 64, 191]


def test_side_by_side_is_original_then_style():
    original, stylized = grey(6, 8, 10, u=20, v=30), grey(6, 8, 110, u=120, v=130)
    both = compare_side_by_side(original, stylized)
    assert (both.height, both.width) == (6, 16)
    for plane, left, right in zip(planes_of(both), planes_of(original), planes_of(stylized), strict=True):
        np.testing.assert_array_equal(plane, np.hstack([left, right]))


def test_side_by_side_of_an_odd_width_keeps_luma_and_chroma_together():
    both = compare_side_by_side(grey(5, 7, 10, u=20), grey(5, 7, 110, u=120))
    assert both.y.shape == (5, 12)
    assert both.u.shape == (3, 6)
    assert both.y[0].tolist() == [10] * 6 + [110] * 6
    assert both.u[0].tolist() == [20] * 3 + [120] * 3


def test_split_shows_the_original_left_of_a_white_line_and_the_style_right_of_it():
    result = compare_split(grey(4, 16, 10, u=20), grey(4, 16, 110, u=120))
    assert result.y[0].tolist() == [10] * 8 + [235] * 2 + [110] * 6
    assert result.u[0].tolist() == [20] * 4 + [128] + [120] * 3


@pytest.mark.parametrize("position", [0.0, 0.03, 0.5, 0.99, 1.0])
def test_split_keeps_to_the_frame_wherever_the_line_is(position: float):
    result = compare_split(grey(4, 16, 10), grey(4, 16, 110), position=position, line_px=6)
    assert result.y.shape == (4, 16)
    assert set(np.unique(result.y)) <= {10, 110, 235}


def test_split_does_not_write_into_its_sources():
    original, stylized = grey(4, 16, 10), grey(4, 16, 110)
    compare_split(original, stylized)
    assert furthest(stylized, grey(4, 16, 110)) == 0


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda p: blend(p, p, strength=1.5), "strength = 1.5"),
        (lambda p: blend(p, noise(8, 10), strength=0.5), "differ"),
        (lambda p: blend(p, noise(8, 8, bit_depth=10), strength=0.5), "differ"),
        (lambda p: compare_side_by_side(p, noise(10, 8)), "differ"),
        (lambda p: compare_side_by_side(noise(4, 1), noise(4, 1)), "original.width = 1"),
        (lambda p: compare_split(p, p, position=-0.1), "position = -0.1"),
        (lambda p: resize_planes(p, (8, 0)), "size = "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, complaint: str):
    with pytest.raises(UsageError, match=complaint) as error:
        call(noise(8, 8))
    assert "\n" not in str(error.value)
