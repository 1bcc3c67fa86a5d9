"""Measures the overhead of segments, a resume and local workers.

    python -m benchmarks.jobs [--runs 5] [--size 320x180] [--frames 3000] [--segments 12] [--workers 4] [--no-farm]

One after another, each in a separate process: an uninterrupted conversion, one in segments (cut, journal, join) and a
farm of local workers beside the plain command, both with their default options; then a conversion that is killed
half-way and resumed. Medians of ``--runs``: CPU time, which other work on the machine affects little, wall time of
neighbouring runs, and memory. Twelve frames per second: segments of 250 frames (21 s) are shorter than usual.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean, median
from typing import Any

from animevid.jobs import Job, open_conversion
from animevid.jobs.farm.worker import SegmentWorker
from animevid.jobs.segment_sink import FinishedSegment
from animevid.options import ConversionOptions, EncodeOptions
from animevid.run.report import Progress

from benchmarks import plots
from benchmarks.clips import DEMO_CLIP, prepare_clip

RATE = 12
#: ``Pss`` of this process in the middle of its conversion.
_shares: list[int] = []


@dataclass(frozen=True)
class Cost:
    """Of one run in a separate process."""

    cpu_seconds: float
    seconds: float
    peak_bytes: int
    frames_in: int
    share_bytes: int = 0


def in_a_process(work: Callable[..., int], *args: object) -> Cost:
    """What ``work`` took, without the start of Python."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, work, *args))
    process.start()
    sender.close()  # if the process fails, waiting for it ends
    cost: Cost = receiver.recv()
    process.join()
    return cost


def memory(kind: str, file: str = "status") -> int:
    """Bytes of this process: ``VmHWM``, the most; ``VmRSS``, now; ``Pss`` of ``smaps_rollup``, now, a page that several
    processes share counted in parts. (``ru_maxrss`` begins with the parent's.)
    """
    return int(Path("/proc/self", file).read_text().partition(f"{kind}:")[2].split()[0]) * 1024


def _measured(sender: Connection, work: Callable[..., int], *args: object) -> None:
    cpu, clock = time.process_time(), time.monotonic()
    frames = work(*args)
    cost = Cost(time.process_time() - cpu, time.monotonic() - clock, memory("VmHWM"), frames)
    sender.send(replace(cost, share_bytes=max(_shares, default=0)))


def convert(clip: Path, dst: Path, options: ConversionOptions, segment_seconds: Fraction | None) -> int:
    """A whole conversion, in segments or not; returns the number of frames that were stylized."""
    how: dict[str, bool | Fraction] = {"resumable": False}
    if segment_seconds is not None:
        how = {"resumable": True, "segment_seconds": segment_seconds}

    def look(progress: Progress) -> None:
        if not _shares and progress.frames_done > (progress.frames_total or 0) // 2:
            _shares.append(memory("Pss", "smaps_rollup"))

    with open_conversion(clip, dst, options, **how) as conversion:
        return conversion.run(on_progress=look).frames_in


def killed(clip: Path, dst: Path, options: ConversionOptions, segment_seconds: Fraction, after: int) -> int:
    """The same, dead when ``after`` segments are whole."""
    with open_conversion(clip, dst, options, resumable=True, segment_seconds=segment_seconds) as job:
        assert isinstance(job, Job)
        add = job.add

        def add_and_die(segment: FinishedSegment) -> None:
            add(segment)
            if segment.index + 1 == after:
                os._exit(9)

        job.add = add_and_die  # type: ignore[method-assign]
        return job.run().frames_in


def count_missing(clip: Path, dst: Path, options: ConversionOptions) -> int:
    """The frames that a killed job lacks."""
    with open_conversion(clip, dst, options) as job:
        assert isinstance(job, Job)
        return (job._total or 0) - sum(segment.frames for segment in job._finished.values())


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

        def timed_add(segment: FinishedSegment) -> None:
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

    def make(self, index: int) -> FinishedSegment:
        made = super().make(index)
        note = Path(self._request.dst).with_name(f"worker-{os.getpid()}")
        cpu, share = time.process_time() - self._ready_cpu, memory("Pss", "smaps_rollup")
        note.write_text(f"{cpu} {self._ready_at} {memory('VmHWM')} {share}")
        return made


class Idle:
    """A worker of Ray that does nothing."""

    def bytes(self) -> int:
        import numpy  # noqa: F401 -- which a conversion needs too

        return memory("VmRSS")


def bare_bytes(_: object) -> int:
    """What a process takes that has not met Ray."""
    import numpy  # noqa: F401

    return memory("VmRSS")


def farmed(clip: Path, dst: Path, options: ConversionOptions, segment_seconds: Fraction, workers: int) -> int:
    """On a Ray cluster of this machine, which is started and ended."""
    import ray
    from animevid.jobs.farm import Farm

    from benchmarks.jobs import Idle
    from benchmarks.jobs import MeasuredWorker as Worker  # by their names, not as of __main__

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
            frames = job.join()
        idle: Any = ray.remote(Idle).remote()
        dst.with_name("idle").write_text(str(ray.get(idle.bytes.remote())))
        return frames
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class FarmCost:
    """Of all workers, from the moment that one is ready. ``peak_bytes`` is the largest worker's, ``share_bytes`` the
    mean of all.
    """

    cpu_seconds: float
    seconds: float
    peak_bytes: int
    idle_bytes: int
    share_bytes: float


