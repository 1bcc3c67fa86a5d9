"""The options of a style without a card: the properties that are not detected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from animevid.declare import Options, option
from animevid.values import parse_count, parse_range

if TYPE_CHECKING:
    from animevid.styles import ColourOrder, Layout


@dataclass(frozen=True, kw_only=True)
class CardHints(Options):
    """Overrides for a style without a card. ``None`` is inferred; a range is (black, white)."""

    heading = "style without a card"
    heading_help = "override auto-detection"
    layout: Layout | str | None = option(
        None, "the order of its axes", flag="--layout", choices=("NCHW", "NHWC", "packed_yuv420")
    )
    colour_order: ColourOrder | str | None = option(
        None, "the order of its channels", flag="--colour-order", choices=("RGB", "BGR", "YUV")
    )
    input_range: tuple[float, float] | None = option(
        None, "its input values for black and white: -1:1", flag="--input-range", parse=parse_range, metavar="A:B"
    )
    output_range: tuple[float, float] | None = option(
        None, "its output values for black and white: 0:255", flag="--output-range", parse=parse_range, metavar="A:B"
    )
    size_multiple: int | None = option(
        None, "the multiple that its sides must have", flag="--size-multiple", parse=parse_count, metavar="N"
    )
