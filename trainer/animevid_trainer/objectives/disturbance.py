"""Changes a crop like the next frame of a video: shifts it, adds noise, changes the exposure."""

from __future__ import annotations

import random as python_random
from dataclasses import dataclass

import torch
from torch import Tensor

from animevid_trainer.recipes import Temporal


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One random sample of ``recipes.Temporal``: T(p) = relight(shift(p)) + noise."""

    down_px: int
    right_px: int
    gain: float
    noise: float

    def geometry(self, images: Tensor) -> Tensor:
        """Shift the images, repeating border pixels."""
        return torch.roll(images, (self.down_px, self.right_px), dims=(2, 3))

    def relight(self, images: Tensor) -> Tensor:
        return (images + 1.0) * self.gain - 1.0

    def frame(self, images: Tensor) -> Tensor:
        """Return the disturbed images, like a camera's next frame."""
        moved = self.relight(self.geometry(images))
        return (moved + self.noise * torch.randn_like(moved)).clamp(-1.0, 1.0)

    def valid(self, images: Tensor, margin_px: int) -> Tensor:
        """Return a mask (1, 1, H, W): 1 where both frames show the same scene, ``margin_px`` or more from a border."""
        _, _, height, width = images.shape
        mask = images.new_zeros(1, 1, height, width)
        top, left = max(self.down_px, 0) + margin_px, max(self.right_px, 0) + margin_px
        bottom, right = height + min(self.down_px, 0) - margin_px, width + min(self.right_px, 0) - margin_px
        mask[..., top:bottom, left:right] = 1.0
        return mask


def draw_disturbance(settings: Temporal) -> Disturbance:
    """Draw a disturbance from Python's random generator, whose state is in the checkpoint."""
    shift = settings.largest_shift_px
    return Disturbance(
        python_random.randint(-shift, shift),
        python_random.randint(-shift, shift),
        1.0 + python_random.uniform(-settings.largest_exposure, settings.largest_exposure),
        settings.noise_std * python_random.random(),
    )
