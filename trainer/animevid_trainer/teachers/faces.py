"""Detects faces (BlazeFace full range, MediaPipe), so that teachers can preserve eyes and mouths."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from animevid.backends.openvino import shared_core
from animevid.errors import TrainingError

from animevid_trainer.teachers.colour import F, Image, Map, step

_SMALLEST_PX = 12  # height; a smaller face has no detail to preserve
_CELLS, _SIDE = 48, 192  # BlazeFace full range: cells per side, input size


class Landmarks(NamedTuple):
    """Points of a face, each (x, y) in pixels; right and left are the person's own."""

    right_eye: tuple[float, float]
    left_eye: tuple[float, float]
    nose: tuple[float, float]
    mouth: tuple[float, float]


class Face(NamedTuple):
    """The bounding box of a face, in pixels; ``landmarks`` is ``None`` if the detector gives none."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    landmarks: Landmarks | None = None

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    def moved(self, x: float, y: float) -> Face:
        """The same face ``x`` pixels further right and ``y`` further down."""
        points = self.landmarks and Landmarks(*((px + x, py + y) for px, py in self.landmarks))
        return Face(self.x0 + x, self.y0 + y, self.x1 + x, self.y1 + y, self.score, points)


class FaceDetector:
    """Detects faces in the whole photo and, to find small ones, in overlapping tiles."""

    def __init__(self, weights: Path, *, threads: int = 1) -> None:
        """Raises:
        TrainingError: OpenVINO is not installed, or the file cannot be read.
        """
        try:
            core = shared_core()
        except ImportError:
            raise TrainingError("teachers find faces with OpenVINO: pip install 'animevid[train]'") from None
        try:
            model = core.read_model(weights)
            self._net: Any = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads})
        except Exception as error:  # OpenVINO raises RuntimeError and its own classes
            reason = str(error).splitlines()[0]
            raise TrainingError(f"teacher weights {str(weights)!r} cannot be read ({reason})") from error

    def __call__(self, rgb: Image, threshold: float = 0.62) -> list[Face]:
        """Detect faces in the photo and in overlapping tiles (1/2 and 1/3 of the longer side); highest score first."""
        height, width = rgb.shape[:2]
        found = self.in_view(rgb, threshold)
        for parts in (2, 3):
            side = round(max(height, width) / parts * 1.25)
            ys = np.linspace(0, max(height - side, 0), max(1, round(height / side * 1.6))).astype(int)
            xs = np.linspace(0, max(width - side, 0), max(1, round(width / side * 1.6))).astype(int)
            for y in ys:
                for x in xs:
                    for f in self.in_view(rgb[y : y + side, x : x + side], threshold + 0.1):
                        found.append(f.moved(float(x), float(y)))
        kept: list[Face] = []
        for f in sorted(found, key=lambda f: -f.score):
            if f.height >= _SMALLEST_PX and all(_overlap(f, k) < 0.2 for k in kept):
                kept.append(f)
        return kept

    def in_view(self, rgb: Image, threshold: float) -> list[Face]:
        """Detect faces in one view, padded to a square, possibly several times each; in the view's pixels."""
        height, width = rgb.shape[:2]
        side = max(height, width)
        view = cv2.copyMakeBorder(rgb, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT)
        shrink = cv2.INTER_AREA if side > _SIDE else cv2.INTER_LINEAR
        view = cv2.resize(view, (_SIDE, _SIDE), interpolation=shrink) * 2 - 1
        values = list(self._net(np.ascontiguousarray(view[None], F)).values())
        boxes = next(v for v in values if v.shape[-1] == 16)[0]
        scores = 1 / (1 + np.exp(-next(v for v in values if v.shape[-1] == 1)[0, :, 0].clip(-80, 80)))
        found = []
        for i in np.flatnonzero(scores > threshold):
            # 8 pairs: the box's centre relative to its cell; its size; then, relative to the cell, right eye, left eye,
            # nose, mouth, right ear and left ear
            cell = np.array(((i % _CELLS + 0.5) / _CELLS, (i // _CELLS + 0.5) / _CELLS))
            pairs = boxes[i].reshape(8, 2) / _SIDE
            centre, half = pairs[0] + cell, pairs[1] / 2
            x0, y0, x1, y1 = (float(v) * side for v in (*(centre - half), *(centre + half)))
            points = Landmarks(*((float(x) * side, float(y) * side) for x, y in pairs[2:6] + cell))
            found.append(Face(x0, y0, x1, y1, float(scores[i]), points))
        return found


def _overlap(a: Face, b: Face) -> float:
    """Return the intersection's area divided by the smaller area."""
    w, h = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    smaller = min((a.x1 - a.x0) * (a.y1 - a.y0), (b.x1 - b.x0) * (b.y1 - b.y0))
    return max(w, 0) * max(h, 0) / (smaller + 1e-6)


def face_map(shape: tuple[int, int], found: list[Face], grow: float = 1.0) -> Map:
    """``(H, W)`` on [0, 1]: 1 on faces, soft at their border; each is an ellipse ``grow`` times its box."""
    out = np.zeros(shape, F)
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(F)
    for f in found:
        rx, ry = (f.x1 - f.x0) / 2 * grow, f.height / 2 * grow * 1.15
        d = np.hypot((xs - (f.x0 + f.x1) / 2) / rx, (ys - (f.y0 + f.y1) / 2 + 0.05 * f.height) / ry)
        out = np.maximum(out, 1 - step(d, 0.85, 1.25))
    return out
