"""Frames are upright in all eight orientations that a file can declare."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from animevid.io import VideoSource, open_source
from animevid.io.orientation import Orientation, orientation_from_matrix, turn_upright, turn_upright_ref
from animevid.pixels.planes import PlanesYUV420
from hypothesis import given
from hypothesis import strategies as st
from passing import corner_colours, pass_through, read_frames

UPRIGHT = ("red", "green", "blue", "grey")


def _planes(height: int, width: int, *, deep: bool, alpha: bool) -> PlanesYUV420:
    random = np.random.default_rng(height * 100 + width)
    dtype, top = (np.uint16, 1024) if deep else (np.uint8, 256)

    def plane(h: int, w: int) -> np.ndarray:
        padded = random.integers(0, top, (h, w + 3), dtype=dtype)
        view = padded[:, :w]
        view.flags.writeable = False
        return view

    chroma = (height + 1) // 2, (width + 1) // 2
    return PlanesYUV420(
        plane(height, width), plane(*chroma), plane(*chroma), 10 if deep else 8,
        alpha=plane(height, width) if alpha else None,
    )  # fmt: skip


@given(
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    rotation=st.sampled_from([0, 90, 180, 270]),
    mirrored=st.booleans(),
    deep=st.booleans(),
    alpha=st.booleans(),
)
def test_the_fast_turn_equals_the_readable_one(height, width, rotation, mirrored, deep, alpha):
    planes, orientation = _planes(height, width, deep=deep, alpha=alpha), Orientation(rotation, mirrored)
    fast, readable = turn_upright(planes, orientation), turn_upright_ref(planes, orientation)
    for name in ("y", "u", "v", "alpha"):
        one, other = getattr(fast, name), getattr(readable, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
            assert one.strides[-1] == one.itemsize


@given(rotation=st.sampled_from([0, 90, 180, 270]), mirrored=st.booleans())
def test_a_display_matrix_says_how_to_turn(rotation, mirrored):
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[rotation]
    one = 1 << 16
    sign = -1 if mirrored else 1
    matrix = (sign * cosine * one, sign * sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    assert orientation_from_matrix(matrix) == Orientation(rotation, mirrored)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("hflip", [False, True])
def test_a_turned_recording_is_shown_as_ffmpeg_would_turn_it(make_clip, rotation, hflip):
    """FFmpeg's matrix turns the stored frame counter-clockwise by ``rotation``, then mirrors it."""
    clip = make_clip("turned.mp4", display_rotation=rotation, hflip=hflip, frames=3)
    shown = np.array([UPRIGHT[:2], UPRIGHT[2:]])
    shown = np.rot90(shown, k=rotation // 90)
    if hflip:
        shown = shown[:, ::-1]
    with VideoSource(clip) as source:
        frame = next(iter(source))
        assert corner_colours(frame.planes) == tuple(shown.ravel())
        assert (source.info.display_width, source.info.display_height) == (frame.planes.width, frame.planes.height)
        assert (frame.planes.width > frame.planes.height) == (rotation in (0, 180))
        assert frame.rotation_degrees == 0


def test_rotation_can_be_carried_instead_of_applied(make_clip):
    clip = make_clip("turned.mp4", display_rotation=-90, frames=3)
    frame = read_frames(clip, upright=False)[0]
    assert frame.rotation_degrees == 90
    assert corner_colours(frame.planes) == UPRIGHT


def test_an_upright_output_carries_no_turn_of_its_own(make_clip, probe, tmp_path):
    target = tmp_path / "out.mp4"
    pass_through(make_clip("turned.mp4", display_rotation=-90, frames=3), target)
    assert corner_colours(read_frames(target)[0].planes) == ("blue", "red", "grey", "green")
    assert "side_data_list" not in probe(target)["streams"][0]


@pytest.mark.shared
def test_the_phone_recording_that_was_held_upside_down_stands_upright(clips):
    path = clips / "phone_vfr_rotated180_aac.mp4"
    upright, stored = read_frames(path)[5], read_frames(path, upright=False)[5]
    assert stored.rotation_degrees == 180
    np.testing.assert_array_equal(upright.planes.y, stored.planes.y[::-1, ::-1])
    np.testing.assert_array_equal(upright.planes.u, stored.planes.u[::-1, ::-1])


def test_pixels_that_are_not_square_turn_with_the_frame(make_clip, tmp_path):
    clip = make_clip("lying.mp4", width=64, height=48, display_rotation=90, sample_aspect_ratio=Fraction(4, 3))
    with open_source(clip) as source:
        assert (source.info.display_width, source.info.display_height) == (48, 64)
        assert source.info.sample_aspect_ratio == Fraction(3, 4)
