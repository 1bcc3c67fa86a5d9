"""Measures the speed, time per stage and memory of a conversion, compared with baselines.

::

    python -m benchmarks.fps --size 1280x720 --style FILE.onnx

Alternates these measures, each run in a separate process:

- ``engine``: ``animevid.stylize``, end to end (decode, stylize, encode, mux);
- ``codec``: decoding and encoding alone, in the same pipeline;
- ``naive``: OpenCV reader, the same network at the same size, OpenCV writer, one after the other;
- ``animegan2``: the naive loop around the published AnimeGANv2 generator in torch (random weights cost the same).

``engine / naive`` is the gain of the engine; ``naive / animegan2`` is the gain of the smaller network.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.clips import DEMO_CLIP, prepare_clip

MEASURES = ("engine", "codec", "naive", "animegan2")
#: AnimeGANv2 takes seconds a frame: a few are enough.
_PEER_FRAMES = 3


def main() -> int:
    args = parse()
    if args.measure:
        print(json.dumps(_measure_here(args)))
        return 0
    width, height = (int(side) for side in args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip = prepare_clip(
            args.clip, Path(folder) / "clip.mp4", width=width, height=height, frames=args.frames, rate=args.rate
        )
        results = measure(clip, Path(folder), args)
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        print(table(results))
    plots.write(args.plot, chart([results]))
    return 0


#: Results as JSON: of one measure, or of one size with its measures by name.
Row = dict[str, Any]


def measure(clip: Path, folder: Path, args: argparse.Namespace) -> Row:
    """Median results of ``args.runs`` alternating runs of each of ``args.measures``."""
    runs: dict[str, list[Row]] = {name: [] for name in args.measures}
    for _ in range(args.runs):
        for name, found in runs.items():
            if name == "animegan2" and found:
                continue
            command = [sys.executable, "-m", "benchmarks.fps", "--measure", name, "--clip", str(clip)]
            command += [
                "--target",
                str(folder / f"{name}.mp4"),
                "--threads",
                str(args.threads),
                "--backend",
                args.backend,
            ]
            command += ["--preset", args.preset, "--style", args.style] if args.style else ["--preset", args.preset]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
    best: Row = {"size": args.size, "frames": args.frames, "style": args.style or "default"}
    for name, found in runs.items():
        middle = statistics.median_low([run["fps"] for run in found])
        best[name] = next(run for run in found if run["fps"] == middle)
        best[name]["fps_all"] = [round(run["fps"], 1) for run in found]
    return best


def chart(rows: list[Row]) -> str:
    """Frames a second of each measure, size by size."""
    rates = {row["size"]: {name: row[name]["fps"] for name in MEASURES if name in row} for row in rows}
    return plots.bars("decode, stylize, encode", rates, unit="frames a second")


def table(results: Row) -> str:
    """The results for people."""
    lines = [f"{results['size']}, {results['frames']} frames, style {results['style']}", ""]
    lines.append(f"{'':<10} {'fps':>8} {'CPU ms/frame':>13} {'peak MB':>8}   runs")
    for name in MEASURES:
        if name in results:
            row = results[name]
            lines.append(
                f"{name:<10} {row['fps']:>8.2f} {row['cpu_ms']:>13.1f} {row['peak_mb']:>8.0f}   {row['fps_all']}"
            )
    engine = results.get("engine")
    if engine and "naive" in results:
        lines.append(f"\nengine / naive loop, same network: {engine['fps'] / results['naive']['fps']:.1f}x")
    if engine and "animegan2" in results:
        lines.append(f"engine / naive loop with AnimeGANv2: {engine['fps'] / results['animegan2']['fps']:.0f}x")
    if engine:
        lines.append(f"start to first frame written: {engine['first_frame_seconds']:.2f} s (imports included)")
        lines.append(f"\n{'stage':<12} {'busy ms':>8} {'own CPU ms':>11} {'wait in':>8} {'wait out':>9}   per frame")
        for stage in engine["stages"]:
            lines.append(
                f"{stage['name']:<12} {stage['busy_ms']:>8.2f} {stage['cpu_ms']:>11.2f} "
                f"{stage['wait_in_ms']:>8.2f} {stage['wait_out_ms']:>9.2f}"
            )
    return "\n".join(lines)


def _measure_here(args: argparse.Namespace) -> Row:
    """One measure in this process."""
    measure_one = {"engine": _measure_engine, "codec": _measure_codec}.get(args.measure, _measure_naive)
    result = measure_one(args)
    result["peak_mb"] = _peak_megabytes()
    return result


def _measure_engine(args: argparse.Namespace) -> Row:
    from animevid.options import ConversionOptions, EncodeOptions
    from animevid.run.conversion import Conversion

    options = ConversionOptions(
        style=args.style or None,
        threads=args.threads,
        backend=args.backend,
        skip_static=False,
        overwrite=True,
        encoder=EncodeOptions(preset=args.preset),
    )
    with Conversion(args.clip, args.target, options) as conversion:
        age = _process_age_seconds()
        before = _cpu_seconds()
        report = conversion.run()
        cpu = _cpu_seconds() - before
    count = report.frames_out
    stages = [
        {
            "name": stage.name,
            "busy_ms": stage.busy_seconds / count * 1e3,
            "cpu_ms": stage.cpu_seconds / count * 1e3,
            "wait_in_ms": stage.wait_in_seconds / count * 1e3,
            "wait_out_ms": stage.wait_out_seconds / count * 1e3,
        }
        for stage in report.statistics.stages
    ]
    return {
        "fps": report.fps,
        "cpu_ms": cpu / count * 1e3,
        "network": report.network,
        "stages": stages,
        "first_frame_seconds": age + report.first_frame_seconds,
    }


def _measure_codec(args: argparse.Namespace) -> Row:
    """Decode and encode alone, in the same pipeline."""
    from animevid.io import open_sink, open_source
    from animevid.options import EncodeOptions, OutputOptions
    from animevid.run import Pipeline, Stage

    settings = OutputOptions(encoder=EncodeOptions(preset=args.preset), overwrite=True)
    with open_source(args.clip) as source, open_sink(args.target, template=source, settings=settings) as sink:
        before, started_at = _cpu_seconds(), time.perf_counter()
        Pipeline(source, [Stage.each("encode", sink.write)], source_name="decode").run()
        count = sink.finish().frames_written
        seconds = time.perf_counter() - started_at
    return {"fps": count / seconds, "cpu_ms": (_cpu_seconds() - before) / count * 1e3}


def _measure_naive(args: argparse.Namespace) -> Row:
    from animevid.render.stylizer import Stylizer

    from benchmarks.naive import naive_stylizer, run_naive, torch_stylizer

    if args.measure == "animegan2":
        stylize, frames = torch_stylizer("animegan2", threads=args.threads), _PEER_FRAMES
    else:
        import cv2

        with Stylizer(args.style or None) as stylizer:
            reader = cv2.VideoCapture(str(args.clip))
            size = int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(reader.get(cv2.CAP_PROP_FRAME_WIDTH))
            reader.release()
            net_size = stylizer.net_size(*size)
            style = stylizer.style
        if style.allow_int8:  # as the engine does: the same network in both
            style = style.int8() or style
        stylize, frames = naive_stylizer(style, net_size=net_size), 0
    before = _cpu_seconds()
    count, seconds = run_naive(args.clip, args.target, stylize, frames=frames)
    return {"fps": count / seconds, "cpu_ms": (_cpu_seconds() - before) / count * 1e3}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_megabytes() -> float:
    """The peak resident set size. Not ``ru_maxrss``, which starts with the parent's value."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _process_age_seconds() -> float:
    """How long this process has lived (Linux: its start is in ``/proc``, in clock ticks since boot)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.fps", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clip", type=Path, default=DEMO_CLIP)
    parser.add_argument("--style", default="")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--preset", default="veryfast")
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=["engine", "codec", "naive"])
    parser.add_argument("--json", action="store_true")
    plots.add_plot(parser)
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
