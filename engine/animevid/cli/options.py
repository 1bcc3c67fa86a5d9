"""Makes command-line flags from ``animevid.options``, and options from parsed arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, TypeVar

from animevid.cli.offers import BY_FLAG, offer
from animevid.declare import Declaration, Options, declaration_of, declaring_class, nested_class

T = TypeVar("T")


def add_options(
    parser: argparse.ArgumentParser,
    options: type[Options],
    *,
    prefix: str = "",
    but: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Add a flag for each option of the class ``options`` that has one, under its heading.

    Args:
        parser: the parser to extend.
        options: a class of ``animevid.options``.
        prefix: prefix of the names under which values are stored, if two classes share a name.
        but: prefix and option -> overrides of its declaration for this command (``{"flag": None}`` omits it).
    """
    for field in fields(options):
        declared = declaration_of(field)
        if declared is None:
            continue
        declared = replace(declared, **(but or {}).get(prefix + field.name, {}))
        inner = nested_class(field)
        if inner is not None:
            add_options(parser, inner, prefix=f"{prefix}{field.name}.", but=but)
        elif declared.flag is not None:
            _add_flag(
                _group(parser, declaring_class(options, field.name)),
                declared,
                dest=prefix + field.name,
                default=field.default,
            )


def read_options(args: argparse.Namespace, options: Callable[..., T], *, prefix: str = "", **given: object) -> T:
    """The options given on the command line.

    Args:
        args: the result of a parser made with ``add_options``.
        options: the class.
        prefix: as given to ``add_options``.
        given: options whose value comes from elsewhere.
    """
    values: dict[str, object] = {}
    for field in fields(options):  # type: ignore[arg-type]
        declared, inner, dest = declaration_of(field), nested_class(field), prefix + field.name
        if declared is None or field.name in given:
            continue
        if inner is not None:
            values[field.name] = read_options(args, inner, prefix=f"{dest}.")
        elif hasattr(args, dest):
            value = getattr(args, dest)
            if not declared.sets:
                values[field.name] = value
            elif value is not None:
                values |= zip(declared.sets, value, strict=True)
    return options(**values, **given)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """``-v``."""
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: everything")


def _group(parser: argparse.ArgumentParser, options: type[Options]) -> argparse._ArgumentGroup:
    for group in parser._action_groups:
        if group.title == options.heading:
            return group
    return parser.add_argument_group(options.heading, options.heading_help)


def _add_flag(group: argparse._ArgumentGroup, declared: Declaration, *, dest: str, default: object) -> None:
    assert declared.flag is not None
    flags = [declared.flag, *([declared.short] if declared.short else [])]
    how: dict[str, Any] = {"dest": dest, "help": declared.flag_help or declared.help, "default": default}
    if isinstance(default, bool):
        how["action"] = "store_false" if default else "store_true"
    else:
        how |= {"metavar": declared.metavar, "choices": declared.choices or None}
        if declared.parse is not None:
            how["type"] = declared.parse
        if declared.const is not None:
            how |= {"nargs": "?", "const": declared.const}
    assert default is not MISSING, f"{dest} needs a default"
    action = group.add_argument(*flags, **how)
    if declared.flag in BY_FLAG:
        offer(action, BY_FLAG[declared.flag])
