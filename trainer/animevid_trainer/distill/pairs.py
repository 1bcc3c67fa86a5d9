"""Pairs on disk: a photo and the output of each look's teacher.

``PAIRS/photos/NAME.png`` is the photo at the size that was painted, ``PAIRS/LOOK/NAME.png`` the teacher's output.
Images are painted once and reused by later runs; files are written atomically.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from animevid.errors import TrainingError

from animevid_trainer.data.flats import dark_images, flat_images
from animevid_trainer.data.images import Image, find_images, read_image, shrink_to
from animevid_trainer.files import write_png
from animevid_trainer.teachers import Teacher, open_looks

#: The last photos of the order are never painted for training: tests of the shipped styles use them.
HELD_OUT = 40
#: Shares of photos by the prefix of their name: many portraits look alike.
SHARES = {"sfhq": 0.3, "budgie": 0.6}
#: Longest sides in pixels; half of the photos get the first one, so that small faces and letters occur too.
SIZES_PX = (640, 640, 640, 640, 640, 448, 448, 800, 800, 800)
FLATS, DARK_FLATS = 72, 24
FLAT_PX = 192
_SEED = 1
_SHARPEN_SIGMA_PX = 1.2


def in_training_order(paths: Sequence[Path]) -> list[Path]:
    """Interleave ``paths`` by the first word of their names, so that any prefix of the list is a fair sample."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(paths):
        groups.setdefault(path.name.split("-")[0], []).append(path)
    ranked: list[tuple[float, Path]] = []
    for name, files in groups.items():
        random = np.random.default_rng(_SEED)
        files = [files[index] for index in random.permutation(len(files))]
        files = files[: max(1, round(len(files) * SHARES.get(name, 1.0)))]
        ranked += [((index + random.random()) / len(files), file) for index, file in enumerate(files)]
    return [file for _, file in sorted(ranked)]


def held_out(paths: Sequence[Path]) -> list[Path]:
    """Return the photos that no student is trained on."""
    return in_training_order(paths)[-HELD_OUT:]


def longest_px(name: str) -> int:
    """Return the longest side at which the photo ``name`` is painted, the same on every machine."""
    return SIZES_PX[int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(SIZES_PX)]


def paint_pairs(
    photos: Path,
    weights: Path,
    out: Path,
    *,
    looks: Sequence[str],
    limit: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> int:
    """Paint the images that are missing in ``out``; return how many were painted.

    Args:
        photos (Path): folder of photos, searched recursively.
        weights (Path): folder of the teachers' weights.
        out (Path): folder of pairs.
        looks (Sequence[str]): names of looks.
        limit (int): maximum number of photos; 0: all but the held-out ones. Default: 0.
        on_progress: called with the photo's name, its index and the number of photos.

    Raises:
        TrainingError: an unknown look, missing weights, or too few photos.
        OutputError: a pair cannot be written.
    """
    teachers = open_looks(looks, weights)
    paths = in_training_order(find_images(photos))[:-HELD_OUT]
    if not paths:
        raise TrainingError(f"{str(photos)!r} has {HELD_OUT} photos or fewer, which are all held out; give more")
    paths = paths[:limit] if limit else paths
    painted = 0
    for index, (name, photo) in enumerate(_sources(paths)):
        if on_progress is not None:
            on_progress(name, index + 1, len(paths) + FLATS + DARK_FLATS)
        for look, teacher in teachers.items():
            target = out / look / f"{name}.png"
            if target.is_file():
                continue
            write_png(target, _painted(photo, teacher))
            write_png(out / "photos" / f"{name}.png", photo)
            painted += 1
    return painted


def _painted(photo: Image, teacher: Teacher) -> Image:
    """The teacher's image, but uniform where the photo is, and black and white stay unchanged."""
    if (photo != photo[0, 0]).any():
        return teacher(photo)
    if not photo.any() or photo.min() == 255:
        return photo  # a style that grays them looks broken
    return np.broadcast_to(np.median(teacher(photo), axis=(0, 1)).round().astype(np.uint8), photo.shape)


@dataclass(frozen=True, slots=True)
class Emphasis:
    """Exaggerates a teacher's output as a training target.

    A small student trained with L1 draws the median of what is possible: softer edges and smaller changes than its
    teacher's. Blind judges call that blurry and timid. A target that is sharper and bolder makes up for it.

    Args:
        sharpness (float): amount of the unsharp mask on luma (Gaussian, sigma 1.2 px). Default: 0.0.
        boldness (float): factor of the difference from the photo. Default: 1.0.
    """

    sharpness: float = 0.0
    boldness: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.sharpness <= 4.0:
            raise TrainingError(f"sharpness = {self.sharpness}: allowed is 0 (unchanged) to 4")
        if not 0.5 <= self.boldness <= 2.0:
            raise TrainingError(f"boldness = {self.boldness}: allowed is 0.5 to 2 (1 is unchanged)")

    def __call__(self, photo: Image, image: Image) -> Image:
        """``image``, which the teacher made of ``photo``, exaggerated; uint8 RGB ``(H, W, 3)``."""
        bold = photo + np.float32(self.boldness) * (image.astype(np.float32) - photo)
        luma = np.asarray(cv2.cvtColor(bold, cv2.COLOR_RGB2GRAY), np.float32)
        detail = luma - cv2.GaussianBlur(luma, (0, 0), _SHARPEN_SIGMA_PX)
        sharp = np.rint(bold + np.float32(self.sharpness) * detail[..., None])
        return np.asarray(np.clip(sharp, 0, 255), np.uint8)


def read_pairs(
    folder: Path, look: str, *, crop_px: int, known: dict[str, tuple[Image, Image]], emphasis: Emphasis
) -> None:
    """Add the pairs of ``look`` that are missing in ``known``: (photo, target), uint8 RGB ``(H, W, 3)`` of one size.

    Raises:
        TrainingError: there is no pair.
    """
    for path in sorted((folder / look).glob("*.*")):
        if path.stem in known or path.name.startswith("."):  # being written
            continue
        photo = folder / "photos" / f"{path.stem}.png"
        if not photo.is_file():
            continue
        pair = read_image(photo), read_image(path)
        if pair[0].shape == pair[1].shape and min(pair[0].shape[:2]) >= crop_px:
            known[path.stem] = pair[0], emphasis(*pair)
    if not known:
        raise TrainingError(f"{str(folder / look)!r} has no images of {crop_px} pixels or more; paint some first")


def _sources(paths: Sequence[Path]) -> Iterator[tuple[str, Image]]:
    for index, flat in enumerate(flat_images(FLATS, height=FLAT_PX, width=FLAT_PX)):
        yield f"flat{index}", flat
    for index, flat in enumerate(dark_images(DARK_FLATS, height=FLAT_PX, width=FLAT_PX)):
        yield f"flat-dark{index}", flat
    for path in paths:
        yield path.stem, shrink_to(read_image(path), longest_px(path.name))
