"""What do segments, a resume and local workers cost?

    python -m benchmarks.jobs [--runs 5] [--size 320x180] [--frames 720] [--segments 4] [--workers 4] [--no-farm]

Processor time, so that other work on the machine counts little: of an unbroken conversion and of one in segments (cut,
journal, join and all), in turn, the median of ``--runs`` each; of a film that is killed half-way and resumed; and of a
farm of local workers, beside the time by the clock and each worker's memory. Twelve frames a second: segments of 15 s,
half as long as usual, weigh twice.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

from animevid.jobs import Job, open_conversion
from animevid.jobs.farm.worker import SegmentWorker
from animevid.options import ConversionOptions, EncodeOptions

from benchmarks import plots
from benchmarks.clips import DEMO_CLIP, prepare_clip

RATE = 12


@dataclass(frozen=True)
class Cost:
    """Of one run in a process of its own."""

    cpu_seconds: float
    seconds: float
    peak_bytes: int
    frames_in: int


def in_a_process(work: Callable[..., int], *args: Any) -> Cost:
    """What ``work`` took, without the start of Python."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, work, *args))
    process.start()
    sender.close()  # if the process fails, waiting for it ends
    cost: Cost = receiver.recv()
    process.join()
    return cost


def _measured(sender: Any, work: Callable[..., int], *args: Any) -> None:
    cpu, clock = time.process_time(), time.monotonic()
    frames = work(*args)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sender.send(Cost(time.process_time() - cpu, time.monotonic() - clock, peak, frames))


def convert(clip: Path, dst: Path, options: ConversionOptions, segment_seconds: Fraction | None) -> int:
    """A whole conversion, in segments or not; returns the number of frames that were stylized."""
    how: dict[str, Any] = {"resumable": False}
    if segment_seconds is not None:
        how = {"resumable": True, "segment_seconds": segment_seconds}
    with open_conversion(clip, dst, options, **how) as conversion:
        return conversion.run().frames_in


def killed(clip: Path, dst: Path, options: ConversionOptions, segment_seconds: Fraction, after: int) -> int:
    """The same, dead when ``after`` segments are whole."""
    with open_conversion(clip, dst, options, resumable=True, segment_seconds=segment_seconds) as job:
        assert isinstance(job, Job)
        add = job.add

        def add_and_die(segment: Any) -> None:
            add(segment)
            if segment.index + 1 == after:
                os._exit(9)

        job.add = add_and_die  # type: ignore[method-assign]
        return job.run().frames_in


def extra_seconds(clip: Path, dst: Path, options: ConversionOptions, segment_seconds: Fraction) -> float:
    """Processor time of what an unbroken conversion does not do: to look for cuts, keep a journal, and join."""
    for _ in range(2):  # the first time modules are loaded
        opened_at = time.process_time()
        open_conversion(clip, dst, options, resumable=False).close()
        opening = time.process_time() - opened_at
    began_at = time.process_time()
    with open_conversion(clip, dst, options, resumable=True, segment_seconds=segment_seconds) as job:
        assert isinstance(job, Job)
        extra = time.process_time() - began_at - opening
        add = job.add

        def timed_add(segment: Any) -> None:
            nonlocal extra
            at = time.thread_time()
            add(segment)
            extra += time.thread_time() - at

        job.add = timed_add  # type: ignore[method-assign]
        for segments in job.missing_runs():
            job._make(segments, None)
        at = time.process_time()
        job.join()
        return extra + time.process_time() - at


class MeasuredWorker(SegmentWorker):
    """Notes what it took from when it was ready on, each time it has made a segment."""

    def check(self) -> str | None:
        refusal = super().check()
        self._ready_cpu, self._ready_at = time.process_time(), time.time()
        return refusal

    def make(self, index: int) -> Any:
        made = super().make(index)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        note = Path(self._request.dst).with_name(f"worker-{os.getpid()}")
        note.write_text(f"{time.process_time() - self._ready_cpu} {self._ready_at} {usage.ru_maxrss * 1024}")
        return made


