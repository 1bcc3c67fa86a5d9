"""The terms of G's loss, one function each.

A term has the name of its weight in ``recipes.LossWeights`` and is computed if that weight is positive. To add a term,
add a function here and a weight there. ``layers`` lists the layers of the perceptual network at which a term needs the
output's features, so that all terms share one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from animevid_trainer import losses
from animevid_trainer.data.batches import Batch
from animevid_trainer.objectives.disturbance import draw_disturbance
from animevid_trainer.objectives.features import Looking, needed
from animevid_trainer.recipes import Recipe

#: border of a shifted crop that is not compared, in pixels
_MARGIN_PX = 8


@dataclass(frozen=True, slots=True)
class Scene:
    """The inputs of a term.

    Args:
        batch: the photos, with art and teacher's images if the recipe uses them.
        output: G(p), ``N, 3, H, W`` in [-1, 1].
        features: features of the output, by layer.
        looking: computes features of all other images.
        stylize: runs G, for terms that need another output.
        recipe: further settings of terms.
    """

    batch: Batch
    output: Tensor
    features: Mapping[str, Tensor]
    looking: Looking
    stylize: Callable[[Tensor], Tensor]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class GeneratorTerm:
    """``compute`` returns the term as a scalar, without its weight."""

    compute: Callable[[Scene], Tensor]
    layers: Callable[[Looking], tuple[str, ...]]


GENERATOR_TERMS: dict[str, GeneratorTerm] = {}


def term(
    layers: Callable[[Looking], tuple[str, ...]] = lambda looking: (),
) -> Callable[[Callable[[Scene], Tensor]], Callable[[Scene], Tensor]]:
    """Register a function as a term under its name."""

    def register(compute: Callable[[Scene], Tensor]) -> Callable[[Scene], Tensor]:
        GENERATOR_TERMS[compute.__name__] = GeneratorTerm(compute, layers)
        return compute

    return register


@term(layers=lambda looking: (looking.content_layer,))
def content(scene: Scene) -> Tensor:
    """Compare the output's features with the photo's."""
    layer = scene.looking.content_layer
    return losses.content_loss(scene.features[layer], scene.looking.of_photo(scene.batch, layer))


@term(layers=lambda looking: looking.style_layers)
def style(scene: Scene) -> Tensor:
    """Compare the output's Gram matrices with the art's, summed over the style layers."""
    grams = scene.looking.grams_of_art(scene.batch)
    parts = [
        losses.style_loss(losses.gram_matrix(scene.features[layer]), gram)
        for layer, gram in zip(scene.looking.style_layers, grams, strict=True)
    ]
    return torch.stack(parts).sum()


@term(layers=lambda looking: (looking.teacher_layer,))
def perceptual(scene: Scene) -> Tensor:
    """Compare the output's features with those of the teacher's image."""
    layer = scene.looking.teacher_layer
    return losses.content_loss(scene.features[layer], scene.looking.of_target(scene.batch, layer))


@term()
def pixel(scene: Scene) -> Tensor:
    """Compare the output with the teacher's image."""
    return losses.pixel_loss(scene.output, needed(scene.batch.target, "targets"))


@term()
def gradient(scene: Scene) -> Tensor:
    """Compare Sobel gradients of the output with those of the teacher's image or, without a teacher, of the photo."""
    batch = scene.batch
    return losses.gradient_loss(scene.output, batch.photo if batch.target is None else batch.target)


@term()
def colour(scene: Scene) -> Tensor:
    """Compare the output with the photo in Y'UV."""
    return losses.colour_loss(scene.output, scene.batch.photo, pool_px=scene.recipe.colour_pool_px)


@term()
def flatness(scene: Scene) -> Tensor:
    """Penalize variation of the output where the photo has none."""
    return losses.flatness_loss(scene.output, scene.batch.photo)


@term()
def total_variation(scene: Scene) -> Tensor:
    """Penalize the total variation of the output."""
    return losses.total_variation_loss(scene.output)


@term()
def temporal(scene: Scene) -> Tensor:
    """Compare the output of a shifted, noisy and re-lit photo with the shifted and re-lit output."""
    change = draw_disturbance(scene.recipe.temporal)
    next_output = scene.stylize(change.frame(scene.batch.photo))
    expected = change.relight(change.geometry(scene.output))
    return losses.temporal_consistency_loss(
        next_output, expected, valid=change.valid(scene.output, margin_px=_MARGIN_PX)
    )
