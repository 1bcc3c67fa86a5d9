"""Brightness and colour balance of a style's images, corrected as the authors advise.

AnimeGAN adds the difference between the three channels' mean and each channel's mean ("data_mean") to its drawings, so
that an overall colour cast is not learned as style; and it advises brightening underexposed drawings, since a dark
style darkens every photo.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from animevid_trainer.data.images import Image, shrink_to

# ITU-R BT.601 luma, as elsewhere in the trainer.
_LUMA = np.array([0.299, 0.587, 0.114])
_MEASURE_LONGEST_PX = 256
#: mean luma, 0..255, below which a drawing is a night scene or under-exposed
DARK_BRIGHTNESS = 60.0


@dataclass(frozen=True, slots=True)
class StyleStatistics:
    """Statistics over all images with equal weights; 0..255.

    ``channel_offset``: what to add to R, G, B so that all three have the same mean. ``dark``: how many images are
    darker than ``DARK_BRIGHTNESS``.
    """

    mean_rgb: tuple[float, float, float]
    brightness: float
    brightness_spread: float
    count: int
    dark: int = 0

    @property
    def channel_offset(self) -> tuple[float, float, float]:
        middle = sum(self.mean_rgb) / 3.0
        red, green, blue = self.mean_rgb
        return middle - red, middle - green, middle - blue


def brightness_of(image: Image) -> float:
    """Mean BT.601 luma, 0..255."""
    return float(shrink_to(image, _MEASURE_LONGEST_PX).reshape(-1, 3).mean(0) @ _LUMA)


def measure_style(images: Iterable[Image]) -> StyleStatistics:
    """Statistics of a set of images; each is shrunk first, which changes no mean."""
    means = np.array([shrink_to(image, _MEASURE_LONGEST_PX).reshape(-1, 3).mean(0) for image in images])
    if not len(means):
        raise ValueError("measure_style needs at least one image")
    brightness = means @ _LUMA
    red, green, blue = (float(value) for value in means.mean(0))
    return StyleStatistics(
        (red, green, blue),
        float(brightness.mean()),
        float(brightness.std()),
        len(means),
        int((brightness < DARK_BRIGHTNESS).sum()),
    )


def balance(image: Image, statistics: StyleStatistics) -> Image:
    """Add the style's channel offset, so that the set as a whole has no colour cast."""
    codes = np.arange(256, dtype=np.float32)[:, None] + np.array(statistics.channel_offset, np.float32)
    table = np.rint(np.clip(codes, 0, 255)).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def compensate_exposure(image: Image, *, lowest_brightness: float, largest_gain: float = 2.0) -> Image:
    """Brighten an image darker than ``lowest_brightness`` (mean luma, 0..255) to it, or as far as the gain allows.

    A gamma curve, so that black and white stay. ``largest_gain`` bounds the rise of the mean luma; a night scene stays
    a night scene.
    """
    before = brightness_of(image)
    if before >= lowest_brightness or before <= 0.0:
        return image
    wanted = min(lowest_brightness, before * largest_gain)
    small = shrink_to(image, _MEASURE_LONGEST_PX).astype(np.float32) / 255.0
    low, high = 0.1, 1.0
    # Mean luma falls as gamma rises: halve the interval until a code value no longer matters.
    for _ in range(16):
        gamma = 0.5 * (low + high)
        brightened = float((small**gamma).reshape(-1, 3).mean(0) @ _LUMA) * 255.0
        low, high = (gamma, high) if brightened > wanted else (low, gamma)
    table = np.rint(255.0 * (np.arange(256) / 255.0) ** (0.5 * (low + high))).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)
