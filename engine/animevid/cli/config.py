"""Option defaults from ``animevid.toml``, in the current folder or the user's configuration folder.

Keys are the long flags without their dashes (``style = "aozora"``, ``crf = 22``, ``no-copy = true``), for
conversions at the top level, for ``webcam`` and ``serve`` in tables of those names. The command line takes precedence.
A command prints which options came from the file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from animevid.declare import Options, declaration_of, nested_class
from animevid.errors import UsageError
from animevid.options import CameraOptions, ConversionOptions, LiveOptions, RuntimeOptions, WebcamOptions
from animevid.redaction import printable, redacted_text
from animevid.suggestions import nearest

NAME = "animevid.toml"
_OPTIONS: dict[str, tuple[type[Options], ...]] = {
    "convert": (ConversionOptions,),
    "farm": (ConversionOptions,),
    "webcam": (WebcamOptions,),
    "serve": (CameraOptions, LiveOptions, RuntimeOptions),
}
_TABLES = ("webcam", "serve")
#: Options that must not come from a forgotten file.
_NEVER = ("--overwrite",)


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults that a file sets for a command.

    Args:
        path (Path): the file.
        options (tuple[tuple[str, object], ...]): its keys and values for this command.
        arguments (tuple[str, ...]): the same as arguments, to be put before those of the command line.
    """

    path: Path
    options: tuple[tuple[str, object], ...]
    arguments: tuple[str, ...]

    def in_force(self, parser: argparse.ArgumentParser, given: Sequence[str]) -> str:
        """The file and those of its options that ``given``, the command line, does not override; ``""``: none."""
        untouched = object()
        actions = {key: parser._option_string_actions[f"--{key}"] for key, _ in self.options}
        seen = argparse.Namespace(**{action.dest: untouched for action in actions.values()})
        parser.parse_args(given, seen)
        kept = [
            f"{key} = {str(value).lower() if isinstance(value, bool) else value}"
            for key, value in self.options
            if getattr(seen, actions[key].dest) is untouched
        ]
        return f"{self.path}: {', '.join(kept)}" if kept else ""


def find_config() -> Path | None:
    """The file in effect: ``./animevid.toml``, else ``$XDG_CONFIG_HOME/animevid/animevid.toml``."""
    settings = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(settings):  # the XDG Base Directory Specification: a relative path is ignored
        settings = os.path.expanduser("~/.config")
    # os.path.isfile: an unreadable folder counts as empty.
    return next((path for path in (Path(NAME), Path(settings, "animevid", NAME)) if os.path.isfile(path)), None)


def read_defaults(command: str, parser: argparse.ArgumentParser) -> Defaults | None:
    """The defaults in ``animevid.toml`` for ``command``; ``None`` if there is no such file.

    Args:
        command: its name; most commands have no defaults.
        parser: its parser, which checks names and values.

    Raises:
        UsageError: the file cannot be read or belongs to another user, or an option or its value is invalid.
    """
    path = find_config() if command in _OPTIONS else None
    if path is None:
        return None
    asked = _read(path)
    tables = {name: asked.pop(name, {}) for name in _TABLES}
    table = tables.get(command, asked)
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {command} = {table!r} must be a table: [{command}]")
    known = {flag.removeprefix("--"): flag for kind in _OPTIONS[command] for flag in _flags(kind)}
    known = {key: flag for key, flag in known.items() if flag in parser._option_string_actions and flag not in _NEVER}
    arguments = [argument for key, value in table.items() for argument in _arguments(path, parser, key, value, known)]
    return Defaults(path, tuple(table.items()), tuple(arguments))


def tell_defaults(args: argparse.Namespace) -> None:
    """Print on standard error which options come from the file: ``args.defaults``, from ``Defaults.in_force``."""
    if args.defaults and not getattr(args, "quiet", False) and getattr(args, "progress", "") != "json":
        print(f"defaults from {printable(redacted_text(args.defaults))}", file=sys.stderr)


def _read(path: Path) -> dict[str, object]:
    try:
        # In a shared folder such as /tmp. A container's root may work in a user's folder.
        if os.name == "posix" and path.stat().st_uid not in (0, os.getuid(), path.parent.stat().st_uid):
            raise UsageError(f"{path} belongs to another user: take it away, or work in another folder")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _flags(options: type[Options]) -> Iterator[str]:
    for field in fields(options):
        declared, inner = declaration_of(field), nested_class(field)
        if inner is not None:
            yield from _flags(inner)
        elif declared is not None and declared.flag is not None:
            yield declared.flag


def _arguments(
    path: Path, parser: argparse.ArgumentParser, key: str, value: object, known: dict[str, str]
) -> list[str]:
    if key not in known:
        meant = nearest(key, known)
        raise UsageError(f"{path}: {key!r} is no option there" + (f"; did you mean {meant}?" if meant else ""))
    action = parser._option_string_actions[known[key]]
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {key} = {value!r} must be true or false")
        return [known[key]] if value else []
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{path}: {key} = {value!r} must be a text or a number")
    try:
        parser._check_value(action, parser._get_value(action, str(value)))
    except argparse.ArgumentError as error:
        raise UsageError(f"{path}: {key}: {error.message}") from error
    return [f"{known[key]}={value}"]
