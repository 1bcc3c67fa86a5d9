"""Every recipe, as published except for sizes: both phases run, every network changes, a resumed run agrees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from animevid_trainer.loop import LoopSettings, Trainer, seed_everything
from animevid_trainer.progress import Progress
from animevid_trainer.recipes import Recipe, load_recipe, with_lengths, with_overrides
from animevid_trainer.run_data import DataSettings, RunData, make_plan_of, make_source
from animevid_trainer.run_networks import make_objective
from small_runs import differing, images, weights_of

_NAMES = (
    "animegan", "animegan2", "animegan2-lite", "animegan2-nano", "animegan2-nano+vit+ada", "cartoongan",
    "cartoongan-plus", "cyclegan", "cyclegan+edge+init", "distill", "distill+gan+colour+temporal",
)  # fmt: skip


def _small(name: str, weights: Path) -> Recipe:
    recipe = load_recipe(name)
    overrides: dict[str, object] = {"data.batch": 1, "data.crop_px": 32, "perceptual.weights": str(weights)}
    overrides |= {f"phases.{phase.name}.crop_px": 32 for phase in recipe.phases}
    # The available weights are VGG16's; the choice of perceptual network does not matter here.
    overrides |= {"perceptual.network": "vgg16", "perceptual.content_layer": "conv2_2", "perceptual.bf16": False}
    if recipe.is_cycle:
        overrides |= {"generator_options.width": 16, "generator_options.blocks": 2, "discriminator_options.width": 8}
    has_init = any(phase.content_only for phase in recipe.phases)
    return with_lengths(with_overrides(recipe, overrides), steps=2, init_steps=1 if has_init else None)


def _trainer(recipe: Recipe, folder: Path) -> Trainer:
    seed_everything(1)
    photos = images(3, seed=1, side_px=72)
    data = RunData(photos, [], art=images(2, seed=2, side_px=72), targets=[255 - photo for photo in photos])
    if not recipe.needs_teacher:
        data = replace(data, targets=None)
    plan = make_plan_of(recipe, photos=3)
    # One checkpoint before the last step, to resume from; each takes 200 MB with CartoonGAN's networks.
    every = plan.steps - 1
    settings = LoopSettings(
        steps=plan.steps,
        device="cpu",
        ema_decay=0.9,
        log_every=1,
        checkpoint_every=every,
        samples_every=100,
        keep_last=9,
    )
    objective = make_objective(recipe, plan, device=torch.device("cpu"))
    source = make_source(recipe, data, plan, DataSettings(Path("unused")))
    progress = Progress(tensorboard=False)
    return Trainer(objective, source, folder, settings, config={"recipe": recipe.name}, progress=progress)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", _NAMES)
def test_a_recipe_trains_moves_every_network_and_resumes_exactly(name: str, shared: Path, tmp_path: Path) -> None:
    recipe = _small(name, shared / "weights/vgg16_conv1_1-conv4_3_fp16.safetensors")
    trainer = _trainer(recipe, tmp_path)
    before = weights_of(trainer)
    assert trainer.run().finished
    after = weights_of(trainer)
    moved = {key.split(".")[0] for key in differing(before, after)}
    assert moved == {*trainer.objective.networks, "ema"}

    last = tmp_path / "checkpoints" / f"step-{trainer.step:08d}"
    last.rename(tmp_path / "kept")
    resumed = _trainer(recipe, tmp_path)
    assert resumed.run().finished
    assert differing(weights_of(resumed), after) == []
