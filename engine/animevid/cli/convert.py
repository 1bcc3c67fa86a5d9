"""``animevid INPUT OUTPUT``: stylize a file."""

from __future__ import annotations

import _thread
import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

from animevid.cli.app import EXIT_CODES, command_list, complain
from animevid.cli.options import add_common_options, add_options, read_options
from animevid.cli.standard_streams import ending_signals
from animevid.errors import AnimevidError, InputError, OutputError, UsageError
from animevid.left_overs import remove_under_way
from animevid.options import ConversionOptions
from animevid.redaction import printable, redacted, redacted_text
from animevid.values import parse_moment

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers
    from animevid.cli.progress import Reporter
    from animevid.jobs import Job
    from animevid.run.conversion import Conversion
    from animevid.run.report import ConversionPlan

#: After Ctrl-C: how long runtimes and codecs may take to return before the process exits without them.
_PATIENCE_SECONDS = 5.0

_EPILOG = f"""\
INPUT is a video, a GIF, an image, a folder or a glob of images (quote it), a URL, or - for standard input.
OUTPUT's suffix selects the format: .mp4 .mkv .mov .webm .m3u8 .gif .png .jpg ..., or a folder for images.
Ctrl-C stops cleanly and leaves an earlier OUTPUT as it was (a live stream is finished instead); a second one exits
at once and may leave a hidden .part file beside OUTPUT. A video of two minutes or more is converted in segments: if
it is stopped or killed, the same command resumes it, and repeats at most half a minute of the video.
Defaults can be set in animevid.toml, in the current folder or in ~/.config/animevid/: crf = 22, style = "ehon" ...

{command_list()}

{EXIT_CODES}"""


def add_parser(subparsers: Subparsers) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "convert",
        prog="animevid",
        usage="animevid INPUT OUTPUT [options]",
        description="Stylize a video, GIF, image or folder. Audio, subtitles, chapters and time stamps are kept.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", nargs="?", help="what to stylize")
    parser.add_argument("output", metavar="OUTPUT", nargs="?", help="what to write: a folder for several videos")
    parser.add_argument("more", metavar="...", nargs="*", help="several INPUTs may come before OUTPUT")
    parser.add_argument("--list-styles", action="store_true", help="list the installed styles and exit")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--demo", metavar="OUTPUT", help="stylize animevid's demo clip into OUTPUT")
    add_conversion_options(parser)


