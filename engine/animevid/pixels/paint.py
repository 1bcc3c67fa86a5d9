"""Flat areas and inked outlines, laid over what a packed network paints: the last layers of the ``painted`` styles.

They are operators of the style's own graph, so that every runtime can run it. A runtime of small operators takes some
sixty passes over the picture for them; :func:`paint` takes one, so the CPU backend ends the graph before them
(``backends.painted``) and calls it. Luma ``L`` is on [-1, 1]:

flattening, :attr:`PaintSettings.rounds` times, after Kuwahara et al. 1976, "Processing of RI-angiocardiographic images"
    each pixel becomes the mean of four round patches around it, weighted by ``(floor / (variance + floor))^4`` (the
    mixing of Papari, Petkov and Campisi 2007, "Artistic edge and corner enhancing smoothing", equation 11). Patches are
    a 3x3 mean of a 3x3 mean and ``distance_px`` away: in the corners and at the sides in turn.
ink
    ``clip((m - L - threshold - calm b) slope, 0, opacity)`` with ``m`` the mean of ``L`` within ``ink_px`` and ``b``
    the mean of ``|m - L|`` within seven pixels: of the flattened luma (``outline``) and of the photo's (``thin``),
    whichever is more. Ink takes luma to black and chroma, averaged over its 2x2 pixels, to gray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.packed import checked_out, depth_to_space_ref, space_to_depth_ref

Float32 = npt.NDArray[np.float32]

MAX_ROUNDS = 4
MAX_DISTANCE_PX = 2
MAX_INK_PX = 3
BUSY_PX = 7
FLOOR = 1e-3  # a variance that counts as even


@dataclass(frozen=True, slots=True)
class InkSettings:
    """``threshold`` and ``calm`` in luma on [-1, 1]; ``slope``: ink per unit of luma above the threshold. ``opacity``,
    0 to 1, is the most that ink covers: below 1 a line is a dark tone of the area that it is drawn on."""

    threshold: float
    slope: float
    calm: float
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class PaintSettings:
    """Numbers of the filters, explained above; distances in pixels of the network's picture. ``lift`` brightens
    middle gray by that much of [-1, 1] and leaves black and white."""

    rounds: int
    distance_px: int
    ink_px: int
    lift: float
    outline: InkSettings
    thin: InkSettings

    def __post_init__(self) -> None:
        """Raises:
        UsageError: a number that the kernels do not have.
        """
        limits: tuple[tuple[str, float, int, int], ...] = (
            ("rounds", self.rounds, 0, MAX_ROUNDS),
            ("distance_px", self.distance_px, 1, MAX_DISTANCE_PX),
            ("ink_px", self.ink_px, 1, MAX_INK_PX),
            ("opacity", self.outline.opacity, 0, 1),
            ("thin opacity", self.thin.opacity, 0, 1),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise UsageError(f"{name} = {value}: allowed are {low} to {high}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what ``dataclasses.asdict`` and JSON make of one.

        Raises:
            KeyError, TypeError, ValueError: not that.
            UsageError: a number that the kernels do not have.
        """
        outline, thin = (
            InkSettings(
                float(values[name]["threshold"]),
                float(values[name]["slope"]),
                float(values[name]["calm"]),
                float(values[name].get("opacity", 1.0)),  # earlier files have none
            )
            for name in ("outline", "thin")
        )
        rounds, distance_px, ink_px = (int(values[name]) for name in ("rounds", "distance_px", "ink_px"))
        return cls(rounds, distance_px, ink_px, float(values["lift"]), outline, thin)


def paint(photo: Float32, ground: Float32, settings: PaintSettings, *, out: Float32 | None = None) -> Float32:
    """What the filters make of ``ground``, which a network painted of ``photo``: packed tensors ``(24, H/4, W/4)``.

    ``out``, if given, is written and returned: float32, C-contiguous, of that shape (a slot of a batch, for instance).

    Raises:
        UsageError: other shapes, or an ``out`` that does not fit.
    """
    _check(photo, ground)
    out = checked_out(out, (4 * ground.shape[1], 4 * ground.shape[2]))
    if native.kernels is None:
        out[...] = paint_ref(photo, ground, settings)
        return out
    outline, thin = settings.outline, settings.thin
    native.kernels.paint(
        np.ascontiguousarray(photo), np.ascontiguousarray(ground), out,
        settings.rounds, settings.distance_px, settings.ink_px, settings.lift,
        outline.threshold, outline.slope, outline.calm, outline.opacity,
        thin.threshold, thin.slope, thin.calm, thin.opacity,
    )  # fmt: skip
    return out


def paint_ref(photo: Float32, ground: Float32, settings: PaintSettings) -> Float32:
    """Reference for :func:`paint`."""
    _check(photo, ground)
    luma = np.clip(depth_to_space_ref(ground[:16], 4), -1, 1)
    luma = luma + np.float32(settings.lift) * (1 - luma * luma)
    for turn in range(settings.rounds):
        luma = _flattened_ref(luma, settings.distance_px, diagonal=turn % 2 == 0)
    outline = _ink_ref(luma, settings.outline, settings.ink_px)
    thin = _ink_ref(depth_to_space_ref(photo[:16], 4), settings.thin, settings.ink_px)
    bare = 1 - np.maximum(outline, thin)
    height, width = bare.shape
    beside = space_to_depth_ref(bare.reshape(height // 2, 2, width // 2, 2).mean((1, 3)), 2)
    luma = (luma + 1) * bare - 1
    return np.concatenate((space_to_depth_ref(luma, 4), ground[16:] * np.concatenate((beside, beside)))).astype(
        np.float32
    )


def _flattened_ref(luma: Float32, distance_px: int, *, diagonal: bool) -> Float32:
    reach = distance_px + 2
    wide = np.pad(luma, reach, mode="edge")
    mean, square = (_inner(_box_mean_ref(_box_mean_ref(field, 1), 1), 2) for field in (wide, wide * wide))
    variance = np.maximum(square - mean * mean, 0)
    weight = (np.float32(FLOOR) / (variance + np.float32(FLOOR))) ** 4
    d = distance_px
    steps = ((-d, -d), (-d, d), (d, -d), (d, d)) if diagonal else ((-d, 0), (d, 0), (0, -d), (0, d))
    height, width = luma.shape

    def around(field: Float32) -> Float32:
        shifted = (field[d + y : d + y + height, d + x : d + x + width] for y, x in steps)
        total: Float32 = np.sum(list(shifted), axis=0)
        return total

    return np.asarray(around(weight * mean) / around(weight), np.float32)


def _ink_ref(luma: Float32, settings: InkSettings, ink_px: int) -> Float32:
    darker = _box_mean_ref(luma, ink_px) - luma
    busy = _box_mean_ref(np.abs(darker), BUSY_PX)
    ink = (darker - np.float32(settings.threshold) - np.float32(settings.calm) * busy) * settings.slope
    return np.clip(ink, 0, np.float32(settings.opacity))


def _box_mean_ref(field: Float32, radius: int) -> Float32:
    import cv2  # the reference alone needs it

    side = 2 * radius + 1
    return np.asarray(cv2.blur(field, (side, side), borderType=cv2.BORDER_REPLICATE), np.float32)


def _inner(field: Float32, border: int) -> Float32:
    return field[border:-border, border:-border]


def _check(photo: Float32, ground: Float32) -> None:
    if photo.ndim != 3 or photo.shape[0] != 24 or photo.shape != ground.shape or 0 in photo.shape:
        raise UsageError(f"{photo.shape = }, {ground.shape = }: give packed tensors of one shape (24, H/4, W/4)")
