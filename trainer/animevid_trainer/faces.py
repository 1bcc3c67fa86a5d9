"""Crops squares around detected faces, as training data for faces from noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from animevid.errors import TrainingError

from animevid_trainer.data.images import Image, ImageStore, shrink_to
from animevid_trainer.face_alignment import (
    FURTHEST_NOSE,
    LARGEST_SHARE_BEYOND,
    OrientedSquare,
    aligned_square,
    sideways,
)
from animevid_trainer.teachers.faces import Face, FaceDetector, Landmarks

Detect = Callable[[Image], list[Face]]
#: maps an image to the same image in a style
Stylize = Callable[[Image], Image]

_YUNET_SCORE, _YUNET_OVERLAP = 0.7, 0.3
_MEDIAPIPE_SCORE = 0.5
_MARGIN = 1.5
#: an aligned face is looked for again at this size; its points may move by this share of the side
_AGAIN_PX, _AGAIN_SHARE = 192, 0.15


@dataclass(frozen=True, slots=True)
class Detector:
    """Detects faces in RGB images.

    Args:
        of_any_size (callable): detects small faces too, once each.
        filling_image (callable): detects faces that are much of the image, possibly several times each.
    """

    of_any_size: Detect
    filling_image: Detect


class LeftOut(Enum):
    """Why a detected face was not cropped."""

    SMALL = "too small"
    BEYOND = "beyond the image's border"
    TURNED = "turned to the side"
    UNSURE = "not found again in their square"


class Cut(NamedTuple):
    """The faces cropped from an image, and why others were left out."""

    faces: list[Image]
    left_out: list[LeftOut]


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How faces are cropped.

    Args:
        size_px (int): side of the written images; 0 keeps each face's size. Default: 128.
        margin (float or None): side of the square over the longer side of the face's box; ``None`` is 1.5.
            Not with ``align``. Default: ``None``.
        smallest_px (int): faces with a lower box are left out. Default: 48.
        align (bool): rotate, scale and centre by eyes and mouth, as FFHQ's faces are; faces turned to the side are
            left out. Default: ``False``.
    """

    size_px: int = 128
    margin: float | None = None
    smallest_px: int = 48
    align: bool = False

    def __post_init__(self) -> None:
        if self.size_px < 0 or 0 < self.size_px < 16:
            raise TrainingError(f"size = {self.size_px}: give 16 px or more, or 0 for each face's own size")
        if self.margin is not None and not 1.0 <= self.margin <= 4.0:
            raise TrainingError(f"margin = {self.margin}: give 1 (the face's box) to 4")
        if self.margin is not None and self.align:
            raise TrainingError("an aligned face has FFHQ's margin: give --margin or --align")


def open_detector(weights: Path) -> Detector:
    """A face detector: OpenCV's YuNet (``.onnx``) or MediaPipe's BlazeFace, full range (``.tflite``).

    Raises:
        TrainingError: no such file, another kind, or one that cannot be read.
    """
    if not weights.is_file():
        raise TrainingError(f"face detector {str(weights)!r}: no such file")
    if weights.suffix == ".onnx":
        return _yunet(weights)
    if weights.suffix == ".tflite":
        network = FaceDetector(weights)
        return Detector(
            lambda image: network(image.astype(np.float32) / 255.0, _MEDIAPIPE_SCORE),
            lambda image: network.in_view(image.astype(np.float32) / 255.0, _MEDIAPIPE_SCORE),
        )
    raise TrainingError(
        f"face detector {str(weights)!r}: give OpenCV's YuNet (face_detection_yunet_2023mar.onnx of OpenCV's zoo) or "
        "MediaPipe's face_detection_full_range_sparse.tflite (in its Python package)"
    )


def _yunet(weights: Path) -> Detector:
    try:
        network = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), _YUNET_SCORE, _YUNET_OVERLAP)
    except cv2.error as error:
        raise TrainingError(f"face detector {str(weights)!r} is no network that OpenCV reads ({error.err})") from error

    def detect(image: Image) -> list[Face]:
        height, width = image.shape[:2]
        network.setInputSize((width, height))
        found = network.detect(np.ascontiguousarray(image[..., ::-1]))[1]
        rows = [] if found is None else [[float(value) for value in row] for row in found]
        return [_face(row) for row in rows]

    return Detector(detect, detect)


def _face(row: list[float]) -> Face:
    """YuNet's row: the box, right eye, left eye, nose, right and left corner of the mouth, each (x, y); the score."""
    x, y, w, h = row[:4]
    right_eye, left_eye, nose, *corners = zip(row[4:14:2], row[5:14:2], strict=True)
    mouth = (sum(x for x, _ in corners) / 2, sum(y for _, y in corners) / 2)
    return Face(x, y, x + w, y + h, row[-1], Landmarks(right_eye, left_eye, nose, mouth))


