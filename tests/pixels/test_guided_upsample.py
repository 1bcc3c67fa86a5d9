"""An upsampled frame is as sharp as the photo, as flat as the style, and keeps the network's lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from animevid.errors import UsageError
from animevid.pixels import PlanesYUV420, guided_upsample, pack_yuv420, resize_planes, unpack_yuv420
from pixels.frames import decoded, grey, noise


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


@pytest.mark.shared
def test_with_a_network_that_changes_nothing_the_detail_of_a_real_frame_comes_back(clips: Path):
    full, low, bilinear = real_frame_and_its_half(clips)
    upsampled = guided_upsample(full, low, low, size=(240, 427), epsilon=1e-3)
    assert psnr(upsampled.y, full.y) > psnr(bilinear.y, full.y) + 3


def real_frame_and_its_half(clips: Path) -> tuple[PlanesYUV420, np.ndarray, PlanesYUV420]:
    full, _frame = decoded(clips / "bbb_480p_30s_aac.mp4", 300)
    low = pack_yuv420(full, size=(240, 427))
    return full, low, resize_planes(unpack_yuv420(low, like=full, size=(240, 427)), (480, 854))


def test_where_the_style_is_flat_no_texture_of_the_photo_comes_back():
    full = noise(64, 96)
    low_in = pack_yuv420(full, size=(32, 48))
    flat = np.full_like(low_in, 0.25)
    assert np.unique(guided_upsample(full, low_in, flat).y).tolist() == [153]  # 16 + 219 * (0.25 + 1) / 2


def test_a_line_that_is_not_in_the_photo_is_blurred():
    full = grey(64, 64, 200)
    low_in = pack_yuv420(full, size=(32, 32))
    line = grey(32, 32, 200)
    line.y[:, 15] = 16
    assert guided_upsample(full, low_in, pack_yuv420(line), radius=2).y.min() > 150


def test_sharpening_steepens_edges_without_going_beyond_them():
    step = grey(32, 32, 50)
    step.y[:, 16], step.y[:, 17:] = 80, 170
    low = pack_yuv420(step)
    full = resize_planes(step, (64, 64))
    soft, crisp = (guided_upsample(full, low, low, sharpen=amount).y[32].astype(int) for amount in (0, 4))
    assert np.abs(np.diff(crisp)).max() > np.abs(np.diff(soft)).max()
    assert crisp.min() >= 40
    assert crisp.max() <= 180


def test_nan_from_the_network_stays_where_it_is():
    full = noise(128, 128)
    low = pack_yuv420(full, size=(64, 64))
    broken = low.copy()
    broken[0, 8, 8] = np.nan  # sample (32, 32) of the small frame
    healthy, hurt = guided_upsample(full, low, low).y, guided_upsample(full, low, broken).y
    differs = np.argwhere(healthy != hurt)
    assert differs.min() >= 64 - 14
    assert differs.max() <= 64 + 14


def test_the_upsampled_frame_has_the_depth_tags_and_alpha_of_the_full_one():
    full = noise(33, 47, bit_depth=10)
    full = full.with_planes(full.y, full.u, full.v, alpha=full.y)
    low = pack_yuv420(full, size=(17, 24))
    upsampled = guided_upsample(full, low, low, size=(17, 24))
    assert (upsampled.bit_depth, upsampled.colour, upsampled.alpha is full.y) == (10, full.colour, True)
    assert (upsampled.y.shape, upsampled.u.shape) == ((33, 47), (17, 24))


def test_planes_and_packed_tensors_give_the_same():
    full: PlanesYUV420 = noise(32, 64)
    low = resize_planes(full, (16, 32))
    one, other = guided_upsample(full, low, low), guided_upsample(full, pack_yuv420(low), pack_yuv420(low))
    np.testing.assert_array_equal(one.y, other.y)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"epsilon": 0.0}, "epsilon = 0.0"),
        ({"epsilon": float("nan")}, "epsilon = nan"),
        ({"radius": 0}, "radius = 0"),
        ({"radius": 17}, "radius = 17"),
        ({"sharpen": -1.0}, "sharpen = -1.0"),
        ({"size": (64, 64)}, "low_out.shape = "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change: dict, complaint: str):
    full = noise(32, 32)
    low = pack_yuv420(full, size=(16, 16))
    with pytest.raises(UsageError, match=complaint) as error:
        guided_upsample(full, low, low, **change)
    assert "\n" not in str(error.value)


def test_a_network_larger_than_the_frame_is_refused():
    low = pack_yuv420(noise(32, 32))
    with pytest.raises(UsageError, match="larger than the full"):
        guided_upsample(noise(16, 16), low, low)
