"""``animevid sample``."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.errors import TrainingError

from animevid_trainer.cli.command import Command

if TYPE_CHECKING:
    from animevid.io import Sink

    from animevid_trainer.data.images import Image
    from animevid_trainer.generators.noise import NoiseGenerator

#: endings of a single image
STILLS = (".png", ".jpg", ".jpeg", ".avif")
_VIDEO_INTERPOLATE = 45


def _fill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="run folder (--out of train)")
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="a grid (.png, .jpg) or a video that morphs between samples (.mp4, .gif ...)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the noise (default: 1)")
    parser.add_argument(
        "--truncation", type=float, default=1.0, metavar="PSI",
        help="below 1: closer to the mean face, fewer odd ones, less variety (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--interpolate", type=int, default=None, metavar="N",
        help="video: frames between samples (default: 45); grid: 1 interpolates each row between two samples",
    )  # fmt: skip
    parser.add_argument("--samples", type=int, default=8, metavar="N", help="video: number of samples")
    parser.add_argument("--grid", default="", metavar="CxR", help="columns x rows (default: 8x4, video: 4x2)")
    parser.add_argument("--scale", type=int, default=2, help="enlarge each image by this factor")
    parser.add_argument("--fps", type=int, default=30, help="for a video: frames per second")
    parser.add_argument("--step", type=int, help="checkpoint to use (default: the latest)")
    parser.add_argument("--raw", action="store_true", help="use the raw weights instead of their average")
    parser.add_argument("-y", "--overwrite", action="store_true", help="replace OUT if it exists")


def _run(args: argparse.Namespace) -> int:
    from animevid_trainer.sampling import SampleSettings, sample_grid, walk

    is_video = args.out.suffix.lower() not in STILLS
    columns, rows = _grid_of(args.grid or ("4x2" if is_video else "8x4"))
    interpolate = args.interpolate if args.interpolate is not None else _VIDEO_INTERPOLATE if is_video else 0
    settings = SampleSettings(
        args.seed, truncation=args.truncation, columns=columns, rows=rows, scale=args.scale, interpolate=interpolate
    )
    if is_video and (interpolate < 1 or args.samples < 2 or args.fps < 1):
        raise TrainingError(
            f"--interpolate {interpolate}, --samples {args.samples}, --fps {args.fps}: a video needs 2 samples or "
            "more, 1 frame or more between them, and 1 frame per second or more"
        )
    generator = open_noise_generator(args.run_folder, step=args.step, averaged=not args.raw)
    size = columns * args.scale * generator.size_px, rows * args.scale * generator.size_px
    with open_sink_for(args.out, size, fps=args.fps, overwrite=args.overwrite) as sink:
        images = walk(generator, settings, samples=args.samples) if is_video else [sample_grid(generator, settings)]
        for index, image in enumerate(images):
            write_image(sink, image, index=index, fps=args.fps)
        report = sink.finish()
    print(f"{report.path}: {report.frames_written} frame{'s' if report.frames_written > 1 else ''}, {report.encoder}")
    return 0


def open_noise_generator(run: Path, *, step: int | None, averaged: bool) -> NoiseGenerator:
    """The generator of a run for faces from noise.

    Raises:
        TrainingError: no run, no such checkpoint, or a generator that stylizes photos.
    """
    from animevid_trainer.generators.noise import NoiseGenerator
    from animevid_trainer.stored_runs import load_any_generator

    generator = load_any_generator(run, step="latest" if step is None else step, averaged=averaged)
    if not isinstance(generator, NoiseGenerator):
        raise TrainingError(f"the generator of {str(run)!r} stylizes photos: animevid export makes a style of it")
    return generator


def open_sink_for(path: Path, size: tuple[int, int], *, fps: int = 1, overwrite: bool = False) -> Sink:
    """The engine's sink for images of ``size`` (width, height in px).

    Raises:
        UsageError: no sink writes such a file.
        OutputError: it exists, or cannot be written.
    """
    from animevid.io import open_sink
    from animevid.io.encoders import FrameFormat
    from animevid.options import OutputOptions

    frame_format = FrameFormat(*size, rate=Fraction(fps))
    return open_sink(path, settings=OutputOptions(overwrite=overwrite), frame_format=frame_format)


def write_image(sink: Sink, image: Image, *, index: int = 0, fps: int = 1) -> None:
    """Image number ``index`` of a video at ``fps``, or the only one."""
    from animevid.frame import Frame
    from animevid.pixels import rgb_to_planes

    sink.write(Frame(rgb_to_planes(image), index, Fraction(index, fps), Fraction(1, fps)))


def _grid_of(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,2})x(\d{1,2})", text)
    if found is None or "0" in found.groups():
        raise TrainingError(f"--grid {text!r}: give columns x rows, 1 to 99 each, e.g. 8x4")
    return int(found[1]), int(found[2])


SAMPLE = Command("sample", "generate faces from noise, as a grid or a video", _fill, _run)
