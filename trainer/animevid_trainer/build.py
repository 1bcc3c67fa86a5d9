"""Builds a run that can start from a recipe and folders of images."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from animevid.errors import TrainingError
from animevid.styles.card import Layout
from torch import Tensor, nn

from animevid_trainer import objectives
from animevid_trainer.agreement import agree, failing_together
from animevid_trainer.augment import AdaController, AdaptiveAugment, AugmentKinds
from animevid_trainer.checkpoint import (
    best_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_weights,
    step_of,
)
from animevid_trainer.colourspace import packed_to_rgb, rgb_to_packed
from animevid_trainer.data.batches import ArtCrops, BatchSource, CropCache, Images, PhotoCrops, tensor_of
from animevid_trainer.data.brightness import StyleStatistics, balance, compensate_exposure, measure_style
from animevid_trainer.data.crops import CropSettings
from animevid_trainer.data.flats import flat_images
from animevid_trainer.data.images import Image, ImageStore, find_images, open_images, shrink_to
from animevid_trainer.data.sampler import SeededSampler
from animevid_trainer.data.split import split_by_name
from animevid_trainer.data.targets import Teacher, target_of
from animevid_trainer.discriminators import make_discriminator
from animevid_trainer.distributed import SINGLE, World
from animevid_trainer.generators import make_generator
from animevid_trainer.generators.noise import NoiseGenerator
from animevid_trainer.loop import LoopSettings, Objective, Trainer, WriteSampleGrid, choose_device, seed_everything
from animevid_trainer.objectives import Parts
from animevid_trainer.perceptual import Perceptual, make_perceptual
from animevid_trainer.plan import Plan, make_plan
from animevid_trainer.precision import has_bf16
from animevid_trainer.progress import Progress
from animevid_trainer.recipes import Data, Recipe, recipe_from_dict
from animevid_trainer.recipes.noise import sized
from animevid_trainer.sample_grid import write_latent_grid
from animevid_trainer.starting import open_any_teacher, published_weights
from animevid_trainer.validation import StudentValidation, StyleValidation, Validate, middles, spread, squares

log = logging.getLogger(__name__)


#: each set's share of the memory for images
_SHARES = {"photos": 0.5, "faces": 0.9, "art": 0.4, "validation photos": 0.1}


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where images come from and how they are cached.

    ``photo_crops``/``art_crops``: 0 draws fresh crops; k draws from k fixed crops of each image, whose VGG features
    (photos) and Gram matrices (art) are then computed once and cached in ``cache_bytes`` of memory.
    ``target_sizes_px``: longest sides at which a teacher draws each photo; a crop is taken from one of them.
    """

    photos: Path
    art: Path | None = None
    validation_fraction: float = 0.05
    seed: int = 1
    photo_crops: int = 0
    art_crops: int = 16
    memory_bytes: int = 8 << 30
    cache_bytes: int = 2 << 30
    longest_px: int = 0
    target_sizes_px: tuple[int, ...] = ()
    target_cache: Path | None = None
    threads: int = 2


@dataclass
class RunData:
    """Images of a run. ``validation`` photos are never trained on."""

    photos: Images
    validation: ImageStore | list[Image]
    art: Images | None = None
    targets: Images | None = None
    statistics: StyleStatistics | None = None
    unreadable: list[str] = field(default_factory=list)


class RgbGenerator(nn.Module):
    """A generator on packed YUV 4:2:0 seen as one from RGB to RGB, differentiable, for losses that speak RGB."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [-1, 1] -> the same shape."""
        # Colour conversion is exact whatever the network runs in.
        with torch.autocast(photo.device.type, enabled=False):
            packed = rgb_to_packed(photo)
        packed = self.generator(packed).float()
        with torch.autocast(photo.device.type, enabled=False):
            output: Tensor = packed_to_rgb(packed)
        return output


def as_rgb(generator: nn.Module) -> nn.Module:
    """The generator itself, or :class:`RgbGenerator` around one that works on packed YUV."""
    return RgbGenerator(generator) if getattr(generator, "layout", None) == Layout.PACKED_YUV420 else generator


def bare(generator: nn.Module) -> nn.Module:
    """The network that is exported: undoes :func:`as_rgb`."""
    return generator.generator if isinstance(generator, RgbGenerator) else generator


