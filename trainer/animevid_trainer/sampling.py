"""Draws samples of a generator from noise: grids, and interpolations between samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from animevid.errors import TrainingError
from torch import Tensor

from animevid_trainer.data.batches import images_of
from animevid_trainer.data.images import Image
from animevid_trainer.generators.noise import NoiseGenerator, truncated
from animevid_trainer.sample_grid import enlarged

#: batch size of the network
_BATCH = 16


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """Settings of sampling.

    Args:
        seed (int): of the latents. Default: 1.
        truncation (float): how far styles lie from their mean, 0 (at it) to 1 (as drawn). Default: 1.
        columns, rows (int): of the grid. Default: 8 and 4.
        scale (int): how many times each image is enlarged. Default: 2.
        interpolate (int): images from one sample to the next; 0 draws samples alone. Default: 0.
    """

    seed: int = 1
    truncation: float = 1.0
    columns: int = 8
    rows: int = 4
    scale: int = 2
    interpolate: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.truncation <= 2.0:
            raise TrainingError(f"truncation = {self.truncation}: give 0 (the mean) to 1 (as drawn), 2 at most")
        if min(self.columns, self.rows, self.scale) < 1:
            raise TrainingError(f"grid {self.columns}x{self.rows}, scale {self.scale}: give 1 or more")
        if self.interpolate < 0:
            raise TrainingError(f"interpolate = {self.interpolate}: give 1 image or more, or 0 for samples alone")


@torch.no_grad()
def draw_styles(generator: NoiseGenerator, count: int, settings: SampleSettings) -> Tensor:
    """``count`` styles, truncated. The first ones of a seed are the same for any count and on any machine."""
    random = torch.Generator().manual_seed(settings.seed)
    # one by one, since a larger draw begins with other numbers
    latents = torch.cat([generator.draw_latents(1, random) for _ in range(count)])
    return truncated(generator, generator.styles(latents), settings.truncation)


@torch.no_grad()
def draw_images(generator: NoiseGenerator, styles: Tensor) -> list[Image]:
    """The images of ``styles``, uint8 RGB."""
    parts = [generator.draw(styles[first : first + _BATCH]) for first in range(0, len(styles), _BATCH)]
    return images_of(torch.cat(parts))


def sample_grid(generator: NoiseGenerator, settings: SampleSettings) -> Image:
    """``rows`` times ``columns`` samples; with ``interpolate`` each row walks from one sample to another."""
    columns, rows = settings.columns, settings.rows
    if not settings.interpolate:
        return tiled(draw_images(generator, draw_styles(generator, columns * rows, settings)), settings)
    ends = draw_styles(generator, 2 * rows, settings)
    shares = [column / max(1, columns - 1) for column in range(columns)]
    styles = [generator.between(ends[0::2], ends[1::2], share) for share in shares]
    return tiled(draw_images(generator, torch.stack(styles, 1).flatten(0, 1)), settings)


def walk(generator: NoiseGenerator, settings: SampleSettings, *, samples: int) -> Iterator[Image]:
    """The frames of a video: each cell of the grid walks through ``samples`` samples of its own and back to its first.

    From one sample to the next are ``settings.interpolate`` frames, slower near each sample.
    """
    cells = settings.columns * settings.rows
    drawn = draw_styles(generator, samples * cells, settings)
    styles = drawn.reshape(samples, cells, *drawn.shape[1:])
    for sample in range(samples):
        here, there = styles[sample], styles[(sample + 1) % samples]
        for frame in range(settings.interpolate):
            linear = frame / settings.interpolate
            share = linear * linear * (3.0 - 2.0 * linear)
            yield tiled(draw_images(generator, generator.between(here, there, share)), settings)


def tiled(images: list[Image], settings: SampleSettings) -> Image:
    """Images without gaps, row by row, enlarged."""
    images = [enlarged(image, settings.scale) for image in images]
    rows = [
        np.concatenate(images[first : first + settings.columns], 1) for first in range(0, len(images), settings.columns)
    ]
    return np.concatenate(rows)
