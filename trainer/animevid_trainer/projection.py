"""Projects an image into W, as in StyleGAN2 (Karras et al., arXiv:1912.04958, appendix D).

Adam moves a point from the mean style, with decaying noise, to minimize the perceptual distance between the generated
image and the given one. Unlike in the paper, the layers' noise is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from animevid.errors import TrainingError
from torch import Tensor
from torch.nn import functional as F

from animevid_trainer.generators.noise import NoiseGenerator
from animevid_trainer.perceptual import Perceptual

#: two batches of images -> a scalar
Distance = Callable[[Tensor, Tensor], Tensor]

_RAMP_UP, _RAMP_DOWN = 0.05, 0.25  # shares of the run
_NOISE, _NOISE_UNTIL = 0.05, 0.75  # relative to W's standard deviation; share of the run
_MEASURED = 10_000  # latents from which W's standard deviation is estimated


@dataclass(frozen=True, slots=True)
class ProjectionSettings:
    """Settings of a projection.

    Args:
        steps (int): steps of Adam. Default: 400.
        rate (float): learning rate. Default: 0.1.
        seed (int): seed of the noise. Default: 1.
    """

    steps: int = 400
    rate: float = 0.1
    seed: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0.0:
            raise TrainingError(f"steps = {self.steps}: give 1 or more; rate = {self.rate}: above 0")


@dataclass(frozen=True, slots=True)
class Projection:
    """The result: the point in W, ``1, latent``; its image, ``1, 3, H, W``; the distance to the target image."""

    w: Tensor
    image: Tensor
    distance: float


def rate_at(share: float) -> float:
    """Factor of the learning rate after ``share`` of the run: linear ramp up, cosine ramp down."""
    down = min(1.0, (1.0 - share) / _RAMP_DOWN)
    return (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, share / _RAMP_UP)


def noise_at(share: float) -> float:
    """The noise on W, in standard deviations of W, after ``share`` of the run."""
    return float(_NOISE * max(0.0, 1.0 - share / _NOISE_UNTIL) ** 2)


def project(
    generator: NoiseGenerator,
    image: Tensor,
    distance: Distance,
    settings: ProjectionSettings | None = None,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> Projection:
    """Find the point in W whose image is nearest to ``image`` (``1, 3, size_px, size_px`` in [-1, 1]).

    Args:
        generator (NoiseGenerator): in evaluation mode; its weights do not change.
        image (Tensor): the target.
        distance (Callable): the distance between two batches of images.
        settings (ProjectionSettings): steps, rate and seed. Default: 400 steps at 0.1.
        on_step (Callable): called with each step and its distance. Default: not called.

    Raises:
        TrainingError: an image of another size.
    """
    settings = settings or ProjectionSettings()
    size = (1, 3, generator.size_px, generator.size_px)
    if tuple(image.shape) != size:
        raise TrainingError(f"an image of shape {tuple(image.shape)}: this generator draws {size}")
    random = torch.Generator().manual_seed(settings.seed)
    with torch.no_grad():
        known = generator.map(generator.draw_latents(_MEASURED, random).to(image))
        spread = (known - generator.mean_style.to(known)).square().sum(1).mean().sqrt()
    w = generator.mean_style.to(image).detach().clone().unsqueeze(0).requires_grad_()
    adam = torch.optim.Adam([w], settings.rate, betas=(0.9, 0.999))
    for step in range(settings.steps):
        share = step / settings.steps
        adam.param_groups[0]["lr"] = settings.rate * rate_at(share)
        noise = torch.randn(w.shape, generator=random).to(w)
        drawn = generator.draw(generator.repeated(w + noise_at(share) * spread * noise))
        loss = distance(drawn, image)
        (w.grad,) = torch.autograd.grad(loss, w)
        adam.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    with torch.no_grad():
        found = generator.draw(generator.repeated(w))
        return Projection(w.detach(), found, float(distance(found, image)))


def pixel_distance(first: Tensor, second: Tensor) -> Tensor:
    """Sum of the mean squared errors at full, half, quarter ... size, down to 4 px: coarse positions and detail."""
    total = first.new_zeros(())
    while True:
        total = total + (first - second).square().mean()
        if first.shape[-1] <= 4:
            return total
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)


def perceptual_distance(perceptual: Perceptual, layers: tuple[str, ...]) -> Distance:
    """The mean squared error of features, normalized over channels at each position (LPIPS, arXiv:1801.03924, equation
    1, without its learned weights), summed over ``layers``, plus :func:`pixel_distance`."""

    def distance(first: Tensor, second: Tensor) -> Tensor:
        ours, theirs = perceptual.features(first, layers), perceptual.features(second, layers)
        parts = [
            (F.normalize(ours[layer], dim=1) - F.normalize(theirs[layer], dim=1)).square().sum(1).mean()
            for layer in layers
        ]
        return torch.stack(parts).sum() + pixel_distance(first, second)

    return distance
