"""``animevid train``."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.cli.offers import offer
from animevid.errors import TrainingError

from animevid_trainer.cadence import parse_every
from animevid_trainer.cli.command import Command
from animevid_trainer.cli.messages import show_data
from animevid_trainer.recipes import (
    RECIPES,
    VARIANTS,
    Recipe,
    list_recipes,
    load_recipe,
    parse_assignment,
    recipe_from_toml,
    with_lengths,
    with_overrides,
)

if TYPE_CHECKING:
    from animevid_trainer.loop import Trainer
    from animevid_trainer.progress import ProgressLine

#: What AnimeGANv2's authors advise for portraits.
_PORTRAIT_PHOTOS = 3000
#: Karras et al. 2020, arXiv:2006.06676, section 4: augmentation helps below some ten thousand images.
_MANY_FACES = 10_000
_FIRST_SAMPLES_SECONDS = 60.0


def _fill(parser: argparse.ArgumentParser) -> None:
    offer(parser.add_argument("recipe", nargs="?", help="recipe name, RECIPE+VARIANT, or a TOML file"), _recipe_names)
    parser.add_argument("--photos", type=Path, help="folder of photos (searched recursively)")
    parser.add_argument("--art", type=Path, help="folder of drawings in the style; dcgan, sagan, stylegan2: of faces")
    parser.add_argument("--out", type=Path, help="run folder; an existing run is resumed")
    parser.add_argument("--steps", type=int, help="training steps after the initialization phase")
    parser.add_argument("--init-steps", type=int, help="steps of the initialization phase")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one number")
    parser.add_argument("--teacher", help="distill: any ONNX stylizer (.onnx), a teacher's name or its weights")
    parser.add_argument(
        "--teacher-sizes", default="", help="distill: longest sides at which each photo is stylized, e.g. 512,768"
    )
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="RUN|WEIGHTS",
        help="initial weights of the generator: a run, or published weights (.pt, .pth, .safetensors, folder of .npy)",
    )
    parser.add_argument("--perceptual-weights", help="weights of the perceptual network (.safetensors or .pth)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="default: the recipe's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--validation", type=float, default=0.05, metavar="FRACTION", help="photos kept from training")
    parser.add_argument(
        "--photo-crops", type=int, default=0, metavar="K", help="fixed crops per photo (0: always fresh)"
    )
    parser.add_argument(
        "--art-crops", type=int, default=16, metavar="K", help="fixed crops per drawing (0: always fresh)"
    )
    parser.add_argument(
        "--longest", type=int, default=1280, metavar="PX", help="shrink larger images to this side (0: never)"
    )
    parser.add_argument("--memory", type=float, default=1.0, metavar="GIB", help="memory for images and their features")
    when = "STEPS|TIME"
    parser.add_argument(
        "--checkpoint-every", default="10min", metavar=when, help="500, 90s, 10min, 2h (default: 10min)"
    )
    parser.add_argument(
        "--keep-last", type=int, default=2, metavar="K", help="number of latest checkpoints to keep, besides the best"
    )
    parser.add_argument(
        "--samples-every",
        "--sheet-every",
        default="10min",
        metavar=when,
        help="sample grids; by time, the first comes after a minute",
    )
    parser.add_argument("--log-every", default="30s", metavar=when)
    parser.add_argument("--accept-changes", action="store_true", help="resume although settings have changed")
    parser.add_argument("--list-recipes", action="store_true", help="list the recipes and exit")
    parser.add_argument("--print-recipe", action="store_true", help="print the recipe with all overrides and exit")


def _recipe_names() -> list[str]:
    return [*RECIPES, *(f"{recipe}+{variant}" for recipe in RECIPES for variant in VARIANTS)]


def recipe_from_args(args: argparse.Namespace) -> Recipe:
    """The recipe named on the command line with every override applied.

    Raises:
        TrainingError: no such recipe or key, or a recipe that cannot be trained.
    """
    path = Path(args.recipe)
    if path.suffix == ".toml":
        try:
            recipe = recipe_from_toml(path.read_text())
        except OSError as error:
            raise TrainingError(f"recipe file {str(path)!r} cannot be read ({error.strerror})") from error
    else:
        recipe = load_recipe(args.recipe)
    overrides = dict(parse_assignment(text) for text in args.set)
    if args.perceptual_weights:
        overrides["perceptual.weights"] = args.perceptual_weights
    if args.precision:
        overrides["precision"] = args.precision
    recipe = with_overrides(recipe, overrides) if overrides else recipe
    return with_lengths(recipe, steps=args.steps, init_steps=args.init_steps)


def _run(args: argparse.Namespace) -> int:
    if args.list_recipes:
        print(list_recipes())
        return 0
    if args.recipe is None:
        raise TrainingError("no recipe is given; animevid train --list-recipes lists them")
    recipe = recipe_from_args(args)
    if args.print_recipe:
        print(described(recipe), end="")
        return 0
    if recipe.from_noise:
        _take_faces(args, recipe)
    for flag in ("photos", "out"):
        if getattr(args, flag) is None:
            raise TrainingError(f"--{flag} is missing: animevid train RECIPE --photos DIR --art DIR --out RUN")
    try:
        return _train(args, recipe)
    except KeyboardInterrupt:
        print("ended at once; the same command resumes from the last checkpoint, if there is one", file=sys.stderr)
        return 130


def _take_faces(args: argparse.Namespace, recipe: Recipe) -> None:
    """Use faces as photos, without a validation set, which nothing would use."""
    for flag in ("art", "out"):
        if getattr(args, flag) is None:
            raise TrainingError(
                f"--{flag} is missing: animevid train {recipe.name} --art FACES --out RUN; "
                "animevid faces cuts faces out of images"
            )
    if args.photos is not None:
        raise TrainingError(f"{recipe.name} draws from noise and learns from --art alone: leave --photos out")
    args.photos, args.art, args.validation = args.art, None, 0.0


def _train(args: argparse.Namespace, recipe: Recipe) -> int:
    from animevid_trainer.allocator import keep_freed_memory
    from animevid_trainer.build import start_run
    from animevid_trainer.checkpoint import best_checkpoint
    from animevid_trainer.distributed import join_world
    from animevid_trainer.loop import LoopSettings
    from animevid_trainer.progress import Progress
    from animevid_trainer.run_data import DataSettings

    keep_freed_memory()
    budget_bytes = int(args.memory * 2**30)
    data = DataSettings(
        photos=args.photos,
        art=args.art,
        validation_fraction=args.validation,
        seed=args.seed,
        photo_crops=args.photo_crops,
        art_crops=args.art_crops,
        memory_bytes=budget_bytes // 2,
        cache_bytes=budget_bytes // 2,
        longest_px=args.longest,
        target_sizes_px=_sizes(args.teacher_sizes),
        target_cache=args.out.parent / ".targets",
    )
    loop = LoopSettings(
        steps=0,
        seed=args.seed,
        precision=recipe.precision,
        device=args.device,
        threads=args.threads,
        ema_decay=recipe.optimizer.ema_decay,
        clip_norm=recipe.optimizer.gradient_clip_norm,
        log_every=parse_every(args.log_every),
        checkpoint_every=parse_every(args.checkpoint_every),
        keep_last=args.keep_last,
        samples_every=parse_every(args.samples_every, first_seconds=_FIRST_SAMPLES_SECONDS),
    )
    with join_world() as world:
        speak = world.is_first
        if speak:
            print(f"{recipe.name}: {recipe.summary}", flush=True)
        trainer = start_run(
            recipe,
            args.out,
            data,
            loop,
            teacher=args.teacher,
            start_from=args.start_from,
            world=world,
            progress=Progress(_Lines(recipe.data.batch) if speak else None, on_notice=_notice if speak else None),
            on_data=show_data if speak else None,
            accept_changes=args.accept_changes,
        )
        if speak:
            print(banner(trainer), flush=True)
        report = trainer.run()
    if not speak:
        return 0
    if report.finished:
        print(f"done: step {report.step}, {report.images_per_second:.2f} img/s; {report.checkpoint}")
        if (best := best_checkpoint(trainer.checkpoints)) is not None:
            print(f"best on the validation photos: {best[0].name}, score {best[1]:.4g} (export --best takes it)")
        return 0
    print(f"stopped after step {report.step}; the same command resumes there", file=sys.stderr)
    return 130


def described(recipe: Recipe) -> str:
    """The recipe as TOML, preceded by a description and its differences from the publication."""
    lines = [f"# {recipe.name}: {recipe.summary}"]
    lines += [f"# differs from the publication: {deviation}" for deviation in recipe.deviations]
    return "\n".join(lines) + "\n" + recipe.to_toml()


def banner(trainer: Trainer) -> str:
    """A few lines about what the run will do and where to watch it."""
    data, settings = trainer.about["data"], trainer.settings
    photos, art = data["photos_trained_on"], data["art_images"]
    from_noise = trainer.config.get("numbers", {}).get("objective") == "noise"
    steps = f"{settings.steps:,}, in {str(trainer.dtype).removeprefix('torch.')} on {trainer.device}"
    lines = [
        f"  faces        {photos:,} to learn from"
        if from_noise
        else f"  photos       {photos:,} to learn from, {data['photos_kept_for_validation']} kept aside for validation",
        f"  drawings     {art:,}" if art else "",
        f"  steps        {steps}; --steps N changes it",
        f"  samples      {trainer.folder / 'samples'}, {settings.samples_every}",
        f"  checkpoints  {trainer.checkpoints}, {settings.checkpoint_every}; "
        "Ctrl-C saves one and ends; the same command resumes",
    ]
    if art and photos < _PORTRAIT_PHOTOS:
        lines.append(
            f"  advice       for portraits, AnimeGANv2's authors use {_PORTRAIT_PHOTOS:,} photos of people or more, "
            "of the same sexes as the drawn faces"
        )
    if from_noise and photos < _MANY_FACES and not trainer.config["numbers"]["ada"]["enabled"]:
        lines.append(
            f"  advice       fewer than {_MANY_FACES:,} faces are learned by heart by the discriminator: add +ada, or "
            "start from another run with --start-from"
        )
    if data["art_dark"]:
        lines.append(
            f"  advice       {data['art_dark']} drawings are dark: the authors leave night scenes out, since a dark "
            "style darkens every photo; remove them, or brighten them with --set data.lowest_art_brightness=100"
        )
    return "\n".join(line for line in lines if line)


class _Lines:
    """Prints each report, and an estimate once the speed is known."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._told = 0

    def __call__(self, line: ProgressLine) -> None:
        self._told += 1
        if self._told == 2 and line.step < line.steps:
            seconds = (line.steps - line.step) * self._batch / line.images_per_second
            memory = f", {line.memory_bytes / 1e9:.1f} GB of memory so far" if line.memory_bytes else ""
            print(f"  expected     {_hours(seconds)} to step {line.steps:,}{memory}")
        print(line, flush=True)


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"


def _notice(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(",") if size)
    except ValueError:
        sizes = (0,)
    if any(size < 32 for size in sizes):
        raise TrainingError(f"--teacher-sizes {text!r}: give longest sides in pixels, 32 or more, e.g. 512,768")
    return sizes


TRAIN = Command("train", "train a style from a folder of photos and a folder of drawings", _fill, _run)
