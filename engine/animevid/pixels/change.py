"""Detects whether a frame differs from the last stylized one, so that static scenes skip the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from animevid.pixels import native
from animevid.pixels.planes import Plane, PlanesYUV420

#: Side of a block in samples of its own plane.
BLOCK_PX = 8
#: Rows of a plane that are compared at once; the first bands usually show a change.
_BAND_ROWS = 8 * BLOCK_PX


class Difference(NamedTuple):
    """The differences of two planes, in 8-bit code values (codes of deeper planes are scaled down)."""

    largest: float  #: of all samples: |a - b|
    block_absolute: float  #: of all blocks: mean of |a - b|
    block_signed: float  #: of all blocks: |mean of a - b|; noise cancels out in it, drift does not
    mean: float  #: of the plane: mean of |a - b|


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Differences up to these values count as codec or camera noise (8-bit code values, see :class:`Difference`).

    The defaults are just above the noise of a still scene encoded by x264 at its default quality (CRF 23), including
    key frames, and far below visible motion: in the test clips, the largest difference between two frames in motion is
    at least 54 codes.
    """

    largest: float = 24.0
    block_absolute: float = 5.0
    block_signed: float = 2.75


def plane_difference(first: Plane, second: Plane, *, bit_depth: int = 8) -> Difference:
    """The :class:`Difference` of two planes (H, W) of one shape and dtype. Blocks at the edges may be smaller."""
    if native.kernels is None:
        return plane_difference_ref(first, second, bit_depth=bit_depth)
    return Difference(*native.kernels.plane_difference(first, second, 1.0 / (1 << (bit_depth - 8))))


def plane_difference_ref(first: Plane, second: Plane, *, bit_depth: int = 8) -> Difference:
    """Reference for :func:`plane_difference`."""
    height, width = first.shape
    signed = first.astype(np.int32) - second.astype(np.int32)
    absolute = np.abs(signed)
    counts = _block_sums_ref(np.ones_like(signed))
    scale = 1.0 / (1 << (bit_depth - 8))
    return Difference(
        float(absolute.max()) * scale,
        float((_block_sums_ref(absolute) / counts).max()) * scale,
        float((np.abs(_block_sums_ref(signed)) / counts).max()) * scale,
        float(absolute.sum(dtype=np.int64)) / (height * width) * scale,
    )


def _block_sums_ref(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    height, width = values.shape
    whole = np.pad(values, ((0, -height % BLOCK_PX), (0, -width % BLOCK_PX)))
    rows, columns = whole.shape[0] // BLOCK_PX, whole.shape[1] // BLOCK_PX
    return np.asarray(whole.reshape(rows, BLOCK_PX, columns, BLOCK_PX).sum(axis=(1, 3), dtype=np.int64))


def are_of_one_form(reference: PlanesYUV420, planes: PlanesYUV420) -> bool:
    """Whether the samples can be compared: size, depth and colour are equal."""
    return (reference.y.shape, reference.bit_depth, reference.colour) == (
        planes.y.shape, planes.bit_depth, planes.colour,
    )  # fmt: skip


def has_changed(reference: PlanesYUV420, planes: PlanesYUV420, *, floor: NoiseFloor | None = None) -> bool:
    """Whether ``planes`` differs from ``reference`` by more than noise; true if size, depth or colour differ."""
    floor = floor or NoiseFloor()
    if not are_of_one_form(reference, planes):
        return True
    for before, now in ((reference.y, planes.y), (reference.u, planes.u), (reference.v, planes.v)):
        for top in _from_the_middle(now.shape[0]):
            band = slice(top, top + _BAND_ROWS)
            difference = plane_difference(before[band], now[band], bit_depth=planes.bit_depth)
            if (
                difference.largest > floor.largest
                or difference.block_absolute > floor.block_absolute
                or difference.block_signed > floor.block_signed
            ):
                return True
    return False


@lru_cache(maxsize=64)
def _from_the_middle(height: int) -> tuple[int, ...]:
    """First rows of a plane's bands, from the middle outwards, since most motion is in the middle."""
    tops = range(0, height, _BAND_ROWS)
    return tuple(sorted(tops, key=lambda top: abs(2 * top + _BAND_ROWS - height)))


class ChangeDetector:
    """Remembers the last stylized frame and decides whether the next one must be stylized.

    Each frame is compared with the last stylized one, not with its predecessor, so slow motion adds up until it is
    detected, and the shown frame is at most one noise floor away from the current one.
    """

    def __init__(self, *, floor: NoiseFloor | None = None, compare: Callable[..., bool] = has_changed) -> None:
        """``compare`` takes the arguments of :func:`has_changed`."""
        self._floor = floor or NoiseFloor()
        self._compare = compare
        self._stylized: PlanesYUV420 | None = None

    def must_stylize(self, planes: PlanesYUV420) -> bool:
        """True for the first frame and for each that differs, which becomes the new reference and is kept."""
        if self._stylized is not None and not self._compare(self._stylized, planes, floor=self._floor):
            return False
        self._stylized = planes
        return True
