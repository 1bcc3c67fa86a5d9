"""The cartoon filter known from tutorials, the baseline of evaluations."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


class BilateralTeacher:
    """Bilateral filter and adaptive-threshold edges, a baseline that every style must beat."""

    key = "bilateral 1"

    def __call__(self, photo: Image) -> Image:
        smooth = photo
        for _ in range(3):
            smooth = np.asarray(cv2.bilateralFilter(smooth, 9, 40, 7), np.uint8)
        gray = cv2.medianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 5)
        edges = cv2.adaptiveThreshold(gray, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 5)
        return np.asarray(cv2.bitwise_and(smooth, smooth, mask=edges), np.uint8)
