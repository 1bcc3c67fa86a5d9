"""Recipes: named, frozen configurations that hold every number of a training run and can be printed.

A name consists of a base recipe and any number of variants: ``animegan2``, ``cyclegan+edge+init``,
``animegan2-nano+ada+vit``. ``recipe.to_toml()`` is the whole configuration as TOML, and ``recipe_from_toml`` reads it
back. A TOML file with ``recipe = "animegan2"`` and a few keys overrides these keys of that recipe. On the command line
the same keys are dotted: ``--set losses.content=2.0 --set phases.train.generator_lr=1e-4``.

``schema`` defines recipes, ``named``, ``noise`` and ``variants`` contain the existing ones, ``reading`` reads them from
TOML and flags. None of these modules imports torch.
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
