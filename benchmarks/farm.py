"""Simulates a farm of 1 to 1,000 workers from segment times measured on this machine, with a plot.

    python -m benchmarks.farm [--video-hours 2] [--clip CLIP] [--plot docs/farm-simulation.svg]

The simulation follows the driver's rules (neighbours where it can, a second copy of what takes 1.5 times the usual).
What is assumed is in ``ASSUMED``; the rest is measured.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import mean, median

import animevid
import av
from animevid.io import VideoSource
from animevid.jobs import Job, open_conversion
from animevid.jobs.farm.driver import next_segment
from animevid.jobs.join import join_segments
from animevid.jobs.packets import PacketWriter, read_frame_format, read_packets, read_stamps
from animevid.jobs.part import open_part
from animevid.options import ConversionOptions, OutputOptions

from benchmarks import plots

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
SEGMENT_SECONDS = 30
_REPEATS = 40
SLOW_FACTOR = 1.5
#: Bytes a second that the shared storage takes from all workers together; share of workers that are slow, and how slow.
ASSUMED = {"storage_bytes_per_second": 110e6, "slow_share": 0.02, "slow_times": 3.0, "start_seconds": 5.0}


@dataclass(frozen=True)
class Measured:
    """Of one worker here. ``seconds`` and ``bytes`` are for each second of video, ``spread`` is relative."""

    seconds: float
    spread: float
    bytes: float
    join_seconds: float


def measure(clip: Path) -> Measured:
    """Make the segments of ``clip`` one after the other, then join them."""
    with tempfile.TemporaryDirectory() as folder:
        dst = Path(folder) / "out.mp4"
        options = ConversionOptions(threads=1)
        with open_conversion(clip, dst, options, resumable=True, segment_seconds=Fraction(2)) as job:
            assert isinstance(job, Job)
            rates, size = [], 0
            duration = float(job._conversion.source.info.duration_seconds or 1)
            edges = [float(s.start_seconds or 0) for s in job.description.segments] + [duration]
            for segment in job.description.segments:
                started_at = time.perf_counter()
                with open_part(
                    clip, dst, job._options, [segment], job.description, path_of=job.path_of, add=job.add
                ) as part:
                    part.run()
                length = edges[segment.index + 1] - edges[segment.index]
                lead = min(edges[segment.index], 2.0)
                # A segment of half a minute has two seconds of lead-in, as these short ones do.
                rates.append((time.perf_counter() - started_at) / (length + lead))
                size += job.path_of(segment.index).stat().st_size
            # Opening and closing happen once per video: only the difference between a long and a short one counts.
            paths = [job.path_of(segment.index) for segment in job.description.segments]
            longer = repeated(paths, Path(folder), times=_REPEATS)
            joined = (timed_join(longer, clip, dst) - timed_join(paths, clip, dst)) / (_REPEATS - 1)
    spread = math.sqrt(mean((rate / mean(rates) - 1) ** 2 for rate in rates))
    return Measured(mean(rates), spread, size / duration, joined / duration)


def repeated(paths: list[Path], folder: Path, *, times: int) -> list[Path]:
    """The segments' packets over and over, as those of a longer video."""
    stamps = [pts for path in paths for pts, _ in read_stamps(path)]
    length = max(stamps) - min(stamps) + sorted(stamps)[1] - sorted(stamps)[0]
    longer = []
    for turn in range(times):
        for path in paths:
            with PacketWriter(folder / f"{turn}-{path.name}", frame_format=read_frame_format(path)) as writer:
                for coded in read_packets(path):
                    packet = av.Packet(coded.payload)
                    packet.pts, packet.dts = coded.pts + turn * length, coded.dts + turn * length
                    packet.duration, packet.is_keyframe = coded.duration, coded.is_key_frame
                    writer.write(packet)
                writer.publish()
            longer.append(writer.path)
    return longer


def timed_join(paths: list[Path], clip: Path, dst: Path) -> float:
    """Seconds to join ``paths``; the least of three."""
    times = []
    for _ in range(3):
        started_at = time.perf_counter()
        with VideoSource(clip) as source:
            join_segments(paths, dst, source=source, settings=OutputOptions(overwrite=True))
        times.append(time.perf_counter() - started_at)
    return min(times)


def simulate(measured: Measured, workers: int, *, duration_seconds: float, seed: int = 0) -> float:
    """Seconds until the video is complete."""
    chance = random.Random(seed)
    count = math.ceil(duration_seconds / SEGMENT_SECONDS)
    speed = [ASSUMED["slow_times"] if chance.random() < ASSUMED["slow_share"] else 1.0 for _ in range(workers)]
    # All busy workers share the storage equally.
    busy = min(workers, count)
    storing = measured.bytes * SEGMENT_SECONDS * busy / ASSUMED["storage_bytes_per_second"]

    def take(worker: int, segment: int) -> float:
        lead_in = 0 if after[worker] == segment else 2  # the driver hands out neighbours where it can
        work = measured.seconds * (SEGMENT_SECONDS + lead_in) * speed[worker]
        return max(0.3, chance.gauss(1, measured.spread)) * work + storing

    usual = measured.seconds * SEGMENT_SECONDS + storing
    pending, after = set(range(count)), dict.fromkeys(range(workers), 0)
    free = [(ASSUMED["start_seconds"], worker) for worker in range(workers)]
    heapq.heapify(free)
    ends: dict[int, float] = {}
    begun: dict[int, float] = {}
    while pending:
        now, worker = heapq.heappop(free)
        segment = next_segment(pending, after[worker], after.values())
        begun[segment], ends[segment] = now, now + take(worker, segment)
        pending.discard(segment)
        after[worker] = segment + 1
        heapq.heappush(free, (ends[segment], worker))
    for segment in sorted(ends, key=lambda index: begun[index]):
        if ends[segment] - begun[segment] > SLOW_FACTOR * usual and free:
            now, worker = heapq.heappop(free)
            start = max(now, begun[segment] + SLOW_FACTOR * usual)
            ends[segment] = min(ends[segment], start + take(worker, segment))
            heapq.heappush(free, (max(now, ends[segment]), worker))
    return max(ends.values()) + measured.join_seconds * duration_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=Path(animevid.__file__).parent / "demo" / "demo.mp4")
    parser.add_argument("--video-hours", type=float, default=2)
    plots.add_plot(parser)
    args = parser.parse_args()
    measured = measure(args.clip)
    print(
        f"measured: {measured.seconds:.3f} s of one core's work a second of video (spread {measured.spread:.0%}), "
        f"{measured.bytes / 1e3:.0f} kB/s, joining {measured.join_seconds * 1e3:.2f} ms a second"
    )
    print("assumed:  " + ", ".join(f"{name} {value:g}" for name, value in ASSUMED.items()))
    duration = args.video_hours * 3600
    times = {
        n: median(simulate(measured, n, duration_seconds=duration, seed=seed) for seed in range(9)) for n in WORKERS
    }
    print("\n| workers | minutes | speed-up | of perfect |\n|---:|---:|---:|---:|")
    points = [(n, times[1] / seconds) for n, seconds in times.items()]
    for n, speed_up in points:
        print(f"| {n} | {times[n] / 60:.1f} | {speed_up:.1f} | {speed_up / n:.0%} |")
    perfect = [(float(n), float(n)) for n in (WORKERS[0], WORKERS[-1])]
    series = {"simulated": [(float(n), speed_up) for n, speed_up in points], "perfect": perfect}
    plots.write(args.plot, plots.lines("speed-up of a farm", series, x_label="workers", y_label="speed-up", log=True))


if __name__ == "__main__":
    main()