def in_style(stylizer: Callable[[Image], npt.ArrayLike]) -> Stylize:
    """Runs ``animevid.Stylizer`` on images of any size by padding to even sides."""

    def stylize(image: Image) -> Image:
        height, width = image.shape[:2]
        even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return np.asarray(stylizer(even), np.uint8)[:height, :width]

    return stylize


def cut_faces(
    image: Image,
    faces: Sequence[Face],
    settings: CutSettings,
    *,
    detect: Detect | None = None,
    stylize: Stylize | None = None,
) -> Cut:
    """A square around each of ``faces`` that is large enough and inside ``image``.

    Args:
        detect: with it, an aligned face is left out if it is not found again in its square: ears and hands that the
            detector takes for faces are not, and neither are badly aligned faces. Default: ``None``.
        stylize: crops from the stylized image. Default: ``None``.
    """
    reasons = [_why_left_out(image, face, settings, detect) for face in faces]
    kept = [face for face, reason in zip(faces, reasons, strict=True) if reason is None]
    drawn = stylize(image) if kept and stylize is not None else image
    return Cut([_crop(drawn, face, settings) for face in kept], [reason for reason in reasons if reason is not None])


def _why_left_out(image: Image, face: Face, settings: CutSettings, detect: Detect | None) -> LeftOut | None:
    if face.height < settings.smallest_px:
        return LeftOut.SMALL
    if not settings.align:
        return LeftOut.BEYOND if _upright_square(face, image.shape, settings) is None else None
    if face.landmarks is None:
        raise TrainingError("the face detector gives no eyes and mouth, by which faces are aligned")
    if sideways(face.landmarks) > FURTHEST_NOSE:
        return LeftOut.TURNED
    square = aligned_square(face.landmarks)
    if square.share_beyond(image.shape) > LARGEST_SHARE_BEYOND:
        return LeftOut.BEYOND
    if detect is not None and not _is_found_again(square, face.landmarks, image, detect):
        return LeftOut.UNSURE
    return None


def _is_found_again(square: OrientedSquare, landmarks: Landmarks, image: Image, detect: Detect) -> bool:
    expected = square.relative(landmarks)
    again = (face.landmarks for face in detect(square.resampled(image, _AGAIN_PX)))
    return any(np.abs(np.array(points) / _AGAIN_PX - expected).max() < _AGAIN_SHARE for points in again if points)


def _crop(image: Image, face: Face, settings: CutSettings) -> Image:
    if settings.align and face.landmarks is not None:
        square = aligned_square(face.landmarks)
        return square.resampled(image, settings.size_px or round(square.side_px))
    upright = _upright_square(face, image.shape, settings)
    assert upright is not None, "only faces that are not left out are cropped"
    return _fitted(image[upright], settings.size_px)


def _upright_square(face: Face, shape: tuple[int, ...], settings: CutSettings) -> tuple[slice, slice] | None:
    """Rows and columns of the square around ``face``; ``None`` if it is not completely inside."""
    height, width = shape[:2]
    box = max(face.x1 - face.x0, face.height)
    # a close portrait has less space around the face
    side = min(round(box * (settings.margin or _MARGIN)), height, width)
    left, top = round((face.x0 + face.x1 - side) / 2), round((face.y0 + face.y1 - side) / 2)
    inside = min(max(top, 0), height - side), min(max(left, 0), width - side)
    # shift it inside by at most the margin, so that the face stays inside
    if side < box or max(abs(inside[0] - top), abs(inside[1] - left)) > (side - box) / 2:
        return None
    return slice(inside[0], inside[0] + side), slice(inside[1], inside[1] + side)


def _fitted(square: Image, size_px: int) -> Image:
    if not size_px or len(square) == size_px:
        return np.ascontiguousarray(square)
    if len(square) > size_px:
        return shrink_to(square, size_px)
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.uint8)


def faces_of(
    images: ImageStore, detector: Detector, settings: CutSettings, *, stylize: Stylize | None = None
) -> Iterator[tuple[str, Cut]]:
    """Yield each image's file name without suffix and its faces.

    With ``stylize``, faces are detected in the image and cropped from the stylized image.
    """
    for index in range(len(images)):
        image = images[index]
        found = detector.of_any_size(image)
        cut = cut_faces(image, found, settings, detect=detector.filling_image, stylize=stylize)
        yield images.paths[index].stem, cut
