"""Sample grids: the same photos each time, photo beside output; or the same latents each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from animevid_trainer.data.batches import images_of, tensor_of
from animevid_trainer.data.images import Image
from animevid_trainer.files import write_png

_GAP_PX = 6
_MULTIPLE = 32


def fit(image: Image, longest_px: int, *, multiple: int = _MULTIPLE) -> Image:
    """Scale to ``longest_px`` at most and crop the middle so that both sides are multiples of ``multiple``."""
    height, width = image.shape[:2]
    factor = min(1.0, longest_px / max(height, width))
    if factor < 1.0:
        size = (round(width * factor), round(height * factor))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = image.shape[:2]
    if min(height, width) < multiple:
        size = (max(width, multiple), max(height, multiple))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        height, width = image.shape[:2]
    keep_h, keep_w = height // multiple * multiple, width // multiple * multiple
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    return np.ascontiguousarray(image[top : top + keep_h, left : left + keep_w])


def stylize_image(image: Image, stylize: Callable[[Tensor], Tensor]) -> Image:
    """Stylize an image (H, W, 3) with a function of (1, 3, H, W) in [-1, 1]."""
    return images_of(stylize(tensor_of([image])))[0]


def grid(rows: Sequence[Sequence[Image]], *, columns: int = 1) -> Image:
    """Arrange rows of cells in ``columns`` columns with white gaps; sizes may differ."""
    strips = [_beside(row) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    strips = [_padded(strip, strip.shape[0], width) for strip in strips]
    height_of_column = -(-len(strips) // columns)
    stacks = []
    for first in range(0, len(strips), height_of_column):
        stack: list[Image] = []
        for strip in strips[first : first + height_of_column]:
            stack += [strip, np.full((_GAP_PX, width, 3), 255, np.uint8)]
        stacks.append(np.concatenate(stack[:-1]))
    return _beside(stacks)


def _beside(cells: Sequence[Image]) -> Image:
    height = max(cell.shape[0] for cell in cells)
    parts: list[Image] = []
    for cell in cells:
        parts += [_padded(cell, height, cell.shape[1]), np.full((height, _GAP_PX, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def _padded(image: Image, height: int, width: int) -> Image:
    canvas = np.full((height, width, 3), 255, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def write_photo_grid(
    path: Path,
    stylize: Callable[[Tensor], Tensor],
    *,
    photos: Sequence[Image],
    longest_px: int = 512,
    columns: int = 2,
) -> Image:
    """Write photo | output for each photo to ``path`` (PNG, whole or not at all) and return the grid."""
    rows = []
    for photo in photos:
        fitted = fit(photo, longest_px)
        rows.append((fitted, stylize_image(fitted, stylize)))
    samples = grid(rows, columns=columns)
    write_png(path, samples)
    return samples


def write_latent_grid(
    path: Path, draw: Callable[[Tensor], Tensor], *, latents: Tensor, columns: int = 8, scale: int = 2
) -> Image:
    """Write what is drawn from ``latents`` to ``path``, ``columns`` a row, ``scale`` times as large; return it."""
    images = [enlarged(image, scale) for image in images_of(draw(latents))]
    samples = grid([images[first : first + columns] for first in range(0, len(images), columns)])
    write_png(path, samples)
    return samples


def enlarged(image: Image, scale: int) -> Image:
    """Enlarge smoothly by ``scale``, since small images are hard to see."""
    if scale == 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