def farmed(clip: Path, dst: Path, options: ConversionOptions, segment_seconds: Fraction, workers: int) -> int:
    """On a Ray cluster of this machine, which is started and ended."""
    import ray
    from animevid.jobs.farm import Farm

    from benchmarks.jobs import MeasuredWorker as Worker  # by its name, not as of __main__

    paths = os.pathsep.join(map(os.path.abspath, ["", *sys.path]))
    variables = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": variables},
        object_store_memory=100 << 20,
    )
    try:
        with open_conversion(clip, dst, options, resumable=True, segment_seconds=segment_seconds) as job:
            assert isinstance(job, Job)
            Farm(job, options, worker_class=Worker).run()
            return job.join()
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", help="default: animevid's own")
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--frames", type=int, default=720)
    parser.add_argument("--segments", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    plots.add_plot(parser)
    parser.add_argument("--no-farm", action="store_true", help="measure one machine's segments alone")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    seconds = Fraction(args.frames, RATE * args.segments)
    options = ConversionOptions(style=args.style, threads=1, encoder=EncodeOptions(threads=1))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = prepare_clip(DEMO_CLIP, folder / "clip.mp4", width=width, height=height, frames=args.frames, rate=RATE)
        unbroken: list[Cost] = []
        cut: list[Cost] = []
        for run in range(args.runs):
            for costs, how in ((unbroken, None), (cut, seconds)):
                costs.append(in_a_process(convert, clip, folder / f"{run}-{how is None}.mp4", options, how))
        whole = median(cost.cpu_seconds for cost in unbroken)
        ratio = median(cost.cpu_seconds for cost in cut) / whole
        spread = (max(cost.cpu_seconds for cost in unbroken) - min(cost.cpu_seconds for cost in unbroken)) / whole
        print(f"unbroken: {whole:.1f} s of processor time for {args.frames} frames (runs {spread:.0%} apart)")
        print(f"in {args.segments} segments: {ratio - 1:+.1%}")
        extra = extra_seconds(clip, folder / "extra.mp4", options, seconds)
        print(f"cutting, journal and joining alone: {extra:.2f} s, {extra / whole:.1%}")
        with suppress(EOFError):
            in_a_process(killed, clip, folder / "killed.mp4", options, seconds, args.segments // 2)
        again = in_a_process(convert, clip, folder / "killed.mp4", options, seconds)
        missing = args.frames - args.frames // args.segments * (args.segments // 2)
        print(
            f"resumed after {args.segments // 2}: {again.frames_in} frames for {missing} that were missing, "
            f"{again.cpu_seconds / whole:.0%} of the whole"
        )
        cost = {
            "unbroken": {"": 100.0},
            f"{args.segments} segments": {"": 100 * ratio},
            f"resumed after {args.segments // 2}": {"": 100 * again.cpu_seconds / whole},
        }
        if args.no_farm:
            plots.write(args.plot, plots.bars("processor time", cost, unit="% of an unbroken run"))
            return
        in_a_process(farmed, clip, folder / "farm.mp4", options, seconds, args.workers)
        notes = [note.read_text().split() for note in folder.glob("worker-*")]
        made = sum(float(cpu) for cpu, _, _ in notes)
        ready_at = min(float(ready) for _, ready, _ in notes)
        clock = (folder / "farm.mp4").stat().st_mtime - ready_at
        print(
            f"{args.workers} local workers, once one is ready: {made / whole:.2f} of one process's processor "
            f"time, {clock / median(cost.seconds for cost in unbroken):.2f} of its time by the clock"
        )
        cost[f"{args.workers} local workers"] = {"": 100 * made / whole}
        plots.write(args.plot, plots.bars("processor time", cost, unit="% of an unbroken run"))
        one = median(cost.peak_bytes for cost in unbroken)
        most = max(int(peak) for _, _, peak in notes)
        print(
            f"memory: {one / 1e6:.0f} MB in one process, {most / 1e6:.0f} MB in the largest worker ({most / one:.2f})"
        )


if __name__ == "__main__":
    main()
