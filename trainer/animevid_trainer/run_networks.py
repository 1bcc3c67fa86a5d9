"""Creates the networks of a run and their losses from a recipe."""

from __future__ import annotations

from collections.abc import Callable

import torch
from animevid.styles.card import Layout
from torch import Tensor, nn

from animevid_trainer import objectives
from animevid_trainer.augment import AdaController, AdaptiveAugment, AugmentKinds
from animevid_trainer.colourspace import packed_to_rgb, rgb_to_packed
from animevid_trainer.discriminators import make_discriminator
from animevid_trainer.generators import make_generator
from animevid_trainer.loop import Objective
from animevid_trainer.objectives import Parts
from animevid_trainer.perceptual import Perceptual, make_perceptual
from animevid_trainer.plan import Plan
from animevid_trainer.precision import has_bf16
from animevid_trainer.recipes import Recipe
from animevid_trainer.recipes.noise import sized
from animevid_trainer.registry import Option


class RgbGenerator(nn.Module):
    """Wraps a generator on packed YUV 4:2:0 as one from RGB to RGB, differentiable, for losses in RGB."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [-1, 1] -> the same shape."""
        # Colour conversion is exact whatever the network runs in.
        with torch.autocast(photo.device.type, enabled=False):
            packed = rgb_to_packed(photo)
        packed = self.generator(packed).float()
        with torch.autocast(photo.device.type, enabled=False):
            output: Tensor = packed_to_rgb(packed)
        return output


def as_rgb(generator: nn.Module) -> nn.Module:
    """The generator itself, or :class:`RgbGenerator` around one that works on packed YUV."""
    return RgbGenerator(generator) if getattr(generator, "layout", None) == Layout.PACKED_YUV420 else generator


def bare(generator: nn.Module) -> nn.Module:
    """The network that is exported: undoes :func:`as_rgb`."""
    return generator.generator if isinstance(generator, RgbGenerator) else generator


def make_perceptual_of(
    recipe: Recipe, *, device: torch.device, on_progress: Callable[[int, int], None] | None = None
) -> Perceptual:
    """The perceptual network that the recipe names; ``on_progress`` is called during a download."""
    choice = recipe.perceptual
    weights = choice.weights or None
    bf16 = choice.bf16 and has_bf16(device)
    return make_perceptual(
        choice.network, weights=weights, unit=choice.unit, bf16=bf16, device=device, on_progress=on_progress
    )


def make_objective(
    recipe: Recipe,
    plan: Plan,
    *,
    device: torch.device,
    perceptual: Perceptual | None = None,
    cache_bytes: int = 2 << 30,
) -> Objective:
    """Fresh networks and their losses as the recipe says. ``perceptual`` is loaded where it is needed and not given.

    Raises:
        TrainingError: a network or layer that does not exist, weights that cannot be read.
    """
    if perceptual is None and recipe.uses_perceptual:
        perceptual = make_perceptual_of(recipe, device=device)

    def discriminator() -> nn.Module:
        options: dict[str, Option | Perceptual] = {}
        options |= sized(recipe, recipe.discriminator_options, recipe.discriminator)
        if recipe.discriminator == "projected":
            assert perceptual is not None  # the recipe uses one
            options["perceptual"] = perceptual
        if recipe.conditional:
            options["channels"] = 6
        return make_discriminator(recipe.discriminator, **options)

    parts = Parts(
        plan,
        make_generator=lambda: as_rgb(fresh_generator(recipe)),
        make_discriminator=discriminator,
        perceptual=perceptual,
        augment=make_augment(recipe, plan),
        cache_bytes=cache_bytes,
    )
    return objectives.make(recipe, parts)


def fresh_generator(recipe: Recipe) -> nn.Module:
    """The recipe's generator with fresh weights, in its own layout.

    Raises:
        TrainingError: an option that it does not have.
    """
    return make_generator(recipe.generator, **sized(recipe, recipe.generator_options, recipe.generator))


def make_augment(recipe: Recipe, plan: Plan) -> AdaptiveAugment | None:
    """Adaptive discriminator augmentation where the recipe has it on, sized to the run where the recipe leaves it.

    The paper's 500,000 images are a fiftieth of its runs; in ours, of some ten thousand images, it would never act.
    """
    ada = recipe.ada
    if not ada.enabled:
        return None
    return AdaptiveAugment(
        AdaController(
            kind=recipe.adversarial,
            target=ada.target,
            interval_steps=ada.interval_steps,
            images_to_full=ada.images_to_full or max(1, discriminated_images(plan) // 5),
            largest_p=ada.largest_p,
        ),
        kinds=AugmentKinds(blit=ada.blit, geometric=ada.geometric, colour=ada.colour),
    )


def discriminated_images(plan: Plan) -> int:
    """How many real images D sees in the run."""
    phases = [place for place in plan.spans if place.phase.adversarial and not place.phase.content_only]
    return sum(place.steps * place.batch for place in phases)
