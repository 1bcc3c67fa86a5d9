"""A short study of CartoonGAN, CycleGAN and their extensions: one command, one table, one grid.

::

    python -m benchmarks.study --photos PHOTOS --art ART --out OUT --perceptual vgg16 \\
        --perceptual-weights VGG16.safetensors [--resnet-weights FILE|download] [--inception-weights FILE|download]

Nine networks learn from the same images, from the same seed, for the same number of steps: CartoonGAN, CycleGAN,
CycleGAN with edge-smoothed negatives, CycleGAN with an initialization phase, CartoonGAN with each of the four switches
of CartoonGAN-plus (instance norm, LeakyReLU, content by ResNet-50, LSGAN), and CartoonGAN-plus, which has all four.
Each then stylizes held-out photos. Measured are

- the distance of these images to held-out drawings ("with ani") and to their own photos ("with photo"): FID with
  Inception's weights, otherwise the Fréchet distance in the perceptual network's features, and named so;
- the cost of an epoch in CPU seconds, extrapolated from the time of a step.

An interrupted study resumes with the missing networks. Written to OUT: a folder for each network (its run, its images),
``study.md`` and ``study.jpg``; with ``--into FILE.md`` also the table between the two lines ``<!-- study -->`` of FILE.
A few dozen steps on small images show that the study can be repeated. They do not reproduce published numbers.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from animevid.errors import AnimevidError
from animevid_trainer.data.batches import tensor_of
from animevid_trainer.data.images import Image, enlarge_to, find_images, read_image, shrink_shortest_to
from animevid_trainer.data.split import split_by_name
from animevid_trainer.evaluate.candidates import stylize_with
from animevid_trainer.evaluate.distances import Features, frechet_distance
from animevid_trainer.evaluate.inception import open_inception
from animevid_trainer.evaluate.standard import StandardFigures
from animevid_trainer.files import write_png
from animevid_trainer.perceptual import Perceptual, make_perceptual
from animevid_trainer.recipes import load_recipe
from animevid_trainer.run_networks import as_rgb
from animevid_trainer.sample_grid import grid
from animevid_trainer.stored_runs import load_generator
from animevid_trainer.validation import middle

from benchmarks.machine import processor


@dataclass(frozen=True, slots=True)
class Method:
    """One line of the table."""

    title: str
    recipe: str


METHODS = (
    Method("CartoonGAN", "cartoongan"),
    Method("CycleGAN", "cyclegan"),
    Method("CycleGAN, edge-smoothed negatives", "cyclegan+edge"),
    Method("CycleGAN, initialization phase", "cyclegan+init"),
    Method("CartoonGAN, instance norm", "cartoongan+instance"),
    Method("CartoonGAN, LeakyReLU", "cartoongan+leaky"),
    Method("CartoonGAN, content by ResNet-50", "cartoongan+resnet"),
    Method("CartoonGAN, LSGAN", "cartoongan+lsgan"),
    Method("CartoonGAN-plus, all four", "cartoongan-plus"),
)
_WITHOUT_RESNET = Method("CartoonGAN-plus without ResNet-50", "cartoongan+instance+leaky+lsgan")
#: held-out shares of photos and drawings
_PHOTOS_ASIDE, _ART_ASIDE = 0.15, 0.25
_GRID_PHOTOS = 4
_TRAINED = "trained.json"
#: settings that all lines of a table share
_SETTINGS = (
    "photos", "art", "names", "perceptual", "steps", "init_steps", "crop", "batch", "judged", "precision",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """Median CPU seconds of one step: of the initialization phase (NaN without one) and of training."""

    init_seconds: float
    step_seconds: float


@dataclass(frozen=True, slots=True)
class Images:
    """Folders of training images, and centre squares of held-out ones, by file name."""

    photos: Path
    art: Path
    photos_aside: dict[str, Image]
    art_aside: dict[str, Image]

    @property
    def photos_learnt(self) -> int:
        return len(find_images(self.photos))


def main() -> int:
    args = parse()
    torch.set_num_threads(1)
    try:
        return study(args)
    except AnimevidError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def study(args: argparse.Namespace) -> int:
    methods = METHODS
    if not args.resnet_weights:
        methods = (*(method for method in METHODS[:-1] if "resnet" not in method.recipe), _WITHOUT_RESNET)
    check_settings(args)
    images = prepare(args)
    for method in methods:
        folder = args.out / method.recipe
        if not (folder / _TRAINED).exists():
            cost = train(method, images, args)
            draw(folder, images.photos_aside)
            # Written last, so that its folder is complete.
            (folder / _TRAINED).write_text(json.dumps(asdict(cost)) + "\n")
            print(f"{method.title}: trained", flush=True)
    measure, names = measuring(args, images)
    drawn = {method: drawn_by(args.out / method.recipe) for method in methods}
    photos = list(images.photos_aside.values())
    epoch_steps = math.ceil(images.photos_learnt / args.batch)
    rows = [row("the photos themselves", measure(photos), None, epoch_steps=epoch_steps)]
    for method in methods:
        cost = Cost(**json.loads((args.out / method.recipe / _TRAINED).read_text()))
        rows.append(row(method.title, measure(list(drawn[method].values())), cost, epoch_steps=epoch_steps))
    text = report(rows, names, methods, images, args)
    (args.out / "study.md").write_text(text)
    if args.into is not None:
        args.into.write_text(with_section(args.into.read_text(), text))
    shown = shown_photos(images.photos_aside, args.show)
    cells = [[images.photos_aside[name], *(drawn[method][name] for method in methods)] for name in shown]
    write_jpeg(args.out / "study.jpg", grid(cells))
    print(text + f"written to {args.out}")
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--art", type=Path, required=True)
    parser.add_argument(
        "--names", nargs="+", default=["*"], metavar="GLOB", help="which photos, e.g. 'sfhq-*' 'scene-*'"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--perceptual", choices=("vgg19", "vgg16"), default="vgg19", help="the network for content")
    parser.add_argument("--perceptual-weights", type=Path, help="its weights (default: a download)")
    parser.add_argument(
        "--resnet-weights", metavar="FILE|download", help="ResNet-50's; otherwise its lines are omitted"
    )
    parser.add_argument("--inception-weights", metavar="FILE|download", help="for FID; otherwise another distance")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--init-steps", type=int, default=30)
    parser.add_argument("--crop", type=int, default=96, metavar="PX", help="side of training and stylized squares")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument(
        "--judged", type=int, default=100, metavar="N", help="maximum number of held-out photos and drawings"
    )
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--show", nargs="*", default=[], metavar="NAME", help="photos of the grid")
    parser.add_argument("--into", type=Path, metavar="FILE.md")
    args = parser.parse_args(arguments)
    if args.steps < 3 or args.init_steps < 3:
        parser.error("--steps and --init-steps of 3 or more: the first step is not timed")
    return args


def check_settings(args: argparse.Namespace) -> None:
    """Refuse to resume a study with other settings; its lines could not be compared."""
    settings = {name: str(getattr(args, name)) for name in _SETTINGS}
    file = args.out / "settings.json"
    if not file.exists():
        args.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings, indent=2) + "\n")
    begun = json.loads(file.read_text())
    for name, value in settings.items():
        if begun[name] != value:
            raise AnimevidError(
                f"{str(args.out)!r} was started with {name} {begun[name]}, not {value}; give another --out"
            )


# ------------------------------------------------------------------------------------------------------------ images


def prepare(args: argparse.Namespace) -> Images:
    """Shrink the training images to the crop size, once, and read the held-out images."""
    photos = [path for path in find_images(args.photos) if any(path.match(name) for name in args.names)]
    sets = {}
    for what, paths, share in (("photos", photos, _PHOTOS_ASIDE), ("art", find_images(args.art), _ART_ASIDE)):
        learnt, aside = split_by_name(paths, validation_fraction=share)
        if len(learnt) < 2 or len(aside) < 2:
            raise AnimevidError(
                f"{len(paths)} {what}: too few to split into training and held-out images; give 20 or more"
            )
        folder = args.out / "images" / what
        done = folder / "whole"
        if not done.exists():
            for index, path in enumerate(learnt):
                square = enlarge_to(shrink_shortest_to(read_image(path), args.crop), args.crop)
                write_png(folder / f"{index:05d}.png", square)
            done.touch()
        every = max(1, math.ceil(len(aside) / args.judged))
        sets[what] = folder, {path.name: middle(read_image(path), args.crop) for path in aside[::every]}
    return Images(sets["photos"][0], sets["art"][0], sets["photos"][1], sets["art"][1])


def shown_photos(aside: dict[str, Image], names: Sequence[str]) -> list[str]:
    """The photos of the grid: the requested ones, otherwise a few spread over the set."""
    missing = [name for name in names if name not in aside]
    if missing:
        raise AnimevidError(f"--show {missing[0]!r} is not among the held-out photos: {', '.join(list(aside)[:40])}")
    count = min(_GRID_PHOTOS, len(aside))
    return list(names) or [list(aside)[index * len(aside) // count] for index in range(count)]


def write_jpeg(path: Path, image: Image) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])


# ------------------------------------------------------------------------------------------------------------ training


def train(method: Method, images: Images, args: argparse.Namespace) -> Cost:
    """Run or resume ``animevid train``; returns the cost of its steps."""
    folder = args.out / method.recipe
    folder.mkdir(parents=True, exist_ok=True)
    command = train_command(method, images, args)
    init_steps = args.init_steps if "--init-steps" in command else 0
    total, step, before = init_steps + args.steps, 0, math.nan
    with (
        (folder / "train.txt").open("a") as log,
        (folder / "steps.jsonl").open("a", buffering=1) as timed,
        subprocess.Popen(
            [sys.executable, "-m", "animevid", *command], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                if ended := re.match(r"done: step (\d+)", line):
                    step = int(ended[1])
                if found := re.match(r"(\d+)/\d+ ", line):
                    now, last, step = cpu_seconds(process.pid), step, int(found[1])
                    if last + 1 == step and not math.isnan(before):
                        timed.write(json.dumps({"step": step, "seconds": round(now - before, 3)}) + "\n")
                    before = now
        except BaseException:
            process.terminate()
            raise
    if step != total:
        said = (folder / "train.txt").read_text().strip().splitlines()[-1:]
        raise AnimevidError(f"{method.recipe} ended at step {step} of {total}: {''.join(said)}")
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    of_phases = [[item["seconds"] for item in steps if (item["step"] <= init_steps) is init] for init in (True, False)]
    init_seconds, step_seconds = (statistics.median(part) if part else math.nan for part in of_phases)
    return Cost(init_seconds, step_seconds)


def train_command(method: Method, images: Images, args: argparse.Namespace) -> list[str]:
    """The command that starts or resumes the run."""
    resnet = "resnet" in method.recipe or method.recipe == "cartoongan-plus"
    name = method.recipe if resnet or args.perceptual == "vgg19" else f"{method.recipe}+{args.perceptual}"
    recipe = load_recipe(name)
    weights = args.resnet_weights if resnet else args.perceptual_weights
    sizes = {"data.crop_px": args.crop, "data.batch": args.batch}
    command = ["train", name, "--photos", str(images.photos), "--art", str(images.art)]
    command += ["--out", str(args.out / method.recipe / "run"), "--steps", str(args.steps), "--validation", "0"]
    command += ["--init-steps", str(args.init_steps)] if any(phase.content_only for phase in recipe.phases) else []
    command += ["--perceptual-weights", str(weights)] if weights and str(weights) != "download" else []
    settings = [f"{key}={value}" for key, value in sizes.items()]
    settings += [] if args.precision == "fp32" else ["perceptual.bf16=true"]
    command += [flag for setting in settings for flag in ("--set", setting)]
    command += ["--precision", args.precision, "--threads", "1", "--log-every", "1"]
    return [*command, "--checkpoint-every", "2min", "--keep-last", "1", "--samples-every", "60min"]


def cpu_seconds(process: int) -> float:
    """The CPU time of a running process with its threads; NaN if the system does not provide it."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------------------------------------- judging


