"""Finds objectives by name: built-in ones and those of other packages.

Another package adds an objective by an entry point in the group ``animevid.objectives`` (``name = "module:make"``); a
recipe selects it with ``objective = "name"``. The entry point is a function that takes a
:class:`animevid_trainer.recipes.Recipe` and :class:`Parts` and returns a ``loop.Objective``: networks, optimizers, and
the updates for a batch.

This module does not import torch, since validating a recipe imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Protocol

from animevid.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from animevid_trainer.loop import Objective
    from animevid_trainer.perceptual import Perceptual
    from animevid_trainer.plan import Plan
    from animevid_trainer.recipes import Recipe

_OURS = ("stylize", "cycle", "noise")
_ENTRY_POINTS = "animevid.objectives"


class Augment(Protocol):
    """Adaptive discriminator augmentation: transforms all inputs of D, and observes D's logits of real images."""

    def __call__(self, images: Tensor) -> Tensor: ...
    def update(self, real_logits: Tensor) -> None: ...
    def state_dict(self) -> dict[str, float]: ...
    def load_state_dict(self, state: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class Parts:
    """What an objective needs besides its recipe.

    Args:
        plan: which phase a step belongs to.
        make_generator: creates the recipe's generator with fresh weights, from RGB to RGB.
        make_discriminator: creates the recipe's discriminator with fresh weights.
        perceptual: the network for features, if the recipe uses one; default None.
        augment: augmentation of D's inputs; default None.
        cache_bytes: memory for features of repeated crops; default 2 GiB.
    """

    plan: Plan
    make_generator: Callable[[], nn.Module]
    make_discriminator: Callable[[], nn.Module]
    perceptual: Perceptual | None = None
    augment: Augment | None = None
    cache_bytes: int = 2 << 30


def objective_names() -> tuple[str, ...]:
    """List all objectives: built-in ones, then those of other packages."""
    return tuple(dict.fromkeys((*_OURS, *_from_other_packages())))


def make(recipe: Recipe, parts: Parts) -> Objective:
    """Create the objective of ``recipe`` with fresh networks.

    Raises:
        TrainingError: an unknown name, an objective that cannot be imported, or invalid options of its parts.
    """
    if recipe.objective == "stylize":
        from animevid_trainer.objectives.stylize import StylizeObjective

        return StylizeObjective(recipe, parts)
    if recipe.objective == "cycle":
        from animevid_trainer.objectives.cycle import CycleObjective

        return CycleObjective(recipe, parts)
    if recipe.objective == "noise":
        from animevid_trainer.objectives.noise import NoiseObjective

        return NoiseObjective(recipe, parts)
    point = _from_other_packages().get(recipe.objective)
    if point is None:
        raise TrainingError(f"objective {recipe.objective!r} is none of {', '.join(objective_names())}")
    try:
        make_theirs = point.load()
    except Exception as error:  # another package's module may raise anything
        raise TrainingError(f"objective {point.name!r} ({point.value}) cannot be imported: {error}") from error
    objective: Objective = make_theirs(recipe, parts)
    if "generator" not in objective.networks:
        raise TrainingError(f"objective {point.name!r} ({point.value}) has no network called 'generator'")
    return objective


def _from_other_packages() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_ENTRY_POINTS)}
