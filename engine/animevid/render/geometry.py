"""The size at which a style's network sees a frame, before padding (which ``StyleCard.padded_px`` has)."""

from __future__ import annotations

import math
from typing import TypeAlias

from animevid.styles.card import StyleCard

#: (height, width) in pixels.
Size: TypeAlias = tuple[int, int]

#: Shares of the usual number of pixels to which live use reduces it. Each is 0.8 of the sides of the one before it.
QUALITY_SHARES = (1.0, 0.64, 0.41, 0.26)
_MIN_PIXELS = 32 * 32
#: A frame this much larger than ``net_pixels`` still runs whole: upsampling would gain nothing.
_NET_PIXELS_SLACK = 1.25


def net_size(card: StyleCard, height: int, width: int, *, net_pixels: int) -> Size:
    """The network's (height, width) for a frame of ``height`` x ``width``, before padding.

    Args:
        card (StyleCard): the style; a network of one fixed size always has that size.
        height (int): of the frame, in pixels.
        width (int): of the frame, in pixels.
        net_pixels (int): the most pixels that the network may see; 0: no limit.
    """
    if card.fixed_size_px is not None:
        return card.fixed_size_px
    if not net_pixels or height * width <= net_pixels * _NET_PIXELS_SLACK:
        return height, width
    scale = math.sqrt(net_pixels / (height * width))
    return _side(height, scale, card.padded_multiple_px), _side(width, scale, card.padded_multiple_px)


def reduced_pixels(net_pixels: int, height: int, width: int, *, share: float) -> int:
    """``net_pixels`` for frames of ``height`` x ``width`` px, reduced to ``share`` (0 to 1). Given 0: no limit."""
    pixels = height * width
    return max(_MIN_PIXELS, round((min(net_pixels, pixels) if net_pixels else pixels) * share))


def _side(length: int, scale: float, multiple: int) -> int:
    # A thin frame may be smaller than the multiple: padding fills it.
    return min(max(round(length * scale / multiple), 1) * multiple, length)
