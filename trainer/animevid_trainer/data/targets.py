"""Caches a teacher's images as PNG, one per photo, for recipes that learn from a teacher."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import cv2

from animevid_trainer.data.images import Image, UnreadableImageError, content_key, read_image

log = logging.getLogger(__name__)

# Maps a photo (H, W, 3), uint8 RGB, to a target of the same shape.
Teacher = Callable[[Image], Image]


def target_path(folder: Path, photo: Image, teacher_key: str) -> Path:
    """Return the path of the cached target of ``photo`` for this teacher and settings."""
    teacher = hashlib.sha256(teacher_key.encode()).hexdigest()[:16]
    return folder / teacher / f"{content_key(photo)}.png"


def target_of(photo: Image, teacher: Teacher, *, teacher_key: str, cache_folder: Path | None) -> Image:
    """Return ``teacher(photo)``, from ``cache_folder`` if it is there.

    ``teacher_key`` identifies the teacher and every setting that affects its images.

    Raises:
        ValueError: the teacher's image has another shape than the photo.
    """
    path = None if cache_folder is None else target_path(cache_folder, photo, teacher_key)
    if path is not None and path.exists():
        try:
            kept = read_image(path)
            if kept.shape == photo.shape:
                return kept
        except UnreadableImageError as error:
            log.warning("a cached target is not readable and is made again (%s)", error)
    target = teacher(photo)
    if target.shape != photo.shape:
        raise ValueError(f"the teacher drew {target.shape} for a photo of {photo.shape}")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part.png")
        if not cv2.imwrite(str(unfinished), cv2.cvtColor(target, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise OSError(f"cannot write {unfinished}")
        os.replace(unfinished, path)
    return target
