"""Simulates camera and file artefacts: JPEG, lens blur, grain. Only the student's input gets them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from animevid_trainer.data.images import Image

JPEG_SHARE, JPEG_QUALITY = 0.12, (25, 85)
BLUR_SHARE, BLUR_SIGMA_PX = 0.12, (0.3, 0.8)
GRAIN_SHARE, GRAIN_MEAN, GRAIN_MAX = 0.6, 0.008, 0.05  # share of photos; mean and maximum sigma, 1 is white


RELIGHT_MAX = 0.02  # maximum relative change of exposure between two frames of a clip


def as_next_frame(image: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Simulate the next frame of a still scene (new grain, slightly other light) from float32 RGB on [0, 1]."""
    grain = random.standard_normal(image.shape, np.float32) * random.uniform(0.004, 0.02)
    light = 1 + random.uniform(-RELIGHT_MAX, RELIGHT_MAX)
    return np.clip(image * np.float32(light) + grain, 0, 1)


def damaged(photo: Image, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Add random artefacts to ``photo``, uint8 RGB ``(H, W, 3)``; return float32 on [0, 1] of the same shape."""
    kind = random.random()
    if kind < JPEG_SHARE:
        quality = int(random.integers(*JPEG_QUALITY))
        _, data = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        photo = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    image = photo.astype(np.float32) / 255
    if kind > 1 - BLUR_SHARE:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(*BLUR_SIGMA_PX)), np.float32)
    if random.random() < GRAIN_SHARE:
        grain = random.standard_normal(image.shape, np.float32) * min(random.exponential(GRAIN_MEAN), GRAIN_MAX)
        if random.random() < 0.5:  # coarse grain, as strong as fine grain
            grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.7), np.float32) * 1.8
        image = image + grain
    return np.clip(image, 0, 1)
