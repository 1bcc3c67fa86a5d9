"""Loads checkpoints and networks of earlier runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.checkpoint import (
    best_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_weights,
    step_of,
)
from animevid_trainer.generators.noise import NoiseGenerator
from animevid_trainer.recipes import Recipe, recipe_from_dict
from animevid_trainer.run_networks import as_rgb, bare, fresh_generator
from animevid_trainer.starting import published_weights

log = logging.getLogger(__name__)


def is_run(folder: Path) -> bool:
    """Return whether ``folder`` is a run's folder."""
    return (folder / "checkpoints").is_dir()


def start_discriminator(discriminator: nn.Module, run: Path) -> None:
    """Load the discriminator of ``run`` if it is the same network, for transfer learning.

    Raises:
        TrainingError: no checkpoint there.
    """
    _, state = load_checkpoint(checkpoint_of(run))
    weights = state["networks"].get("discriminator", {})
    own = discriminator.state_dict()
    if weights.keys() == own.keys() and all(weights[name].shape == own[name].shape for name in own):
        discriminator.load_state_dict(weights)
    else:
        log.warning("the discriminator of %s is another network: this run's begins afresh", run)


def starting_weights(source: Path, recipe: Recipe, generator: nn.Module) -> Mapping[str, Tensor]:
    """Load initial weights for the recipe's ``generator``, from a run or from published weights.

    Raises:
        TrainingError: ``source`` has neither, or weights of another network.
    """
    if is_run(source):
        return load_any_generator(source).state_dict()
    return published_weights(source, recipe, generator)


def load_generator(run: Path, *, step: int | Literal["latest", "best"] = "latest", averaged: bool = True) -> nn.Module:
    """Load a run's generator that stylizes photos; see ``load_any_generator``.

    Raises:
        TrainingError: as in ``load_any_generator``, or the generator draws from noise.
    """
    generator = load_any_generator(run, step=step, averaged=averaged)
    if isinstance(generator, NoiseGenerator):
        raise TrainingError(
            f"the generator of {str(run)!r} draws faces from noise and stylizes nothing: "
            f"animevid sample {run} out.png shows what it draws"
        )
    return generator


def load_any_generator(
    run: Path, *, step: int | Literal["latest", "best"] = "latest", averaged: bool = True
) -> nn.Module:
    """Load a run's generator in its own layout, with averaged weights if there are any, on the CPU.

    ``step``: an existing step, the latest, or the best by validation.

    Raises:
        TrainingError: no such checkpoint, or a recipe that this version does not know.
    """
    path = checkpoint_of(run, step=step)
    _, state = load_checkpoint(path)
    recipe = recipe_from_dict(state["config"]["numbers"])
    generator = as_rgb(fresh_generator(recipe))
    weights = state["ema"]["shadow"] if averaged and state["ema"] else state["networks"]["generator"]
    load_weights(generator, weights, where=repr(str(path)))
    return bare(generator).eval()


def checkpoint_of(run: Path, *, step: int | Literal["latest", "best"] = "latest") -> Path:
    """Return the folder of one of a run's checkpoints.

    Raises:
        TrainingError: no such checkpoint.
    """
    folder = run / "checkpoints"
    latest = latest_checkpoint(folder)
    if latest is None:
        raise TrainingError(f"{str(run)!r} holds no checkpoint; give the folder that was --out")
    best = best_checkpoint(folder)
    if step == "best" and best is None:
        raise TrainingError(f"{str(run)!r} has no best checkpoint (nothing was validated); leave --best out")
    path = latest if step == "latest" else best[0] if step == "best" and best else folder / f"step-{step:08d}"
    if not path.is_dir():
        there = ", ".join(str(step_of(kept)) for kept in list_checkpoints(folder))
        raise TrainingError(f"{str(run)!r} has no checkpoint of step {step}; there are {there}")
    return path