def add_conversion_options(parser: argparse.ArgumentParser) -> None:
    """Add all options but INPUT and OUTPUT."""
    add_common_options(parser)
    add_options(parser, ConversionOptions)

    group = parser.add_argument_group("segments")
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="work in segments: after a crash the same command resumes (default: for videos of two minutes or more)",
    )
    group.add_argument("--restart", action="store_true", help="start over, ignoring segments of an earlier run")

    group = parser.add_argument_group("many videos", "INPUT may be several videos, folders of videos or patterns")
    group.add_argument("--recursive", action="store_true", help="also search subfolders")
    group.add_argument(
        "--keep-going", action="store_true", help="continue after a video that failed; skip existing outputs"
    )
    group.add_argument("--skip-existing", action="store_true", help="skip videos whose output exists")
    group.add_argument("--name", metavar="TEMPLATE", help="file names of the outputs (default {stem}-{style}{suffix})")
    group.add_argument("--watch", action="store_true", help="wait for new videos in the folder INPUT")
    group.add_argument("--report", metavar="FILE", help="write the outcome for each file as JSON")

    group = parser.add_argument_group("messages")
    group.add_argument(
        "--dry-run", action="store_true", help="print the plan, with an estimate from ten frames, and write nothing"
    )
    group.add_argument(
        "--preview",
        type=parse_moment,
        metavar="N|TIME",
        help="write one frame as PNG, beside OUTPUT: number N from 0, or at a time such as 12.5 or 1:02",
    )
    group.add_argument(
        "--progress",
        choices=("auto", "bar", "json", "none"),
        default="auto",
        help="auto: a bar on a terminal, otherwise nothing",
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

    from animevid.cli.config import tell_defaults
    from animevid.cli.progress import open_reporter

    if not args.dry_run:  # a dry run prints it in its plan
        tell_defaults(args)

    options = read_options(args, ConversionOptions)
    from animevid.cli.many import is_many, is_tree_of_images, run_many
    from animevid.io.sources.image_files import every_image

    if is_many(args, sources):
        if args.preview is not None:
            raise UsageError(f"--preview takes one INPUT that is a video or an image, got {', '.join(sources)}")
        return run_many(args, sources, target, options, _convert)
    (source,) = sources
    if is_tree_of_images(args, source):
        source = every_image(Path(source))
    if args.preview is not None:
        return _preview(source, target, options, args)
    reporter = open_reporter("none" if args.quiet else args.progress, output_is_stdout=target == "-")
    try:
        _convert(source, target, options, args, reporter)
    except AnimevidError as error:
        reporter.failed(error)
        raise
    return 0


def _convert(source: str, target: str, options: ConversionOptions, args: argparse.Namespace, reporter: Reporter) -> int:
    from animevid.cli.progress import summary_line
    from animevid.jobs import open_conversion

    speaks = not args.quiet and args.progress != "json"
    talk = sys.stderr if target == "-" or args.progress == "json" else sys.stdout
    resumable = False if args.dry_run else args.resume
    with (
        _last_resort() as end_soon,
        open_conversion(source, target, options, resumable=resumable, restart=args.restart) as conversion,
    ):
        plan = conversion.plan
        if args.dry_run:
            told = [f"default: {printable(redacted_text(args.defaults))}"] if args.defaults else []
            print("\n".join([*told, *plan_lines(plan), *_estimate_lines(source, target, conversion)]), file=talk)
            return 0
        if speaks:
            for line in plan_lines(plan) if args.verbose else [*plan.losses, *plan.notices]:
                print(line, file=sys.stderr)
        with _signals(conversion, end_soon):
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


def _preview(source: str, target: str, options: ConversionOptions, args: argparse.Namespace) -> int:
    from animevid.io.network.protocols import is_local_file
    from animevid.run.sample import write_one_frame

    path = Path(target)
    if not path.suffix or "%" in path.name or not is_local_file(target):
        raise UsageError(f"--preview writes one PNG beside OUTPUT, got {redacted(target)!r}: give a file, frame.png")
    number, at_seconds = args.preview
    report = write_one_frame(source, path.with_suffix(".png"), options, number=number, at_seconds=at_seconds)
    if not args.quiet:
        print(report.output)
    return 0


def _estimate_lines(source: str, target: str, conversion: Conversion | Job) -> list[str]:
    from animevid.cli.progress import clock_text
    from animevid.run.conversion import Conversion
    from animevid.run.sample import estimate

    try:
        found = estimate(source, target, conversion) if isinstance(conversion, Conversion) else None
    except AnimevidError as error:
        return [f"note:    no estimate: {error}"]
    if found is None:
        return []
    return [f"about:   {clock_text(found.work_seconds)} of work, {found.size_bytes / 1e6:.1f} MB (from ten frames)"]


def plan_lines(plan: ConversionPlan) -> list[str]:
    """A plan as ``--dry-run`` prints it."""
    (height, width), (out_height, out_width), (net_height, net_width) = plan.size, plan.output_size, plan.net_size
    network = f"{plan.network}, {net_width}x{net_height}"
    if plan.net_size != plan.size:
        network += f" upsampled to {width}x{height}"
    frames = "" if plan.frames_total in (None, 1) else f", about {plan.frames_total} frames"
    lines = [
        f"input:   {plan.source}{frames}",
        f"style:   {plan.style}" + (", high" if plan.quality == "high" else ""),
        f"network: {network}",
        f"output:  {plan.output}, {out_width}x{out_height}, {plan.encoder}",
    ]
    return [*lines, *(f"stream:  {line}" for line in plan.decisions), *(f"note:    {line}" for line in plan.notices)]


def _ends(args: argparse.Namespace) -> tuple[str, ...]:
    """INPUTs and OUTPUT; ``--demo OUTPUT`` takes no other name, so it never overwrites a user's file by mistake."""
    if args.demo is not None:
        if args.input is not None:
            raise UsageError(f"--demo takes OUTPUT and no INPUT, got {args.input!r}: animevid --demo demo.mp4")
        return str(Path(__file__).parent.parent / "demo" / "demo.mp4"), args.demo
    if args.input is None or args.output is None:
        raise UsageError("INPUT and OUTPUT are both needed: animevid in.mp4 out.mp4; see animevid --help")
    ends = args.input, args.output, *args.more
    if "" in ends:
        kind = InputError if ends[-1] else OutputError
        raise kind("a name is empty, which would mean the current folder: is a variable of the shell not set?")
    return ends


@contextmanager
def _last_resort() -> Iterator[Callable[[], None]]:
    """Yields a function that exits the process unless this context ends within a few seconds, since a runtime may not
    return. Unfinished files are removed. Call it once; also from a signal handler.
    """
    left = threading.Event()

    def end_unless_left() -> None:
        if not left.wait(_PATIENCE_SECONDS):
            remove_under_way()
            complain("stopped by Ctrl-C; nothing was written")
            os._exit(130)

    try:
        # Not a Thread: the main thread may hold the lock of the thread list when the signal arrives.
        yield lambda: cast(None, _thread.start_new_thread(end_unless_left, ()))
    finally:
        left.set()


@contextmanager
def _signals(conversion: Conversion | Job, end_soon: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP finish the file of a live stream and cancel anything else; a second one exits at once.
    ``end_soon`` is called on cancellation.
    """
    presses = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if conversion.is_endless and presses == 1:
            conversion.stop()
        elif presses <= (2 if conversion.is_endless else 1):
            end_soon()
            raise KeyboardInterrupt
        else:
            # Do not wait for threads that may hang in a codec: a hidden .part file may remain.
            os._exit(130)

    try:
        before = {number: signal.signal(number, on_signal) for number in ending_signals()}
    except ValueError:  # not the main thread: the program that calls main() handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
