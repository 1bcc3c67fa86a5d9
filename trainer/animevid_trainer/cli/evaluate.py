"""``animevid evaluate``."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.cli.offers import offer, style_names
from animevid.errors import TrainingError

from animevid_trainer.cli.command import Command
from animevid_trainer.cli.messages import show_data

if TYPE_CHECKING:
    from animevid_trainer.data.images import Image


def _fill_evaluate(parser: argparse.ArgumentParser) -> None:
    candidates = parser.add_argument(
        "candidates",
        nargs="+",
        metavar="[LABEL=]CANDIDATE",
        help="STYLE.onnx, a style's name, run:DIR, teacher:SPEC (teacher:bilateral is the baseline), or photo",
    )
    offer(candidates, style_names)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--art", type=Path, help="folder of drawings to compare with")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT.html")
    parser.add_argument("--clip", type=Path, help="video for flicker")
    parser.add_argument("--all", action="store_true", help="all photos, not only the held-out ones")
    parser.add_argument("--validation", type=float, default=0.05, metavar="FRACTION", help="the value used for train")
    parser.add_argument("--limit", type=int, default=48, help="photos at most")
    parser.add_argument("--longest", type=int, default=640, metavar="PX", help="longest side of the photos")
    parser.add_argument(
        "--size", type=int, default=0, metavar="PX", help="short side of the photos, instead of --longest"
    )
    parser.add_argument("--network", default="vgg16", choices=("vgg16", "vgg19", "resnet50"), help="feature network")
    parser.add_argument("--network-weights", type=Path, help="its weights (.safetensors or .pth)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of the feature network")
    parser.add_argument(
        "--evaluator",
        "--judge",
        type=Path,
        metavar="FOLDER",
        help="network of the npm package nsfwjs (npm pack nsfwjs@4.4.0): "
        "a second opinion, package/dist/models/NETWORK; its probe is fitted on --art and on training photos",
    )
    parser.add_argument(
        "--evaluator-photos", "--judge-photos", type=int, default=100, metavar="N", help="training photos for the probe"
    )
    parser.add_argument(
        "--inception-weights",
        metavar="FILE|download",
        help="FID, KID and Inception Score as published: weights-inception-2015-12-05-6726825d.pth of torch-fidelity, "
        "or pytorch-fid's file of that date (96 MB); download fetches and checks it",
    )
    parser.add_argument("--shown", "--sheet", type=int, default=12, metavar="N", help="photos shown in the page")
    parser.add_argument(
        "--votes",
        type=Path,
        action="append",
        default=[],
        metavar="VOTES.csv",
        help="blind votes to show (from `animevid survey`), with VOTES-key.json next to them",
    )
    parser.add_argument("--no-baselines", action="store_true", help="without `identity` and `filters only`")


def _run_evaluate(args: argparse.Namespace) -> int:
    from contextlib import ExitStack
    from functools import partial

    import torch

    from animevid_trainer.data.images import find_images, open_images, shrink_shortest_to
    from animevid_trainer.data.split import split_by_name
    from animevid_trainer.evaluate.candidates import baselines, open_candidate
    from animevid_trainer.evaluate.evaluator import open_evaluator
    from animevid_trainer.evaluate.inception import open_inception
    from animevid_trainer.evaluate.measure import evaluate_candidates, read_clip
    from animevid_trainer.evaluate.report import markdown_table, write_report
    from animevid_trainer.perceptual import make_perceptual
    from animevid_trainer.precision import choose_precision
    from animevid_trainer.survey.votes import read_votes

    votes = [vote for path in args.votes for vote in read_votes(path)]
    chosen = args.inception_weights
    inception = open_inception(chosen, on_progress=partial(show_data, "MB of Inception's weights")) if chosen else None
    paths = find_images(args.photos)
    training: list[Path] = []
    if args.evaluator and (args.all or not args.art):
        raise TrainingError(
            "--evaluator fits its probe on --art and on other photos than it evaluates: give --art, not --all"
        )
    if not args.all:
        training, kept = split_by_name(paths, validation_fraction=args.validation)
        if not kept:
            raise TrainingError(
                f"none of the {len(paths)} photos falls into the validation split ({args.validation}); give --all"
            )
        paths = kept

    def read(chosen: list[Path], what: str, limit: int) -> list[Image]:
        spread = [chosen[index * len(chosen) // limit] for index in range(limit)] if limit < len(chosen) else chosen
        store = open_images(spread, what=what, longest_px=0 if args.size else args.longest)
        images = [store[index] for index in range(len(store))]
        return [shrink_shortest_to(image, args.size) for image in images] if args.size else images

    photos = read(paths, "photos", args.limit)
    drawings = find_images(args.art) if args.art else []
    art = read(drawings, "art", len(drawings)) if drawings else []
    evaluator = open_evaluator(args.evaluator) if args.evaluator else None
    bf16 = choose_precision(args.precision, torch.device("cpu")) is torch.bfloat16
    network = make_perceptual(args.network, weights=args.network_weights, bf16=bf16)
    clip = read_clip(args.clip) if args.clip else []
    with ExitStack() as stack:
        candidates = [stack.enter_context(open_candidate(spec)) for spec in args.candidates]
        if not args.no_baselines:
            kinds = {candidate.kind for candidate in candidates}
            candidates += [baseline for baseline in baselines() if baseline.kind not in kinds]
        evaluation = evaluate_candidates(
            candidates,
            photos,
            art,
            network,
            clip=clip,
            evaluator=evaluator,
            inception=inception,
            training_photos=read(training, "training photos", args.evaluator_photos) if evaluator else (),
            shown_photos=args.shown,
            on_progress=show_data,
        )
    write_report(args.out, evaluation, votes=votes)
    print(markdown_table(evaluation), end="")
    print(f"\n{evaluation.standard}.\n{args.out}")
    return 0


EVALUATE = Command("evaluate", "compare styles in one HTML page", _fill_evaluate, _run_evaluate)
