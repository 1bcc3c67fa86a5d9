"""How fast does a recipe train, and is the time spent where it should be, in convolutions?

    python -m benchmarks.training animegan2 animegan2-nano --perceptual-weights VGG.pth [--precision bf16]

Batches are prepared by another thread; "data" is what that costs a step (it must be far below the step itself). Time is
processor time of one thread, so that what else runs on the machine does not count. "In convolutions" is the share of
the operators' own time that convolutions take, forth and back (torch.profiler; the median of the profiled steps);
``--profile`` shows what the rest is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from animevid_trainer.allocator import keep_freed_memory
from animevid_trainer.data.batches import Batch
from animevid_trainer.loop import LoopSettings, StepRequests, Trainer
from animevid_trainer.recipes import load_recipe, with_lengths, with_overrides
from animevid_trainer.run_data import DataSettings, RunData, make_plan_of, make_source
from animevid_trainer.run_networks import make_objective
from torch.profiler import ProfilerActivity, profile

from benchmarks import plots


def blobs(count: int, seed: int) -> list[np.ndarray]:
    """Soft random images of 512 px."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
    return [np.asarray(cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8) for small in noise]


def measure(name: str, args: argparse.Namespace) -> str:
    """One row of the table."""
    overrides: dict[str, object] = {"data.crop_px": args.crop, "data.batch": args.batch}
    if args.perceptual_weights:
        overrides |= {"perceptual.weights": str(args.perceptual_weights), "perceptual.network": args.perceptual}
        overrides["perceptual.bf16"] = args.precision == "bf16"
    recipe = load_recipe(name)
    has_init = any(phase.content_only for phase in recipe.phases)
    overrides |= {f"phases.{phase.name}.crop_px": args.crop for phase in recipe.phases}
    recipe = with_lengths(with_overrides(recipe, overrides), steps=1000, init_steps=0 if has_init else None)
    photos = blobs(8, 1)
    data = RunData(photos, [], art=blobs(8, 2), targets=[255 - photo for photo in photos])
    plan = make_plan_of(recipe, photos=8)
    settings = DataSettings(Path("unused"), art_crops=1)
    source = make_source(recipe, data, plan, settings)
    objective = make_objective(recipe, plan, device=torch.device("cpu"))
    loop = LoopSettings(steps=1000, device="cpu", precision=args.precision)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(objective, source, Path(folder), loop, config={})
        started = time.process_time()
        batches = [source.batch(step) for step in range(args.steps + 1)]
        preparing = (time.process_time() - started) / len(batches)
        trainer._train_step(batches[0], StepRequests())  # the first one also allocates and fills the caches
        started = time.process_time()
        for batch in batches[1:]:
            trainer._train_step(batch, StepRequests())
        step = (time.process_time() - started) / args.steps
        shares = [profile_step(trainer, batches[-1]) for _ in range(args.profiled)]
    convolutions = statistics.median(sum(v for key, v in share.items() if is_convolution(key)) for share in shares)
    if args.profile:
        print(operator_table(shares), file=sys.stderr)
    return (
        f"| {name} | {args.batch} x {args.crop} px | {args.precision} | {step:.2f} | {args.batch / step:.2f} "
        f"| {convolutions:.0%} | {1000 * preparing:.0f} |"
    )


def profile_step(trainer: Trainer, batch: Batch) -> dict[str, float]:
    """Each operator's share of the operators' own time in one training step."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        trainer._train_step(batch, StepRequests())
    events = profiled.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    return {event.key: event.self_cpu_time_total / whole for event in events}


def is_convolution(operator: str) -> bool:
    """``aten::mkldnn_convolution``, ``aten::convolution_backward``, and 1x1 ones as ``aten::_slow_conv2d_forward``."""
    return "convolution" in operator or "conv2d" in operator


def operator_table(shares: list[dict[str, float]], *, rows: int = 12) -> str:
    """The operators that take most of a step, as Markdown."""
    medians = {key: statistics.median(share.get(key, 0.0) for share in shares) for key in shares[0]}
    largest = sorted(medians, key=lambda key: -medians[key])[:rows]
    return "\n".join(["| operator | share |", "|---|---:|", *(f"| {key} | {medians[key]:.1%} |" for key in largest)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--perceptual", default="vgg19", choices=("vgg19", "vgg16", "resnet50"))
    parser.add_argument("--perceptual-weights", type=Path)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2, help="steps that are timed")
    parser.add_argument("--profiled", type=int, default=3, help="steps that are profiled, one after the other")
    parser.add_argument("--profile", action="store_true", help="print the operators' shares to stderr")
    plots.add_plot(parser)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    print("| recipe | batch | precision | CPU s a step | images a second | in convolutions | data, ms a step |")
    print("|---|---|---|---:|---:|---:|---:|")
    rates: dict[str, dict[str, float]] = {}
    for name in args.recipes:
        row = measure(name, args)
        print(row, flush=True)
        rates[name] = {"": float(row.split(" | ")[4])}
    plots.write(args.plot, plots.bars("training, one thread", rates, unit="images a second"))


if __name__ == "__main__":
    main()
