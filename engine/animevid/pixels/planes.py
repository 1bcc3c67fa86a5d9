"""The engine's frame format: planar Y'CbCr 4:2:0, as decoders produce and encoders accept it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import EllipsisType

import numpy as np
import numpy.typing as npt

from animevid.pixels.colour import Colour

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class PlanesYUV420:
    """One frame as three planes (four with alpha).

    ``y`` is ``(H, W)``; ``u`` and ``v`` are ``(ceil(H / 2), ceil(W / 2))``; ``alpha``, if any, is ``(H, W)``.
    ``uint8`` for ``bit_depth`` 8, ``uint16`` with the value in the low bits for 9..16 (as ``yuv420p10le``).
    Rows may be padded: only the last axis is contiguous (``stride[-1] == itemsize``). Planes may be views
    into a decoder's buffer, which ``owner`` keeps alive; only the stage that made them may write to them.
    """

    y: Plane
    u: Plane
    v: Plane
    bit_depth: int = 8
    colour: Colour = field(default_factory=Colour)
    alpha: Plane | None = None
    owner: object = field(default=None, repr=False, compare=False)

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    def with_planes(
        self,
        y: Plane,
        u: Plane,
        v: Plane,
        *,
        alpha: Plane | EllipsisType | None = ...,
        colour: Colour | None = None,
    ) -> PlanesYUV420:
        """A frame with other pixels and the same tags. ``alpha`` and ``colour`` stay unless they are given."""
        if isinstance(alpha, EllipsisType):
            alpha = self.alpha
        return replace(self, y=y, u=u, v=v, alpha=alpha, colour=colour or self.colour, owner=None)
