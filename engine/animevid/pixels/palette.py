"""Frames of 255 colours for GIF: chooses the palette and each pixel's colour.

The palette is chosen from a sample of a frame and kept for later frames as long as it fits, so that still areas keep
their colours. After an ordered dither, each pixel's colour is looked up by its cell, one of 64 for each of R', G' and
B'.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

#: Maximum number of colours: one of GIF's 256 is reserved for transparency.
MAX_COLOURS = 255
#: Approximate number of pixels in a sample.
_SAMPLED_PIXELS = 16384
#: Steps of Lloyd's algorithm after the median cut.
_REFINEMENTS = 4
#: The palette no longer fits if the error of a sample has grown by this factor ...
_WORSE = 1.25
#: ... or if the share of pixels that are farther than this from their colour, in codes, has grown by this much.
_FAR, _FAR_SHARE = 24.0, 0.001
#: Maximum amplitude of the dither, in codes.
_DITHER = 3.0


def choose_colours(sample: UInt8) -> UInt8:
    """A palette (K, 3) for ``sample`` (N, 3), R'G'B': a median cut, then steps of Lloyd's algorithm.

    K is at most ``MAX_COLOURS``, and less if the sample has fewer colours.
    """
    from PIL import Image

    cut = Image.fromarray(sample[np.newaxis]).quantize(MAX_COLOURS, method=Image.Quantize.MEDIANCUT)
    colours: npt.NDArray[np.float64] = np.asarray(cut.getpalette("RGB"), np.float64).reshape(-1, 3)
    for _ in range(_REFINEMENTS):
        nearest = nearest_colours(sample, colours)
        counts = np.bincount(nearest, minlength=len(colours))
        sums = [np.bincount(nearest, sample[:, channel], minlength=len(colours)) for channel in range(3)]
        used = counts > 0
        colours = np.stack(sums, axis=1)[used] / counts[used, np.newaxis]
    return np.unique(np.rint(colours).astype(np.uint8), axis=0)


def nearest_colours(
    pixels: UInt8 | npt.NDArray[np.float32], colours: UInt8 | npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """The index into ``colours`` (K, 3) of the nearest colour, for each of ``pixels`` (N, 3)."""
    table = colours.astype(np.float32)
    # |p - c|^2 = |p|^2 - 2 (p.c - |c|^2 / 2): the nearest colour has the largest bracket.
    closeness = pixels.astype(np.float32) @ table.T - (table**2).sum(axis=1) / 2
    return cast(npt.NDArray[np.intp], closeness.argmax(axis=1))


class Palette:
    """Colours, and a table from cells of the colour cube to the nearest of them, filled as cells occur.

    Args:
        colours (UInt8): R'G'B', (K, 3), K up to 256.
    """

    def __init__(self, colours: UInt8) -> None:
        self.colours = colours
        self._table = np.full(1 << 18, -1, np.int16)

    def indices(self, rgb: UInt8) -> UInt8:
        """The colour index of each pixel's cell, (H, W), for ``rgb`` (H, W, 3), without dither."""
        cells = _cells(rgb)
        found = self._table[cells]
        if found.min() < 0:
            new = np.unique(cells[found < 0])
            self._table[new] = nearest_colours(_middles(new), self.colours)
            found = self._table[cells]
        return found.astype(np.uint8)

    def dithered(self, rgb: UInt8) -> UInt8:
        """Like ``indices``, but with dither."""
        lighter, darker = _dither(*rgb.shape[:2])
        return self.indices(cast(UInt8, cv2.subtract(cv2.add(rgb, lighter), darker)))

    def dithered_ref(self, rgb: UInt8) -> UInt8:
        """Reference for ``dithered``: the nearest colour of each pixel itself, not of its cell."""
        lighter, darker = _dither(*rgb.shape[:2])
        shifted = np.clip(rgb.astype(np.int16) + lighter - darker, 0, 255)
        return nearest_colours(shifted.reshape(-1, 3), self.colours).reshape(rgb.shape[:2]).astype(np.uint8)


class _Misfit(NamedTuple):
    """The mean square error of a sample, and the share of pixels that are far from their colour."""

    mean_square: float
    far_share: float


class KeptPalette:
    """Palettes for a sequence of frames: the last one as long as it fits, else a new one."""

    def __init__(self) -> None:
        self._palette: Palette | None = None
        self._at_first = _Misfit(0.0, 0.0)

    def palette_for(self, rgb: UInt8, *, opaque: npt.NDArray[np.bool_] | None = None) -> Palette:
        """The palette for ``rgb`` (H, W, 3); ``opaque`` (H, W) says which pixels count."""
        sample = _sample(rgb, opaque)
        if self._palette is None or self._is_worse(_misfit(sample, self._palette)):
            self._palette = Palette(choose_colours(sample))
            self._at_first = _misfit(sample, self._palette)
        return self._palette

    def _is_worse(self, now: _Misfit) -> bool:
        first = self._at_first
        return now.mean_square > _WORSE * first.mean_square + 1 or now.far_share > first.far_share + _FAR_SHARE


def _sample(rgb: UInt8, opaque: npt.NDArray[np.bool_] | None) -> UInt8:
    """Pixels (N, 3) on a grid over the frame; one black pixel if nothing is opaque."""
    step = max(1, round((rgb.shape[0] * rgb.shape[1] / _SAMPLED_PIXELS) ** 0.5))
    grid = rgb[::step, ::step]
    pixels = grid.reshape(-1, 3) if opaque is None else grid[opaque[::step, ::step]]
    return pixels if len(pixels) else np.zeros((1, 3), np.uint8)


def _misfit(sample: UInt8, palette: Palette) -> _Misfit:
    drawn = palette.colours[palette.indices(np.ascontiguousarray(sample[np.newaxis]))[0]]
    square = ((sample.astype(np.float32) - drawn) ** 2).sum(axis=1)
    return _Misfit(float(square.mean()) / 3, float((square > _FAR**2).mean()))


def _cells(rgb: UInt8) -> npt.NDArray[np.uint32]:
    """The number of each pixel's cell, (H, W): the upper six bits of blue, green and red, side by side."""
    wide: npt.NDArray[np.uint32] = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).view("<u4")[..., 0]
    return (wide & 0xFC) >> 2 | (wide & 0xFC00) >> 4 | (wide & 0xFC0000) >> 6  # type: ignore[return-value]


def _middles(cells: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """R'G'B' in the middle of each cell, (N, 3)."""
    sixes = np.stack([cells & 63, cells >> 6 & 63, cells >> 12], axis=1)
    return sixes.astype(np.float32) * 4 + np.float32(1.5)


@lru_cache(maxsize=2)
def _dither(height: int, width: int) -> tuple[UInt8, UInt8]:
    """The dither for each sample, (H, W, 3): Bayer's 8x8 matrix with mean 0."""
    matrix = np.zeros((1, 1))
    for _ in range(3):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    offsets = np.rint((matrix - 31.5) / 32 * _DITHER).astype(np.int16)
    whole = np.tile(offsets, (height // 8 + 1, width // 8 + 1))[:height, :width, np.newaxis].repeat(3, axis=2)
    return np.maximum(whole, 0).astype(np.uint8), np.maximum(-whole, 0).astype(np.uint8)
