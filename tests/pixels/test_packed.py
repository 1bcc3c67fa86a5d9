"""The packed layout that networks are trained on: the order of samples, and the values of black and white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from animevid.errors import UsageError
from animevid.pixels import Colour, ColourRange, PlanesYUV420, pack_yuv420, padded_size, unpack_yuv420
from pixels.frames import decoded, furthest, grey, noise

FULL = Colour(range=ColourRange.FULL)


def test_luma_channel_is_four_times_the_row_plus_the_column():
    frame = noise(8, 16, colour=FULL)
    packed = pack_yuv420(frame)
    assert packed.shape == (24, 2, 4)
    for channel in range(16):
        expected = frame.y[channel // 4 :: 4, channel % 4 :: 4] / 255 * 2 - 1
        np.testing.assert_allclose(packed[channel], expected, atol=1e-6)


def test_chroma_channels_follow_luma_as_two_by_two_blocks():
    frame = noise(8, 16, colour=FULL)
    packed = pack_yuv420(frame)
    for first, plane in ((16, frame.u), (20, frame.v)):
        for channel in range(4):
            expected = (plane[channel // 2 :: 2, channel % 2 :: 2] - 128.0) / 255 * 2
            np.testing.assert_allclose(packed[first + channel], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("colour_range", "bit_depth", "black", "white", "chroma_top"),
    [
        (ColourRange.LIMITED, 8, 16, 235, 240),
        (ColourRange.UNSPECIFIED, 8, 16, 235, 240),
        (ColourRange.FULL, 8, 0, 255, 255.5),
        (ColourRange.LIMITED, 10, 64, 940, 960),
        (ColourRange.FULL, 10, 0, 1023, 1023.5),
    ],
)
def test_black_is_minus_one_white_is_one_and_chroma_spans_as_much(
    colour_range: ColourRange, bit_depth: int, black: int, white: int, chroma_top: float
):
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    y = np.array([[black, white]], dtype)
    chroma = np.array([[int(chroma_top)]], dtype)
    packed = pack_yuv420(PlanesYUV420(y, chroma, chroma, bit_depth, Colour(range=colour_range)))
    assert packed[0, 0, 0] == pytest.approx(-1, abs=1e-6)
    assert packed[1, 0, 0] == pytest.approx(1, abs=1e-6)
    half_code = 1 / (1 << bit_depth)  # full range has no code for +1: 128 is not in the middle of 0..255
    assert packed[16, 0, 0] == pytest.approx(1, abs=2 * half_code)


def test_what_is_missing_to_a_multiple_of_eight_is_filled_by_reflection():
    frame = noise(6, 13, colour=FULL)
    packed = pack_yuv420(frame)
    assert packed.shape == (24, 2, 4)
    row = np.concatenate([frame.y[4], frame.y[4, -2:-5:-1]]) / 255 * 2 - 1  # columns 13..15 mirror 11..9
    np.testing.assert_allclose(packed[0, 1], row[::4], atol=1e-6)
    np.testing.assert_allclose(packed[8, 1], packed[0, 1], atol=1e-6)  # row 6 mirrors row 4


def test_half_size_is_the_mean_of_four_samples():
    frame = noise(16, 32, colour=FULL)
    packed = pack_yuv420(frame, size=(8, 16))
    means = frame.y.reshape(8, 2, 16, 2).mean(axis=(1, 3)) / 255 * 2 - 1
    np.testing.assert_allclose(packed[5], means[1::4, 1::4], atol=1e-6)


def test_packing_into_a_slot_of_a_batch_leaves_the_others_alone():
    frame = noise(16, 16)
    batch = np.full((3, 24, 4, 4), 7, np.float32)
    returned = pack_yuv420(frame, out=batch[1])
    assert returned.base is batch
    np.testing.assert_array_equal(batch[1], pack_yuv420(frame))
    assert (batch[[0, 2]] == 7).all()


def test_unpacking_honours_the_range_and_depth_of_the_frame_it_is_like():
    white = np.zeros((24, 2, 2), np.float32)
    white[:16] = 1
    for colour_range, bit_depth, code in ((1, 8, 235), (2, 8, 255), (1, 10, 940), (2, 10, 1023)):
        like = noise(8, 8, bit_depth=bit_depth, colour=Colour(range=ColourRange(colour_range)))
        result = unpack_yuv420(white, like=like)
        assert (result.y == code).all()
        assert (result.u == 128 << (bit_depth - 8)).all()
        assert result.colour == like.colour


def test_a_network_that_overshoots_is_clamped_and_nan_is_black():
    tensor = np.zeros((24, 2, 2), np.float32)
    tensor[0], tensor[1], tensor[2] = 9, -9, np.nan
    result = unpack_yuv420(tensor, like=noise(8, 8))
    assert result.y[0, :3].tolist() == [255, 0, 0]


def test_alpha_stays_where_the_size_stays():
    frame = noise(16, 16)
    frame = frame.with_planes(frame.y, frame.u, frame.v, alpha=frame.y)
    packed = pack_yuv420(frame)
    assert unpack_yuv420(packed, like=frame).alpha is frame.y
    assert unpack_yuv420(packed, like=frame, size=(8, 8)).alpha is None


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["bbb_480p_30s_aac.mp4", "hevc_10bit.mp4", "bt709_full_range.mp4"])
def test_a_real_frame_goes_through_the_tensor_unchanged(clips: Path, clip: str):
    frame, _frame = decoded(clips / clip, 5)
    assert furthest(unpack_yuv420(pack_yuv420(frame), like=frame), frame) == 0


@pytest.mark.shared
def test_the_decoders_own_padded_rows_are_read_in_place(clips: Path):
    frame, _frame = decoded(clips / "bbb_480p_30s_aac.mp4", 5)
    assert frame.y.strides[0] > frame.width  # 854 columns in rows of 896 or so
    assert not frame.y.flags.owndata
    whole = frame.with_planes(frame.y.copy(), frame.u.copy(), frame.v.copy())
    np.testing.assert_array_equal(pack_yuv420(frame), pack_yuv420(whole))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda p: pack_yuv420(p, size=(0, 8)), "size = "),
        (lambda p: pack_yuv420(p, multiple=6), "multiple = 6"),
        (lambda p: pack_yuv420(p, out=np.empty((24, 1, 1), np.float32)), "out.shape = "),
        (lambda p: pack_yuv420(p, out=np.empty((24, 2, 2), np.float64)), "float64"),
        (lambda p: pack_yuv420(p, out=np.empty((24, 2, 4), np.float32)[:, :, ::2]), "C-contiguous"),
        (lambda p: unpack_yuv420(np.zeros((3, 8, 8), np.float32), like=p), "tensor.shape = "),
        (lambda p: unpack_yuv420(np.zeros((24, 1, 1), np.float32), like=p), "tensor.shape = "),
        (lambda p: unpack_yuv420(np.zeros((24, 2, 2)), like=p), "float64"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, complaint: str):
    with pytest.raises(UsageError, match=complaint) as error:
        call(grey(8, 8, 100))
    assert "\n" not in str(error.value)


def test_padded_size_rounds_up():
    assert padded_size((480, 854)) == (480, 856)
    assert padded_size((1, 33), multiple=32) == (32, 64)
