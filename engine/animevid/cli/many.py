"""``animevid INPUT ... FOLDER``: converts a batch of files, one after the other."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.errors import AnimevidError, Cancelled, InputError, OutputError, UsageError
from animevid.io.network.protocols import is_local_file
from animevid.io.sources.image_files import holds_images
from animevid.jobs.batch import (
    DEFAULT_NAME,
    Outcome,
    VideoFile,
    check_names,
    convert_videos,
    find_videos,
    holds_videos,
    left_out,
    output_name,
    table,
)
from animevid.jobs.batch_progress import BatchProgress
from animevid.redaction import redacted

if TYPE_CHECKING:
    from animevid.cli.progress import Reporter
    from animevid.options import ConversionOptions

    ConvertOne = Callable[[str, str, ConversionOptions, argparse.Namespace, Reporter], int]


def is_many(args: argparse.Namespace, sources: list[str]) -> bool:
    """Whether the command converts several files (a folder of images counts as one)."""
    asked = args.name or args.watch or args.report or args.keep_going or args.skip_existing
    if len(sources) > 1 or asked or holds_videos(sources[0], recursive=args.recursive):
        return True
    return bool(args.recursive) and not is_tree_of_images(args, sources[0])


def is_tree_of_images(args: argparse.Namespace, source: str) -> bool:
    """Whether ``--recursive`` is given for a folder of images without video files."""
    is_folder = args.recursive and is_local_file(source) and Path(source).is_dir()
    return bool(is_folder) and not holds_videos(source, recursive=True) and holds_images(Path(source))


def run_many(
    args: argparse.Namespace, sources: list[str], target: str, options: ConversionOptions, convert: ConvertOne
) -> int:
    """Convert all video files of ``sources`` into the folder ``target``; returns the first nonzero exit code."""
    from animevid.cli.progress import open_reporter
    from animevid.io.containers import MUXERS
    from animevid.io.sinks.animation import ANIMATIONS
    from animevid.styles import open_style

    folder = Path(target)
    if folder.is_file() or not is_local_file(target):
        raise UsageError(f"OUTPUT = {redacted(target)!r} is not a folder: several videos are written into one")
    is_video = folder.suffix.lower() in {*MUXERS, *ANIMATIONS} and not target.endswith(("/", os.sep))
    if is_video and not folder.is_dir():
        raise UsageError(
            f"OUTPUT = {target!r} is the name of a video, but INPUT is several videos: give a folder, {folder.stem}/"
        )
    template = args.name or DEFAULT_NAME
    style = open_style(replace(options, precision=None))
    options = replace(options, style=style if options.precision is None else options.style)

    def name_of(video: VideoFile) -> Path:
        return output_name(video, folder, template=template, style=style.card.name)

    videos = _videos(args, sources)
    lost = [line for source in sources for line in left_out(source, recursive=args.recursive)]
    if lost and options.strict:
        raise InputError(f"{lost[0]}; or leave --strict out")
    if not args.quiet:
        print(*lost, sep="\n", end="\n" if lost else "", file=sys.stderr)
    pairs = [(video, name_of(video)) for video in videos]
    check_names(pairs)
    as_json = args.progress == "json" and not args.quiet
    speaks = not args.quiet and not as_json
    errors: list[int] = []
    at = 0
    skip = args.watch or ((args.skip_existing or args.keep_going) and not options.overwrite)
    waiting = (video.path for video, dst in pairs if not (skip and dst.exists()))
    batch = BatchProgress(waiting, start_seconds=options.start_seconds, end_seconds=options.end_seconds)

    def one(video: VideoFile, dst: Path) -> int:
        batch.begin(video.path)
        reporter = open_reporter(
            "none" if args.quiet else args.progress,
            output_is_stdout=False,
            batch=batch,
            video=at,
            videos=len(pairs),
            film=at,  # the earlier names of these two
            films=len(pairs),
            input=str(video.path),
        )
        try:
            return convert(str(video.path), str(dst), options, args, reporter)
        except AnimevidError as error:
            errors.append(error.exit_code)
            reporter.failed(error)
            raise

    def all_pairs() -> Iterator[tuple[VideoFile, Path]]:
        nonlocal at
        yield_later = ((video, name_of(video)) for video in _coming(args, sources)) if args.watch else ()
        for group in (pairs, yield_later):
            for pair in group:
                at += 1
                if speaks:
                    print(f"[{at}/{max(at, len(pairs))}] {pair[0].path}", file=sys.stderr)
                yield pair

    outcomes: list[Outcome] = []
    stopped = False
    try:
        for outcome in convert_videos(all_pairs(), one, keep_going=args.keep_going or args.watch, skip_existing=skip):
            outcomes.append(outcome)
            batch.end(Path(outcome.input), frames=outcome.frames)
            if speaks and outcome.state == "failed":
                print(f"animevid: {outcome.reason}", file=sys.stderr)
    except (Cancelled, KeyboardInterrupt):
        stopped = True
        if not args.watch:
            raise
    finally:
        _tell(outcomes, args, as_json=as_json, speaks=speaks)
    if stopped:
        return 0
    return (errors[0] if errors else 1) if any(outcome.state == "failed" for outcome in outcomes) else 0


def _videos(args: argparse.Namespace, sources: list[str]) -> list[VideoFile]:
    if not args.watch:
        return find_videos(sources, recursive=args.recursive)
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        raise UsageError("--watch takes one INPUT, a folder")
    import watchfiles  # noqa: F401  (fails before work begins if it is missing)

    return find_videos(sources, recursive=args.recursive) if holds_videos(sources[0], recursive=args.recursive) else []


def _coming(args: argparse.Namespace, sources: list[str]) -> Iterator[VideoFile]:
    from animevid.jobs.watch import new_videos

    return new_videos(Path(sources[0]), recursive=args.recursive)


def _tell(outcomes: list[Outcome], args: argparse.Namespace, *, as_json: bool, speaks: bool) -> None:
    if as_json:
        print(json.dumps({"event": "report", **_listed(outcomes)}), flush=True)
    elif speaks:
        print("\n".join(table(outcomes)))
    if args.report:
        try:
            Path(args.report).write_text(json.dumps(_listed(outcomes), indent=1) + "\n")
        except OSError as error:
            raise OutputError(f"--report {args.report!r} cannot be written: {error.strerror}") from error


def _listed(outcomes: list[Outcome]) -> dict[str, object]:
    """The outcomes for JSON; ``films`` is the earlier name of ``videos``."""
    fields = [outcome.fields() for outcome in outcomes]
    return {"videos": fields, "films": fields}
