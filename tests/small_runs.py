"""Training runs of one second: real objectives and loop, tiny networks and crops.

Also a program (``python small_runs.py OUT KIND STEPS PAUSE``), to be killed from outside or started by torchrun.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from animevid_trainer.data.batches import ArtCrops, BatchSource, PhotoCrops
from animevid_trainer.data.crops import CropSettings
from animevid_trainer.data.sampler import SeededSampler
from animevid_trainer.distributed import SINGLE, World, join_world
from animevid_trainer.loop import LoopSettings, Trainer, seed_everything
from animevid_trainer.objectives import CycleObjective, Parts, StylizeObjective
from animevid_trainer.perceptual import Vgg
from animevid_trainer.plan import Plan, make_plan
from animevid_trainer.progress import Progress, ProgressLine
from animevid_trainer.recipes import DiscriminatorWeights, LossWeights, Optimizer, PerceptualChoice, Phase, Recipe
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

KINDS = ("animegan", "distill", "cyclegan")
CROP_PX = 32


def images(count: int, seed: int, side_px: int = 48) -> list[np.ndarray]:
    """Soft random blobs, uint8 RGB."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (count, 6, 6, 3), np.uint8)
    return [cv2.resize(small, (side_px, side_px), interpolation=cv2.INTER_CUBIC) for small in noise]


def tiny_perceptual(seed: int = 7) -> Vgg:
    """VGG16's first two convolutions with random weights."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"conv1_1": (64, 3), "conv1_2": (64, 64)}
    state: dict[str, torch.Tensor] = {}
    for name, (outputs, inputs) in shapes.items():
        state[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=random) * (2 / (9 * inputs)) ** 0.5
        state[f"{name}.bias"] = torch.zeros(outputs)
    return Vgg("vgg16", state, unit="caffe", bf16=False)


def tiny_generator() -> nn.Module:
    # No bias before the norm: its gradient is rounding noise, which Adam would amplify to full steps.
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.InstanceNorm2d(8, affine=True),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8, 3, 1),
        nn.Tanh(),
    )


def tiny_discriminator() -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, 8, 3, stride=2, padding=1)), nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(8, 1, 3))
    )


def tiny_plan(kind: str, steps: int) -> Plan:
    phases = [Phase("train", length_steps=steps, generator_lr=2e-3, discriminator_lr=2e-3, schedule="cosine")]
    if kind.startswith("animegan") and steps > 2:
        phases = [
            Phase("init", length_steps=2, generator_lr=1e-3, content_only=True, batch=2),
            replace(phases[0], length_steps=steps - 2),
        ]
    return make_plan(phases, photos=5, batch=4, crop_px=CROP_PX)


def tiny_recipe(kind: str) -> Recipe:
    recipe = Recipe(name=kind, summary="tiny", generator="nano", perceptual=PerceptualChoice(network="vgg16"))
    if kind == "cyclegan":
        d_losses = DiscriminatorWeights(real=0.5, fake=0.5, smooth=0.5)
        return replace(
            recipe, objective="cycle", losses=LossWeights(adversarial=1.0, cycle=10.0, identity=5.0), image_pool=3,
            discriminator_losses=d_losses, smooth_negatives="colour",
        )  # fmt: skip
    if kind == "distill":
        weights = LossWeights(pixel=10.0, gradient=5.0, perceptual=0.2, temporal=1.0)
        return replace(recipe, losses=weights, discriminator="none")
    # "still" leaves out the term that draws random numbers, which differ from process to process.
    temporal = 0.0 if kind == "animegan-still" else 1.0
    weights = LossWeights(
        content=1.5, init_content=1.0, style=3.0, colour=10.0, adversarial=10.0, total_variation=1.0, temporal=temporal
    )
    d_losses = DiscriminatorWeights(gray=1.0, smooth=0.1)
    return replace(
        recipe, losses=weights, discriminator_losses=d_losses, optimizer=Optimizer(discriminator_every=2)
    )  # fmt: skip


def tiny_objective(kind: str, plan: Plan) -> StylizeObjective | CycleObjective:
    perceptual = None if kind == "cyclegan" else tiny_perceptual()
    parts = Parts(plan, tiny_generator, tiny_discriminator, perceptual)
    return (CycleObjective if kind == "cyclegan" else StylizeObjective)(tiny_recipe(kind), parts)


def tiny_source(plan: Plan, world: World = SINGLE, *, photo_crops: int = 0, art_crops: int = 3) -> BatchSource:
    photos, art = images(5, seed=1), images(3, seed=2, side_px=64)
    crop = CropSettings(CROP_PX, (0.7, 1.0))
    targets = [255 - photo for photo in photos]
    return BatchSource(
        PhotoCrops(photos, SeededSampler(5, 4, 9, "photos", world.rank, world.size), crop, targets, photo_crops),
        plan,
        ArtCrops(art, SeededSampler(3, 4, 9, "art", world.rank, world.size), crop, crops_per_image=art_crops),
    )


def tiny_trainer(
    folder: Path,
    kind: str = "animegan",
    *,
    steps: int = 8,
    checkpoint_every: int = 3,
    world: World = SINGLE,
    on_line: Callable[[ProgressLine], None] | None = None,
    config: dict[str, object] | None = None,
    objective: StylizeObjective | CycleObjective | None = None,
    **options: object,
) -> Trainer:
    """A run of ``kind`` in ``folder``; ``options`` are Trainer's, or fields of LoopSettings."""
    seed_everything(3)
    plan = tiny_plan(kind, steps)
    objective = objective or tiny_objective(kind, plan)
    seed_everything(3, world.rank)
    loop_fields = {key: options.pop(key) for key in list(options) if key in LoopSettings.__dataclass_fields__}
    settings = LoopSettings(
        steps=plan.steps, **{"device": "cpu", "log_every": 1, "samples_every": 4, "ema_decay": 0.9} | loop_fields,
        checkpoint_every=checkpoint_every,
    )  # fmt: skip
    return Trainer(
        objective,
        tiny_source(plan, world),
        folder,
        settings,
        config=config or {"recipe": kind, "numbers": {"steps": steps}},
        world=world,
        sample_photos=images(2, seed=4, side_px=64),
        progress=Progress(on_line, tensorboard=False),
        **options,
    )


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All trained values of a run: networks and the average."""
    found = {
        f"{name}.{key}": value.clone()
        for name, network in trainer.objective.networks.items()
        for key, value in network.state_dict().items()
    }
    assert trainer.ema is not None
    return found | {f"ema.{key}": value.clone() for key, value in trainer.ema.shadow.items()}


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that are not bit-identical."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def main(folder: Path, kind: str, steps: int, pause_seconds: float) -> None:
    with join_world() as world:

        def pause(line: ProgressLine) -> None:
            print(line.step, flush=True)
            time.sleep(pause_seconds)

        report = tiny_trainer(folder, kind, steps=steps, checkpoint_every=2, world=world, on_line=pause).run()
        print("finished" if report.finished else "stopped", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
