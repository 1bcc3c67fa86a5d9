"""An upsampled frame is as sharp as the photo, as flat as the style, and keeps what the network drew."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from animevid.errors import UsageError
from animevid.pixels import PlanesYUV420, guided_upsample, pack_yuv420, resize_planes, unpack_yuv420
from animevid.pixels.guided_upsample import MODES
from hypothesis import given
from hypothesis import strategies as st
from pixels.frames import decoded, grey, noise


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


@pytest.mark.shared
@pytest.mark.parametrize("mode", ["detail", "guided"])
def test_with_a_network_that_changes_nothing_the_detail_of_a_real_frame_comes_back(clips: Path, mode: str):
    full, low, bilinear = real_frame_and_its_half(clips)
    upsampled = guided_upsample(full, low, low, size=(240, 427), mode=mode, epsilon=1e-3)
    assert psnr(upsampled.y, full.y) > psnr(bilinear.y, full.y) + 3


@pytest.mark.shared
def test_contours_of_a_real_frame_are_nearer_to_the_photo_s_than_enlarged_ones(clips: Path):
    full, low, bilinear = real_frame_and_its_half(clips)
    upsampled = guided_upsample(full, low, low, size=(240, 427), mode="contour")
    contours = np.abs(np.diff(full.y.astype(int), axis=1, prepend=full.y[:, :1])) > 40
    assert psnr(upsampled.y[contours], full.y[contours]) > psnr(bilinear.y[contours], full.y[contours]) + 1.5


def real_frame_and_its_half(clips: Path) -> tuple[PlanesYUV420, np.ndarray, PlanesYUV420]:
    full, _frame = decoded(clips / "bbb_480p_30s_aac.mp4", 300)
    low = pack_yuv420(full, size=(240, 427))
    return full, low, resize_planes(unpack_yuv420(low, like=full, size=(240, 427)), (480, 854))


@pytest.mark.parametrize("mode", MODES)
def test_where_the_style_is_flat_no_texture_of_the_photo_comes_back(mode: str):
    full = noise(64, 96)
    low_in = pack_yuv420(full, size=(32, 48))
    flat = np.full_like(low_in, 0.25)
    assert np.unique(guided_upsample(full, low_in, flat, mode=mode).y).tolist() == [153]  # 16 + 219 * (0.25 + 1) / 2


def test_beside_a_contour_what_the_style_painted_flat_stays_flat():
    photo, painted = textured_edge(), grey(32, 32, 60)
    painted.y[:, 16:] = 180
    low_in = pack_yuv420(photo, size=(32, 32))
    texture = {
        mode: int(np.ptp(guided_upsample(photo, low_in, painted, mode=mode, epsilon=1e-3, radius=2).y[:, 36:]))
        for mode in ("contour", "detail")
    }
    assert texture["contour"] <= 1
    assert texture["detail"] > 3


def textured_edge() -> PlanesYUV420:
    photo = grey(64, 64, 60)
    photo.y[:, 32:] = 180
    photo.y[:] += np.random.default_rng(1).integers(0, 12, photo.y.shape, np.uint8)
    return photo


@pytest.mark.parametrize("slant", [0.0, 0.3, 1.0])
def test_a_contour_runs_where_the_photo_s_does_and_is_as_steep(slant: float):
    rows, columns = np.mgrid[:96, :96]
    photo = grey(96, 96, 60)
    photo.y[columns > 48 + slant * (rows - 48)] = 180
    low_in = pack_yuv420(photo, size=(32, 32))
    low_out = low_in.copy()
    low_out[:16] = 0.6 * low_in[:16] + 0.1  # a style that has the same edge in other tones
    inner = (slice(12, -12), slice(12, -12))  # Y = 219 (0.6 y + 0.2) + 16: where an ideal upsampling would put it
    ideal = 219 * (0.6 * (photo.y[inner] - 16.0) / 219 + 0.25) + 16
    assert np.abs(guided_upsample(photo, low_in, low_out, mode="contour").y[inner] - ideal).mean() < 1.0


@given(seed=st.integers(0, 2**32 - 1), ratio=st.sampled_from([1.3, 2, 3]))
def test_no_sample_leaves_the_range_of_the_style_around_it(seed: int, ratio: float):
    rng = np.random.default_rng(seed)
    full = noise(int(24 * ratio), int(32 * ratio), seed=seed)
    drawn = noise(24, 32, seed=seed + 1)
    drawn = drawn.with_planes(rng.choice(np.array([40, 90, 200], np.uint8), drawn.y.shape), drawn.u, drawn.v)
    upsampled = guided_upsample(full, resize_planes(full, (24, 32)), drawn, mode="contour")
    reach = np.ones((5, 5), np.uint8)  # 3x3 around each of the samples that bilinear enlargement mixes
    low, high = (cv2.resize(f(drawn.y, reach), upsampled.y.shape[::-1], interpolation=cv2.INTER_NEAREST)
                 for f in (cv2.erode, cv2.dilate))  # fmt: skip
    assert np.all((upsampled.y >= low) & (upsampled.y <= high))


@pytest.mark.parametrize(("mode", "stays"), [("contour", True), ("detail", True), ("guided", False)])
def test_a_line_that_only_the_network_drew_stays_but_fades_in_guided_mode(mode: str, stays: bool):
    full = grey(64, 64, 200)
    low_in = pack_yuv420(full, size=(32, 32))
    line = grey(32, 32, 200)
    line.y[:, 15] = 16
    darkest = guided_upsample(full, low_in, pack_yuv420(line), mode=mode, radius=2).y.min(axis=1)
    assert np.all(darkest < 70) if stays else np.all(darkest > 150)


def test_a_contour_that_only_the_network_drew_is_steeper_than_an_enlarged_one():
    full = grey(64, 64, 100)
    step = grey(32, 32, 50)
    step.y[:, 16:] = 170
    low_in = pack_yuv420(full, size=(32, 32))
    soft, crisp = (
        guided_upsample(full, low_in, pack_yuv420(step), mode="contour", sharpen=amount).y[32].astype(int)
        for amount in (0, 1)
    )
    assert np.abs(np.diff(crisp)).max() > 1.4 * np.abs(np.diff(soft)).max()
    assert (crisp.min(), crisp.max()) == (50, 170)


def test_sharpening_steepens_edges_without_going_beyond_them():
    full = grey(64, 64, 100)
    step = grey(32, 32, 50)
    step.y[:, 16], step.y[:, 17:] = 110, 170
    low_in = pack_yuv420(full, size=(32, 32))
    soft, crisp = (
        guided_upsample(full, low_in, pack_yuv420(step), mode="detail", sharpen=amount).y[32].astype(int)
        for amount in (0, 1)
    )
    assert np.abs(np.diff(crisp)).max() >= np.abs(np.diff(soft)).max()
    assert (crisp.min(), crisp.max()) == (50, 170)


def test_detail_with_an_infinite_epsilon_enlarges_bilinearly():
    low = noise(20, 30)
    full = noise(40, 60)
    upsampled = guided_upsample(
        full, resize_planes(full, (20, 30)), low, mode="detail", epsilon=float("inf"), sharpen=0
    )
    enlarged = resize_planes(low, (40, 60))
    assert np.abs(upsampled.y.astype(int) - enlarged.y).max() <= 1
    assert np.abs(upsampled.u.astype(int) - enlarged.u).max() <= 1


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
        ({"mode": "magic"}, "mode = 'magic'"),
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
