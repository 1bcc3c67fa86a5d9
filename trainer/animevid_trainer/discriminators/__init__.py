"""Discriminators: RGB pictures in [-1, 1], ``N, 3, H, W`` in, logits out (a map for patches). Made by name."""

from __future__ import annotations

from torch import nn

from animevid_trainer.registry import make_network

_REGISTRY: dict[str, tuple[str, str]] = {
    "patch": ("patch", "PatchDiscriminator"),
    "vit": ("vit", "VitDiscriminator"),
    "cyclegan": ("cyclegan", "CycleGanDiscriminator"),
}

DISCRIMINATOR_NAMES: tuple[str, ...] = tuple(_REGISTRY)


def make_discriminator(name: str, **options: bool | int | float | str) -> nn.Module:
    """A discriminator with fresh weights. ``options`` are its class's keyword arguments.

    Raises:
        TrainingError: an unknown name or option, or a value that the discriminator refuses.
    """
    return make_network("discriminator", name, options, registry=_REGISTRY, package=__name__)
