"""The trainer's commands: ``train``, ``paint``, ``distill``, ``export``, ``evaluate``, ``import``. Parsing and printing
live here.

``COMMANDS[name]`` has ``add_parser(subparsers)`` and ``run(args) -> int``, as every command of ``animevid`` does. Exit
codes: 0 done, 130 asked to stop (the run can be resumed), else the error's own.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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

# Threads that spin while they wait take the processor from whatever else runs here. Read when torch is loaded, which
# the commands below do and this module does not.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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

    from animevid_trainer.allocator import keep_freed_memory
    from animevid_trainer.build import DataSettings, start_run
    from animevid_trainer.checkpoint import best_checkpoint
    from animevid_trainer.distributed import join_world
    from animevid_trainer.loop import LoopSettings
    from animevid_trainer.progress import Progress

    keep_freed_memory()
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
        if (best := best_checkpoint(trainer.checkpoints)) is not None:
            print(f"best on the validation photos: {best[0].name}, score {best[1]:.4g} (export --best takes it)")
        return 0
    print(f"stopped after step {report.step}; the same command goes on from there", file=sys.stderr)
    return 130


def _show_data(what: str, done: int, total: int) -> None:
    if done == total or done % 64 == 0:
        print(f"{what}: {done}/{total}", file=sys.stderr)


# -------------------------------------------------------------------------------------------------------------- export


def _add_card_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="style name (default: the file's)")
    parser.add_argument("--title", default="", help="how the style is presented")
    parser.add_argument("--description", default="")
    parser.add_argument("--licence", default="unknown", help="licence of the weights, e.g. CC-BY-4.0")
    parser.add_argument("--trained-on", default="", help="what the weights were trained on")
    parser.add_argument("--net-pixels", type=int, default=0, help="pixels a frame at which the style looks as drawn")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--photos", type=Path, help="real photos for the parity check (default: the run's own)")


def _add_int8_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--int8", action="store_true", help="write STYLE-int8.onnx too, quantized on the photos")
    parser.add_argument("--calibration", type=int, default=32, metavar="N", help="photos to quantize on (--int8)")


def _check_int8_flags(args: argparse.Namespace) -> None:
    if args.int8 and args.precision != "fp32":
        raise TrainingError(f"{args.precision = }: --int8 starts from an fp32 style; leave --precision out")
    if args.int8 and args.calibration < 1:
        raise TrainingError(f"{args.calibration = }: give 1 photo or more, some dozens are good")


def _fill_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="run folder (--out of train)")
    parser.add_argument("style", type=Path, metavar="STYLE.onnx")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, help="checkpoint to take (default: the latest)")
    which.add_argument("--best", action="store_true", help="take the one with the best validation score")
    parser.add_argument("--raw", action="store_true", help="the weights themselves instead of their average")
    _add_int8_flags(parser)
    _add_card_flags(parser)


def _run_export(args: argparse.Namespace) -> int:
    from animevid_trainer.build import load_generator

    _check_int8_flags(args)
    generator = load_generator(
        args.run_folder,
        step="best" if args.best else "latest" if args.step is None else args.step,
        averaged=not args.raw,
    )
    about = _about(args.run_folder)
    photos = args.photos or Path(about.get("data", {}).get("photos", ""))
    recipe = str(about.get("config", {}).get("recipe", ""))
    code = _export(generator, args, photos=photos, recipe=recipe)
    return _quantize(args.style, photos, count=args.calibration) if args.int8 else code


def _quantize(style: Path, photos: Path, *, count: int) -> int:
    from animevid_trainer.quantize import quantize_file

    # every second one is kept from calibration, to compare on
    pictures = _some_photos(photos, count=2 * count)
    calibration, held_out = pictures[::2], pictures[1::2]
    if not held_out:
        raise TrainingError(
            f"{len(pictures)} photo in {str(photos)!r}: --int8 needs some to quantize on, some to compare"
        )
    report = quantize_file(style, photos=calibration, held_out=held_out)
    print(f"{report.path}: {report.bytes_written:,} bytes; from float32 by {report.distance}")
    return 0


def _about(run: Path) -> dict[str, Any]:
    """run.json, or nothing where it is missing or damaged: a run can be exported without it."""
    try:
        about = json.loads((run / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _export(generator: Any, args: argparse.Namespace, *, photos: Path, recipe: str) -> int:
    from animevid_trainer.export import export_style, make_card

    pictures = _some_photos(photos, count=4)
    card = make_card(
        generator,
        name=args.name or args.style.stem,
        precision=args.precision,
        title=args.title,
        description=args.description,
        licence=args.licence,
        trained_on=args.trained_on,
        recipe=recipe,
    )
    card = replace(card, net_pixels=args.net_pixels)
    report = export_style(generator, args.style, card=card, pictures=pictures, precision=args.precision)
    print(f"{report.path}: {report.bytes_written:,} bytes; torch and ONNX Runtime differ by {report.parity}")
    return 0


def _some_photos(folder: Path, *, count: int) -> list[Any]:
    """``count`` photos spread over the folder.

    Raises:
        TrainingError: none there.
    """
    from animevid_trainer.data.pictures import find_pictures, open_pictures

    if folder == Path():
        raise TrainingError("real photos are needed to compare with; give a folder with --photos")
    paths = find_pictures(folder)
    chosen = [paths[index * len(paths) // count] for index in range(min(count, len(paths)))]
    store = open_pictures(chosen, what="photos", longest_px=1024)
    return [store[index] for index in range(len(store))]


# ------------------------------------------------------------------------------------------------------------- distill


def _fill_paint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("looks", nargs="+", metavar="LOOK", help="aozora, ehon, cel")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos (searched recursively)")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the teachers' weights")
    parser.add_argument("--out", type=Path, required=True, metavar="PAIRS", help="folder of pairs; what is there stays")
    parser.add_argument("--limit", type=int, default=0, help="photos at most (default: all but the held-out ones)")


def _run_paint(args: argparse.Namespace) -> int:
    from animevid_trainer.distill.pairs import paint_pairs

    def show(name: str, done: int, total: int) -> None:
        print(f"{done}/{total} {name}", flush=True)

    painted = paint_pairs(args.photos, args.weights, args.out, looks=args.looks, limit=args.limit, on_progress=show)
    print(f"{painted} pictures painted; {args.out}")
    return 0


def _fill_distill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("look", metavar="LOOK", help="aozora, ehon, cel")
    parser.add_argument("--pairs", type=Path, required=True, help="folder that `paint` filled")
    parser.add_argument("--out", type=Path, required=True, help="run folder; a run that is there already goes on")
    parser.add_argument("--size", default="fast", help="fast or high")
    parser.add_argument("--start-from", type=Path, metavar="WEIGHTS.safetensors", help="weights to start from")
    parser.add_argument("--steps", type=int, default=0, help="stop at so many in all (default: until Ctrl-C)")
    parser.add_argument("--decay-steps", type=int, default=0, help="end the run: the rate falls to nothing")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--pixels-only", action="store_true", help="no perceptual and adversarial terms: 3x as fast")
    parser.add_argument("--perceptual-weights", help="VGG16's weights (.safetensors or .pth)")
    parser.add_argument("--threads", type=int, default=1)


def _run_distill(args: argparse.Namespace) -> int:
    from animevid_trainer.distill.losses import Weights
    from animevid_trainer.distill.run import DistillSettings, distill

    weights = Weights(perceptual=0.0, adversarial=0.0) if args.pixels_only else Weights()
    settings = DistillSettings(
        args.look,
        size=args.size,
        rate=args.rate,
        steps=args.steps,
        decay_steps=args.decay_steps,
        threads=args.threads,
        weights=weights,
    )
    distill(
        args.pairs,
        args.out,
        settings,
        start_from=args.start_from,
        perceptual_weights=args.perceptual_weights,
        on_line=lambda line: print(line, flush=True),
    )
    print(args.out / "student.safetensors")
    return 0


# -------------------------------------------------------------------------------------------------------------- import


def _fill_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "weights", type=Path, help="AnimeGANv2 .pt/.pth, CartoonGAN or luma-unet .safetensors, .npy folder"
    )
    parser.add_argument("style", type=Path, metavar="STYLE.onnx")
    parser.add_argument("--twin", type=Path, help="ONNX file of the same network to agree with")
    parser.add_argument("--upsampling", choices=("half_pixel", "align_corners", "asymmetric"))
    _add_int8_flags(parser)
    _add_card_flags(parser)


def _run_import(args: argparse.Namespace) -> int:
    from animevid_trainer.importers import import_weights

    if args.photos is None:
        raise TrainingError("real photos are needed to compare with; give a folder with --photos")
    _check_int8_flags(args)
    pictures = _some_photos(args.photos, count=4)
    imported = import_weights(args.weights, twin=args.twin, pictures=pictures, upsampling=args.upsampling)
    if imported.parity is not None:
        print(f"{imported.name} agrees with {args.twin.name}: {imported.parity}")
    recipe = "distill" if imported.name == "luma-unet" else f"imported: {imported.name}"
    code = _export(imported.generator, args, photos=args.photos, recipe=recipe)
    return _quantize(args.style, args.photos, count=args.calibration) if args.int8 else code


# ------------------------------------------------------------------------------------------------------------ evaluate


def _fill_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "candidates",
        nargs="+",
        metavar="[LABEL=]CANDIDATE",
        help="STYLE.onnx, a style's name, run:DIR, teacher:SPEC (teacher:bilateral is the baseline), or photo",
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--art", type=Path, help="folder of drawings to be compared with")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT.html")
    parser.add_argument("--clip", type=Path, help="video for flicker")
    parser.add_argument("--all", action="store_true", help="every photo, not only those kept from training")
    parser.add_argument("--validation", type=float, default=0.05, metavar="FRACTION", help="as it was given to train")
    parser.add_argument("--limit", type=int, default=48, help="photos at most")
    parser.add_argument("--longest", type=int, default=640, metavar="PX", help="longest side that photos are shown at")
    parser.add_argument("--size", type=int, default=0, metavar="PX", help="instead: short side of the photos")
    parser.add_argument("--network", default="vgg16", choices=("vgg16", "vgg19", "resnet50"), help="feature network")
    parser.add_argument("--network-weights", type=Path, help="its weights (.safetensors or .pth)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of the feature network")
    parser.add_argument(
        "--judge",
        type=Path,
        metavar="FOLDER",
        help="network of the npm package nsfwjs (npm pack nsfwjs@4.4.0): "
        "a second opinion, package/dist/models/NETWORK; its probe is fitted on --art and on training photos",
    )
    parser.add_argument("--judge-photos", type=int, default=100, metavar="N", help="training photos for the probe")
    parser.add_argument("--sheet", type=int, default=12, metavar="N", help="photos shown in the page")


def _run_evaluate(args: argparse.Namespace) -> int:
    from contextlib import ExitStack

    import torch

    from animevid_trainer.data.pictures import find_pictures, open_pictures, shrink_shortest_to
    from animevid_trainer.data.split import split_by_name
    from animevid_trainer.evaluate.candidates import open_candidate
    from animevid_trainer.evaluate.judge import open_judge
    from animevid_trainer.evaluate.measure import evaluate_candidates, read_clip
    from animevid_trainer.evaluate.report import markdown_table, write_report
    from animevid_trainer.perceptual import make_perceptual
    from animevid_trainer.precision import choose_precision

    paths = find_pictures(args.photos)
    training: list[Path] = []
    if args.judge and (args.all or not args.art):
        raise TrainingError("--judge fits its probe on --art and on photos that are not judged: give --art, not --all")
    if not args.all:
        training, kept = split_by_name(paths, validation_fraction=args.validation)
        if not kept:
            raise TrainingError(
                f"none of the {len(paths)} photos falls into the validation split ({args.validation}); give --all"
            )
        paths = kept

    def read(chosen: list[Path], what: str, limit: int) -> list[Any]:
        spread = [chosen[index * len(chosen) // limit] for index in range(limit)] if limit < len(chosen) else chosen
        store = open_pictures(spread, what=what, longest_px=0 if args.size else args.longest)
        pictures = [store[index] for index in range(len(store))]
        return [shrink_shortest_to(picture, args.size) for picture in pictures] if args.size else pictures

    photos = read(paths, "photos", args.limit)
    drawings = find_pictures(args.art) if args.art else []
    art = read(drawings, "art", len(drawings)) if drawings else []
    judge = open_judge(args.judge) if args.judge else None
    bf16 = choose_precision(args.precision, torch.device("cpu")) is torch.bfloat16
    network = make_perceptual(args.network, weights=args.network_weights, bf16=bf16)
    clip = read_clip(args.clip) if args.clip else []
    with ExitStack() as stack:
        candidates = [stack.enter_context(open_candidate(spec)) for spec in args.candidates]
        evaluation = evaluate_candidates(
            candidates,
            photos,
            art,
            network,
            clip=clip,
            judge=judge,
            training_photos=read(training, "training photos", args.judge_photos) if judge else (),
            sheet_count=args.sheet,
            on_progress=_show_data,
        )
    write_report(args.out, evaluation)
    print(markdown_table(evaluation), end="")
    print(f"\n{args.out}")
    return 0


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("train", "train a style from a folder of photos and a folder of drawings", _fill_train, _run_train),
        Command("paint", "paint photos in the teachers' looks, for distill", _fill_paint, _run_paint),
        Command("distill", "teach a student the look that `paint` painted", _fill_distill, _run_distill),
        Command(
            "export", "turn a run into a style file, compared with PyTorch on real photos", _fill_export, _run_export
        ),
        Command(
            "evaluate", "measure styles side by side and show them in one HTML page", _fill_evaluate, _run_evaluate
        ),
        Command("import", "turn published weights into a style file", _fill_import, _run_import),
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
