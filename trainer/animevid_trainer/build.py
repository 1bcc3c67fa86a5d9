"""Builds a training run from a recipe and folders of images."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from animevid_trainer.agreement import agree, failing_together
from animevid_trainer.checkpoint import load_weights
from animevid_trainer.data.batches import Images, tensor_of
from animevid_trainer.data.images import Image, shrink_to
from animevid_trainer.data.targets import Teacher, target_of
from animevid_trainer.distributed import SINGLE, World
from animevid_trainer.generators.noise import NoiseGenerator
from animevid_trainer.loop import LoopSettings, Trainer, WriteSampleGrid, choose_device, seed_everything
from animevid_trainer.perceptual import Perceptual
from animevid_trainer.plan import Plan
from animevid_trainer.progress import Progress
from animevid_trainer.recipes import Recipe
from animevid_trainer.run_data import DataSettings, RunData, check_folders, make_plan_of, make_source, open_data
from animevid_trainer.run_networks import bare, make_objective, make_perceptual_of
from animevid_trainer.sample_grid import write_latent_grid
from animevid_trainer.starting import open_any_teacher
from animevid_trainer.stored_runs import is_run, start_discriminator, starting_weights
from animevid_trainer.validation import StudentValidation, StyleValidation, Validate, middles, spread, squares

log = logging.getLogger(__name__)


def config_of(recipe: Recipe, settings: DataSettings, plan: Plan, *, teacher_key: str = "") -> Mapping[str, object]:
    """Return the configuration that a resumed run must not change (except for lengths, see ``Trainer``)."""
    return {
        "plan": [[place.phase.name, place.steps] for place in plan.spans],
        "recipe": recipe.name,
        "numbers": recipe.to_dict(),
        "seed": settings.seed,
        "teacher": teacher_key,
        "data": {
            "validation_fraction": settings.validation_fraction,
            "photo_crops": settings.photo_crops,
            "art_crops": settings.art_crops,
            "longest_px": settings.longest_px,
            "target_sizes_px": list(settings.target_sizes_px),
        },
    }


def start_run(
    recipe: Recipe,
    folder: Path,
    data_settings: DataSettings,
    loop_settings: LoopSettings,
    *,
    teacher: str | None = None,
    start_from: Path | None = None,
    world: World = SINGLE,
    progress: Progress | None = None,
    on_data: Callable[[str, int, int], None] | None = None,
    accept_changes: bool = False,
) -> Trainer:
    """A trainer ready to ``run()``. ``loop_settings.steps`` is taken from the recipe.

    ``start_from``: initial weights of the generator: a run (its average, not its optimizers) or published weights.

    Raises:
        TrainingError: of any part, raised in every process of ``world``; or their inputs differ.
    """
    seed_everything(loop_settings.seed)
    if not teacher and recipe.needs_teacher:
        teacher = recipe.teacher  # may be empty: open_data reports what is missing
    with failing_together(world):
        device = choose_device(loop_settings.device, world)
        # Check for missing files before reading thousands of photos.
        drawing = open_any_teacher(teacher) if teacher else None
        key = drawing.key if drawing is not None else ""
        check_folders(data_settings.photos, data_settings.art if recipe.needs_art else None)
        perceptual = None
        if recipe.uses_perceptual:
            told = None if on_data is None else functools.partial(on_data, "perceptual weights, MB")
            perceptual = make_perceptual_of(recipe, device=device, on_progress=told)
    agree(
        config_of(recipe, data_settings, Plan(()), teacher_key=key),
        {"photos": data_settings.photos, "art": data_settings.art if recipe.needs_art else None},
        world,
    )
    with failing_together(world):
        data = open_data(recipe, data_settings, teacher=drawing, teacher_key=key, on_progress=on_data)
        plan = make_plan_of(recipe, photos=len(data.photos))
        source = make_source(recipe, data, plan, data_settings, world=world)
        objective = make_objective(
            recipe, plan, device=device, perceptual=perceptual, cache_bytes=data_settings.cache_bytes // 2
        )
        if start_from is not None:
            generator = bare(objective.networks["generator"])
            load_weights(generator, starting_weights(start_from, recipe, generator), where=repr(str(start_from)))
            if recipe.from_noise and is_run(start_from):
                start_discriminator(objective.networks["discriminator"], start_from)
    seed_everything(loop_settings.seed, world.rank)
    return Trainer(
        objective,
        source,
        folder,
        replace(loop_settings, steps=plan.steps),
        config=config_of(recipe, data_settings, plan, teacher_key=key),
        about=about_run(recipe, data_settings, data, teacher=teacher, start_from=start_from),
        world=world,
        sample_photos=() if recipe.from_noise else pick_sample_photos(data),
        write_sample_grid=latent_grid(objective.networks["generator"], loop_settings.seed)
        if recipe.from_noise
        else None,
        validate=make_validation(
            recipe, data, plan, perceptual, device, data_settings, teacher=drawing, teacher_key=key
        ),
        progress=progress,
        accept_changes=accept_changes,
    )


def make_validation(
    recipe: Recipe,
    data: RunData,
    plan: Plan,
    perceptual: Perceptual | None,
    device: torch.device,
    settings: DataSettings,
    *,
    teacher: Teacher | None = None,
    teacher_key: str = "",
    count: int = 16,
) -> Validate | None:
    """Create the validation that selects the best checkpoint, on up to ``count`` validation photos (and drawings).

    Returns ``None`` without validation photos or without a perceptual network (CycleGAN needs none, but
    uses one given with ``perceptual.weights`` here).
    """
    if not len(data.validation):
        log.info("there are no validation photos, so no best checkpoint is chosen")
        return None
    size_px = plan.spans[-1].crop_px
    if recipe.needs_teacher and teacher is not None and recipe.losses.pixel:
        sizes = settings.target_sizes_px or (settings.longest_px or 1024,)
        photos = [shrink_to(photo, sizes[0]) for photo in spread(data.validation, count // 2)]
        targets = (target_of(photo, teacher, teacher_key=teacher_key, cache_folder=settings.target_cache)
                   for photo in photos)  # fmt: skip
        pairs = [middles(photo, target, size_px) for photo, target in zip(photos, targets, strict=True)]
        photo_squares, target_squares = (tensor_of(column) for column in zip(*pairs, strict=True))
        layer = recipe.perceptual.teacher_layer or recipe.perceptual.content_layer
        return StudentValidation(photo_squares, target_squares, recipe.losses, perceptual, layer)
    if perceptual is None and recipe.perceptual.weights:
        perceptual = make_perceptual_of(recipe, device=device)
    if perceptual is None or data.art is None:
        log.info("no best checkpoint is chosen: that needs a perceptual network (--perceptual-weights) and art")
        return None
    content = recipe.perceptual.content_layer or perceptual.default_layer
    return StyleValidation(
        squares(spread(data.validation, count), size_px),
        squares(spread(data.art, count), size_px),
        perceptual,
        content,
        recipe.perceptual.style_layers or (content,),
        on_gray=recipe.losses.style > 0 and recipe.style_on == "gray",
    )


def about_run(
    recipe: Recipe, settings: DataSettings, data: RunData, *, teacher: str | None, start_from: Path | None
) -> dict[str, object]:
    """Further entries of ``run.json``: paths and numbers of images, and unreadable files."""
    return {
        "summary": recipe.summary,
        "how_to": {
            "resume": "the same command again",
            "export": "animevid export RUN style.onnx",
            "change": "see the numbers under config; animevid train --print-recipe prints them as TOML",
        },
        "data": {
            "photos": str(settings.photos.resolve()),
            "art": None if settings.art is None else str(settings.art.resolve()),
            "photos_trained_on": len(data.photos),
            "photos_kept_for_validation": len(data.validation),
            "art_images": 0 if data.art is None else len(data.art),
            "art_brightness": None if data.statistics is None else round(data.statistics.brightness, 1),
            "art_channel_offset": None if data.statistics is None else list(data.statistics.channel_offset),
            "art_dark": 0 if data.statistics is None else data.statistics.dark,
            "unreadable": data.unreadable,
            "teacher": teacher,
            "started_from": None if start_from is None else str(start_from),
        },
    }


def pick_sample_photos(data: RunData, *, count: int = 8) -> list[Image]:
    """Validation photos, evenly spread over the set and the same each time; training photos if there is no validation
    set."""
    images: Images = data.validation if len(data.validation) else data.photos
    count = min(count, len(images))
    return [images[index * len(images) // count] for index in range(count)]


def latent_grid(generator: nn.Module, seed: int, *, count: int = 64) -> WriteSampleGrid:
    """Draws sample grids, always of the same latents."""
    assert isinstance(generator, NoiseGenerator)
    latents = generator.draw_latents(count, torch.Generator().manual_seed(seed))
    return functools.partial(write_latent_grid, latents=latents)
