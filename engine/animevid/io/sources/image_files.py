"""Finds the image files of a folder or a glob, and the names of their outputs."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from animevid.errors import InputError
from animevid.io.network.protocols import Spec, input_error, local_path
from animevid.io.still import READ_KINDS, still_demuxer

#: Suffixes of still images: such a file without an image is reported, other files are ignored.
_IMAGE_NAMES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".jp2", ".tga", ".ico", ".jxl")
)


@dataclass(frozen=True, slots=True)
class FoundImages:
    """Image files in natural order: 2 before 10.

    Attributes:
        paths (tuple[Path, ...]): the files.
        names (tuple[str, ...]): each file's name below ``root``, with its subfolders (``"summer/a.jpg"``).
        root (Path): the folder, or the part of a glob before its first wildcard.
        lost (tuple[str, ...]): one line for each file with an image suffix but no image, and for each subfolder that
            is not searched.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    root: Path
    lost: tuple[str, ...]


def find_images(spec: Spec) -> FoundImages:
    """The image files of ``spec`` (file, folder or glob).

    Raises:
        InputError: it does not exist, or has no image.
    """
    path = local_path(spec)
    lost: list[str] = []
    if path.is_file():
        return FoundImages((path,), (path.name,), path.parent, ())
    if path.is_dir():
        entries = [entry for entry in sorted(path.iterdir(), key=_natural_key) if not entry.name.startswith(".")]
        candidates = [entry for entry in entries if not os.path.isdir(entry)]
        lost += [
            f"folder = {str(entry)!r} is a subfolder and not searched: --recursive or this glob searches it: "
            f"{every_image(path)!r}"
            for entry in entries
            if os.path.isdir(entry)
        ]
        root, where = path, f"folder = {str(path)!r}"
    elif is_glob(spec):
        root, where = _fixed_part(path), f"glob = {str(path)!r}"
        found = list(_without_circles(map(Path, glob.glob(str(path), recursive=True)), root))
        candidates = [entry for entry in found if not os.path.isdir(entry)]
        lost += [
            f"skipped: folder = {str(entry)!r} may not be read: check its permissions"
            for entry in sorted(found, key=_natural_key)
            if os.path.isdir(entry) and not os.access(entry, os.R_OK | os.X_OK)
        ]
    else:
        raise InputError(f"path = {str(path)!r} does not exist: check the name")
    images = []
    for candidate in sorted(candidates, key=_natural_key):
        try:
            kind = still_demuxer(candidate) if os.path.isfile(candidate) else None
            why = "" if kind is not None else _why_none(candidate)
        except InputError as error:
            kind, why = None, str(error)
        if kind is not None:
            images.append(candidate)
        elif is_image_name(candidate.name):
            lost.append(f"skipped: {why}")
    if not images:
        raise InputError(f"{where} has no images: {READ_KINDS} are read")
    return FoundImages(tuple(images), tuple(_name_below(root, image) for image in images), root, tuple(lost))


def holds_images(folder: Path) -> bool:
    """Whether ``folder`` or a folder below it has a file with an image suffix."""
    return any(is_image_name(name) for _, _, names in os.walk(folder) for name in names)


def is_image_name(name: str) -> bool:
    """Whether a file name has an image suffix; on opening, the content decides."""
    return Path(name).suffix.lower() in _IMAGE_NAMES and not name.startswith(".")


def every_image(folder: Path) -> str:
    """The glob for all files in ``folder`` and below it."""
    return os.path.join(glob.escape(str(folder)), "**", "*")


def is_glob(spec: Spec) -> bool:
    """Whether a name that does not exist has wildcards in it."""
    text = os.fspath(spec)
    return any(sign in text for sign in "*?[") and not Path(text).exists()


def _why_none(path: Path) -> str:
    """Why there is no image in ``path``."""
    name = f"path = {str(path)!r}"
    try:
        status = path.stat()
    except OSError as error:
        return f"{name} is a link that leads nowhere" if os.path.islink(path) else str(input_error(path, error))
    if not stat.S_ISREG(status.st_mode):
        return f"{name} is no file but a pipe, socket or device"
    return f"{name} {'holds no still image that is read' if status.st_size else 'is empty'}"


def _without_circles(paths: Iterable[Path], root: Path) -> Iterator[Path]:
    """``paths`` without repetitions through links to a parent folder."""
    goes_round: dict[Path, bool] = {}
    for path in paths:
        folder = path.parent
        if folder not in goes_round:
            above = [os.path.realpath(one) for one in (folder, *folder.parents) if len(one.parts) >= len(root.parts)]
            goes_round[folder] = len(set(above)) < len(above)
        if not goes_round[folder]:
            yield path


def _fixed_part(pattern: Path) -> Path:
    """The folder before the first part of ``pattern`` with wildcards."""
    fixed = []
    for part in pattern.parts[:-1]:
        plain = re.sub(r"\[([*?[])\]", r"\1", part)
        if glob.escape(plain) != part and glob.has_magic(part):
            break
        fixed.append(plain)
    return Path(*fixed)


def _name_below(root: Path, path: Path) -> str:
    name = os.path.relpath(os.path.normpath(path), os.path.normpath(root))
    return path.name if name.startswith(os.pardir) else name


def _natural_key(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.casefold()) for part in parts]
