"""Makes flat images, uniform colours and gradients, so that a style learns to keep them clean.

A student trained on photos alone draws blotches on a black frame and bands on a gray ramp, and makes blotches of the
grain of a dark one.
"""

from __future__ import annotations

import numpy as np

from animevid_trainer.data.images import Image


def flat_images(count: int, *, height: int = 256, width: int = 256, seed: int = 1) -> list[Image]:
    """Make ``count`` images, ``(height, width, 3)`` uint8 RGB: black, white, grays, colours and gradients in turn."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    images: list[Image] = []
    for index in range(count):
        start, end = random.uniform(0, 255, (2, 3))
        kind = index % 6
        if kind == 0:
            start = end = np.full(3, 0.0 if index % 12 == 0 else 255.0)
        elif kind == 1:
            start = end = np.full(3, start[0])
        elif kind == 2:
            end = start
        elif kind in (3, 4):  # gray ramps, from black to white every other time
            start, end = (np.zeros(3), np.full(3, 255.0)) if kind == 3 else (np.full(3, start[0]), np.full(3, end[0]))
        if kind in (4, 5):  # wide, like a wall or a sky, so that a crop shows only part of the gradient
            end = start + (end - start) * random.choice((1.0, 0.4, 0.15))
        angle = random.uniform(0, 2 * np.pi)
        place = np.cos(angle) * columns + np.sin(angle) * rows
        share = (place - place.min()) / max(float(np.ptp(place)), 1.0)
        gradient = start + share[..., None] * (end - start)
        dithered = gradient + random.uniform(-0.5, 0.5, (height, width, 1)) if kind >= 3 else gradient
        images.append(np.clip(np.round(dithered), 0, 255).astype(np.uint8))
    return images


def dark_images(count: int, *, height: int = 256, width: int = 256, seed: int = 2) -> list[Image]:
    """Make ``count`` uniform images of 1 to 48 codes, ``(height, width, 3)`` uint8 RGB; every other one is gray."""
    random = np.random.default_rng(seed)
    images = []
    for index in range(count):
        code = random.uniform(1, 48, 1 if index % 2 == 0 else 3)
        images.append(np.full((height, width, 3), code.round(), np.uint8))
    return images
