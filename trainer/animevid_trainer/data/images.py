"""Finds and reads images, and reports those that cannot be read.

Everything here is uint8 RGB in H, W, C order.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from animevid.errors import TrainingError
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Image = NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"})

# A message names at most this many unreadable files and counts the rest.
_NAMES_IN_MESSAGE = 3


class UnreadableImageError(ValueError):
    """Raised for a file that is not an image, or is truncated."""


def find_images(folder: Path | str) -> list[Path]:
    """List image files under ``folder``, recursively, in an order that does not depend on the file system.

    Raises:
        TrainingError: the folder is missing, or has no file with an image suffix.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TrainingError(f"{str(folder)!r} is not a folder; give a folder of images")
    found = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
    if not found:
        raise TrainingError(f"{str(folder)!r} holds no images ({', '.join(sorted(SUFFIXES))}); give a folder with some")
    return found


def _is_cut_short(data: bytes) -> bool:
    """Return whether a JPEG is truncated (OpenCV silently fills the rest with gray)."""
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def read_image(path: Path | str) -> Image:
    """Decode one file to uint8 RGB (H, W, 3): EXIF orientation applied, gray made RGB, alpha laid over white.

    Raises:
        UnreadableImageError: the file is empty, truncated, or not an image.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"{path.name}: {error.strerror}") from error
    if not data:
        raise UnreadableImageError(f"{path.name}: empty file")
    if _is_cut_short(data):
        raise UnreadableImageError(f"{path.name}: cut short")
    encoded = np.frombuffer(data, np.uint8)
    try:
        # IMREAD_COLOR applies EXIF orientation and converts gray and 16-bit images to 8-bit BGR. It drops alpha, so
        # an image with alpha (a character sprite) is read again unchanged.
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if decoded is None:
            raise UnreadableImageError(f"{path.name}: not an image")
        bgr: Image = np.asarray(decoded, np.uint8)
        if path.suffix.lower() in {".png", ".webp", ".tif", ".tiff"}:
            raw = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
            if raw is not None and raw.ndim == 3 and raw.shape[2] == 4 and raw.shape[:2] == bgr.shape[:2]:
                opaque = 65535.0 if raw.dtype == np.uint16 else 255.0
                opacity = raw[..., 3:].astype(np.float32) / opaque
                bgr = np.rint(bgr * opacity + 255.0 * (1.0 - opacity)).astype(np.uint8)
    except cv2.error as error:
        raise UnreadableImageError(f"{path.name}: {error.err}") from error
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def content_key(image: Image) -> str:
    """Return a digest of an image's shape and bytes, the same on every machine."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:24]


def enlarge_to(image: Image, shortest_px: int) -> Image:
    """Enlarge the image, if necessary, so that its shortest side is ``shortest_px``."""
    height, width = image.shape[:2]
    if min(height, width) >= shortest_px:
        return image
    factor = shortest_px / min(height, width)
    size = (max(shortest_px, round(width * factor)), max(shortest_px, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def shrink_to(image: Image, longest_px: int) -> Image:
    """Shrink the image (area average), if necessary, so that its longest side is ``longest_px``."""
    height, width = image.shape[:2]
    if max(height, width) <= longest_px:
        return image
    factor = longest_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def shrink_shortest_to(image: Image, shortest_px: int) -> Image:
    """Shrink the image (area average), if necessary, so that its shortest side is ``shortest_px``."""
    height, width = image.shape[:2]
    return shrink_to(image, round(shortest_px * max(height, width) / min(height, width)))


@dataclass
class ImageStore:
    """Returns images by index; caches decoded images up to ``budget_bytes`` and decodes others each time.

    Thread-safe. ``unreadable`` lists skipped files with the reason, one line each.
    """

    paths: list[Path]
    budget_bytes: int
    unreadable: list[str] = field(default_factory=list)
    longest_px: int = 0
    _kept: dict[int, Image] = field(default_factory=dict, repr=False)
    _used_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        return self._keep(index, self._decode(self.paths[index]))

    def _decode(self, path: Path) -> Image:
        image = read_image(path)
        return shrink_to(image, self.longest_px) if self.longest_px else image

    def _keep(self, index: int, image: Image) -> Image:
        with self._lock:
            if self._used_bytes + image.nbytes <= self.budget_bytes and index not in self._kept:
                self._kept[index] = image
                self._used_bytes += image.nbytes
        return image


def open_images(
    paths: Sequence[Path],
    *,
    what: str,
    budget_bytes: int = 8 << 30,
    longest_px: int = 0,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageStore:
    """Decode every file once, cache as many as fit, and skip unreadable files with a warning.

    ``what`` names the set in messages ("photos", "art"). ``longest_px`` shrinks larger images (0: never).

    Raises:
        TrainingError: no file can be read.
    """
    store = ImageStore(list(paths), budget_bytes, longest_px=longest_px)
    good: list[Path] = []
    images: list[Image] = []

    def decode(path: Path) -> Image | UnreadableImageError:
        try:
            return store._decode(path)
        except UnreadableImageError as error:
            return error

    used = 0
    with ThreadPoolExecutor(max(1, threads)) as pool:
        # In slices, so that a folder far larger than the budget is never completely in memory.
        for start in range(0, len(paths), 64):
            for path, result in zip(
                paths[start : start + 64], pool.map(decode, paths[start : start + 64]), strict=True
            ):
                if isinstance(result, UnreadableImageError):
                    store.unreadable.append(str(result))
                    continue
                good.append(path)
                used += result.nbytes
                if used <= budget_bytes:
                    images.append(result)
            if on_progress is not None:
                on_progress(min(start + 64, len(paths)), len(paths))
    store.paths = good
    for index, image in enumerate(images):
        store._keep(index, image)
    if store.unreadable:
        log.warning("%s", describe_unreadable(store.unreadable, len(paths), what=what))
    if not good:
        raise TrainingError(
            f"none of the {len(paths)} {what} can be read ({store.unreadable[0]}); give images that open in a viewer"
        )
    return store


def describe_unreadable(unreadable: Sequence[str], total: int, *, what: str) -> str:
    """Return one line: "left out 3 of 400 photos that cannot be read: a.jpg: cut short; b.png: empty file; ..."."""
    named = "; ".join(unreadable[:_NAMES_IN_MESSAGE])
    rest = len(unreadable) - _NAMES_IN_MESSAGE
    return f"left out {len(unreadable)} of {total} {what} that cannot be read: {named}" + (
        f"; and {rest} more" if rest > 0 else ""
    )