def open_data(
    recipe: Recipe,
    settings: DataSettings,
    *,
    teacher: Teacher | None = None,
    teacher_key: str = "",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> RunData:
    """Read the folders, keep the validation photos aside, prepare the art, make the teacher's images.

    Raises:
        TrainingError: an empty or unreadable folder, no art where the recipe needs some.
    """

    def report(what: str) -> Callable[[int, int], None] | None:
        return None if on_progress is None else lambda done, total: on_progress(what, done, total)

    training, validation = split_by_name(find_images(settings.photos), validation_fraction=settings.validation_fraction)
    if not training:
        raise TrainingError(
            f"all {len(validation)} photos in {str(settings.photos)!r} fall into the validation split "
            f"(--validation {settings.validation_fraction}); give more photos or a smaller fraction"
        )

    def read(paths: Sequence[Path], what: str, longest_px: int = settings.longest_px) -> ImageStore:
        return open_images(
            paths,
            what=what,
            budget_bytes=int(settings.memory_bytes * _SHARES[what]),
            longest_px=longest_px,
            threads=settings.threads,
            on_progress=report(what),
        )

    what = "faces" if recipe.from_noise else "photos"
    photos = read(training, what)
    data = RunData(photos, read(validation, "validation photos", 1024) if validation else [])
    data.unreadable += photos.unreadable
    smallest = min(place.crop_px for place in make_plan_of(recipe, photos=len(photos)).spans)
    small = sum(min(photos[index].shape[:2]) < smallest for index in range(len(photos)))
    if small:
        log.warning("%d of %d %s are smaller than a crop (%d px) and are enlarged", small, len(photos), what, smallest)
    if recipe.needs_art:
        if settings.art is None:
            raise TrainingError(f"recipe {recipe.name!r} learns from art; give a folder of drawings with --art")
        art = read(find_images(settings.art), "art")
        data.unreadable += art.unreadable
        if len(art) == 1:
            log.warning("one art image only: the style will be that image's; give a few dozen for a style")
        data.statistics = measure_style(art[index] for index in range(len(art)))
        data.art = PreparedArt(art, recipe.data, data.statistics)
    if recipe.needs_teacher:
        if teacher is None:
            raise TrainingError(f"recipe {recipe.name!r} learns from a teacher; give one with --teacher")
        data.photos, data.targets = draw_targets(
            photos, teacher, teacher_key=teacher_key, settings=settings, on_progress=report("targets")
        )
        flats = flat_images(recipe.data.flat_images, seed=settings.seed)
        data.photos += flats
        data.targets += [teacher(flat) for flat in flats]
    return data


def check_folders(photos: Path, art: Path | None) -> None:
    """Refuse, before anything is read, folders that hold nothing, and one folder for both.

    Raises:
        TrainingError: a folder without images, or ``art`` is the folder of photos.
    """
    find_images(photos)
    if art is None:
        return
    find_images(art)
    photos, art = photos.resolve(), art.resolve()
    if photos == art:
        raise TrainingError(
            f"--photos and --art are the same folder ({str(art)!r}): a style is the difference between the two; "
            "give photos with one and drawings with the other"
        )
    if photos in art.parents:
        log.warning("--art lies inside --photos, so the drawings are trained on as photos too; move one of them")
    elif art in photos.parents:
        log.warning("--photos lies inside --art, so the photos are trained on as drawings too; move one of them")


@dataclass(frozen=True)
class PreparedArt:
    """The art as it is trained on: brightened where too dark, freed of the set's colour cast, as the recipe says.

    Made when an image is asked for: a set need not fit into memory.
    """

    art: Images
    settings: Data
    statistics: StyleStatistics

    def __len__(self) -> int:
        return len(self.art)

    def __getitem__(self, index: int) -> Image:
        image = self.art[index]
        if self.settings.lowest_art_brightness:
            image = compensate_exposure(image, lowest_brightness=self.settings.lowest_art_brightness)
        return balance(image, self.statistics) if self.settings.balance_art else image


def draw_targets(
    photos: Images,
    teacher: Teacher,
    *,
    teacher_key: str,
    settings: DataSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Image], list[Image]]:
    """Photos at each of the sizes, and the teacher's image of each (from the cache where it is there)."""
    sizes = settings.target_sizes_px or (0,)
    sources: list[Image] = []
    targets: list[Image] = []
    for index in range(len(photos)):
        for size in sizes:
            photo = shrink_to(photos[index], size) if size else photos[index]
            sources.append(photo)
            targets.append(target_of(photo, teacher, teacher_key=teacher_key, cache_folder=settings.target_cache))
        if on_progress is not None:
            on_progress(index + 1, len(photos))
    return sources, targets


