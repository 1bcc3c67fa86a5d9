"""Brings all frames of a video to one size: applies the container's crop, and letterboxes frames of another size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from animevid.pixels import resize_planes
from animevid.pixels.colour import ColourRange
from animevid.pixels.planes import Plane, PlanesYUV420


@dataclass(frozen=True, slots=True)
class Crop:
    """How many pixels to crop at each edge of the stored frame."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def fits(self, width: int, height: int) -> bool:
        """Whether anything of the frame is left."""
        edges = (self.left, self.top, self.right, self.bottom)
        return any(edges) and min(edges) >= 0 and self.left + self.right < width and self.top + self.bottom < height

    def __str__(self) -> str:
        return f"{self.left} left, {self.top} top, {self.right} right, {self.bottom} bottom"


class FrameFit:
    """Brings frames to the size of the first one. One thread uses it."""

    def __init__(self, crop: Crop | None = None) -> None:
        self._crop = crop
        self._stored: tuple[int, int] | None = None
        self._size: tuple[int, int] | None = None
        #: Frames of this (height, width) need no change; ``None``: not known yet, or frames are cropped.
        self.unchanged_size: tuple[int, ...] | None = None
        #: The other sizes so far, (width, height) in pixels, in order.
        self.other_sizes: list[tuple[int, int]] = []

    def __call__(self, planes: PlanesYUV420) -> PlanesYUV420:
        """``planes`` cropped and, if their size differs from the first frame's, letterboxed to it."""
        height, width = stored = planes.y.shape
        if self._stored is None:
            self._stored = stored
        if self._crop is not None and stored == self._stored:
            planes = cropped(planes, self._crop)
        size = planes.y.shape
        if self._size is None:
            self._size = size
            self.unchanged_size = size if self._crop is None else None
        if size == self._size:
            return planes
        if (width, height) not in self.other_sizes:
            self.other_sizes.append((width, height))
        return letterboxed(planes, self._size)

    @property
    def notices(self) -> tuple[str, ...]:
        """A line if the size changed."""
        if not self.other_sizes or self._size is None:
            return ()
        others = ", ".join(f"{width}x{height}" for width, height in self.other_sizes[:4])
        return (f"the frame size changes within the source ({others}): fitted into {self._size[1]}x{self._size[0]}",)


def cropped(planes: PlanesYUV420, crop: Crop) -> PlanesYUV420:
    """``planes`` without the edges; an odd left or top edge takes one pixel less, since chroma comes in pairs."""
    left, top = crop.left - crop.left % 2, crop.top - crop.top % 2
    right, bottom = planes.width - crop.right, planes.height - crop.bottom

    def cut(plane: Plane, scale: int) -> Plane:
        rows, columns = slice(top // scale, -(-bottom // scale)), slice(left // scale, -(-right // scale))
        return cast(Plane, np.ascontiguousarray(plane[rows, columns]))

    alpha = None if planes.alpha is None else cut(planes.alpha, 1)
    return planes.with_planes(cut(planes.y, 1), cut(planes.u, 2), cut(planes.v, 2), alpha=alpha)


def letterboxed(planes: PlanesYUV420, size: tuple[int, int]) -> PlanesYUV420:
    """``planes`` scaled to fit into ``size`` (height, width), centred on black."""
    height, width = size
    scale = min(height / planes.height, width / planes.width)
    inner = min(height, max(2, round(planes.height * scale))), min(width, max(2, round(planes.width * scale)))
    # Bars of a whole number of chroma samples; no bar for a single remaining pixel.
    inner = height if height - inner[0] < 2 else inner[0], width if width - inner[1] < 2 else inner[1]
    scaled = resize_planes(planes, inner)
    top, left = (height - inner[0]) // 4 * 2, (width - inner[1]) // 4 * 2
    if inner == size:
        return scaled
    levels = 1 << (planes.bit_depth - 8)
    black = 0 if planes.colour.range is ColourRange.FULL else 16 * levels

    def framed(plane: Plane, shape: tuple[int, int], at: tuple[int, int], fill: int) -> Plane:
        whole: Plane = np.full(shape, fill, plane.dtype)
        whole[at[0] : at[0] + plane.shape[0], at[1] : at[1] + plane.shape[1]] = plane
        return whole

    chroma = (height + 1) // 2, (width + 1) // 2
    at = top // 2, left // 2
    return replace(
        scaled,
        y=framed(scaled.y, size, (top, left), black),
        u=framed(scaled.u, chroma, at, 128 * levels),
        v=framed(scaled.v, chroma, at, 128 * levels),
        alpha=None if scaled.alpha is None else framed(scaled.alpha, size, (top, left), 255 * levels + levels - 1),
        owner=None,
    )
