"""Orientation: display matrices, EXIF orientations, and turning planar 4:2:0 upright."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from animevid.io.side_data import CRASH_WHEN_LISTED, listed
from animevid.pixels.planes import Plane, PlanesYUV420

if TYPE_CHECKING:
    from cv2.typing import MatLike

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class Orientation:
    """How to bring a stored frame upright: mirror left-right first, then turn clockwise."""

    rotation_degrees: int = 0  # clockwise: 0, 90, 180 or 270
    mirrored: bool = False

    @property
    def is_upright(self) -> bool:
        return not self.rotation_degrees and not self.mirrored

    @property
    def swaps_sides(self) -> bool:
        return self.rotation_degrees in (90, 270)


def orientation_from_matrix(matrix: tuple[int, ...]) -> Orientation:
    """The nearest of the eight orientations to a 3x3 display matrix (row-major, 16.16 fixed point).

    A stored pixel (x, y) is shown at (a x + c y, b x + d y) for ``matrix`` = (a, b, u, c, d, v, ...), as in ISO/IEC
    14496-12 8.3.2 and FFmpeg's ``AV_FRAME_DATA_DISPLAYMATRIX``; y points down.
    """
    a, b, _, c, d, *_ = matrix
    mirrored = a * d - b * c < 0
    if mirrored:  # undo the left-right mirror, which is applied first; the rest is a pure turn
        a, b = -a, -b
    if abs(a) >= abs(b):
        return Orientation(0 if a >= 0 else 180, mirrored)
    return Orientation(90 if b > 0 else 270, mirrored)


def orientation_of(frame: av.VideoFrame, *, codec: str = "") -> Orientation:
    """The orientation of a decoded frame (containers' display matrices and EXIF alike).

    ``codec`` is the decoder's name. For PNG only the turn is known, not the mirror (see docs/upstream.md).
    """
    if codec in CRASH_WHEN_LISTED:
        return Orientation(-frame.rotation % 360 // 90 * 90)
    try:
        matrix = listed(frame).get(SideDataType.DISPLAYMATRIX)
    except ValueError:  # PyAV cannot list side data types newer than itself (EXIF); the turn is still known
        return Orientation(-frame.rotation % 360 // 90 * 90)
    if matrix is None:
        return Orientation()
    return orientation_from_matrix(struct.unpack("=9i", bytes(matrix)[:36]))


def turn_upright(planes: PlanesYUV420, orientation: Orientation) -> PlanesYUV420:
    """``planes`` mirrored and turned as ``orientation`` says (a copy; the same object if nothing is to be done).

    Chroma moves with its samples: where the source sites it left of the luma (MPEG-2 siting), a turn moves it by up to
    half a luma pixel, as in every player and in FFmpeg's own ``transpose``.
    """
    if orientation.is_upright:
        return planes

    def turn(plane: Plane) -> Plane:
        turned: MatLike = plane
        if orientation.mirrored:
            turned = cv2.flip(turned, 1)
        if orientation.rotation_degrees:
            turned = cv2.rotate(turned, _TURNS[orientation.rotation_degrees])
        return cast(Plane, turned)

    return _each_plane(planes, turn)


def turn_upright_ref(planes: PlanesYUV420, orientation: Orientation) -> PlanesYUV420:
    """The readable reference of :func:`turn_upright`, with NumPy alone."""

    def turn(plane: Plane) -> Plane:
        if orientation.mirrored:
            plane = plane[:, ::-1]
        return cast(Plane, np.ascontiguousarray(np.rot90(plane, k=-(orientation.rotation_degrees // 90))))

    return _each_plane(planes, turn)


def _each_plane(planes: PlanesYUV420, turn: Callable[[Plane], Plane]) -> PlanesYUV420:
    alpha = None if planes.alpha is None else turn(planes.alpha)
    return planes.with_planes(turn(planes.y), turn(planes.u), turn(planes.v), alpha=alpha)