def draw(folder: Path, photos: dict[str, Image]) -> None:
    """Stylize ``photos`` with the run in ``folder`` into its folder ``drawn``."""
    generator = load_generator(folder / "run")
    network, multiple = as_rgb(generator).eval(), int(getattr(generator, "size_multiple", 32))
    for name, photo in photos.items():
        write_png(folder / "drawn" / f"{name}.png", stylize_with(network, photo, multiple=multiple))


def drawn_by(folder: Path) -> dict[str, Image]:
    return {path.stem: read_image(path) for path in find_images(folder / "drawn")}


Measure = Callable[[Sequence[Image]], tuple[float, float]]


def measuring(args: argparse.Namespace, images: Images) -> tuple[Measure, tuple[str, str]]:
    """A function for a set's distances to the art and to the photos, and their names."""
    photos, art = list(images.photos_aside.values()), list(images.art_aside.values())
    if args.inception_weights:
        figures = StandardFigures(open_inception(args.inception_weights), photos, art)

        def by_inception(drawn: Sequence[Image]) -> tuple[float, float]:
            found = figures(drawn)
            return found["fid_ani"], found["fid_photo"]

        return by_inception, ("FID with ani", "FID with photo")
    network = make_perceptual(args.perceptual, weights=args.perceptual_weights)
    of_photos, of_art = features(photos, network), features(art, network)
    unit = float(np.sqrt((of_photos**2).mean()))

    def by_perceptual(drawn: Sequence[Image]) -> tuple[float, float]:
        found = features(drawn, network) / unit
        return frechet_distance(found, of_art / unit), frechet_distance(found, of_photos / unit)

    name = f"Fréchet in {args.perceptual.upper()}"
    return by_perceptual, (f"{name}, with ani", f"{name}, with photo")


