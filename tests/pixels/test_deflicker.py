"""Noise is filtered out; motion is shown, however slow."""

from __future__ import annotations

import numpy as np
import pytest
from animevid.errors import UsageError
from animevid.pixels import InputFilter, OutputFilter
from animevid.pixels.deflicker import MAX_STILL_CODES, MIN_WEIGHT, settle, settle_input

CODE = 2 / 255
SHAPE = (24, 30, 40)

pytestmark = pytest.mark.usefixtures("instruction_set")


def frame(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, SHAPE).astype(np.float32)


def noisy(tensor: np.ndarray, rng: np.random.Generator, codes: float) -> np.ndarray:
    return (tensor + rng.normal(0, codes * CODE, tensor.shape)).astype(np.float32)


@pytest.mark.parametrize("codes", [0.5, 2.0, 4.0])
def test_noise_of_a_still_scene_is_damped_in_photo_and_drawing(codes: float):
    rng, scene, drawn = np.random.default_rng(1), frame(), frame(1)
    filter_input, filter_output = InputFilter(units_per_code=CODE), OutputFilter()
    photos, drawings = [], []
    for _ in range(40):
        photo, weights = filter_input(noisy(scene, rng, codes))
        photos.append(photo.copy())
        drawings.append(filter_output(noisy(drawn, rng, 5 * codes), weights).copy())
    late = slice(25, None)
    assert np.std(np.diff(photos[late], axis=0)) < 0.2 * np.sqrt(2) * codes * CODE
    assert np.std(np.diff(drawings[late], axis=0)) < 0.2 * np.sqrt(2) * 5 * codes * CODE
    assert filter_input.noise_codes == pytest.approx(codes, rel=0.4, abs=0.3)


def test_the_first_frame_and_one_of_another_size_pass_as_they_are():
    filter_input, filter_output = InputFilter(units_per_code=CODE), OutputFilter()
    for tensor in (frame(), frame()[:, :-2]):
        tensor = np.ascontiguousarray(tensor)
        photo, weights = filter_input(tensor.copy())
        assert weights is None
        np.testing.assert_array_equal(photo, tensor)
        np.testing.assert_array_equal(filter_output(-tensor, weights), -tensor)


def test_a_cut_passes_at_once():
    filter_input, filter_output = InputFilter(units_per_code=CODE), OutputFilter()
    for seed in (0, 1):
        photo, weights = filter_input(frame(seed))
        drawing = filter_output(frame(seed + 10), weights)
    np.testing.assert_allclose(photo, frame(1), atol=1e-6)
    np.testing.assert_allclose(drawing, frame(11), atol=1e-6)


def test_something_that_moves_leaves_nothing_behind():
    """A bright square over gray moves 2 cells per frame: there and one cell around it, the output is the new frame."""
    filter_input, filter_output = InputFilter(units_per_code=CODE), OutputFilter()
    for x in range(0, 30, 2):
        photo = np.zeros(SHAPE, np.float32)
        photo[:, 10:14, x : x + 4] = 0.5
        _, weights = filter_input(photo.copy())
        drawing = filter_output(photo.copy(), weights)
        np.testing.assert_allclose(drawing, photo, atol=1e-6)
        if weights is not None:
            assert weights[9:15, x + 1 : x + 5].min() == pytest.approx(1)


@pytest.mark.parametrize(("codes", "beside"), [(5.0, MIN_WEIGHT), (30.0, 1.0)])
def test_beside_a_cell_that_moves_little_noise_is_still_damped(codes: float, beside: float):
    filter_input = InputFilter(units_per_code=CODE)
    filter_input(np.zeros(SHAPE, np.float32))
    photo = np.zeros(SHAPE, np.float32)
    photo[:, 10, 10] = codes * CODE
    _, weights = filter_input(photo)
    assert weights is not None
    assert weights[10, 10] > 0.2
    assert weights[9:12, 11] == pytest.approx(beside)


def test_where_something_left_the_drawing_settles_again_within_a_few_frames():
    """What a network draws for a moving object (a shadow, a line) extends beyond the object's cells."""
    filter_input, filter_output = InputFilter(units_per_code=CODE), OutputFilter()
    photo = np.zeros(SHAPE, np.float32)
    left = 0.0
    for count in range(8):
        moving = photo.copy()
        if count < 2:
            moving[:, 10:14, 5 + count] = 0.5
        _, weights = filter_input(moving)
        drawn = np.full(SHAPE, 0.4 if count < 3 else 0.0, np.float32)
        left = float(filter_output(drawn, weights)[:, 11, 6].max())
    assert left < 0.1 * 0.4


@pytest.mark.parametrize("codes_a_frame", [0.05, 0.3, 1.0, 4.0])
def test_a_fade_is_followed_however_slow(codes_a_frame: float):
    filter_input, filter_output = InputFilter(units_per_code=CODE), OutputFilter()
    scene = frame() * 0.2
    worst = 0.0
    for count in range(100):
        now = scene + np.float32(count * codes_a_frame * CODE)
        photo, weights = filter_input(now.copy())
        drawing = filter_output(now.copy(), weights)
        worst = max(worst, float(np.abs(photo - now).max()), float(np.abs(drawing - now).max()))
    # A fade of the whole frame may be taken for noise, up to the noise limit.
    assert worst / CODE < 1.2 * MAX_STILL_CODES


def test_tensors_that_do_not_fit_are_refused():
    tensor, weights = frame(), np.ones(SHAPE[1:], np.float32)
    with pytest.raises(UsageError, match=r"one shape"):
        settle(tensor[:, 1:], weights, tensor)
    with pytest.raises(UsageError, match=r"weights\.shape"):
        settle(tensor, weights[1:], tensor)
    with pytest.raises(UsageError, match=r"weights\.shape"):
        settle_input(tensor, tensor.copy(), weights[1:], still_codes=3, units_per_code=CODE)
