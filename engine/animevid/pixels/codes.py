"""The scale and offset of code values by bit depth and range (H.273, section 8.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from animevid.pixels.colour import ColourRange
from animevid.pixels.planes import Plane, PlanesYUV420


@dataclass(frozen=True, slots=True)
class CodeRange:
    """``y01 = (Y - black) / luma_span`` is 0 at black, 1 at white; ``c = (C - chroma_mid) / chroma_span`` lies in
    [-0.5, 0.5]. All are code values at the frame's bit depth; ``max_code`` is the largest one.
    """

    black: float
    luma_span: float
    chroma_mid: float
    chroma_span: float
    max_code: int


@lru_cache(maxsize=32)
def code_range(bit_depth: int, colour_range: ColourRange) -> CodeRange:
    """The code values for a bit depth (8..16) and range; an unspecified range means limited."""
    unit = float(1 << (bit_depth - 8))
    max_code = (1 << bit_depth) - 1
    if colour_range is ColourRange.FULL:
        return CodeRange(0.0, float(max_code), 128 * unit, float(max_code), max_code)
    return CodeRange(16 * unit, 219 * unit, 128 * unit, 224 * unit, max_code)


def code_range_of(planes: PlanesYUV420) -> CodeRange:
    """``code_range`` for a frame's depth and range tag."""
    return code_range(planes.bit_depth, planes.colour.range)


def to_codes_ref(values: npt.NDArray[np.float32], dtype: np.dtype[Any], max_code: int) -> Plane:
    """``values`` in code values, rounded to nearest and clamped to ``0..max_code``; NaN becomes 0."""
    codes: Plane = (np.clip(np.nan_to_num(values, nan=0.0), 0, max_code) + np.float32(0.5)).astype(dtype)
    return codes
