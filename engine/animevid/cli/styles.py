"""``animevid styles``: lists the installed styles."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from animevid.cli.offers import offer, style_names
from animevid.cli.options import add_common_options

if TYPE_CHECKING:
    from animevid.cli.app import Subparsers
    from animevid.styles import Style


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "styles",
        description="List the styles that are installed, or show the card of one (a name, an .onnx file or a URL).",
    )
    offer(parser.add_argument("name", nargs="?", help="the style to show"), style_names)
    parser.add_argument("--quality", choices=("fast", "high"), default="fast", help="which variant of it")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_common_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.name is None:
        return print_styles(as_json=args.json)
    from animevid.styles import load_style

    style = load_style(args.name, quality=args.quality)
    card = json.loads(style.card.to_json())
    if args.json:
        print(json.dumps(card, indent=2))
    else:
        for key, value in card.items():
            if value not in ("", 0, None):
                print(f"{key:<18}{value}")
    return 0


def print_styles(*, as_json: bool) -> int:
    """Print one line per style (or JSON), the default one first."""
    from animevid.styles import list_styles

    styles = list_styles()
    if as_json:
        print(json.dumps([json.loads(style.card.to_json()) for style in styles], indent=2))
        return 0
    if not styles:
        print("no style is installed; --style takes an .onnx file or a URL")
        return 0
    width = max(len(style.card.name) for style in styles)
    for style in styles:
        print(f"{style.card.name:<{width}}  {_remarks(style)}")
    return 0


def _remarks(style: Style) -> str:
    card = style.card
    parts = [card.title or card.description, card.quality if card.quality != "fast" else "", card.licence]
    return "; ".join(part for part in parts if part)