def features(images: Iterable[Image], network: Perceptual) -> Features:
    """(n, d): the deepest layer, averaged over each image."""
    layer = network.layers[-1]
    with torch.no_grad():
        found = [network.features(tensor_of([image]), (layer,))[layer].mean((2, 3)) for image in images]
    return np.asarray(torch.cat(found).double().numpy(), np.float64)


# -------------------------------------------------------------------------------------------------------------- report


def row(title: str, distances: tuple[float, float], cost: Cost | None, *, epoch_steps: int) -> str:
    """A line of the table; ``epoch_steps`` make a pass over the photos."""
    steps = (math.nan, math.nan) if cost is None else (cost.init_seconds, cost.step_seconds)
    costs = ("–" if math.isnan(seconds) else f"{seconds * epoch_steps:,.0f}" for seconds in steps)
    return f"| {title} | {distances[0]:.2f} | {distances[1]:.2f} | " + " | ".join(costs) + " |"


def report(
    rows: list[str], names: tuple[str, str], methods: Sequence[Method], images: Images, args: argparse.Namespace
) -> str:
    """The table as Markdown, with its conditions."""
    stand_in = (
        ""
        if args.inception_weights
        else " Without Inception's weights there is no FID: these distances can only be compared within this table."
    )
    left_out = (
        ""
        if args.resnet_weights
        else " ResNet-50's weights were not available, so that switch is omitted, and "
        "CartoonGAN-plus has the other three."
    )
    learnt, drawings = images.photos_learnt, len(find_images(images.art))
    return (
        f"{datetime.date.today()}, {processor()}, one thread, precision {args.precision}. Each network trained "
        f"for {args.steps} steps of {args.batch} squares of {args.crop} px (and {args.init_steps} of initialization, "
        f"if it has that phase) on {learnt} photos and {drawings} drawings, then stylized {len(images.photos_aside)} "
        f'held-out photos; "ani" is {len(images.art_aside)} held-out drawings. Content by '
        f"{args.perceptual.upper()}.{left_out}{stand_in} Times are CPU seconds; an epoch, a pass over the photos, is "
        "extrapolated from the median step.\n\n"
        f"| network | {names[0]} | {names[1]} | s per epoch, initialization | s per epoch, training |\n"
        "|---|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n\n"
        f"`study.jpg`, from left to right: photo; {'; '.join(method.title for method in methods)}.\n"
    )


def with_section(text: str, section: str) -> str:
    """``text`` with the part between its two lines ``<!-- study -->`` replaced."""
    parts = text.split("<!-- study -->\n")
    if len(parts) != 3:
        raise AnimevidError("--into: the file needs two lines `<!-- study -->`, between which the table goes")
    return f"{parts[0]}<!-- study -->\n{section}<!-- study -->\n{parts[2]}"


if __name__ == "__main__":
    sys.exit(main())
