"""Combines two frames of one moment: blended by strength, side by side, or split by a line."""

from __future__ import annotations

from typing import cast

import numpy as np

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.codes import code_range_of
from animevid.pixels.planes import Plane, PlanesYUV420


def blend(original: PlanesYUV420, stylized: PlanesYUV420, *, strength: float) -> PlanesYUV420:
    """Blend: ``original`` at strength 0, ``stylized`` at 1, steps of 1/256 between; tags and alpha of ``stylized``.

    At 0 and 1 the given object itself is returned. The mix is linear in code values, since both have the same tags.

    Raises:
        UsageError: frames of different size or depth, or a strength outside [0, 1].
    """
    return _blend(original, stylized, strength, by_reference=native.kernels is None)


def blend_ref(original: PlanesYUV420, stylized: PlanesYUV420, *, strength: float) -> PlanesYUV420:
    """Reference for :func:`blend`."""
    return _blend(original, stylized, strength, by_reference=True)


def compare_side_by_side(original: PlanesYUV420, stylized: PlanesYUV420) -> PlanesYUV420:
    """``original`` left of ``stylized``: a frame twice as wide (an odd last column of each is dropped).

    Raises:
        UsageError: frames of different size or depth, or only one column wide.
    """
    _check_alike(original, stylized)
    if original.width < 2:
        raise UsageError(f"{original.width = } cannot stand side by side in 4:2:0; give at least 2 columns")
    y, u, v = (
        cast(Plane, np.hstack([left[:, :columns], right[:, :columns]]))
        for left, right, columns in (
            (original.y, stylized.y, original.width // 2 * 2),
            (original.u, stylized.u, original.width // 2),
            (original.v, stylized.v, original.width // 2),
        )
    )
    return stylized.with_planes(y, u, v, alpha=None)


def compare_split(
    original: PlanesYUV420, stylized: PlanesYUV420, *, position: float = 0.5, line_px: int = 2
) -> PlanesYUV420:
    """``original`` left of a white line, ``stylized`` right of it.

    ``position``: the middle of the line, 0 (left edge) to 1 (right edge), rounded to even columns, so that luma and
    chroma are cut at the same place. ``line_px`` is rounded up to an even number; 0: no line.

    Raises:
        UsageError: frames of different size or depth, or a position outside [0, 1].
    """
    _check_alike(original, stylized)
    if not 0.0 <= position <= 1.0:
        raise UsageError(f"{position = } is outside the frame; give 0 (left edge) .. 1 (right edge)")
    codes = code_range_of(stylized)
    middle = round(position * stylized.width / 2)
    half = (line_px + 1) // 2  # in chroma columns the line is half as wide: its pixels on both sides of the middle
    start, stop = max(0, middle - half // 2), min(stylized.u.shape[1], middle - half // 2 + half)
    white = int(codes.black + codes.luma_span)
    planes = []
    for left, right, factor, value in (
        (original.y, stylized.y, 2, white),
        (original.u, stylized.u, 1, int(codes.chroma_mid)),
        (original.v, stylized.v, 1, int(codes.chroma_mid)),
    ):
        plane: Plane = right.copy()
        plane[:, : middle * factor] = left[:, : middle * factor]
        plane[:, start * factor : stop * factor] = value
        planes.append(plane)
    return stylized.with_planes(*planes)


def _blend(original: PlanesYUV420, stylized: PlanesYUV420, strength: float, *, by_reference: bool) -> PlanesYUV420:
    _check_alike(original, stylized)
    if not 0.0 <= strength <= 1.0:
        raise UsageError(f"{strength = } is no share; give 0 (original) .. 1 (stylized)")
    weight = round(strength * 256)
    if weight == 0:
        return original
    if weight == 256:
        return stylized
    mix = _mix_ref if by_reference else _mix
    return stylized.with_planes(
        mix(original.y, stylized.y, weight),
        mix(original.u, stylized.u, weight),
        mix(original.v, stylized.v, weight),
    )


def _mix(first: Plane, second: Plane, weight: int) -> Plane:
    out = np.empty(first.shape, first.dtype)
    assert native.kernels is not None
    native.kernels.blend_plane(first, second, out, weight)
    return out


def _mix_ref(first: Plane, second: Plane, weight: int) -> Plane:
    wide = first.astype(np.uint32) * np.uint32(256 - weight) + second * np.uint32(weight) + np.uint32(128)
    return cast(Plane, (wide >> np.uint32(8)).astype(first.dtype))


def _check_alike(original: PlanesYUV420, stylized: PlanesYUV420) -> None:
    one, other = (*original.y.shape, original.bit_depth), (*stylized.y.shape, stylized.bit_depth)
    if one != other:
        raise UsageError(f"the frames differ in (height, width, bit depth): {one} and {other}; give two alike")
