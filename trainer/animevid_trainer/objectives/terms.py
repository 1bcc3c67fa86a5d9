"""The terms of G's loss, one function each.

A term has the name of its weight in ``recipes.LossWeights`` and is computed if that is positive. To add one: a
function here and a weight there. ``layers`` lists the perceptual network's layers that a term needs of the output, so
that all terms share one pass.
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

#: pixels at the border of a moved crop that are not compared
_MARGIN_PX = 8


@dataclass(frozen=True, slots=True)
class Scene:
    """The inputs of a term.

    Args:
        batch: the photos, with art and teacher's images where the recipe has them.
        output: G(p), ``N, 3, H, W`` in [-1, 1].
        features: of the output, by layer.
        looking: features of everything else.
        stylize: G, for terms that draw once more.
        recipe: what else a term reads.
    """

    batch: Batch
    output: Tensor
    features: Mapping[str, Tensor]
    looking: Looking
    stylize: Callable[[Tensor], Tensor]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class GeneratorTerm:
    """``compute``: a scalar, without its weight."""

    compute: Callable[[Scene], Tensor]
    layers: Callable[[Looking], tuple[str, ...]]


GENERATOR_TERMS: dict[str, GeneratorTerm] = {}


def term(
    layers: Callable[[Looking], tuple[str, ...]] = lambda looking: (),
) -> Callable[[Callable[[Scene], Tensor]], Callable[[Scene], Tensor]]:
    """Register a function as the term of its name."""

    def register(compute: Callable[[Scene], Tensor]) -> Callable[[Scene], Tensor]:
        GENERATOR_TERMS[compute.__name__] = GeneratorTerm(compute, layers)
        return compute

    return register


@term(layers=lambda looking: (looking.content_layer,))
def content(scene: Scene) -> Tensor:
    """The output's features against the photo's."""
    layer = scene.looking.content_layer
    return losses.content_loss(scene.features[layer], scene.looking.of_photo(scene.batch, layer))


@term(layers=lambda looking: looking.style_layers)
def style(scene: Scene) -> Tensor:
    """The output's Gram matrices against the art's, summed over the style layers."""
    grams = scene.looking.grams_of_art(scene.batch)
    parts = [
        losses.style_loss(losses.gram_matrix(scene.features[layer]), gram)
        for layer, gram in zip(scene.looking.style_layers, grams, strict=True)
    ]
    return torch.stack(parts).sum()


@term(layers=lambda looking: (looking.teacher_layer,))
def perceptual(scene: Scene) -> Tensor:
    """The output's features against those of the teacher's image."""
    layer = scene.looking.teacher_layer
    return losses.content_loss(scene.features[layer], scene.looking.of_target(scene.batch, layer))


@term()
def pixel(scene: Scene) -> Tensor:
    """The output against the teacher's image."""
    return losses.pixel_loss(scene.output, needed(scene.batch.target, "targets"))


@term()
def gradient(scene: Scene) -> Tensor:
    """The output's Sobel gradients against the teacher's image, or the photo where there is no teacher."""
    batch = scene.batch
    return losses.gradient_loss(scene.output, batch.photo if batch.target is None else batch.target)


@term()
def colour(scene: Scene) -> Tensor:
    """The output's Y'UV against the photo's."""
    return losses.colour_loss(scene.output, scene.batch.photo, pool_px=scene.recipe.colour_pool_px)


@term()
def flatness(scene: Scene) -> Tensor:
    """Variation of the output where the photo has none."""
    return losses.flatness_loss(scene.output, scene.batch.photo)


@term()
def total_variation(scene: Scene) -> Tensor:
    """Variation of the output."""
    return losses.total_variation_loss(scene.output)


@term()
def temporal(scene: Scene) -> Tensor:
    """The output of a moved, noised and re-lit photo against the moved and re-lit output."""
    change = draw_disturbance(scene.recipe.temporal)
    next_output = scene.stylize(change.frame(scene.batch.photo))
    expected = change.relight(change.geometry(scene.output))
    return losses.temporal_consistency_loss(
        next_output, expected, valid=change.valid(scene.output, margin_px=_MARGIN_PX)
    )
