"""Resizes planes, axis by axis: area average to shrink, bilinear to enlarge.

Samples are squares: output sample ``i`` covers ``[i, i + 1) * source / target`` of the source. Chroma is resized on
its own grid in the same way, so luma and chroma keep their relative position.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.codes import to_codes_ref
from animevid.pixels.planes import Plane, PlanesYUV420

Float32 = npt.NDArray[np.float32]
Size = tuple[int, int]


def chroma_size(size: Size) -> Size:
    """``(height, width)`` of the U and V planes of a frame of ``size`` (height, width)."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def checked_size(size: Size) -> Size:
    """``size`` as two ints.

    Raises:
        UsageError: a side below 1.
    """
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        raise UsageError(f"{size = } is not a frame; give (height, width), both at least 1")
    return height, width


def resize_plane(plane: Plane, size: Size) -> Plane:
    """``plane`` (H, W) at ``size`` (height, width), of the same dtype, rounded to nearest."""
    height, width = checked_size(size)
    if plane.shape == (height, width):
        return plane
    if native.kernels is None:
        return resize_plane_ref(plane, (height, width))
    out = np.empty((height, width), plane.dtype)
    native.kernels.resize_plane(plane, out)
    return out


def resize_plane_ref(plane: Plane, size: Size) -> Plane:
    """Reference for :func:`resize_plane`."""
    # Weights are positive and add up to 1, so no value leaves the range of its dtype.
    return to_codes_ref(resize_float_ref(plane, size), plane.dtype, int(np.iinfo(plane.dtype).max))


def resize_float_ref(plane: Plane | Float32, size: Size) -> Float32:
    """``plane`` at ``size`` in float32, before :func:`resize_plane` rounds or ``pack_yuv420`` scales it."""
    import cv2  # imported here, since the compiled kernels do not need OpenCV and start-up stays fast

    height, width = size
    result: Float32 = np.asarray(plane, np.float32)
    shrinks = height <= result.shape[0], width <= result.shape[1]
    if shrinks[0] == shrinks[1]:
        steps = [(height, width)]
    else:  # one axis averages, the other interpolates
        steps = [(height, result.shape[1]), (height, width)]
    for step in steps:
        if result.shape != step:
            shrink = step[0] <= result.shape[0] and step[1] <= result.shape[1]
            result = np.asarray(
                cv2.resize(result, step[::-1], interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR), np.float32
            ).reshape(step)
    return result


def resize_planes(planes: PlanesYUV420, size: Size) -> PlanesYUV420:
    """The frame (with alpha) at ``size`` (height, width); the same object if it already has that size.

    Raises:
        UsageError: a side below 1.
    """
    size = checked_size(size)
    if size == planes.y.shape:
        return planes
    chroma = chroma_size(size)
    return planes.with_planes(
        resize_plane(planes.y, size),
        resize_plane(planes.u, chroma),
        resize_plane(planes.v, chroma),
        alpha=None if planes.alpha is None else resize_plane(planes.alpha, size),
    )
