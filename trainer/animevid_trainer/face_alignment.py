"""Aligns faces by their eyes and mouth, as FFHQ's are (Karras et al. 2019, arXiv:1812.04948, appendix A)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from animevid_trainer.data.images import Image
from animevid_trainer.teachers.faces import Landmarks

#: of the square, the share of its area that may be beyond the image's border, where the image is mirrored
LARGEST_SHARE_BEYOND = 0.1
#: distance of the nose from the line between eyes and mouth, over the distance of the eyes; about 30 degrees
FURTHEST_NOSE = 0.25

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class OrientedSquare:
    """A square of any orientation in an image.

    Args:
        centre (array): its centre (x, y), in pixels.
        right (array): from its centre to the middle of its right side, (x, y), in pixels.
    """

    centre: Vector
    right: Vector

    @property
    def down(self) -> Vector:
        """From its centre to the middle of its lower side."""
        return _turned(self.right)

    @property
    def side_px(self) -> float:
        return 2 * float(np.hypot(*self.right))

    def share_beyond(self, shape: tuple[int, ...]) -> float:
        """The share of its area, 0 to 1, that is outside an image of ``shape`` (height, width)."""
        height, width = shape[:2]
        corners = [self.centre + x * self.right + y * self.down for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        image = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        inside = cv2.intersectConvexConvex(np.array(corners, np.float32), image)[0]
        return max(0.0, 1 - float(inside) / self.side_px**2)

    def relative(self, points: npt.ArrayLike) -> Vector:
        """``(N, 2)``: points (x, y) of the image relative to the square, whose corners are (0, 0) and (1, 1)."""
        axes = np.stack((self.right, self.down)) / (self.side_px / 2)
        return (np.asarray(points, np.float64) - self.centre) @ axes.T / self.side_px + 0.5

    def resampled(self, image: Image, size_px: int) -> Image:
        """``(size_px, size_px, 3)``: the square's content, mirrored beyond the image's border."""
        # at least one sample per pixel of the image, then the mean of equal blocks: a smaller face has no aliasing
        block = max(1, int(np.ceil(self.side_px / size_px)))
        samples = size_px * block
        axes = np.stack((self.right, self.down), axis=1)  # image pixels per half a square
        start = self.centre - axes.sum(axis=1) + axes.sum(axis=1) / samples - 0.5  # a pixel's centre is at 0.5
        to_image = np.concatenate((axes * 2 / samples, start[:, None]), axis=1)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(image, to_image, (samples, samples), flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(cv2.resize(fine, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)


def aligned_square(landmarks: Landmarks) -> OrientedSquare:
    """FFHQ's square around a face: upright, four times as wide as the distance of the eyes if seen from the front."""
    right_eye, left_eye, _, mouth = np.array(landmarks, np.float64)
    eyes = (right_eye + left_eye) / 2
    eye_to_eye, eyes_to_mouth = left_eye - right_eye, mouth - eyes
    right = eye_to_eye - _turned(eyes_to_mouth)
    half = max(2.0 * float(np.hypot(*eye_to_eye)), 1.8 * float(np.hypot(*eyes_to_mouth)))
    return OrientedSquare(eyes + 0.1 * eyes_to_mouth, right * (half / max(float(np.hypot(*right)), 1e-9)))


def sideways(landmarks: Landmarks) -> float:
    """How far a head is turned to the side: 0 from the front, above ``FURTHEST_NOSE`` too far to align the face.

    The nose is nearer to the camera than eyes and mouth. If the head turns, it moves away from the line between them,
    while the eyes move closer together. Tilting the head or the camera changes neither.
    """
    right_eye, left_eye, nose, mouth = np.array(landmarks, np.float64)
    eyes = (right_eye + left_eye) / 2
    line = _turned(mouth - eyes) / max(float(np.hypot(*(mouth - eyes))), 1e-9)
    return abs(float(line @ (nose - eyes))) / max(float(np.hypot(*(left_eye - right_eye))), 1e-9)


def _turned(vector: Vector) -> Vector:
    """The vector turned by 90 degrees, clockwise as images are shown."""
    return np.array((-vector[1], vector[0]))
