"""Writes the files of a run, an export and an evaluation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from animevid.errors import OutputError
from animevid.trusted_files import atomic_write
from numpy.typing import NDArray


def write_file(path: Path, content: bytes | str) -> None:
    """Write ``path`` atomically, with the permissions of any new file; folders above it are made. Text is UTF-8.

    Raises:
        OutputError: it cannot be written; an existing file is unchanged.
    """
    atomic_write(path, content.encode() if isinstance(content, str) else content, permissions=0o666)


def write_png(path: Path, image: NDArray[np.uint8], *, compression: int | None = None) -> None:
    """Write an RGB image (H, W, 3) like :func:`write_file`.

    ``compression``: 0 (none) to 9 (slowest). Default: OpenCV's.

    Raises:
        OutputError: it cannot be written; an existing file is unchanged.
    """
    options = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression]
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise OutputError(f"{str(path)!r}: an image of shape {image.shape} cannot be encoded")
    write_file(path, encoded.tobytes())
