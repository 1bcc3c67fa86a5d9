"""Caches a teacher's images as PNG, one per photo, for recipes that learn from a teacher."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from animevid_trainer.data.images import Image, UnreadableImageError, content_key, read_image
from animevid_trainer.files import write_png

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
        write_png(path, target, compression=1)
    return target
