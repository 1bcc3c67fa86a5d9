"""Options that several commands share."""

from __future__ import annotations

import argparse

from animevid.cli.values import parse_count, parse_net_size, parse_share


def add_style_options(parser: argparse.ArgumentParser) -> None:
    """``--style``, ``--quality``, ``--strength``, ``--net-size``, ``--backend``, ``--device``, ``--threads``."""
    group = parser.add_argument_group("style")
    group.add_argument("--style", metavar="NAME|FILE|URL", help="a style by name, an .onnx file or its URL")
    group.add_argument("--quality", choices=("fast", "high"), default="fast", help="which variant of the style")
    group.add_argument(
        "--strength", type=parse_share, default=1.0, metavar="0..1", help="how much of the style is seen (default 1)"
    )
    group.add_argument(
        "--net-size",
        type=parse_net_size,
        metavar="WxH|full",
        help="how large the network sees a frame (as many pixels; larger frames are lifted from there); "
        "default: what the style was made for",
    )
    group = parser.add_argument_group("machine")
    group.add_argument("--backend", default="auto", metavar="NAME", help="what runs the network (default auto)")
    group.add_argument("--device", default="auto", metavar="NAME", help="where: auto, cpu, cuda:0 (default auto)")
    group.add_argument(
        "--threads", type=parse_count, default=0, metavar="N", help="threads for the network (default 0: all that pay)"
    )


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """``-v``."""
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: everything")
