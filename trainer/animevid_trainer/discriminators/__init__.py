"""Discriminators, created by name: RGB images in [-1, 1], ``N, 3, H, W`` -> logits (a map for patch discriminators).

``dcgan``, ``sagan`` and ``stylegan2`` accept one image size and return one logit per image; ``projected`` takes
features by layer instead of images.
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


def make_discriminator(name: str, **options: Option | Perceptual) -> nn.Module:
    """Create a discriminator with fresh weights. ``options`` are keyword arguments of its class.

    Raises:
        TrainingError: an unknown name or option, or an invalid value.
    """
    return make_network("discriminator", name, options, registry=_REGISTRY, package=__name__)
