"""A frame number drawn into the frame, robust enough to be read back after a style and a codec.

It measures glass-to-glass latency: a synthetic camera draws the number of each frame, and a viewer of the output reads
it back. Sixteen cells in a row: a bright and a dark guard, twelve bits (most significant first) and two
bits of checksum. Each cell is a square whose side is a sixteenth of the frame's width, in luma only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Numbers wrap around to 0 here.
MODULUS = 1 << 12
_CELLS = 16
_BRIGHT, _DARK = 220, 32


def strip_px(width_px: int) -> int:
    """The height of the strip in pixels, about the width of a cell."""
    return max(1, round(width_px / _CELLS))


def draw_counter(luma: npt.NDArray[np.uint8], number: int) -> None:
    """Draw ``number`` modulo ``MODULUS`` over the top of ``luma`` ``(H, W)``, in place."""
    width = luma.shape[1]
    for index, bit in enumerate(_bits(number % MODULUS)):
        left, right = (round(width * edge / _CELLS) for edge in (index, index + 1))
        luma[: strip_px(width), left:right] = _BRIGHT if bit else _DARK


def read_counter(luma: npt.NDArray[np.uint8]) -> int | None:
    """The number in the top strip of ``luma`` ``(H, W)``, drawn at this size or another; ``None`` if it is unreadable.

    The threshold is half-way between the two guards, so a style may change both.
    """
    width = luma.shape[1]
    height = strip_px(width)
    if luma.shape[0] < height:
        return None
    rows = luma[height // 4 : max(height // 4 + 1, height * 3 // 4)]
    edges = np.linspace(0, width, _CELLS + 1)
    quarter = (edges[1] - edges[0]) / 4
    means = [float(rows[:, round(left + quarter) : round(left + 3 * quarter)].mean()) for left in edges[:-1]]
    if means[0] - means[1] < 24:
        return None
    middle = (means[0] + means[1]) / 2
    bits = [mean > middle for mean in means]
    number = 0
    for bit in bits[2:14]:
        number = number * 2 + bit
    return number if _bits(number) == bits else None


def _bits(number: int) -> list[bool]:
    payload = [bool(number >> shift & 1) for shift in range(11, -1, -1)]
    check = (sum(payload) + 2 * sum(payload[::2]) + number % 3) & 3
    return [True, False, *payload, bool(check & 2), bool(check & 1)]
