"""Palettes: colours near the best choice, kept while they fit, renewed for new content."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from animevid.pixels.palette import MAX_COLOURS, KeptPalette, Palette, choose_colours
from hypothesis import given, settings
from hypothesis import strategies as st

#: The largest distance from a cell's centre, in each direction.
_CELL_RADIUS = 1.5 * 3**0.5
_DITHER_REACH = 3 * 3**0.5


def landscape(height: int = 180, width: int = 320) -> np.ndarray:
    """uint8 RGB (H, W, 3): a sky over hills, a thousand colours."""
    rows, columns = np.mgrid[0:height, 0:width]
    sky = np.stack([60 + rows * 0.5, 120 + rows * 0.4, 230 - rows * 0.2], axis=-1)
    hills = np.stack([60 + columns * 0.2, 110 + columns * 0.1, 40 + rows * 0.1], axis=-1)
    is_hill = rows > height * 0.6 + 20 * np.sin(columns / 30)
    return np.where(is_hill[..., np.newaxis], hills, sky).astype(np.uint8)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, MAX_COLOURS))
def test_no_pixel_is_farther_from_its_colour_than_its_cell_is_wide(seed: int, count: int):
    generator = np.random.default_rng(seed)
    rgb = generator.integers(0, 256, (13, 21, 3), np.uint8)
    palette = Palette(generator.integers(0, 256, (count, 3), np.uint8))
    far, near = (
        np.linalg.norm(palette.colours[found].astype(int) - rgb, axis=-1)
        for found in (palette.dithered(rgb), palette.dithered_ref(rgb))
    )
    # Both use the pixel after dithering; the table uses the centre of its cell.
    assert (far <= near + 2 * _DITHER_REACH + 2 * _CELL_RADIUS + 1e-3).all()
    plain = np.linalg.norm(palette.colours[palette.indices(rgb)].astype(int) - rgb, axis=-1)
    nearest = np.linalg.norm(palette.colours.astype(int) - rgb[..., np.newaxis, :], axis=-1).min(axis=-1)
    assert (plain <= nearest + 2 * _CELL_RADIUS + 1e-3).all()


def test_dither_averages_to_the_colour_between():
    rgb = np.full((64, 64, 3), 100, np.uint8)
    palette = Palette(np.array([[98, 98, 98], [102, 102, 102]], np.uint8))
    drawn = palette.colours[palette.dithered(rgb)]
    assert set(np.unique(drawn)) == {98, 102}
    assert drawn.mean() == pytest.approx(100, abs=0.7)


def test_few_colours_stay_as_they_are():
    colours = np.array([[0, 0, 0], [255, 255, 255], [200, 30, 30], [20, 90, 200]], np.uint8)
    sample = colours.repeat(50, axis=0)
    assert choose_colours(sample).tolist() == np.unique(colours, axis=0).tolist()


def test_a_palette_is_kept_while_only_noise_and_motion_change_the_frame():
    kept, frame = KeptPalette(), landscape()
    first = kept.palette_for(frame)
    noise = np.random.default_rng(1).integers(-2, 3, frame.shape)
    assert kept.palette_for(np.clip(frame + noise, 0, 255).astype(np.uint8)) is first
    assert kept.palette_for(np.ascontiguousarray(frame[:, ::-1])) is first


@pytest.mark.parametrize("change", ["cut", "balloon"])
def test_a_palette_is_renewed_for_a_new_scene_and_for_a_small_new_thing(change: str):
    kept, frame = KeptPalette(), landscape()
    first = kept.palette_for(frame)
    new = 255 - frame if change == "cut" else cv2.circle(frame.copy(), (200, 60), 8, (220, 40, 30), -1)
    renewed = kept.palette_for(new)
    assert renewed is not first
    drawn = renewed.colours[renewed.dithered(new)].astype(int)
    assert np.abs(drawn - new)[52:68, 192:208].mean() < 4


def test_what_is_not_seen_takes_no_colours():
    frame = landscape()
    opaque = np.zeros(frame.shape[:2], bool)
    opaque[:60] = True
    colours = KeptPalette().palette_for(frame, opaque=opaque).colours
    assert (colours[:, 2] > 180).all()  # only the sky's colours
    assert KeptPalette().palette_for(frame, opaque=~opaque & False).colours.tolist() == [[0, 0, 0]]
