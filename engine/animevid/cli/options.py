"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from animevid.cli.values import parse_count, parse_net_size, parse_range, parse_share

if TYPE_CHECKING:
    from animevid.styles import CardHints


def add_style_options(parser: argparse.ArgumentParser, *, device_option: str = "--device") -> None:
    """``--style``, ``--quality``, ``--strength``, ``--net-size``, ``--backend``, ``--device``, ``--threads``.

    ``device_option`` names the network's device where ``--device`` is something else (a camera).
    """
    group = parser.add_argument_group("style")
    group.add_argument("--style", metavar="NAME|FILE|URL", help="a style by name, an .onnx file or its URL")
    group.add_argument("--quality", choices=("fast", "high"), default="fast", help="which variant of the style")
    group.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        help="which variant (default: int8 where there is one and it is faster)",
    )
    group.add_argument("--sha256", metavar="HEX", help="what the file at a URL must hash to")
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
    group = parser.add_argument_group("style without a card", "override auto-detection")
    group.add_argument("--layout", choices=("NCHW", "NHWC", "packed_yuv420"), help="the order of its axes")
    group.add_argument("--colour-order", choices=("RGB", "BGR", "YUV"), help="the order of its channels")
    group.add_argument("--input-range", type=parse_range, metavar="A:B", help="black and white as it takes them: -1:1")
    group.add_argument("--output-range", type=parse_range, metavar="A:B", help="and as it gives them: 0:255")
    group.add_argument("--size-multiple", type=parse_count, metavar="N", help="what its sides must divide by")
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="auto, onnxruntime, openvino, mnn, torch, tensorrt (default auto: the GPU if one can be used)",
    )
    group.add_argument(device_option, default="auto", metavar="NAME", help="where: auto, cpu, cuda:0 (default auto)")
    group.add_argument(
        "--threads", type=parse_count, default=0, metavar="N", help="threads for the network (default 0: all that pay)"
    )


def style_hints(args: argparse.Namespace) -> CardHints | None:
    """What the options say about a style without a card; ``None`` if nothing."""
    from animevid.styles import CardHints, ColourOrder, Layout

    hints = CardHints(
        layout=None if args.layout is None else Layout(args.layout),
        colour_order=None if args.colour_order is None else ColourOrder(args.colour_order),
        input_range=args.input_range,
        output_range=args.output_range,
        size_multiple=args.size_multiple,
    )
    return None if hints == CardHints() else hints


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """``-v``."""
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: everything")
