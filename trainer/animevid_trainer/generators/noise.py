"""The base class of generators from noise."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn

SMALLEST_PX = 8


class NoiseGenerator(nn.Module):
    """Maps latents to images: ``N, latent`` -> RGB in [-1, 1], ``N, 3, size_px, size_px``.

    An image is drawn from a *style*: here the latent itself, in StyleGAN2 the point in W to which the latent is mapped,
    once for every layer. Truncation and interpolation work on styles.
    """

    prior: ClassVar[Literal["normal", "uniform"]] = "normal"
    latent: int
    size_px: int

    def draw_latents(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """Draw ``count, latent`` from the prior, N(0, 1) or uniform on [-1, 1], on the CPU."""
        if self.prior == "uniform":
            return torch.rand(count, self.latent, generator=random) * 2.0 - 1.0
        return torch.randn(count, self.latent, generator=random)

    def map(self, latents: Tensor) -> Tensor:
        """Map ``N, latent`` to points in W, ``N, latent``."""
        return latents

    def repeated(self, w: Tensor) -> Tensor:
        """Convert points in W to styles."""
        return w

    def styles(self, latents: Tensor) -> Tensor:
        """Map ``N, latent`` to the styles of N images."""
        return self.repeated(self.map(latents))

    @property
    def mean_style(self) -> Tensor:
        """Return the point in W that truncation pulls towards, ``latent``."""
        return torch.zeros(self.latent)

    def draw(self, styles: Tensor) -> Tensor:
        """Draw styles as images, ``N, 3, size_px, size_px``."""
        raise NotImplementedError

    def between(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """Interpolate: return the style at ``share`` (0 to 1) between ``first`` and ``second``, both of one shape."""
        return torch.lerp(first, second, share)

    def forward(self, latents: Tensor) -> Tensor:
        return self.draw(self.styles(latents))


def truncated(generator: NoiseGenerator, styles: Tensor, strength: float) -> Tensor:
    """Return ``mean + strength (style - mean)``: below 1, fewer odd images and less variety (StyleGAN, section 2)."""
    return generator.mean_style.to(styles).lerp(styles, strength)


def doublings(size_px: int) -> int:
    """Return how often 4 px must be doubled to get ``size_px``.

    Raises:
        TrainingError: not a power of two of at least ``SMALLEST_PX``.
    """
    if size_px < SMALLEST_PX or size_px & (size_px - 1):
        raise TrainingError(f"{size_px = }: a power of two of at least {SMALLEST_PX}")
    return size_px.bit_length() - 3
