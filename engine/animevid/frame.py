"""A frame with its exact time and index, and a stylized frame with its original."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.rgb import planes_to_rgb


@dataclass(frozen=True, slots=True)
class Frame:
    """An image at an exact time.

    Args:
        planes (PlanesYUV420): its Y, U and V.
        index (int): counts decoded frames from 0.
        pts_seconds (Fraction): presentation time on the source's clock, exact.
        duration_seconds (Fraction | None): ``None`` where the source does not say.
        rotation_degrees (int): the clockwise turn that still makes it upright: 0, 90, 180 or 270.
        concealed (bool): whether the decoder patched damage.
        exif (bytes): EXIF data of a photo, with its header; empty for video.
        captions (bytes): closed captions of the frame (CEA-608/708, packed as in ATSC A/53).
        captured_at_seconds (float | None): when a camera captured it, on ``time.monotonic``'s clock; ``None`` for
            recorded media.
    """

    planes: PlanesYUV420
    index: int
    pts_seconds: Fraction
    duration_seconds: Fraction | None = None
    rotation_degrees: int = 0
    concealed: bool = False
    exif: bytes = b""
    captions: bytes = b""
    captured_at_seconds: float | None = None

    @classmethod
    def captured(cls, planes: PlanesYUV420, index: int, at_seconds: float) -> Frame:
        """A camera frame captured ``at_seconds`` on ``time.monotonic``'s clock, which is also its source's clock."""
        return cls(planes, index, Fraction(at_seconds), captured_at_seconds=at_seconds)

    def with_planes(self, planes: PlanesYUV420) -> Frame:
        """A copy with other planes."""
        return replace(self, planes=planes)

    def to_rgb(self) -> npt.NDArray[np.uint8]:
        """The image, upright, as uint8 RGB ``(H, W, 3)``; ``alpha`` is left out."""
        return np.ascontiguousarray(np.rot90(planes_to_rgb(self.planes), -self.rotation_degrees // 90))

    def _repr_png_(self) -> bytes:
        """The frame as PNG, for notebooks."""
        import cv2

        _, png = cv2.imencode(".png", self.to_rgb()[..., ::-1])
        return png.tobytes()


@dataclass(frozen=True, slots=True)
class StylizedFrame:
    """A stylized frame and its original, of the same size. Times are on the clock of ``time.monotonic``."""

    frame: Frame
    stylized: PlanesYUV420
    finished_at_seconds: float

    @property
    def captured_at_seconds(self) -> float:
        """When the camera captured the frame."""
        captured = self.frame.captured_at_seconds
        return float(self.frame.pts_seconds) if captured is None else captured
