"""``animevid webcam``: stylizes a camera live, in a window or as a virtual camera."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from animevid.cli.config import tell_defaults
from animevid.cli.options import add_common_options, add_options, read_options
from animevid.errors import UsageError
from animevid.options import StyleSpec, WebcamOptions

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers

_KEYS = """\
keys: S next style, Up/Down strength, C compare (Left/Right move the line), M mirror, P snapshot, R record,
      I figures, F full screen, H help, Q quit"""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "webcam",
        description="Stylize a camera live. Frames that the machine cannot draw in time are dropped.",
        epilog=_KEYS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common_options(parser)
    add_options(parser, WebcamOptions, but={"runtime.device": {"flag": "--net-device"}})
    parser.add_argument("--list-devices", action="store_true", help="list the cameras, and end")


def run(args: argparse.Namespace) -> int:
    if args.list_devices:
        return _print_devices()
    tell_defaults(args)
    options = read_options(args, WebcamOptions)
    if not options.folder.is_dir():
        raise UsageError(f"folder = {str(options.folder)!r} does not exist: make it first")
    if not options.window and options.virtual_camera is None and not options.record:
        raise UsageError("--no-window shows nothing: add --virtual-camera or --record")

    from animevid.run.webcam import Webcam

    live = replace(options.live, fps=options.camera.fps or options.live.fps)
    webcam = Webcam(replace(options, live=live, styles=_styles(live.style)))
    # Ctrl-C finishes a recording, as the key Q does.
    before = signal.signal(signal.SIGINT, lambda *_: webcam.stop())
    try:
        statistics = webcam.run(on_status=_status if sys.stderr.isatty() else None)
    finally:
        signal.signal(signal.SIGINT, before)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for path in webcam.files:
        print(path)
    print(
        f"{statistics.frames_shown} frames, {statistics.frames_dropped} dropped, latency "
        f"{statistics.latency_median_seconds * 1000:.0f} ms (95 %: {statistics.latency_p95_seconds * 1000:.0f} ms)"
    )
    return 0


def _styles(first: StyleSpec) -> tuple[StyleSpec, ...]:
    """The requested style, then all installed ones; the key S steps through them."""
    from animevid.styles import DEFAULT_STYLE, list_styles

    names = dict.fromkeys(style.card.name for style in list_styles())
    return tuple(dict.fromkeys([first or DEFAULT_STYLE, *names]))


def _print_devices() -> int:
    from animevid.io.sources.camera import list_cameras

    cameras = list_cameras()
    for number, camera in enumerate(cameras):
        print(f"{number}  {camera.name}  {camera.title}")
    if not cameras:
        print("no camera was found; --device testpattern, a file or a URL stands in for one", file=sys.stderr)
    return 0


def _status(line: str) -> None:
    print(f"\r{line[:118]:<118}", end="", file=sys.stderr, flush=True)
