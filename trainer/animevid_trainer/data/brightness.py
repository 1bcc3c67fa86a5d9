"""Corrects the brightness and colour balance of a style's images, as AnimeGAN's authors advise.

AnimeGAN shifts each channel of its drawings to the mean of all three channels ("data_mean"), so that an overall colour
cast is not learned as style. Its authors also advise brightening underexposed drawings, since a dark style darkens
every photo.
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
#: below this mean luma (0..255) a drawing counts as a night scene or under-exposed
DARK_BRIGHTNESS = 60.0


@dataclass(frozen=True, slots=True)
class StyleStatistics:
    """Statistics of a set of images, each with the same weight; on 0..255.

    ``channel_offset``: added to R, G, B to give all three the same mean. ``dark``: number of images darker than
    ``DARK_BRIGHTNESS``.
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
    """Return the mean BT.601 luma, 0..255."""
    return float(shrink_to(image, _MEASURE_LONGEST_PX).reshape(-1, 3).mean(0) @ _LUMA)


def measure_style(images: Iterable[Image]) -> StyleStatistics:
    """Measure a set of images; each is shrunk first, which keeps its means."""
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
    """Brighten an image to ``lowest_brightness`` (mean luma, 0..255), or as far as ``largest_gain`` allows.

    Applies a gamma curve, so that black and white stay. ``largest_gain`` limits the increase of the mean luma, so that
    a night scene remains one.
    """
    before = brightness_of(image)
    if before >= lowest_brightness or before <= 0.0:
        return image
    wanted = min(lowest_brightness, before * largest_gain)
    small = shrink_to(image, _MEASURE_LONGEST_PX).astype(np.float32) / 255.0
    low, high = 0.1, 1.0
    # Mean luma falls as gamma rises: bisect until the difference is below one code value.
    for _ in range(16):
        gamma = 0.5 * (low + high)
        brightened = float((small**gamma).reshape(-1, 3).mean(0) @ _LUMA) * 255.0
        low, high = (gamma, high) if brightened > wanted else (low, gamma)
    table = np.rint(255.0 * (np.arange(256) / 255.0) ** (0.5 * (low + high))).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)