def make_plan_of(recipe: Recipe, *, photos: int) -> Plan:
    """The recipe's phases for a set of ``photos`` photos."""
    return make_plan(recipe.phases, photos=photos, batch=recipe.data.batch, crop_px=recipe.data.crop_px)


def make_source(
    recipe: Recipe, data: RunData, plan: Plan, settings: DataSettings, *, world: World = SINGLE
) -> BatchSource:
    """Batches of ``data`` for the plan; this process's share of each."""
    drawn = recipe.data
    crop = CropSettings(
        drawn.crop_px, (drawn.crop_scale_low, drawn.crop_scale_high), flip=drawn.flip, whole=drawn.whole
    )

    def sampler(count: int, stream: str) -> SeededSampler:
        return SeededSampler(count, recipe.data.batch, settings.seed, stream, world.rank, world.size)

    for place in plan.spans:
        if place.batch % world.size:
            raise TrainingError(
                f"a batch of {place.batch} cannot be split over {world.size} processes; change data.batch"
            )
    photos = PhotoCrops(data.photos, sampler(len(data.photos), "photos"), crop, data.targets, settings.photo_crops)
    if data.art is None:
        return BatchSource(photos, plan)
    with_edges = recipe.discriminator_losses.smooth > 0 and recipe.uses_discriminator
    art = ArtCrops(
        data.art,
        sampler(len(data.art), "art"),
        crop,
        with_edges=with_edges,
        crops_per_image=settings.art_crops,
        cache=CropCache(settings.cache_bytes // 2),
    )
    return BatchSource(photos, plan, art)


def make_perceptual_of(
    recipe: Recipe, *, device: torch.device, on_progress: Callable[[int, int], None] | None = None
) -> Perceptual:
    """The perceptual network that the recipe names; ``on_progress`` is told of a download."""
    choice = recipe.perceptual
    weights = choice.weights or None
    bf16 = choice.bf16 and has_bf16(device)
    return make_perceptual(
        choice.network, weights=weights, unit=choice.unit, bf16=bf16, device=device, on_progress=on_progress
    )


def make_objective(
    recipe: Recipe,
    plan: Plan,
    *,
    device: torch.device,
    perceptual: Perceptual | None = None,
    cache_bytes: int = 2 << 30,
) -> Objective:
    """Fresh networks and their losses as the recipe says. ``perceptual`` is loaded where it is needed and not given.

    Raises:
        TrainingError: a network or layer that does not exist, weights that cannot be read.
    """
    if perceptual is None and recipe.uses_perceptual:
        perceptual = make_perceptual_of(recipe, device=device)

    def discriminator() -> nn.Module:
        options: dict[str, Any] = sized(recipe, recipe.discriminator_options, recipe.discriminator)
        if recipe.discriminator == "projected":
            options["perceptual"] = perceptual
        if recipe.conditional:
            options["channels"] = 6
        return make_discriminator(recipe.discriminator, **options)

    parts = Parts(
        plan,
        make_generator=lambda: as_rgb(fresh_generator(recipe)),
        make_discriminator=discriminator,
        perceptual=perceptual,
        augment=make_augment(recipe, plan),
        cache_bytes=cache_bytes,
    )
    return objectives.make(recipe, parts)


def fresh_generator(recipe: Recipe) -> nn.Module:
    """The recipe's generator with fresh weights, in its own layout.

    Raises:
        TrainingError: an option that it does not have.
    """
    return make_generator(recipe.generator, **sized(recipe, recipe.generator_options, recipe.generator))


def make_augment(recipe: Recipe, plan: Plan) -> AdaptiveAugment | None:
    """Adaptive discriminator augmentation where the recipe has it on, sized to the run where the recipe leaves it.

    The paper's 500,000 images are a fiftieth of its runs; in ours, of some ten thousand images, it would never act.
    """
    ada = recipe.ada
    if not ada.enabled:
        return None
    return AdaptiveAugment(
        AdaController(
            kind=recipe.adversarial,
            target=ada.target,
            interval_steps=ada.interval_steps,
            images_to_full=ada.images_to_full or max(1, discriminated_images(plan) // 5),
            largest_p=ada.largest_p,
        ),
        kinds=AugmentKinds(blit=ada.blit, geometric=ada.geometric, colour=ada.colour),
    )


def discriminated_images(plan: Plan) -> int:
    """How many real images D sees in the run."""
    phases = [place for place in plan.spans if place.phase.adversarial and not place.phase.content_only]
    return sum(place.steps * place.batch for place in phases)


def config_of(recipe: Recipe, settings: DataSettings, plan: Plan, *, teacher_key: str = "") -> Mapping[str, Any]:
    """What a resumed run must have in common with its start (but for lengths, see ``Trainer``)."""
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

    ``start_from``: what the generator starts from: a run (its average, not its optimizers) or published weights.

    Raises:
        TrainingError: as its parts do, in every process of ``world`` if in one; or they were not given the same.
    """
    seed_everything(loop_settings.seed)
    if not teacher and recipe.needs_teacher:
        teacher = recipe.teacher  # may be empty: open_data says what is missing
    with failing_together(world):
        device = choose_device(loop_settings.device, world)
        # What may be missing is looked for before thousands of photos are read.
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
    """What picks the best checkpoint, on at most ``count`` of the photos kept aside (and as many drawings).

    None where there is nothing to measure with: no photos kept aside, or no perceptual network (CycleGAN needs none;
    one named with ``perceptual.weights`` is taken for this).
    """
    if not len(data.validation):
        log.info("no photos are kept aside, so no checkpoint is called the best")
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
        log.info("no checkpoint is called the best: that takes a perceptual network (--perceptual-weights) and art")
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
) -> dict[str, Any]:
    """What ``run.json`` says beside the configuration: where the images lay, how many, what could not be read."""
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
    """Validation photos spread over the set, the same ones each time; training photos where none are kept aside."""
    images: Images = data.validation if len(data.validation) else data.photos
    count = min(count, len(images))
    return [images[index * len(images) // count] for index in range(count)]


def is_run(folder: Path) -> bool:
    """Whether ``folder`` is one that ``train`` filled."""
    return (folder / "checkpoints").is_dir()


def start_discriminator(discriminator: nn.Module, run: Path) -> None:
    """Give ``discriminator`` the weights of ``run``'s where it is the same network: transfer learning keeps both.

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


def latent_grid(generator: nn.Module, seed: int, *, count: int = 64) -> WriteSampleGrid:
    """A sample grid of the same latents each time."""
    assert isinstance(generator, NoiseGenerator)
    latents = generator.draw_latents(count, torch.Generator().manual_seed(seed))
    return functools.partial(write_latent_grid, latents=latents)


def starting_weights(source: Path, recipe: Recipe, generator: nn.Module) -> Mapping[str, Tensor]:
    """The weights that ``generator``, which is the recipe's, starts from: a run's or published ones.

    Raises:
        TrainingError: neither is there, or they are another network's.
    """
    if is_run(source):
        return load_any_generator(source).state_dict()
    return published_weights(source, recipe, generator)


def load_generator(run: Path, *, step: int | Literal["latest", "best"] = "latest", averaged: bool = True) -> nn.Module:
    """The generator of a run that stylizes photos, as ``load_any_generator`` has it.

    Raises:
        TrainingError: as there; or it draws from noise.
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
    """The generator of a run, bare (in its own layout), with its averaged weights where there are any; on the CPU.

    ``step``: a step that is still there, the latest, or the best by validation.

    Raises:
        TrainingError: no such checkpoint there, or a recipe that this version does not know.
    """
    path = checkpoint_of(run, step=step)
    _, state = load_checkpoint(path)
    recipe = recipe_from_dict(state["config"]["numbers"])
    generator = as_rgb(fresh_generator(recipe))
    weights = state["ema"]["shadow"] if averaged and state["ema"] else state["networks"]["generator"]
    load_weights(generator, weights, where=repr(str(path)))
    return bare(generator).eval()


def checkpoint_of(run: Path, *, step: int | Literal["latest", "best"] = "latest") -> Path:
    """The folder of one of a run's checkpoints.

    Raises:
        TrainingError: no such checkpoint there.
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
