"""Random-scale square crops and flips, as a geometry that can be applied to several pictures alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from animevid_trainer.data.pictures import Picture, enlarge_to


@dataclass(frozen=True, slots=True)
class CropSettings:
    """``size_px``: side of the crop. A crop is the picture seen at a scale drawn log-uniformly from ``scale``: 1.0
    shows the picture's own pixels, 0.5 twice as much of it. A scale that would need more picture than there is, is
    raised. ``whole``: the largest square instead."""

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
    """A square of ``side_px`` pixels at (``top_px``, ``left_px``), mirrored or not, shown at ``size_px``."""

    top_px: int
    left_px: int
    side_px: int
    flipped: bool
    size_px: int

    def of(self, picture: Picture) -> Picture:
        """The crop of ``picture`` (H, W, 3) as (size_px, size_px, 3)."""
        window = picture[self.top_px : self.top_px + self.side_px, self.left_px : self.left_px + self.side_px]
        if self.side_px != self.size_px:
            smaller = self.side_px > self.size_px
            interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            window = np.asarray(cv2.resize(window, (self.size_px, self.size_px), interpolation=interpolation), np.uint8)
        return np.ascontiguousarray(window[:, ::-1] if self.flipped else window)


def draw_crop(picture: Picture, random: np.random.Generator, settings: CropSettings) -> Crop:
    """A crop that lies inside ``picture``.

    The picture's shortest side must be at least ``settings.size_px`` (see :func:`prepare`), or the crop is magnified.
    """
    height, width = picture.shape[:2]
    low, high = settings.scale
    scale = float(np.exp(random.uniform(np.log(low), np.log(high))))
    side = min(height, width) if settings.whole else min(round(settings.size_px / scale), height, width)
    top = int(random.integers(0, height - side + 1))
    left = int(random.integers(0, width - side + 1))
    flipped = bool(settings.flip and random.random() < 0.5)
    return Crop(top, left, side, flipped, settings.size_px)


def prepare(picture: Picture, settings: CropSettings) -> Picture:
    """The picture, enlarged if it is smaller than one crop."""
    return enlarge_to(picture, settings.size_px)
