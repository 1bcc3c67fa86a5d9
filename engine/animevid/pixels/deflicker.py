"""Removes flicker: where only noise changed since the last frame, the output stays the same.

A stylizer turns small differences into contours and flat areas, so camera or codec noise that is hardly visible in the
input makes lines and patches of the output jump. Where the input is still, input and output converge to a mean over
time; where it moves, the current frame is used, so that nothing trails behind.

Tensors hold *cells*, ``(C, H, W)``: ``(24, h/4, w/4)`` for a packed frame. Let ``x`` be the input, ``m`` the filtered
input of the previous frame, and one code an 8-bit step of the input:

change      ``e``: root mean square of ``x - m`` over a cell's channels; a neighbour's counts :data:`NEIGHBOUR_SHARE`
            of its value, since a network also draws beyond the cells that moved; the largest of them is taken
weight      ``w = least + (1 - least) s(t)``, ``s(t) = t^2 (3 - 2 t)``, ``t = (e - still) / (moving - still)`` clamped
            to [0, 1]; at least ``fading`` times the previous weight
settling    ``m + w (x - m)``, and likewise for the output with the same weights: motion-adaptive first-order recursive
            filters (Brailean et al. 1995, "Noise reduction filters for dynamic image sequences: a review")
noise       the 20th percentile of the cells' changes, averaged over time; ``still`` is twice that, between
            :data:`STILL_CODES` and :data:`MAX_STILL_CODES`, and ``moving`` is three times ``still``
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from animevid.errors import UsageError
from animevid.pixels import native

Float32 = npt.NDArray[np.float32]

STILL_CODES = 3.0  # a change up to this never counts as motion: it is far below what is visible
MAX_STILL_CODES = 6.0  # the highest noise level: more is motion, not noise
STILL_OVER_NOISE = 2.0
MOVING_OVER_STILL = 3.0
NEIGHBOUR_SHARE = 0.5  # of a neighbour's change
MIN_WEIGHT = 0.05  # for still areas, which converge within about twenty frames
FADING = 0.7  # after motion, weights decay by this factor per frame, or trails would remain
QUIET_SHARE = 0.2
NOISE_MEMORY = 0.8  # weight of the previous noise estimate
_BINS = 128
_BINS_PER_CODE = 8


def settle_input(
    before: Float32,
    now: Float32,
    earlier: Float32,
    *,
    still_codes: float,
    units_per_code: float,
    least: float = MIN_WEIGHT,
    fading: float = FADING,
) -> tuple[Float32, float]:
    """Filter ``now`` ``(C, H, W)`` in place with the previous ``before``; return the weights ``(H, W)`` and the noise.

    ``earlier`` are the previous frame's weights; the noise is in codes, in steps of 1/8. All arrays are float32 and
    C-contiguous.

    Raises:
        UsageError: shapes that do not fit.
    """
    _check(before, now, earlier)
    if native.kernels is None:
        return settle_input_ref(
            before, now, earlier, still_codes=still_codes, units_per_code=units_per_code, least=least, fading=fading
        )
    weights = np.empty_like(earlier)
    moving = still_codes * MOVING_OVER_STILL
    noise = native.kernels.settle_input(
        before, now, earlier, weights, units_per_code, still_codes, moving, least, fading
    )
    return weights, float(noise)


def settle_input_ref(
    before: Float32,
    now: Float32,
    earlier: Float32,
    *,
    still_codes: float,
    units_per_code: float,
    least: float = MIN_WEIGHT,
    fading: float = FADING,
) -> tuple[Float32, float]:
    """Reference for :func:`settle_input`."""
    _check(before, now, earlier)
    change = np.sqrt(((now - before) ** 2).mean(0)) / np.float32(units_per_code)
    wide = np.pad(change, 1, mode="edge")
    height, width = change.shape
    largest = np.max([wide[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    largest = np.maximum(change, np.float32(NEIGHBOUR_SHARE) * largest)
    share = np.clip((largest - still_codes) / (still_codes * (MOVING_OVER_STILL - 1)), 0, 1)
    share = least + (1 - least) * share * share * (3 - 2 * share)
    weights = np.maximum(share, np.float32(fading) * earlier).astype(np.float32)
    settle_ref(before, weights, now)
    counts = np.bincount(np.minimum(change * _BINS_PER_CODE, _BINS - 1).astype(np.int64).ravel(), minlength=_BINS)
    quiet = int(np.float32(QUIET_SHARE) * np.float32(change.size))
    return weights, min(int(np.searchsorted(np.cumsum(counts), quiet, side="right")), _BINS - 1) / _BINS_PER_CODE


def settle(before: Float32, weights: Float32, now: Float32) -> None:
    """``now`` ``(C, H, W)`` becomes ``before + weights (now - before)``; ``weights`` ``(H, W)``.

    All are float32 and C-contiguous.

    Raises:
        UsageError: shapes that do not fit.
    """
    _check(before, now, weights)
    if native.kernels is None:
        settle_ref(before, weights, now)
    else:
        native.kernels.settle(before, weights, now)


def settle_ref(before: Float32, weights: Float32, now: Float32) -> None:
    """Reference for :func:`settle`."""
    now[...] = before + weights * (now - before)


class InputFilter:
    """Filters the inputs of one stream. It keeps the stream's state; one thread uses it.

    Args:
        units_per_code (float): an 8-bit step of the input, in the tensors' units.
    """

    def __init__(self, *, units_per_code: float) -> None:
        self._units_per_code = units_per_code
        self._before: Float32 | None = None
        self._weights = np.empty((0, 0), np.float32)
        #: The input's noise, in codes.
        self.noise_codes = 0.0

    def __call__(self, tensor: Float32) -> tuple[Float32, Float32 | None]:
        """The filtered input, and the weights ``(H, W)`` for its output; ``None`` after a change of size.

        ``tensor`` holds cells ``(C, H, W)``. A reference to the result is kept, but it is never written to again.
        """
        before = self._before
        self._before = tensor = _own(tensor)
        if before is None or before.shape != tensor.shape:
            self._weights = np.zeros(tensor.shape[1:], np.float32)
            return tensor, None
        still = min(max(STILL_OVER_NOISE * self.noise_codes, STILL_CODES), MAX_STILL_CODES)
        self._weights, noise = settle_input(
            before, tensor, self._weights, still_codes=still, units_per_code=self._units_per_code
        )
        self.noise_codes = NOISE_MEMORY * self.noise_codes + (1 - NOISE_MEMORY) * noise
        return tensor, self._weights


class OutputFilter:
    """Filters the outputs of the same stream, in the same order. It keeps their state; one thread uses it."""

    def __init__(self) -> None:
        self._before: Float32 | None = None

    def __call__(self, tensor: Float32, weights: Float32 | None) -> Float32:
        """The filtered output, by the weights of its input; as :class:`InputFilter` otherwise."""
        before = self._before
        self._before = tensor = _own(tensor)
        if before is not None and weights is not None and before.shape == tensor.shape:
            settle(before, weights, tensor)
        return tensor


def _own(tensor: Float32) -> Float32:
    """``tensor``, or a copy if the kernels could not write to it."""
    return np.require(tensor, np.float32, ["C", "W"])


def _check(before: Float32, now: Float32, weights: Float32) -> None:
    if now.ndim != 3 or before.shape != now.shape or 0 in now.shape:
        raise UsageError(f"{before.shape = }, {now.shape = }: give tensors of one shape (C, H, W)")
    if weights.shape != now.shape[1:]:
        raise UsageError(f"{weights.shape = } must be (H, W) of {now.shape = }")
