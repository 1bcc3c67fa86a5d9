"""Random-scale square crops and flips; one crop can be applied to several images alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from animevid_trainer.data.images import Image, enlarge_to


@dataclass(frozen=True, slots=True)
class CropSettings:
    """``size_px``: side of the crop. ``scale``: range from which the crop's scale is drawn log-uniformly: 1.0 shows the
    image's own pixels, 0.5 twice as much of the image. If the image is too small for a scale, a larger one is used.
    ``whole``: take the largest square instead."""

    size_px: int = 256
    scale: tuple[float, float] = (0.4, 1.0)
    flip: bool = True
    whole: bool = False

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (0.0 < low <= high):
            raise ValueError(f"scale {self.scale} must be (low, high) with 0 < low <= high")
        if self.size_px < 8:
            raise ValueError(f"a crop of {self.size_px} px must be at least 8")


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of ``side_px`` pixels at (``top_px``, ``left_px``), optionally mirrored, resized to ``size_px``."""

    top_px: int
    left_px: int
    side_px: int
    flipped: bool
    size_px: int

    def of(self, image: Image) -> Image:
        """Crop ``image`` (H, W, 3) to (size_px, size_px, 3)."""
        window = image[self.top_px : self.top_px + self.side_px, self.left_px : self.left_px + self.side_px]
        if self.side_px != self.size_px:
            smaller = self.side_px > self.size_px
            interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            window = np.asarray(cv2.resize(window, (self.size_px, self.size_px), interpolation=interpolation), np.uint8)
        return np.ascontiguousarray(window[:, ::-1] if self.flipped else window)


def draw_crop(image: Image, random: np.random.Generator, settings: CropSettings) -> Crop:
    """Draw a random crop inside ``image``.

    The image's shortest side must be at least ``settings.size_px`` (see :func:`prepare`), or the crop is magnified.
    """
    height, width = image.shape[:2]
    low, high = settings.scale
    scale = float(np.exp(random.uniform(np.log(low), np.log(high))))
    side = min(height, width) if settings.whole else min(round(settings.size_px / scale), height, width)
    top = int(random.integers(0, height - side + 1))
    left = int(random.integers(0, width - side + 1))
    flipped = bool(settings.flip and random.random() < 0.5)
    return Crop(top, left, side, flipped, settings.size_px)


def prepare(image: Image, settings: CropSettings) -> Image:
    """Enlarge the image if it is smaller than one crop."""
    return enlarge_to(image, settings.size_px)
