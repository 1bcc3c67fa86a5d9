"""Discriminators: RGB pictures in [-1, 1], ``N, 3, H, W`` in, logits out (a map for patches). Made by name."""

from __future__ import annotations

import importlib
import inspect

from animevid.errors import TrainingError
from torch import nn

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
    if name not in _REGISTRY:
        raise TrainingError(f"discriminator {name = }: allowed are {', '.join(DISCRIMINATOR_NAMES)}")
    module_name, class_name = _REGISTRY[name]
    kind = getattr(importlib.import_module(f"{__name__}.{module_name}"), class_name)
    known = [parameter for parameter in inspect.signature(kind.__init__).parameters if parameter != "self"]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise TrainingError(
            f"option {unknown[0]!r} of discriminator {name!r}: allowed are {', '.join(known) or 'none'}"
        )
    discriminator = kind(**options)
    assert isinstance(discriminator, nn.Module)
    return discriminator
