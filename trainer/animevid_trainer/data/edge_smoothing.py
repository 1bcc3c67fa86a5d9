"""S(e): art with blurred lines, a negative example that teaches the discriminator to require clear lines.

CartoonGAN (Chen et al., CVPR 2018, section 3.2.1): find edges with Canny, widen them, and blur the image there with a
Gaussian. AnimeGAN (Chen et al., ISICA 2019) uses the same images and their gray.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from animevid_trainer.data.images import Image


@dataclass(frozen=True, slots=True)
class EdgeSmoothing:
    """``kernel_px``: side of both the dilation square and the Gaussian (odd). Canny thresholds on 0..255 gray."""

    kernel_px: int = 5
    canny_low: float = 100.0
    canny_high: float = 200.0

    @property
    def sigma_px(self) -> float:
        """Standard deviation of the Gaussian by OpenCV's rule for a kernel size, pixels."""
        return 0.3 * ((self.kernel_px - 1) * 0.5 - 1) + 0.8


def gray_of(image: Image) -> Image:
    """Convert to gray in three equal channels (H, W, 3) with BT.601 weights: S(x) of an image x."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def edge_band(image: Image, settings: EdgeSmoothing = EdgeSmoothing()) -> NDArray[np.uint8]:
    """Return a mask (H, W): 255 within half a kernel of a Canny edge, 0 elsewhere."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    edges = cv2.Canny(gray, settings.canny_low, settings.canny_high)
    square = np.ones((settings.kernel_px, settings.kernel_px), np.uint8)
    return np.asarray(cv2.dilate(edges, square), np.uint8)


def edge_smooth(image: Image, settings: EdgeSmoothing = EdgeSmoothing()) -> Image:
    """Blur ``image`` (H, W, 3) inside its edge band; all other pixels stay unchanged."""
    band = edge_band(image, settings)
    size = (settings.kernel_px, settings.kernel_px)
    blurred = cv2.GaussianBlur(image, size, settings.sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.copyTo(blurred, band, image.copy()), np.uint8)


def edge_smooth_ref(image: Image, settings: EdgeSmoothing = EdgeSmoothing()) -> Image:
    """Readable pixel-by-pixel reference; within one code value of :func:`edge_smooth`.

    Public implementations store a float into an 8-bit array, which truncates; this one rounds, as OpenCV does.
    """
    half = settings.kernel_px // 2
    offsets = np.arange(settings.kernel_px) - half
    line = np.exp(-(offsets**2) / (2.0 * settings.sigma_px**2))
    gauss = np.outer(line, line) / line.sum() ** 2
    band = edge_band(image, settings)
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect")
    smoothed = image.copy()
    for y, x in zip(*np.nonzero(band), strict=True):
        for channel in range(3):
            window = padded[y : y + settings.kernel_px, x : x + settings.kernel_px, channel]
            smoothed[y, x, channel] = np.rint(np.sum(window * gauss))
    return smoothed
