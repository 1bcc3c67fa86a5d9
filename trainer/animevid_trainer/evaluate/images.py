"""Figures of one output and its photo; inputs are uint8 RGB (H, W, 3), results are plain numbers.

Luma is BT.601 on [0, 1]. "The photo's flat half" is the half of the pixels where the photo, blurred by 2 px, varies
least.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from animevid_trainer.data.images import Image

Map = NDArray[np.float32]

# Periods of grids, in pixels, that strides and pixel shuffles of generators cause.
_GRID_PERIODS_PX = (2, 4, 8)
_SPECTRUM_PX = 128


def luma_of(image: Image) -> Map:
    """Return the luma, (H, W) float32 on [0, 1]."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0


def gradient_of(luma: Map) -> Map:
    """Return the Sobel gradient's magnitude divided by 8, (H, W): on a ramp, the difference of neighbours."""
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.asarray(np.hypot(across, down), np.float32)


def total_variation(image: Image) -> float:
    """Return the mean absolute difference of neighbours, summed over both directions, RGB on [0, 1]."""
    values = image.astype(np.float32) / 255.0
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


def line_contrast(image: Image) -> float:
    """Return the strength of the strongest lines: the 99th percentile of the luma gradient."""
    return float(np.percentile(gradient_of(luma_of(image)), 99.0))


def line_sparsity(image: Image) -> float:
    """Return Hoyer's sparsity of the luma gradient: 0 if all pixels have the same, 1 if one pixel has it all.

    (sqrt n - L1 / L2) / (sqrt n - 1); Hoyer, JMLR 5 (2004), section 3. 0 for a flat image.
    """
    gradient = gradient_of(luma_of(image)).ravel().astype(np.float64)
    energy = float(np.sqrt((gradient**2).sum()))
    if energy == 0.0:
        return 0.0
    root = float(np.sqrt(gradient.size))
    return (root - float(gradient.sum()) / energy) / (root - 1.0)


def edge_sharpness(image: Image) -> float:
    """Return how narrow edges are: the gradient of the strongest 2 % of pixels, divided by that after a 1.5 px blur.

    1 for soft edges; about 2.5 for steps of one pixel.
    """
    luma = luma_of(image)
    gradient = gradient_of(luma)
    strong = gradient >= np.percentile(gradient, 98.0)
    blurred = gradient_of(np.asarray(cv2.GaussianBlur(luma, (0, 0), 1.5), np.float32))
    below = float(blurred[strong].mean())
    return float(gradient[strong].mean()) / below if below > 1e-6 else 1.0


def flat_half(photo: Image) -> NDArray[np.bool_]:
    """Return a mask (H, W) of the half of the photo with the least structure."""
    smooth = np.asarray(cv2.GaussianBlur(luma_of(photo), (0, 0), 2.0), np.float32)
    gradient = gradient_of(smooth)
    return np.asarray(gradient <= np.median(gradient), np.bool_)


def _deviation(luma: Map) -> Map:
    """Return the standard deviation in 5x5 windows."""
    mean = cv2.blur(luma, (5, 5))
    return np.asarray(np.sqrt(np.maximum(cv2.blur(luma * luma, (5, 5)) - mean * mean, 0.0)), np.float32)


def flatness(photo: Image, output: Image) -> float:
    """Return the texture inside regions: local deviation of the output over the photo's, in the photo's flat half.

    Below 1: flatter than the photo, like paint; above 1: texture was added.
    """
    region = flat_half(photo)
    before = float(_deviation(luma_of(photo))[region].mean())
    after = float(_deviation(luma_of(output))[region].mean())
    return after / max(before, 1.0 / 255.0)


def colour_shift(photo: Image, output: Image) -> tuple[float, float]:
    """Return the shift of (lightness, chroma) in CIE Lab over 16-px blocks: means of |dL| and |d(a, b)|."""

    def lab_of(image: Image) -> NDArray[np.float32]:
        height, width = (max(1, side // 16) for side in image.shape[:2])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2Lab), np.float32)

    difference = lab_of(output) - lab_of(photo)
    return float(np.abs(difference[..., 0]).mean()), float(np.hypot(difference[..., 1], difference[..., 2]).mean())


def grid_strength(image: Image) -> float:
    """Return the strength of a regular grid above the image's spectrum, in dB; about 0 without a grid.

    Averages the power spectrum of the luma's fine residue (luma minus its 5x5 median) over windowed 128-px tiles. At
    each harmonic of the periods 2, 4 and 8 px on both axes, the power is divided by the median of its surroundings; the
    largest ratio counts.
    """
    luma = luma_of(image)
    residue = luma - np.asarray(cv2.medianBlur(luma, 5), np.float32)
    height, width = luma.shape
    size = _SPECTRUM_PX
    if min(height, width) < size:
        residue = np.pad(residue, ((0, max(0, size - height)), (0, max(0, size - width))))
        height, width = residue.shape
    window = np.outer(np.hanning(size), np.hanning(size))
    power = np.zeros((size, size))
    for top in range(0, height - size + 1, size):
        for left in range(0, width - size + 1, size):
            power += np.abs(np.fft.fft2(residue[top : top + size, left : left + size] * window)) ** 2
    floor = float(power.mean()) * 1e-3 + 1e-12
    steps = {0} | {size * k // period for period in _GRID_PERIODS_PX for k in range(1, period)}
    strongest = 1.0
    for row in steps:
        for column in steps:
            # Straight lines in the scene add power at the axes' low end, where a grid cannot be distinguished.
            if min(row, size - row) + min(column, size - column) < size // 8:
                continue
            near = np.array(
                [[power[(row + dy) % size, (column + dx) % size] for dx in range(-5, 6)] for dy in range(-5, 6)]
            )
            around = np.concatenate((near[:3].ravel(), near[8:].ravel(), near[3:8, :3].ravel(), near[3:8, 8:].ravel()))
            strongest = max(strongest, float(near[4:7, 4:7].max()) / (float(np.median(around)) + floor))
    # In pure noise, the largest of the peaks' 3x3 bins exceeds the median by this much (exponential distribution).
    return max(0.0, 10.0 * float(np.log10(strongest)) - 10.0)


def disturbed(photo: Image, random: np.random.Generator, *, noise_codes: float = 2.0) -> Image:
    """Return the photo with new sensor noise: Gaussian, ``noise_codes`` standard deviation on 0..255."""
    noisy = photo.astype(np.float32) + random.normal(0.0, noise_codes, photo.shape)
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def flicker(first_photo: Image, second_photo: Image, first: Image, second: Image) -> float:
    """Return the flicker where the scene does not move: mean |difference of outputs| / mean |difference of photos|.

    A pixel does not move if the photos, blurred by 2 px, differ by less than 3 code values. 1: noise passes unchanged;
    0: noise vanishes. NaN if everything moves, or if the photos are equal.
    """
    blurred = [cv2.GaussianBlur(photo, (0, 0), 2.0).astype(np.float32) for photo in (first_photo, second_photo)]
    still = np.abs(blurred[0] - blurred[1]).max(axis=2) < 3.0
    if still.mean() < 0.02:
        return float("nan")
    before = float(np.abs(first_photo.astype(np.float32) - second_photo.astype(np.float32)).mean(axis=2)[still].mean())
    after = float(np.abs(first.astype(np.float32) - second.astype(np.float32)).mean(axis=2)[still].mean())
    return after / before if before > 0.02 else float("nan")