def measure_farm(
    clip: Path, folder: Path, options: ConversionOptions, segment_seconds: Fraction, workers: int
) -> FarmCost:
    """What a farm took, in a new ``folder``."""
    folder.mkdir()
    dst = folder / "out.mp4"
    in_a_process(farmed, clip, dst, options, segment_seconds, workers)
    notes = [note.read_text().split() for note in folder.glob("worker-*")]
    return FarmCost(
        cpu_seconds=sum(float(cpu) for cpu, *_ in notes),
        seconds=dst.stat().st_mtime - min(float(ready) for _, ready, *_ in notes),
        peak_bytes=max(int(peak) for _, _, peak, _ in notes),
        share_bytes=mean(int(share) for *_, share in notes),
        idle_bytes=int((folder / "idle").read_text()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", help="default: animevid's own")
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--segments", type=int, default=12)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    plots.add_plot(parser)
    parser.add_argument("--no-farm", action="store_true", help="measure one machine's segments alone")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    seconds = Fraction(args.frames, RATE * args.segments)
    by_itself = ConversionOptions(style=args.style)
    options = replace(by_itself, threads=1, encoder=EncodeOptions(threads=1))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = prepare_clip(DEMO_CLIP, folder / "clip.mp4", width=width, height=height, frames=args.frames, rate=RATE)
        unbroken: list[Cost] = []
        cut: list[Cost] = []
        farms: list[FarmCost] = []
        plain: list[Cost] = []
        for run in range(args.runs):
            unbroken.append(in_a_process(convert, clip, folder / f"{run}.mp4", options, None))
            cut.append(in_a_process(convert, clip, folder / f"{run}-cut.mp4", options, seconds))
            if not args.no_farm:
                plain.append(in_a_process(convert, clip, folder / f"{run}-plain.mp4", by_itself, None))
                farms.append(measure_farm(clip, folder / f"farm-{run}", by_itself, seconds, args.workers))
        whole = median(cost.cpu_seconds for cost in unbroken)
        ratio = median(cost.cpu_seconds for cost in cut) / whole
        spread = (max(cost.cpu_seconds for cost in unbroken) - min(cost.cpu_seconds for cost in unbroken)) / whole
        clock = median(cost.seconds for cost in unbroken)
        print(
            f"unbroken: {whole:.1f} s of processor time for {args.frames} frames (runs {spread:.0%} apart), "
            f"{clock:.1f} s by the clock"
        )
        print(f"in {args.segments} segments: {ratio - 1:+.1%}")
        extra = extra_seconds(clip, folder / "extra.mp4", options, seconds)
        print(f"cutting, journal and joining alone: {extra:.2f} s, {extra / whole:.1%}")
        with suppress(EOFError):
            in_a_process(killed, clip, folder / "killed.mp4", options, seconds, args.segments // 2)
        missing = in_a_process(count_missing, clip, folder / "killed.mp4", options).frames_in
        again = in_a_process(convert, clip, folder / "killed.mp4", options, seconds)
        print(
            f"resumed after {args.segments // 2}: {again.frames_in} frames for {missing} that were missing, "
            f"{again.cpu_seconds / whole:.0%} of the whole"
        )
        cost = {
            "unbroken": {"": 100.0},
            f"{args.segments} segments": {"": 100 * ratio},
            f"resumed after {args.segments // 2}": {"": 100 * again.cpu_seconds / whole},
        }
        if farms:
            made = median(farm.cpu_seconds for farm in farms) / median(cost.cpu_seconds for cost in plain)
            by_clock = sorted(farm.seconds / cost.seconds for farm, cost in zip(farms, plain, strict=True))
            print(
                f"{args.workers} local workers, once one is ready: {made:.2f} of the plain command's processor time, "
                f"{median(by_clock):.2f} of its time by the clock ({', '.join(f'{each:.2f}' for each in by_clock)}; "
                f"{median(by_clock) * median(cost.seconds for cost in plain) / clock:.2f} of one thread's)"
            )
            cost[f"{args.workers} local workers"] = {"": 100 * made}
            one = median(cost.peak_bytes for cost in unbroken)
            most = median(farm.peak_bytes for farm in farms)
            ray_bytes = median(farm.idle_bytes for farm in farms) - in_a_process(bare_bytes, None).frames_in
            print(
                f"memory: {one / 1e6:.0f} MB in one process of one thread, {most / 1e6:.0f} MB in the largest worker "
                f"({most / one:.2f}), {(most - ray_bytes) / 1e6:.0f} MB without what an idle worker of Ray takes more "
                f"than a process with the same modules ({(most - ray_bytes) / one:.2f})"
            )
            alone = median(cost.share_bytes for cost in plain)
            together = median(farm.share_bytes for farm in farms)
            print(
                f"where pages that processes share count once: {alone / 1e6:.0f} MB in one process, "
                f"{together / 1e6:.0f} MB a worker ({together / alone:.2f})"
            )
        plots.write(args.plot, plots.bars("processor time", cost, unit="% of an unbroken run"))


if __name__ == "__main__":
    main()
