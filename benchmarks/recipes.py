"""Runs every recipe from two folders of images to a stylized clip, and writes a table.

::

    python -m benchmarks.recipes --photos PHOTOS --art ART --clip CLIP.mp4 --out OUT \\
        --perceptual-weights VGG16.safetensors [--teacher CARTOONGAN.safetensors] [RECIPE ...]

For each recipe, a short run through the command line:

1. ``animevid train`` is interrupted twice: by SIGTERM early in the first phase, by SIGKILL in the middle of the last
   one; the same command resumes each time. Steps after the killed session's last checkpoint are repeated, and must log
   exactly the same losses.
2. ``animevid export --best`` writes the style, unless it differs from PyTorch on real photos.
3. ``animevid`` stylizes the clip with it; one frame beside its original goes into ``frames.png``.

Written to OUT: a folder for each recipe (the run, its samples, the style, the clip), ``frames.png``, ``recipes.json``
and ``recipes.md``. A few dozen steps teach no style: this shows only that every part works. A recipe with a
``DONE`` file is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from animevid_trainer.files import write_png
from animevid_trainer.recipes import load_recipe
from animevid_trainer.sample_grid import grid

from benchmarks import plots
from benchmarks.machine import processor

#: The shared perceptual weights are VGG16's, so every recipe that measures content does so with them.
RECIPES = (
    "animegan+vgg16",
    "animegan2+vgg16",
    "animegan2-lite+vgg16",
    "animegan2-lite+vgg16+vit+ada",
    "animegan2-nano+vgg16",
    "cartoongan+vgg16",
    "cartoongan-plus+vgg16",
    "cyclegan+vgg16",
    "cyclegan+edge+vgg16",
    "cyclegan+edge+init+vgg16",
    "distill",
    "distill+gan",
)
_PARITY = re.compile(r"max ([0-9.e+-]+), mean ([0-9.e+-]+)")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one recipe did. Losses are sums of G's (and D's) weighted terms, each over a few steps."""

    recipe: str
    init_steps: int
    steps: int
    ended: str
    steps_made_again: int
    seconds: float
    images_per_second: float
    init_first: float
    init_last: float
    generator_first: float
    generator_last: float
    discriminator_first: float
    discriminator_last: float
    scores: tuple[float, ...]
    parity_largest: float
    parity_mean: float
    clip_frames: int
    clip_ms_a_frame: float


def main() -> int:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    found: list[Evidence] = []
    for name in args.recipes or RECIPES:
        done = args.out / name / "DONE"
        if not done.exists():
            evidence = show_recipe(name, args)
            done.write_text(json.dumps(asdict(evidence), indent=2) + "\n")
        found.append(Evidence(**json.loads(done.read_text())))
        print(row(found[-1]), flush=True)
    (args.out / "recipes.json").write_text(json.dumps([asdict(item) for item in found], indent=2) + "\n")
    (args.out / "recipes.md").write_text(report(found, args, load=load))
    pairs = [[cv2.imread(str(args.out / item.recipe / "frame.png"))[..., ::-1]] for item in found]
    write_png(args.out / "frames.png", grid(pairs, columns=3))
    rates = {item.recipe: {"": item.images_per_second} for item in found}
    times = {item.recipe: {"": item.clip_ms_a_frame} for item in found}
    plots.write(
        args.out / "recipes.svg",
        plots.bars("training", rates, unit="images a second"),
        plots.bars("the exported style on a clip", times, unit="ms a frame"),
    )
    print(f"written to {args.out}")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--art", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--perceptual-weights", type=Path, required=True, help="VGG16's")
    parser.add_argument("--teacher", default="bilateral", help="of distill: a name or a weights file")
    parser.add_argument("--init-steps", type=int, default=10)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clip-seconds", type=float, default=0.8)
    parser.add_argument("--net-size", default="320x180", help="how large the network sees the clip")
    args = parser.parse_args()
    if args.steps < 20 or args.init_steps < 4:
        parser.error("--steps of 20 or more and --init-steps of 4 or more: two sessions are ended on the way")
    return args


