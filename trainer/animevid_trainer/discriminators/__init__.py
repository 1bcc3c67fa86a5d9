"""Discriminators: RGB images in [-1, 1], ``N, 3, H, W`` in, logits out (a map for patches). Made by name.

``dcgan``, ``sagan`` and ``stylegan2`` take one size of image and give one logit; ``projected`` takes features by
layer in place of images.
"""

from __future__ import annotations

from torch import nn

from animevid_trainer.perceptual import Perceptual
from animevid_trainer.registry import Option, make_network

_REGISTRY: dict[str, tuple[str, str]] = {
    "patch": ("patch", "PatchDiscriminator"),
    "vit": ("vit", "VitDiscriminator"),
    "cyclegan": ("cyclegan", "CycleGanDiscriminator"),
    "projected": ("projected", "ProjectedDiscriminator"),
    "dcgan": ("dcgan", "DcGanDiscriminator"),
    "sagan": ("sagan", "SaGanDiscriminator"),
    "stylegan2": ("stylegan2", "StyleGan2Discriminator"),
}

DISCRIMINATOR_NAMES: tuple[str, ...] = tuple(_REGISTRY)


def make_discriminator(name: str, **options: Option | Perceptual) -> nn.Module:
    """A discriminator with fresh weights. ``options`` are its class's keyword arguments.

    Raises:
        TrainingError: an unknown name or option, or a value that the discriminator refuses.
    """
    return make_network("discriminator", name, options, registry=_REGISTRY, package=__name__)
