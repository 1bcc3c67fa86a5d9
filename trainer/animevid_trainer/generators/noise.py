"""What every generator that draws from noise is."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn

SMALLEST_PX = 8


class NoiseGenerator(nn.Module):
    """Latents in, images out: ``N, latent`` -> RGB in [-1, 1], ``N, 3, size_px, size_px``.

    An image is drawn from a *style*, which here is the latent itself; StyleGAN2 maps a latent to a point in W, and
    that is the style of every layer. Styles are what is truncated and walked through.
    """

    prior: ClassVar[Literal["normal", "uniform"]] = "normal"
    latent: int
    size_px: int

    def draw_latents(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """``count, latent`` from the prior: N(0, 1), or uniform on [-1, 1]. On the CPU."""
        if self.prior == "uniform":
            return torch.rand(count, self.latent, generator=random) * 2.0 - 1.0
        return torch.randn(count, self.latent, generator=random)

    def map(self, latents: Tensor) -> Tensor:
        """``N, latent`` -> points in W, ``N, latent``."""
        return latents

    def repeated(self, w: Tensor) -> Tensor:
        """Points in W as styles."""
        return w

    def styles(self, latents: Tensor) -> Tensor:
        """``N, latent`` -> the styles of as many images."""
        return self.repeated(self.map(latents))

    @property
    def mean_style(self) -> Tensor:
        """The point in W that truncation pulls to, ``latent``."""
        return torch.zeros(self.latent)

    def draw(self, styles: Tensor) -> Tensor:
        """Styles -> ``N, 3, size_px, size_px``."""
        raise NotImplementedError

    def between(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """The style that lies ``share`` of the way from ``first`` to ``second``; both of one shape."""
        return torch.lerp(first, second, share)

    def forward(self, latents: Tensor) -> Tensor:
        return self.draw(self.styles(latents))


def truncated(generator: NoiseGenerator, styles: Tensor, strength: float) -> Tensor:
    """``mean + strength (style - mean)``: fewer odd images and less variety below 1 (StyleGAN, section 2)."""
    return generator.mean_style.to(styles).lerp(styles, strength)


def doublings(size_px: int) -> int:
    """How many times 4 px must be doubled to make ``size_px``.

    Raises:
        TrainingError: not a power of two of at least ``SMALLEST_PX``.
    """
    if size_px < SMALLEST_PX or size_px & (size_px - 1):
        raise TrainingError(f"{size_px = }: a power of two of at least {SMALLEST_PX}")
    return size_px.bit_length() - 3
