"""``animevid webcam``: a camera, stylized live, in a window or as a virtual camera."""

from __future__ import annotations

import argparse
import signal
import sys
from argparse import ArgumentTypeError
from fractions import Fraction
from pathlib import Path
from typing import Any

from animevid.cli.options import add_common_options, add_style_options, style_hints
from animevid.cli.values import parse_size, parse_time
from animevid.errors import UsageError

_KEYS = """\
keys: S next style, Up/Down strength, C compare (Left/Right move the line), M mirror, P snapshot, R record,
      I figures, F full screen, H help, Q quit"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "webcam",
        description="Stylize a camera live. The newest picture wins: what the machine cannot do in time is dropped.",
        epilog=_KEYS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("camera")
    group.add_argument(
        "--device",
        metavar="NAME|NUMBER|FILE|URL|testpattern",
        help="the camera, or what stands in for it (default: the first camera)",
    )
    group.add_argument("--list-devices", action="store_true", help="list the cameras, and end")
    group.add_argument("--size", type=parse_size, metavar="WxH", help="size of the picture (default 640x360; a file's)")
    group.add_argument("--fps", type=parse_fps, metavar="N", help="pictures a second (default 30)")
    group.add_argument("--microphone", default="auto", metavar="NAME|none", help="sound for recordings (default auto)")
    group = parser.add_argument_group("show")
    group.add_argument(
        "--virtual-camera",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="also be a camera for other programs (DEVICE: such as /dev/video10; default: any)",
    )
    group.add_argument("--no-window", action="store_true", help="no window (with --virtual-camera or --record)")
    group.add_argument("--compare", action="store_true", help="begin with the original left of a line")
    group.add_argument("--mirror", action="store_true", help="begin mirrored")
    group.add_argument("--record", action="store_true", help="begin recording at once")
    group.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="for snapshots and recordings")
    group.add_argument("--no-adapt", action="store_true", help="keep resolution and quality even if the rate falls")
    group.add_argument("--duration", type=parse_time, metavar="TIME", help="end after that")
    add_common_options(parser)
    add_style_options(parser, device_option="--net-device")


def parse_fps(text: str) -> Fraction:
    """``30``, ``29.97`` or ``30000/1001``, above 0 and at most 240."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 240:
        raise ArgumentTypeError(f"{text!r} is not a rate; give pictures a second, above 0 to 240")
    return rate


def run(args: argparse.Namespace) -> int:
    if args.list_devices:
        return _print_devices()
    if not args.folder.is_dir():
        raise UsageError(f"folder = {str(args.folder)!r} does not exist: make it first")
    if args.no_window and args.virtual_camera is None and not args.record:
        raise UsageError("--no-window shows nothing: add --virtual-camera or --record")

    from animevid.io.sources.camera import CameraSettings
    from animevid.run.live import LiveSettings
    from animevid.run.stylizer_cache import EngineOptions
    from animevid.run.webcam import Webcam, WebcamOptions

    size = None
    if args.size is not None:
        width, height = args.size.of(640, 360)
        size = (height, width)
    webcam = Webcam(
        WebcamOptions(
            camera=CameraSettings(args.device, size, args.fps),
            live=LiveSettings(
                style=args.style,
                quality=args.quality,
                strength=args.strength,
                net_pixels=args.net_size,
                fps=args.fps or Fraction(30),
                adaptive=not args.no_adapt,
                mirror=args.mirror,
            ),
            engine=EngineOptions(
                backend=args.backend,
                device=args.net_device,
                threads=args.threads,
                precision=args.precision,
                sha256=args.sha256,
                hints=style_hints(args),
                max_sessions=1,
            ),
            styles=_styles(args.style),
            window=not args.no_window,
            virtual_camera=args.virtual_camera,
            microphone=None if args.microphone == "none" else args.microphone,
            folder=args.folder,
            compare=args.compare,
            record=args.record,
            seconds=None if args.duration is None else float(args.duration),
        )
    )
    # Ctrl-C ends a recording as whole as the key Q does.
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


def _styles(first: str | None) -> tuple[str | None, ...]:
    """The style asked for and, after it, all that are installed: what the key S goes through."""
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
