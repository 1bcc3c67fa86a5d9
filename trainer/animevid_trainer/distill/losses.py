"""The losses of a student. Packed tensors are ``(N, 24, H / 4, W / 4)`` on [-1, 1]."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from animevid.errors import TrainingError
from torch import Tensor, nn
from torch.nn import functional

from animevid_trainer.colourspace import packed_to_rgb
from animevid_trainer.generators.luma_unet import LUMA_CHANNELS
from animevid_trainer.perceptual import Perceptual

LINE_WEIGHT, LINE_FROM, LINE_MAX = 25.0, 0.03, 0.3
_LINE_PX = 7
PERCEPTUAL_LAYERS = ("conv2_2", "conv3_3")
_FLAT_STEP = 0.02  # smaller steps of luma count as flat


@dataclass(frozen=True, slots=True)
class StudentWeights:
    """Weight of each term; 0 skips the term and its forward passes.

    Not ``recipes.LossWeights``: these terms are computed on packed luma, and ``gradient`` and ``perceptual`` have other
    formulas than the recipes' terms of those names, so the numbers cannot be exchanged.

    Args:
        gradient (float): differences of neighbouring pixels. Default: 1.5.
        flat (float): steps of luma where the teacher is flat. Default: 4.0.
        perceptual (float): features of VGG16 at half scale and at full scale. Default: 0.3.
        adversarial (float): a discriminator that sees photo and image together. Default: 0.03.
        steady (float): differences between two outputs for one crop under different grain and light. Default: 3.0.
    """

    gradient: float = 1.5
    flat: float = 4.0
    perceptual: float = 0.3
    adversarial: float = 0.03
    steady: float = 3.0

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            if not 0.0 <= weight < math.inf:
                raise TrainingError(f"{name} = {weight}: a weight is 0 (left out) or more")


def luma(packed: Tensor) -> Tensor:
    """``(N, 24, h, w)`` -> ``(N, 1, 4h, 4w)``."""
    return functional.pixel_shuffle(packed[:, :LUMA_CHANNELS], 4)


def darker(image: Tensor) -> Tensor:
    """How far each pixel of ``(N, 1, H, W)`` is below the mean of the 7x7 pixels around it, 0 where it is above."""
    around = functional.avg_pool2d(functional.pad(image, (_LINE_PX // 2,) * 4, mode="reflect"), _LINE_PX, 1)
    return functional.relu(around - image)


def line_weight(teacher: Tensor, photo: Tensor) -> Tensor:
    """Weight of each pixel: 1, and up to 8.5 where ``teacher`` has a line that ``photo`` lacks; luma ``(N, 1, H, W)``.

    Plain L1 favours the median, so lines that the student is unsure of would vanish.
    """
    line = functional.relu(darker(teacher) - darker(photo) - LINE_FROM)
    return 1.0 + LINE_WEIGHT * line.clamp(max=LINE_MAX)


def pixel_terms(drawn: Tensor, teacher: Tensor, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(L1 with chroma doubled, L1 of gradients, flatness) of packed tensors."""
    ours, theirs = luma(drawn), luma(teacher)
    weight = line_weight(theirs, luma(photo))
    off = ours - theirs
    plain = (off.abs() * weight).mean()
    plain = plain + 2.0 * (drawn[:, LUMA_CHANNELS:] - teacher[:, LUMA_CHANNELS:]).abs().mean()
    across = ((off[..., 1:] - off[..., :-1]).abs() * weight[..., 1:]).mean()
    down = ((off[..., 1:, :] - off[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
    flat = torch.zeros(())
    for dim in (-1, -2):
        our_step, their_step = ours.diff(dim=dim).abs(), theirs.diff(dim=dim).abs()
        flat = flat + (functional.relu(our_step - their_step) * (their_step < _FLAT_STEP)).mean() / 2
    return plain, across + down, flat


def steady_term(drawn: Tensor, again: Tensor) -> Tensor:
    """L1 of luma and of its gradients between two outputs for the same crops: how much grain changes them."""
    off = luma(drawn) - luma(again)
    return off.abs().mean() + off.diff(dim=-1).abs().mean() + off.diff(dim=-2).abs().mean()


def perceptual_term(network: Perceptual, drawn: Tensor, teacher: Tensor, random: np.random.Generator) -> Tensor:
    """L1 of features, each layer over the teacher's own mean.

    Half of the time of whole crops at half scale, else of a quarter of each at full scale, at the same cost.
    """
    images = packed_to_rgb(drawn), packed_to_rgb(teacher)
    if random.random() < 0.5:
        ours, theirs = (functional.avg_pool2d(image, 2) for image in images)
    else:
        side = images[0].shape[-1] // 2
        top, left = (int(random.integers(side + 1)) for _ in range(2))
        ours, theirs = (image[..., top : top + side, left : left + side] for image in images)
    with torch.no_grad():
        wanted = network.features(theirs, PERCEPTUAL_LAYERS)
    found = network.features(ours, PERCEPTUAL_LAYERS)
    terms = [(found[layer] - wanted[layer]).abs().mean() / wanted[layer].abs().mean() for layer in PERCEPTUAL_LAYERS]
    return torch.stack(terms).sum()


class PairDiscriminator(nn.Module):
    """Is this the teacher's output for this photo? ``(N, 3, H, W)`` RGB on [-1, 1], twice -> logits of patches.

    Args:
        width (int): channels of the first layer. Default: 40.

    Source: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 3.2; spectral
    norm of Miyato et al. 2018.
    """

    def __init__(self, *, width: int = 40) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(
            norm(nn.Conv2d(6, width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width, 2 * width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(2 * width, 3 * width, 3, 1, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(3 * width, 1, 3, 1, 1)),
        )

    def forward(self, photo: Tensor, drawn: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat((photo, drawn), 1))
        return logits
