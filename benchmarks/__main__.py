"""``python -m benchmarks``: a short set at three sizes; writes ``benchmarks/RESULTS.md``, and README's table of it."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
import tempfile
from pathlib import Path

from animevid.options import StyleOptions
from animevid.styles import Style, open_style

from benchmarks import fps, plots, readme
from benchmarks.clips import DEMO_CLIP, prepare_clip
from benchmarks.machine import processor

RESULTS = Path(__file__).with_name("RESULTS.md")
#: (size, frames): long enough that start-up does not count, short enough to be run often.
SIZES = (("640x360", 300), ("1280x720", 180), ("1920x1080", 90))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--style", default="", help="an .onnx file or a name (default: the default style)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", type=int, help="of each size (default 300, 180 and 90); 12 to see that all works")
    parser.add_argument("--no-peer", action="store_true", help="leave AnimeGANv2 in torch out")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    sections = []
    for size, usual in SIZES:
        frames = asked.frames or usual
        measures = ["engine", "codec", "naive"]
        if size == "640x360" and not asked.no_peer:
            measures.append("animegan2")
        command = ["--style", asked.style, "--size", size, "--frames", str(frames), "--runs", str(asked.runs)]
        args = fps.parse([*command, "--measures", *measures])
        width, height = (int(side) for side in size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            clip = prepare_clip(DEMO_CLIP, Path(folder) / "clip.mp4", width=width, height=height, frames=frames)
            results = fps.measure(clip, Path(folder), args)
        print(fps.table(results), end="\n\n", flush=True)
        sections.append(results)
    asked.output.write_text(report(sections, open_style(StyleOptions(style=asked.style or None))))
    plots.write(asked.output.with_suffix(".svg"), fps.chart(sections))
    print(f"written to {asked.output}")
    return readme.main() if asked.output == RESULTS else 0


def report(sections: list[fps.Row], style: Style) -> str:
    """The results as Markdown, with the files of ``style`` that they are of."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("av", "onnxruntime", "numpy"))
    lines = [
        "# Results",
        "",
        "Made by `make bench`. End to end: decode, stylize, encode (x264 veryfast, crf 20), mux; median of alternating",
        "runs, each in a process of its own. `naive` is the same network at the same size between OpenCV's reader and",
        "writer, one after the other; `animegan2` the same loop around the published AnimeGANv2 generator in torch.",
        "",
        f"- {datetime.date.today().isoformat()}, {processor()}, {len(os.sched_getaffinity(0))} cores, "
        f"load average before {os.getloadavg()[2]:.1f}",
        f"- Python {platform.python_version()}, {versions}",
        f"- style: {style.card.name} ({readme.fingerprint(style)}), {sections[0]['engine']['network']}",
        "",
        "| size | engine fps | codec alone | naive fps | engine / naive | CPU ms a frame | own cost ms | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sections:
        engine, codec, naive = row["engine"], row["codec"], row["naive"]
        lines.append(
            f"| {row['size']} | {engine['fps']:.1f} | {codec['fps']:.1f} | {naive['fps']:.1f} "
            f"| {engine['fps'] / naive['fps']:.1f}x | {engine['cpu_ms']:.1f} | {own_cost_ms(row):.2f} "
            f"| {engine['peak_mb']:.0f} |"
        )
    lines += ["", "![frames a second](RESULTS.svg)"]
    lines += ["", "`own cost`: CPU time of the stages' threads outside network, decoder and encoder."]
    for row in sections:
        if "animegan2" in row:
            peer, naive, engine = (row[name]["fps"] for name in ("animegan2", "naive", "engine"))
            lines.append(
                f"\nAnimeGANv2 in the naive loop at {row['size']}: {peer:.2f} fps. The engine with its own style "
                f"is {engine / peer:.0f}x as fast: {naive / peer:.0f}x from the smaller network, {engine / naive:.1f}x "
                "from the engine."
            )
    first = min(row["engine"]["first_frame_seconds"] for row in sections)
    lines.append(f"\nStart of the process to the first frame written: {first:.2f} s.")
    for row in sections:
        lines += ["", f"## {row['size']}", "", "```", fps.table(row), "```"]
    return "\n".join(lines) + "\n"


def own_cost_ms(row: fps.Row) -> float:
    """CPU milliseconds a frame that the engine's own threads spend beside network, decoder and encoder."""
    return sum(stage["cpu_ms"] for stage in row["engine"]["stages"] if stage["name"] in ("preprocess", "postprocess"))


if __name__ == "__main__":
    sys.exit(main())
