"""``animevid INPUT OUTPUT``: stylize a file."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from animevid.cli.app import EXIT_CODES, command_list
from animevid.cli.options import add_common_options, add_style_options, style_hints
from animevid.cli.values import parse_bitrate, parse_compare, parse_count, parse_size, parse_time
from animevid.errors import AnimevidError, UsageError

if TYPE_CHECKING:
    from animevid.cli.progress import Reporter
    from animevid.jobs import Job
    from animevid.run.conversion import Conversion, ConversionOptions, ConversionPlan

_EPILOG = f"""\
INPUT is a video, a GIF, an image, a folder or a glob of images (quote it), a URL, or - for standard input.
OUTPUT's suffix says what is written: .mp4 .mkv .mov .webm .m3u8 .gif .png .jpg ..., or a folder for images.
Ctrl-C stops cleanly and leaves an earlier OUTPUT as it was (a live stream is finished instead); a second one ends at
once, and may leave a hidden .part file beside OUTPUT. A film of two minutes and more is made in segments: stopped or
killed at any moment, the same command goes on, with at most half a minute of the film to do again.

{command_list()}

{EXIT_CODES}"""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "convert",
        prog="animevid",
        usage="animevid INPUT OUTPUT [options]",
        description="Stylize a video, GIF, image or folder. Sound, subtitles, chapters and times stay as they are.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", nargs="?", help="what to stylize")
    parser.add_argument("output", metavar="OUTPUT", nargs="?", help="what to write: a folder for several films")
    parser.add_argument("more", metavar="...", nargs="*", help="several INPUTs may come before OUTPUT")
    parser.add_argument("--list-styles", action="store_true", help="list the styles that are installed, and end")
    parser.add_argument("--version", action="store_true", help="print the version, and end")
    parser.add_argument("--demo", metavar="OUTPUT", help="stylize the clip that comes with animevid into OUTPUT")
    add_conversion_options(parser)


def add_conversion_options(parser: argparse.ArgumentParser) -> None:
    """All options but the ends."""
    add_common_options(parser)
    add_style_options(parser)

    group = parser.add_argument_group("picture")
    group.add_argument("--size", type=parse_size, metavar="WxH|720p|50%", help="size of the output (default: as INPUT)")
    group.add_argument("--start", type=parse_time, metavar="TIME", help="begin there: 12.5 or 1:02:03")
    group.add_argument("--end", type=parse_time, metavar="TIME", help="end there")
    group.add_argument("--stream", type=parse_count, metavar="N", help="the video stream to take (default: the best)")
    group.add_argument(
        "--compare",
        type=parse_compare,
        metavar="side|split[:0..1]",
        help="show the original too: beside, or left of a line",
    )
    group.add_argument(
        "--every-frame", action="store_true", help="run the network even where the picture did not change"
    )
    group.add_argument(
        "--no-deflicker", action="store_true", help="draw each frame by itself, even where only noise changed"
    )
    group.add_argument(
        "--reconnect",
        type=parse_time,
        default=Fraction(20),
        metavar="SECONDS",
        help="look for a live stream, or a server published to, that broke off for so long (default 20; 0: end there)",
    )
    group.add_argument("--no-tone-map", action="store_true", help="refuse HDR instead of bringing it to SDR")

    group = parser.add_argument_group("output")
    group.add_argument("--overwrite", "-y", action="store_true", help="replace OUTPUT if it exists")
    group.add_argument(
        "--strict", action="store_true", help="a damaged or skipped picture is an error instead of a notice"
    )
    group.add_argument("--codec", choices=("h264", "hevc", "av1", "vp9", "prores", "ffv1"), help="default: h264")
    group.add_argument("--crf", type=float, metavar="N", help="constant quality, lower is better (h264: 20)")
    group.add_argument("--bitrate", type=parse_bitrate, metavar="RATE", help="average rate instead: 4M, 2500k")
    group.add_argument("--preset", metavar="NAME", help="the encoder's speed (h264: veryfast)")
    group.add_argument(
        "--hardware",
        default="off",
        choices=("off", "auto", "nvenc", "qsv", "videotoolbox", "vaapi", "amf"),
        help="use a hardware encoder if it really opens",
    )
    group.add_argument("--encoder-threads", type=parse_count, default=0, metavar="N", help="default 0: it chooses")
    group.add_argument("--no-copy", action="store_true", help="leave sound, subtitles and other streams out")
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="work in segments: after a crash the same command goes on (default: films of two minutes and more)",
    )
    group.add_argument("--restart", action="store_true", help="begin anew, whatever an earlier run left")
    group.add_argument("--no-pace", action="store_true", help="publish as fast as possible instead of in real time")
    group.add_argument("--format", metavar="NAME", help="container where OUTPUT's name does not say (for -)")

    group = parser.add_argument_group("many films", "INPUT may be several films, folders of films or patterns")
    group.add_argument("--recursive", action="store_true", help="look into the folders of a folder too")
    group.add_argument("--keep-going", action="store_true", help="go on after a film that failed; skip what exists")
    group.add_argument("--skip-existing", action="store_true", help="leave films alone whose output exists")
    group.add_argument("--name", metavar="TEMPLATE", help="what outputs are called (default {stem}-{style}{suffix})")
    group.add_argument("--watch", action="store_true", help="wait for films that come into the folder INPUT")
    group.add_argument("--report", metavar="FILE", help="write what became of each film as JSON")

    group = parser.add_argument_group("messages")
    group.add_argument("--dry-run", action="store_true", help="say what would happen, write nothing")
    group.add_argument(
        "--progress",
        choices=("auto", "bar", "json", "none"),
        default="auto",
        help="auto: a bar on a terminal, silence in a pipe",
    )
    group.add_argument("--json", action="store_const", const="json", dest="progress", help="--progress json")
    group.add_argument("-q", "--quiet", action="store_true", help="no bar, no summary")


def run(args: argparse.Namespace) -> int:
    if args.version:
        from animevid import __version__

        print(f"animevid {__version__}")
        return 0
    if args.list_styles:
        from animevid.cli.styles import print_styles

        return print_styles(as_json=args.progress == "json")
    *sources, target = _ends(args)

    from animevid.cli.progress import open_reporter

    options = conversion_options(args)
    from animevid.cli.many import is_many, run_many

    if is_many(args, sources):
        return run_many(args, sources, target, options, _convert)
    (source,) = sources
    reporter = open_reporter("none" if args.quiet else args.progress, output_is_stdout=target == "-")
    try:
        _convert(source, target, options, args, reporter)
    except AnimevidError as error:
        reporter.failed(error)
        raise
    return 0


def conversion_options(args: argparse.Namespace) -> ConversionOptions:
    """What the command's options ask for."""
    from animevid.io import EncoderSettings
    from animevid.run.conversion import ConversionOptions

    compare, position = args.compare or (None, 0.5)
    return ConversionOptions(
        style=args.style,
        quality=args.quality,
        precision=args.precision,
        sha256=args.sha256,
        hints=style_hints(args),
        strength=args.strength,
        net_pixels=args.net_size,
        backend=args.backend,
        device=args.device,
        threads=args.threads,
        size=None if args.size is None else _size_function(args.size),
        start_seconds=args.start,
        end_seconds=args.end,
        stream_index=args.stream,
        compare=compare,
        split_position=position,
        skip_static=not args.every_frame,
        deflicker=not args.no_deflicker,
        overwrite=args.overwrite,
        strict=args.strict,
        copy_streams=not args.no_copy,
        tone_map=not args.no_tone_map,
        muxer=args.format,
        reconnect_seconds=float(args.reconnect),
        real_time=not args.no_pace,
        encoder=EncoderSettings(
            codec=args.codec or "auto",
            crf=args.crf,
            preset=args.preset,
            bitrate_bps=args.bitrate,
            hardware=args.hardware,
            threads=args.encoder_threads,
        ),
    )


