"""An objective like one of another package: draws the photo in one colour, whose strength is an option."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from animevid_trainer.data.batches import Batch
from animevid_trainer.loop import OptimizerSettings, Term, Update
from animevid_trainer.objectives import Parts
from animevid_trainer.objectives.networks import Networks, generator_rate
from animevid_trainer.recipes import Recipe


class Tinted(Networks):
    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        super().__init__({"generator": parts.make_generator()})
        self.optimizers = {"G": OptimizerSettings(("generator",), generator_rate(parts.plan))}
        self.strength = float(recipe.objective_options["strength"])

    def updates(self, batch: Batch) -> Iterator[Update]:
        tint = batch.photo * torch.tensor((1.0, 0.5, 0.2)).view(1, 3, 1, 1)
        yield Update("G", lambda: {"tint": Term((self.stylize(batch.photo) - tint).abs().mean(), self.strength)})

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        del state


def without_generator(recipe: Recipe, parts: Parts) -> Tinted:
    objective = Tinted(recipe, parts)
    objective.networks = {"other": objective.networks["generator"]}
    return objective
