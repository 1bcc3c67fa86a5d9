"""``animevid paint`` and ``animevid distill``."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from animevid.cli.offers import offer

from animevid_trainer.cli.command import Command

#: Weights of :class:`StudentWeights`, which has their defaults, that are options, and what more or less of each does.
_WEIGHTS = {
    "adversarial": "the discriminator (more: crisper, less faithful)",
    "flat": "flatness (more: less of the photo's texture)",
    "steady": "steadiness under grain (less: sharper)",
}


def _looks() -> list[str]:
    from animevid_trainer.teachers.look import LOOKS

    return list(LOOKS)


def _fill_paint(parser: argparse.ArgumentParser) -> None:
    offer(parser.add_argument("looks", nargs="+", metavar="LOOK", help="aozora, ehon, cel"), _looks)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos (searched recursively)")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the teachers' weights")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PAIRS", help="folder for the pairs; existing ones are kept"
    )
    parser.add_argument(
        "--limit", type=int, default=0, help="maximum number of photos (default: all but the held-out ones)"
    )


def _run_paint(args: argparse.Namespace) -> int:
    from animevid_trainer.distill.pairs import paint_pairs

    def show(name: str, done: int, total: int) -> None:
        print(f"{done}/{total} {name}", flush=True)

    painted = paint_pairs(args.photos, args.weights, args.out, looks=args.looks, limit=args.limit, on_progress=show)
    print(f"{painted} images painted; {args.out}")
    return 0


def _fill_distill(parser: argparse.ArgumentParser) -> None:
    offer(parser.add_argument("look", metavar="LOOK", help="aozora, ehon, cel"), _looks)
    parser.add_argument("--pairs", type=Path, required=True, help="folder that `paint` filled")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an existing run is resumed")
    parser.add_argument("--size", default="fast", help="fast or high")
    parser.add_argument(
        "--start-from", type=Path, metavar="WEIGHTS.safetensors", help="weights to start from; fast may start high"
    )
    parser.add_argument(
        "--steps", type=int, default=0, help="stop after this many steps in all (default: until Ctrl-C)"
    )
    parser.add_argument("--decay-steps", type=int, default=0, help="end the run: the learning rate falls to 0")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate of Muon (default: 5e-4)")
    parser.add_argument(
        "--pixels-only", action="store_true", help="without perceptual and adversarial terms: 3x as fast"
    )
    parser.add_argument("--perceptual-weights", help="VGG16's weights (.safetensors or .pth)")
    parser.add_argument(
        "--sharpness", type=float, default=0.0, help="unsharp mask on the targets, 0 to 4 (students draw soft edges)"
    )
    parser.add_argument(
        "--boldness", type=float, default=1.0, help="multiply the targets' difference from the photo by 0.5 to 2"
    )
    for name, effect in _WEIGHTS.items():
        parser.add_argument(f"--{name}", type=float, help=f"weight of {effect}; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=1)


def _run_distill(args: argparse.Namespace) -> int:
    from animevid_trainer.distill.losses import StudentWeights
    from animevid_trainer.distill.pairs import Emphasis
    from animevid_trainer.distill.run import DistillSettings, distill

    given = {name: getattr(args, name) for name in _WEIGHTS}
    weights = StudentWeights(**{name: weight for name, weight in given.items() if weight is not None})
    if args.pixels_only:
        weights = replace(weights, perceptual=0.0, adversarial=0.0)
    settings = DistillSettings(
        args.look,
        size=args.size,
        rate=args.rate,
        steps=args.steps,
        decay_steps=args.decay_steps,
        threads=args.threads,
        weights=weights,
        emphasis=Emphasis(sharpness=args.sharpness, boldness=args.boldness),
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


COMMANDS = (
    Command("paint", "paint photos with the teachers, as training data for distill", _fill_paint, _run_paint),
    Command("distill", "train a student on the images of `paint`", _fill_distill, _run_distill),
)
