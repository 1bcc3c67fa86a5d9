"""The one object that carries a picture, its time and its place through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from animevid.pixels.planes import PlanesYUV420


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture at an exact time.

    ``pts_seconds`` is presentation time on the source's clock, exact; ``duration_seconds`` is ``None`` where the source
    does not say. ``rotation_degrees`` is the clockwise turn still to be applied for the picture to stand upright
    (0, 90, 180, 270). ``index`` counts decoded frames from 0. ``concealed`` is true where the decoder patched damage.
    ``exif`` is what a photo says about itself (EXIF, with its header), empty for film.
    """

    planes: PlanesYUV420
    index: int
    pts_seconds: Fraction
    duration_seconds: Fraction | None = None
    rotation_degrees: int = 0
    concealed: bool = False
    exif: bytes = b""

    def with_planes(self, planes: PlanesYUV420) -> Frame:
        """The same moment with another picture."""
        return replace(self, planes=planes)
