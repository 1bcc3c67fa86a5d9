"""``animevid serve``: a page that stylizes cameras and files in the browser."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from animevid.cli.config import tell_defaults
from animevid.cli.options import add_common_options, add_options, read_options
from animevid.errors import LiveError, UsageError
from animevid.options import CameraOptions, LiveOptions, RuntimeOptions, StyleOptions
from animevid.values import parse_count

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers
    from animevid.styles import Style

#: Time limit for running requests after Ctrl-C.
_FAREWELL_SECONDS = 0.5

#: The environment variable for the token, which other users of the machine cannot read.
TOKEN_VARIABLE = "ANIMEVID_TOKEN"

_EPILOG = """\
Without --host only this machine reaches the page. With another --host everybody must know the token, which travels
unencrypted: put a proxy with TLS in front (and name it: --origin https://anime.example.org). Browsers lend their
camera to https pages and to localhost only."""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "serve",
        description="Serve a page that stylizes the viewer's camera, this machine's camera, and files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default 127.0.0.1)")
    group.add_argument("--port", type=parse_count, default=8080, metavar="N", help="default 8080; 0: any free one")
    group.add_argument("--token", metavar="TEXT", help="what viewers must give (generated if --host needs one)")
    group.add_argument("--token-file", metavar="FILE", help=f"the token is its first line (or set {TOKEN_VARIABLE})")
    group.add_argument("--origin", action="append", default=[], metavar="URL", help="a proxy's address in front")
    group.add_argument("--max-viewers", type=parse_count, default=4, metavar="N", help="live at a time (default 4)")
    group.add_argument("--max-upload", type=parse_count, default=512, metavar="MIB", help="of a file (default 512)")
    group.add_argument("--max-minutes", type=parse_count, default=10, metavar="N", help="of a file (default 10)")
    group.add_argument(
        "--unconfined-uploads",
        action="store_true",
        help="convert files also where the system cannot confine the converter (Linux without Landlock or seccomp)",
    )
    add_common_options(parser)
    add_options(
        parser,
        CameraOptions,
        prefix="camera.",
        but={"camera.device": {"flag_help": "this machine's camera: offer it to viewers (default: none is offered)"}},
    )
    add_options(parser, LiveOptions, prefix="live.", but={"live.mirror": {"flag": None}})
    add_options(parser, RuntimeOptions, prefix="runtime.", but={"runtime.device": {"flag": "--net-device"}})


def run(args: argparse.Namespace) -> int:
    from aiohttp import web

    from animevid.confinement import missing
    from animevid.server.app import ServerOptions, make_app
    from animevid.server.auth import Guard, is_loopback, new_token
    from animevid.server.listen import serve
    from animevid.server.sandbox import SandboxLimits
    from animevid.server.uploads import JobLimits

    if args.max_viewers < 1:
        raise UsageError(f"--max-viewers {args.max_viewers} must be 1 or more")
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port} is no port: give 1 to 65535, or 0 for one that is free")
    tell_defaults(args)
    away = not is_loopback(args.host)
    token = _given_token(args) or (new_token() if away else None)
    camera = read_options(args, CameraOptions, prefix="camera.")
    live = read_options(args, LiveOptions, prefix="live.")
    seconds = 60.0 * args.max_minutes
    sandbox = replace(SandboxLimits(), duration_seconds=seconds, video_pixels=round(1280 * 720 * 30 * seconds))
    app = make_app(
        ServerOptions(
            styles=_styles(live),
            guard=Guard(args.host, token, tuple(origin.rstrip("/") for origin in args.origin)),
            live=replace(live, style=None, fps=camera.fps or live.fps),
            runtime=read_options(args, RuntimeOptions, prefix="runtime."),
            max_viewers=args.max_viewers,
            camera=None if camera.device is None else camera,
            jobs=JobLimits(
                upload_bytes=args.max_upload << 20, may_be_unconfined=args.unconfined_uploads, sandbox=sandbox
            ),
        )
    )
    if away:
        print(
            "everybody who can reach this machine sees this page and needs the token; token and frames travel\n"
            "unencrypted: TLS belongs in front (a proxy, and --origin https://its-name)"
        )
    if missing() and not args.unconfined_uploads:
        print(
            f"no files are converted: this system lacks {' and '.join(missing())}; --unconfined-uploads does it anyway"
        )
    listening = _listen(args.host, args.port)
    name = f"[{args.host}]" if ":" in args.host else args.host
    query = f"?token={token}" if token else ""

    async def announce(_: web.Application) -> None:
        print(f"animevid is at http://{name}:{listening.getsockname()[1]}/{query}  (Ctrl-C ends it)", flush=True)

    app.on_startup.append(announce)
    # Live responses never end by themselves (aiohttp would wait a minute for them).
    with suppress(KeyboardInterrupt):  # Windows, where no signal handler can be set
        asyncio.run(serve(app, listening, farewell_seconds=_FAREWELL_SECONDS))
    return 0


def _given_token(args: argparse.Namespace) -> str | None:
    """The token of ``--token``, ``--token-file`` or the environment, from which it is removed for child processes.

    All users of this machine can read the command line, so prefer the other two.

    Raises:
        UsageError: two tokens are given, the file cannot be read, or the token is too short.
    """
    from_environment = os.environ.pop(TOKEN_VARIABLE, "")
    if args.token is not None and args.token_file is not None:
        raise UsageError("--token and --token-file exclude each other: give one of them")
    token = args.token or from_environment
    if args.token_file is not None:
        try:
            with open(args.token_file, encoding="utf-8") as file:
                token = file.readline(1000).strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UsageError(f"--token-file {args.token_file!r} cannot be read ({reason})") from error
    if (token or args.token is not None or args.token_file is not None) and len(token) < 12:
        raise UsageError("the token must have 12 characters or more: leave it out and one is generated")
    return token or None


def _listen(host: str, port: int) -> socket.socket:
    """Raises:
    LiveError: the address is not one of this machine, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LiveError(f"{host}:{port} cannot be listened on ({reason}): give another --host or --port") from error


def _styles(options: StyleOptions) -> tuple[Style, ...]:
    """The requested style, then all installed ones; one of each name."""
    from animevid.styles import list_styles, open_style

    wanted = open_style(options)
    found = {wanted.card.name: wanted}
    for style in list_styles():
        found.setdefault(style.card.name, replace(style, allow_int8=options.precision != "fp32"))
    return tuple(found.values())