def _convert(source: str, target: str, options: ConversionOptions, args: argparse.Namespace, reporter: Reporter) -> int:
    from animevid.cli.progress import summary_line
    from animevid.jobs import open_conversion

    speaks = not args.quiet and args.progress != "json"
    talk = sys.stderr if target == "-" or args.progress == "json" else sys.stdout
    resumable = False if args.dry_run else args.resume
    with open_conversion(source, target, options, resumable=resumable, restart=args.restart) as conversion:
        plan = conversion.plan
        if args.dry_run:
            print("\n".join(plan_lines(plan)), file=talk)
            return 0
        if speaks:
            for line in plan_lines(plan) if args.verbose else [*plan.losses, *plan.notices]:
                print(line, file=sys.stderr)
        with _signals(conversion):
            try:
                report = conversion.run(on_progress=reporter.progress)
            finally:
                reporter.clear()
    reporter.done(report)
    if speaks:
        for notice in report.notices:
            if notice not in plan.notices:
                print(notice, file=sys.stderr)
        print(f"{report.output}: {summary_line(report)}", file=talk)
    return report.frames_out


def plan_lines(plan: ConversionPlan) -> list[str]:
    """A plan as ``--dry-run`` prints it."""
    (height, width), (out_height, out_width), (net_height, net_width) = plan.size, plan.output_size, plan.net_size
    network = f"{plan.network}, {net_width}x{net_height}"
    if plan.net_size != plan.size:
        network += f" lifted to {width}x{height}"
    frames = "" if plan.frames_total is None else f", about {plan.frames_total} frames"
    lines = [
        f"input:   {plan.source}{frames}",
        f"style:   {plan.style}",
        f"network: {network}",
        f"output:  {plan.output}, {out_width}x{out_height}, {plan.encoder}",
    ]
    return [*lines, *(f"stream:  {line}" for line in plan.decisions), *(f"note:    {line}" for line in plan.notices)]


def _ends(args: argparse.Namespace) -> tuple[str, ...]:
    """The INPUTs and OUTPUT; ``--demo OUTPUT`` takes no other, so that no film of the user is its target by mistake."""
    if args.demo is not None:
        if args.input is not None:
            raise UsageError(f"--demo takes OUTPUT and no INPUT, got {args.input!r}: animevid --demo demo.mp4")
        return str(Path(__file__).parent.parent / "demo" / "demo.mp4"), args.demo
    if args.input is None or args.output is None:
        raise UsageError("INPUT and OUTPUT are both needed: animevid in.mp4 out.mp4; see animevid --help")
    return args.input, args.output, *args.more


def _size_function(size: Any) -> Any:
    def of(height: int, width: int) -> tuple[int, int]:
        new_width, new_height = size.of(width, height)
        return new_height, new_width

    return of


@contextmanager
def _signals(conversion: Conversion | Job) -> Iterator[None]:
    """Ctrl-C and SIGTERM: stop a live stream with a whole file, cancel anything else; a second Ctrl-C is hard."""
    presses = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if conversion.is_endless and presses == 1:
            conversion.stop()
        elif presses <= (2 if conversion.is_endless else 1):
            raise KeyboardInterrupt
        else:
            # At once, and without a word to threads that may hang in a codec: a hidden .part file may stay.
            os._exit(130)

    try:
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: someone calls main() from a program and minds its signals itself
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
