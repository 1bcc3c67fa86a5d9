"""RGB arrays as they come from and go to users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from animevid.errors import UsageError
from animevid.pixels import (
    Colour,
    ColourRange,
    PlanesYUV420,
    rgb_to_planes,
)

if TYPE_CHECKING:
    pass
from animevid.render.renderer import (
    RGBFrames,
)


def check_rgb(frames: RGBFrames, *, dimensions: tuple[int, ...]) -> None:
    if frames.dtype != np.uint8 or frames.ndim not in dimensions or frames.shape[-1] != 3 or 0 in frames.shape:
        shapes = " or ".join("(N, H, W, 3)" if count == 4 else "(H, W, 3)" for count in dimensions)
        raise UsageError(f"{frames.dtype = }, {frames.shape = }: give uint8 RGB of shape {shapes}")


def planes_of_rgb(frame: RGBFrames) -> PlanesYUV420:
    # Full range keeps all 256 levels; an untagged matrix is guessed by size, as it is for video.
    return rgb_to_planes(frame, colour=Colour(range=ColourRange.FULL))
