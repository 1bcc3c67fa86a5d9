"""Recipes: every number of a training run in one frozen, named, self-printing configuration.

A name is a base recipe and any number of variants: ``animegan2``, ``cyclegan+edge+init``, ``animegan2-nano+ada+vit``.
``recipe.to_toml()`` is the whole configuration as TOML; ``recipe_from_toml`` reads it back, and a TOML file that names
only what differs (``recipe = "animegan2"`` and a few keys) is an override. On the command line the same keys are
dotted: ``--set losses.content=2.0 --set phases.train.generator_lr=1e-4``.

``schema``: what a recipe is. ``named`` and ``variants``: those that exist. ``reading``: from TOML and flags. None of
them imports torch.
"""

from animevid_trainer.recipes.named import RECIPES, list_recipes, load_recipe
from animevid_trainer.recipes.reading import (
    difference,
    parse_assignment,
    recipe_from_dict,
    recipe_from_toml,
    with_lengths,
    with_overrides,
)
from animevid_trainer.recipes.schema import (
    Ada,
    Data,
    DiscriminatorWeights,
    LossWeights,
    Optimizer,
    Options,
    PerceptualChoice,
    Phase,
    Recipe,
    Regularizers,
    Temporal,
)
from animevid_trainer.recipes.variants import VARIANTS, Variant

__all__ = [
    "RECIPES",
    "VARIANTS",
    "Ada",
    "Data",
    "DiscriminatorWeights",
    "LossWeights",
    "Optimizer",
    "Options",
    "PerceptualChoice",
    "Phase",
    "Recipe",
    "Regularizers",
    "Temporal",
    "Variant",
    "difference",
    "list_recipes",
    "load_recipe",
    "parse_assignment",
    "recipe_from_dict",
    "recipe_from_toml",
    "with_lengths",
    "with_overrides",
]