# ------------------------------------------------------------------------------------------------------- one recipe


def show_recipe(name: str, args: argparse.Namespace) -> Evidence:
    """Train (ended twice), export, stylize. A failure of any of them ends the program with what it said."""
    recipe = load_recipe(name)
    init_steps = args.init_steps if any(phase.content_only for phase in recipe.phases) else 0
    total = init_steps + args.steps
    folder = args.out / name
    run = folder / "run"
    command = train_command(name, args, run, init_steps=init_steps)
    seconds, at = 0.0, []
    # SIGTERM while the first steps are made; SIGKILL one step before a checkpoint would be due.
    for how, stop_after in ((signal.SIGTERM, 2), (signal.SIGKILL, init_steps + args.steps // 2 + 4)):
        took, step = train_until(command, stop_after=stop_after, how=how)
        seconds += took
        at.append(f"{how.name} after {step}")
    took, step = train_until(command)
    assert step == total, f"{name}: ended at step {step} of {total}"
    style = folder / "style.onnx"
    said = call(["export", str(run), str(style), "--best", "--licence", "evidence only"])
    largest, mean = (float(figure) for figure in _PARITY.search(said).groups())  # type: ignore[union-attr]
    clip = folder / "clip.mp4"
    stylized = call(
        [str(args.clip), str(clip), "--style", str(style), "--end", str(args.clip_seconds), "--net-size", args.net_size,
         "--every-frame", "--json", "--overwrite"]
    )  # fmt: skip
    summary = json.loads(stylized.strip().splitlines()[-1])
    write_png(folder / "frame.png", frame_pair(args.clip, clip, args.clip_seconds / 2))
    lines, again = read_log(run / "log.jsonl")
    init, train = lines[:init_steps], lines[init_steps:]
    return Evidence(
        name,
        init_steps,
        args.steps,
        ", ".join(at),
        again,
        round(seconds + took, 1),
        round(float(np.median([line["images_per_second"] for line in train])), 2),
        *ends(init, "G_init/"),
        *ends(train, "G/"),
        *ends(train, "D/"),
        tuple(round(score, 3) for score in validation_scores(run / "log.jsonl")),
        largest,
        mean,
        summary["frames_out"],
        round(1000.0 / summary["fps"], 1),
    )


def train_command(name: str, args: argparse.Namespace, run: Path, *, init_steps: int) -> list[str]:
    """The command that starts or resumes the run."""
    recipe = load_recipe(name)
    numbers = [f"data.crop_px={args.crop}", f"data.batch={args.batch}"]
    numbers += ["perceptual.bf16=true"] if args.precision == "bf16" else []
    numbers += [f"phases.{phase.name}.crop_px={args.crop}" for phase in recipe.phases]
    command = ["train", name, "--photos", str(args.photos), "--art", str(args.art), "--out", str(run)]
    command += ["--perceptual-weights", str(args.perceptual_weights), "--steps", str(args.steps)]
    command += ["--init-steps", str(init_steps)] if init_steps else []
    command += ["--teacher", args.teacher] if recipe.needs_teacher else []
    command += [flag for number in numbers for flag in ("--set", number)]
    command += ["--precision", args.precision, "--threads", str(args.threads), "--longest", "512", "--log-every", "1"]
    # Rarely enough that a killed session has steps to make again.
    return [*command, "--checkpoint-every", "10", "--samples-every", str(args.steps), "--keep-last", "2"]


def train_until(command: list[str], *, stop_after: int = 0, how: signal.Signals | None = None) -> tuple[float, int]:
    """Run ``animevid train``; with ``how``, send it that signal when it has logged step ``stop_after``.

    Returns seconds and the last step that was logged.
    """
    started, step = time.perf_counter(), 0
    log = Path(command[command.index("--out") + 1]).parent / "train.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "animevid", *command], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            errors.write(line)
            if found := re.match(r"(\d+)/\d+ ", line):
                step = int(found[1])
                if how is not None and step == stop_after:
                    process.send_signal(how)
        code = process.wait()
    expected = {None: 0, signal.SIGTERM: 130, signal.SIGKILL: -signal.SIGKILL}[how]
    if code != expected:
        raise SystemExit(f"animevid {' '.join(command)}\nended with {code}, not {expected}; see {log}")
    return time.perf_counter() - started, step


def call(arguments: list[str]) -> str:
    """``animevid`` with these arguments; its stdout."""
    done = subprocess.run([sys.executable, "-m", "animevid", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"animevid {' '.join(arguments)}\nended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def frame_pair(clip: Path, stylized: Path, seconds: float, *, width: int = 320) -> np.ndarray:
    """The frame of both clips at ``seconds``, beside each other."""
    pair = []
    for path in (clip, stylized):
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if frame.time is not None and frame.time >= seconds:
                    break
            rgb = frame.to_ndarray(format="rgb24")
        height = round(rgb.shape[0] * width / rgb.shape[1])
        pair.append(np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
    return grid([pair])


def read_log(path: Path) -> tuple[list[dict], int]:
    """One line for each step, and how many steps were made twice.

    Ends the program where a step that was made twice did not log the same losses.
    """
    by_step: dict[int, dict] = {}
    again = 0
    for line in map(json.loads, path.read_text().splitlines()):
        if "terms" not in line:
            continue
        if (before := by_step.get(line["step"])) is not None:
            again += 1
            if before["terms"] != line["terms"]:
                raise SystemExit(f"{path}: step {line['step']} was {before['terms']}, repeated with {line['terms']}")
        by_step[line["step"]] = line
    return [by_step[step] for step in sorted(by_step)], again


def ends(lines: list[dict], prefix: str, *, over: int = 5) -> tuple[float, float]:
    """The sum of the terms whose names begin with ``prefix``: its mean over the first and over the last steps."""
    sums = [
        sum(value for name, value in line["terms"].items() if name.startswith(prefix) and "gradient_norm" not in name)
        for line in lines
        if any(name.startswith(prefix) for name in line["terms"])
    ]
    if not sums:
        return 0.0, 0.0
    return round(float(np.mean(sums[:over])), 3), round(float(np.mean(sums[-over:])), 3)


def validation_scores(path: Path) -> list[float]:
    lines = map(json.loads, path.read_text().splitlines())
    return [line["validation"]["score"] for line in lines if "validation" in line]


# ------------------------------------------------------------------------------------------------------------ report


def row(item: Evidence) -> str:
    """One recipe as a row of the table."""
    init = f"{item.init_first:.4g} -> {item.init_last:.4g}" if item.init_steps else "-"
    d_loss = f"{item.discriminator_first:.4g} -> {item.discriminator_last:.4g}" if item.discriminator_first else "-"
    score = f"{item.scores[0]:.3g} -> {min(item.scores):.3g}" if item.scores else "-"
    return (
        f"| {item.recipe} | {item.init_steps} + {item.steps} | {item.ended} | {item.steps_made_again} "
        f"| {item.seconds:.0f} | {item.images_per_second:.2f} | {init} "
        f"| {item.generator_first:.4g} -> {item.generator_last:.4g} | {d_loss} | {score} "
        f"| {item.parity_largest:.1e} / {item.parity_mean:.1e} | {item.clip_ms_a_frame:.0f} |"
    )


def report(found: list[Evidence], args: argparse.Namespace, *, load: float) -> str:
    """The table as Markdown, with the machine."""
    lines = [
        f"{args.batch} crops of {args.crop} px a step, {args.precision}, {args.threads} thread(s), "
        f"{processor()}, {os.cpu_count()} cores, load average before {load:.1f}; "
        f"clip seen at {args.net_size}, {found[0].clip_frames} frames.",
        "",
        "| recipe | steps, init + train | ended by | steps repeated, equal | seconds, all sessions | images/s "
        "| init loss | G loss | D loss | score, first -> best | export differs, max / mean | clip, ms per frame |",
        "|---|---|---|---:|---:|---:|---|---|---|---|---|---:|",
        *(row(item) for item in found),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
