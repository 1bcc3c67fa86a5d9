"""R'G'B' conversions agree with the standards' code values and with swscale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from animevid.errors import UsageError
from animevid.pixels import (
    Colour,
    ColourRange,
    Matrix,
    PlanesYUV420,
    planes_to_rgb,
    planes_to_tensor,
    rgb_to_planes,
    tensor_to_planes,
)
from pixels.frames import decoded, furthest, grey, noise

# Limited-range 8-bit codes of pure red, green and blue: from the equations of BT.601, BT.709 and BT.2020.
PRIMARIES = {
    Matrix.BT601: ((81, 90, 240), (145, 54, 34), (41, 240, 110)),
    Matrix.BT709: ((63, 102, 240), (173, 42, 26), (32, 240, 118)),
    Matrix.BT2020: ((74, 97, 240), (164, 47, 25), (29, 240, 119)),
}


# swscale's SWS_BILINEAR | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND: without the last two the result is one code too dark.
BILINEAR_ACCURATE = 0x2 | 0x2000 | 0x40000


@pytest.mark.parametrize("matrix", PRIMARIES)
@pytest.mark.parametrize("primary", [0, 1, 2])
def test_primaries_have_the_codes_of_their_standard(matrix: Matrix, primary: int):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[..., primary] = 255
    colour = Colour(matrix, ColourRange.LIMITED)
    planes = rgb_to_planes(rgb, colour=colour)
    assert (planes.y[0, 0], planes.u[0, 0], planes.v[0, 0]) == PRIMARIES[matrix][primary]
    back = planes_to_rgb(planes).astype(int)
    assert np.abs(back - rgb).max() <= 2


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("colour_range", [ColourRange.LIMITED, ColourRange.FULL])
def test_greys_come_back_exactly(bit_depth: int, colour_range: ColourRange):
    rgb = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    colour = Colour(Matrix.BT709, colour_range)
    back = planes_to_rgb(rgb_to_planes(rgb, colour=colour, bit_depth=bit_depth)).astype(int)
    # 8-bit limited range has 220 greys for 256
    assert np.abs(back - rgb).max() <= (1 if bit_depth == 8 and colour_range is ColourRange.LIMITED else 0)


def test_an_untagged_frame_is_bt601_below_720_rows_and_bt709_from_there():
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    tall = np.tile(red, (360, 1, 1))
    assert int(rgb_to_planes(red).y[0, 0]) == PRIMARIES[Matrix.BT601][0][0]
    assert int(rgb_to_planes(tall).y[0, 0]) == PRIMARIES[Matrix.BT709][0][0]


def test_the_matrix_is_that_of_the_source_and_not_of_the_networks_size():
    big = grey(720, 16, 63, u=102, v=240)  # red by BT.709
    tensor = planes_to_tensor(big, size=(36, 8), value_range=(0, 1))
    np.testing.assert_allclose(tensor[:, 18, 4], [1, 0, 0], atol=0.01)
    back = tensor_to_planes(tensor, like=big, size=(36, 8), value_range=(0, 1))
    assert int(back.y[18, 4]) == 63


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_layout_order_and_value_range_are_what_was_asked_for(layout: str, order: str):
    red = grey(8, 8, 81, u=90, v=240, colour=Colour(Matrix.BT601))
    tensor = planes_to_tensor(red, layout=layout, order=order, value_range=(-1, 1), multiple=16)
    assert tensor.shape == ((3, 16, 16) if layout == "NCHW" else (16, 16, 3))
    pixel = tensor[:, 3, 3] if layout == "NCHW" else tensor[3, 3]
    np.testing.assert_allclose(pixel, [1, -1, -1] if order == "RGB" else [-1, -1, 1], atol=0.02)
    assert furthest(tensor_to_planes(tensor, like=red, layout=layout, order=order), _resolved(red)) <= 1


def _resolved(frame: PlanesYUV420) -> PlanesYUV420:
    colour = frame.colour.resolved(height=frame.height)
    return frame.with_planes(frame.y, frame.u, frame.v, colour=colour)


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["bbb_480p_30s_aac.mp4", "person_ccby.mp4"])
def test_swscale_sees_the_same_colours_in_a_real_frame(clips: Path, clip: str):
    planes, frame = decoded(clips / clip, 40)
    colour = Colour(Matrix.BT601, ColourRange.LIMITED)
    ours = planes_to_rgb(planes.with_planes(planes.y, planes.u, planes.v, colour=colour)).astype(int)
    theirs = frame.reformat(
        format="rgb24", src_colorspace="ITU601", dst_colorspace="ITU601", interpolation=BILINEAR_ACCURATE
    ).to_ndarray()
    difference = np.abs(ours - theirs.astype(int))
    assert difference.mean() < 0.2
    assert np.percentile(difference, 99) <= 2


@pytest.mark.shared
def test_a_real_frame_survives_rgb_and_back(clips: Path):
    frame, _frame = decoded(clips / "bbb_480p_30s_aac.mp4", 40)
    back = rgb_to_planes(planes_to_rgb(frame), colour=frame.colour)
    for plane, other, tolerance in zip((frame.y, frame.u, frame.v), (back.y, back.u, back.v), (0.7, 1, 1), strict=True):
        assert np.abs(plane.astype(int) - other).mean() < tolerance


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda p: planes_to_rgb(p, order="GRB"), "order = 'GRB'"),
        (lambda p: planes_to_tensor(p, layout="CHWN"), "layout = 'CHWN'"),
        (lambda p: planes_to_tensor(p, multiple=0), "multiple = 0"),
        (lambda p: rgb_to_planes(np.zeros((4, 4), np.uint8)), "rgb.shape = "),
        (lambda p: rgb_to_planes(np.zeros((4, 4, 3))), "float64"),
        (lambda p: tensor_to_planes(np.zeros((3, 4, 4), np.float32), like=p), "tensor.shape = "),
        (lambda p: tensor_to_planes(np.zeros((8, 8, 3), np.float32), like=p), "tensor.shape = "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, complaint: str):
    with pytest.raises(UsageError, match=complaint) as error:
        call(noise(8, 8))
    assert "\n" not in str(error.value)
