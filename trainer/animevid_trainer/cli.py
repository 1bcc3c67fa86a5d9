"""The trainer's commands: ``train``, ``export``, ``evaluate``, ``import``. Parsing and printing live here.

``COMMANDS[name]`` has ``add_parser(subparsers)`` and ``run(args) -> int``, as every command of ``animevid`` does. Exit
codes: 0 done, 130 asked to stop (the run can be resumed), else the error's own.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animevid.errors import AnimevidError, TrainingError

from animevid_trainer.recipes import (
    Recipe,
    list_recipes,
    load_recipe,
    parse_assignment,
    recipe_from_toml,
    with_lengths,
    with_overrides,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Command:
    """One command, for the engine's command line and for ``python -m animevid_trainer``."""

    name: str
    summary: str
    fill: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]

    def add_parser(self, subparsers: Any) -> None:
        parser = subparsers.add_parser(
            self.name,
            help=self.summary,
            description=self.summary[0].upper() + self.summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.fill(parser)
        parser.add_argument("-v", "--verbose", action="count", default=0, help="say more (-vv: everything)")


# ---------------------------------------------------------------------------------------------------------------- train


def _fill_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="recipe name, RECIPE+VARIANT, or a TOML file")
    parser.add_argument("--photos", type=Path, help="folder of photos (searched recursively)")
    parser.add_argument("--art", type=Path, help="folder of drawings in the style")
    parser.add_argument("--out", type=Path, help="run folder; a run that is there already is resumed")
    parser.add_argument("--steps", type=int, help="training steps after the initialization phase")
    parser.add_argument("--init-steps", type=int, help="steps of the initialization phase")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one number")
    parser.add_argument("--teacher", help="distill: teacher name or weights file")
    parser.add_argument(
        "--teacher-sizes", default="", help="distill: longest sides to draw each photo at, e.g. 512,768"
    )
    parser.add_argument("--start-from", type=Path, help="run folder whose generator this run starts from")
    parser.add_argument("--perceptual-weights", help="weights of the perceptual network (.safetensors or .pth)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="default: the recipe's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--validation", type=float, default=0.05, metavar="FRACTION", help="photos kept from training")
    parser.add_argument("--photo-crops", type=int, default=0, metavar="K", help="fixed crops a photo (0: always fresh)")
    parser.add_argument(
        "--art-crops", type=int, default=16, metavar="K", help="fixed crops a drawing (0: always fresh)"
    )
    parser.add_argument("--longest", type=int, default=0, metavar="PX", help="shrink larger pictures to this side")
    parser.add_argument("--memory", type=float, default=8.0, metavar="GIB", help="memory for decoded pictures")
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--keep-last", type=int, default=2, metavar="K", help="checkpoints kept beside the best")
    parser.add_argument("--sheet-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--log-every", type=int, default=20, metavar="STEPS")
    parser.add_argument("--accept-changes", action="store_true", help="resume although settings have changed")
    parser.add_argument("--list-recipes", action="store_true", help="name the recipes and end")
    parser.add_argument("--print-recipe", action="store_true", help="print the recipe with all overrides and end")


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
    if args.precision and args.precision != "auto":
        overrides["precision"] = args.precision
    recipe = with_overrides(recipe, overrides) if overrides else recipe
    return with_lengths(recipe, steps=args.steps, init_steps=args.init_steps)


def _run_train(args: argparse.Namespace) -> int:
    if args.list_recipes:
        print(list_recipes())
        return 0
    if args.recipe is None:
        raise TrainingError("no recipe was named; animevid train --list-recipes lists them")
    recipe = recipe_from_args(args)
    if args.print_recipe:
        print(recipe.to_toml(), end="")
        return 0
    for flag in ("photos", "out"):
        if getattr(args, flag) is None:
            raise TrainingError(f"--{flag} is missing: animevid train RECIPE --photos DIR --art DIR --out RUN")

    from animevid_trainer.build import DataSettings, start_run
    from animevid_trainer.distributed import join_world
    from animevid_trainer.loop import LoopSettings
    from animevid_trainer.progress import Progress

    sizes = tuple(int(size) for size in args.teacher_sizes.split(",") if size)
    data = DataSettings(
        photos=args.photos,
        art=args.art,
        validation_fraction=args.validation,
        seed=args.seed,
        photo_crops=args.photo_crops,
        art_crops=args.art_crops,
        memory_bytes=int(args.memory * 2**30),
        longest_px=args.longest,
        target_sizes_px=sizes,
        target_cache=args.out.parent / ".targets",
    )
    loop = LoopSettings(
        steps=0,
        seed=args.seed,
        precision=args.precision or recipe.precision,
        device=args.device,
        threads=args.threads,
        ema_decay=recipe.optimizer.ema_decay,
        clip_norm=recipe.optimizer.gradient_clip_norm,
        log_every=args.log_every,
        checkpoint_every=args.checkpoint_every,
        keep_last=args.keep_last,
        sheet_every=args.sheet_every,
    )
    with join_world() as world:
        speak = world.is_first
        trainer = start_run(
            recipe,
            args.out,
            data,
            loop,
            teacher=args.teacher,
            start_from=args.start_from,
            world=world,
            progress=Progress((lambda line: print(line, flush=True)) if speak else None),
            on_data=_show_data if speak else None,
            accept_changes=args.accept_changes,
        )
        report = trainer.run()
    if not speak:
        return 0
    if report.finished:
        print(f"done: step {report.step}, {report.images_per_second:.2f} img/s; {report.checkpoint}")
        return 0
    print(f"stopped after step {report.step}; the same command goes on from there", file=sys.stderr)
    return 130


def _show_data(what: str, done: int, total: int) -> None:
    if done == total or done % 64 == 0:
        print(f"{what}: {done}/{total}", file=sys.stderr)


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("train", "train a style from a folder of photos and a folder of drawings", _fill_train, _run_train),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m animevid_trainer``: returns the exit code; bad input is one line on stderr."""
    parser = argparse.ArgumentParser(prog="animevid_trainer")
    subparsers = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS.values():
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(args.verbose, 2)]
    logging.basicConfig(level=level, format="animevid: %(message)s", stream=sys.stderr, force=True)
    try:
        return COMMANDS[args.command].run(args)
    except AnimevidError as error:
        print(f"animevid: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone. Point stdout elsewhere, or Python complains again while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
