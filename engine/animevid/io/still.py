"""Detects by its content whether a file is a still image, and of which format."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from animevid.io.network.protocols import input_error
from animevid.io.pillow import is_jpeg_xl

#: Number of first bytes that identify a format.
HEAD_BYTES = 4096
#: The formats of still images, for messages.
READ_KINDS = "JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP, JPEG 2000, JPEG XL, TGA, ICO, QOI, PCX, PNM, SGI and DPX"

#: How an OpenEXR file begins.
OPEN_EXR = b"v/1\x01"
_STILL_BRANDS = (b"avif", b"mif1", b"heic", b"heix")
_JPEG_2000 = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*", b"\x00\x00\x01\x00"),
    *_JPEG_2000,
)
_MARKS = {b"qoif": "qoi_pipe", b"\x01\xda": "sgi_pipe", b"SDPX": "dpx_pipe", b"XPDS": "dpx_pipe"}
_PCX_CODINGS = (b"\x01\x01", b"\x01\x02", b"\x01\x04", b"\x01\x08")
_PIXEL_MAP = re.compile(rb"P([456])(?:\s+|#[^\n]*\n)+(\d{1,6})\s+(\d{1,6})\s(?:\s*(\d{1,5})\s)?")
_JOINT = b"\xff\xd9\xff\xd8\xff"  # one JPEG ends and the next begins
_SEARCHED_BYTES = 32 << 20


def still_demuxer(path: Path) -> str | None:
    """The reader of the still image in ``path``: FFmpeg's demuxer, or ``"pillow"``; ``None`` for anything else.

    The content decides, not the name: a JPEG called ``.png`` is a JPEG, and a ``%`` in a name is no pattern. Only TGA
    has no magic number at its beginning; its footer or its name identifies it.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            kind = still_kind(head, lambda: path.open("rb"))
            if kind is None and path.suffix.lower() == ".tga" and _is_targa_header(head):
                return "pillow"
            return kind
    except OSError as error:
        raise input_error(path, error) from error


def still_kind(head: bytes, reopen: Callable[[], IO[bytes]]) -> str | None:
    """As :func:`still_demuxer`, for content that begins with ``head``; ``reopen`` opens it from the start."""
    if head.startswith(b"\xff\xd8\xff"):
        return None if _is_motion_jpeg(reopen) else "jpeg_pipe"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        at = head.find(b"acTL")
        return None if at >= 0 and int.from_bytes(head[at + 4 : at + 8], "big") != 1 else "png_pipe"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        if not (head[12:16] == b"VP8X" and len(head) > 20 and head[20] & 0x02):
            return "webp_pipe"
        return None if _moves(reopen) else "pillow"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return None if _moves(reopen) else "gif"
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return "mov"
    if head.startswith(b"BM") and len(head) > 26:
        return "bmp_pipe"
    if head.startswith((b"II*\x00", b"MM\x00*")):
        return "tiff_pipe"
    if head.startswith(_JPEG_2000) or is_jpeg_xl(head) or _is_icon(head) or _ends_as_targa(head, reopen):
        return "pillow"
    if head.startswith(b"\x0a") and len(head) > 128 and head[1] in (0, 2, 3, 4, 5) and head[2:4] in _PCX_CODINGS:
        return "pcx_pipe"
    if _is_one_pixel_map(head, reopen):
        return {b"4": "pbm_pipe", b"5": "pgm_pipe", b"6": "ppm_pipe"}[head[1:2]]
    return next((demuxer for mark, demuxer in _MARKS.items() if head.startswith(mark)), None)


def may_be_still(head: bytes) -> bool:
    """Whether content that begins with ``head`` may be a still image (or an animation: the whole file tells)."""
    return head.startswith(_MAGIC) or head[8:12] == b"WEBP" or head[8:12] in _STILL_BRANDS or is_jpeg_xl(head)


def is_row_of_jpegs(data: bytes) -> bool:
    """Whether one JPEG ends in ``data`` and the next begins."""
    return _JOINT in data


def is_animated_webp(head: bytes) -> bool:
    """Whether content that begins with ``head`` is an animated WebP."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 0x02)


def _moves(reopen: Callable[[], IO[bytes]]) -> bool:
    """Whether there is a second frame; false if damaged, which the reader will report."""
    from PIL import Image

    try:
        with reopen() as file, Image.open(file) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow's plug-ins raise any kind of exception for damaged files
        return True


def _is_motion_jpeg(reopen: Callable[[], IO[bytes]]) -> bool:
    """Whether it is motion JPEG: consecutive JPEGs without a list of them. Phones also append images to a photo, but
    list them (CIPA DC-007, Multi-Picture Format) or name them in XMP.
    """
    with reopen() as file:
        data = file.read(_SEARCHED_BYTES)
    if b"MPF\0" in data[: 1 << 18] or b"http://ns.adobe.com/xap" in data[: 1 << 18]:
        return False
    return _JOINT in data


def _is_one_pixel_map(head: bytes, reopen: Callable[[], IO[bytes]]) -> bool:
    """Whether it is a single Netpbm image; several in a row are a video."""
    found = _PIXEL_MAP.match(head)
    if found is None:
        return False
    width, height, largest = int(found[2]), int(found[3]), int(found[4] or 1)
    row = (width + 7) // 8 if found[1] == b"4" else width * (3 if found[1] == b"6" else 1) * (2 if largest > 255 else 1)
    with reopen() as file:
        file.seek(0, 2)
        return file.tell() <= found.end() + row * height + 2


def _is_icon(head: bytes) -> bool:
    """Whether it is an ICO, which lists 1 to 255 images; MPEG start codes begin alike but continue differently."""
    return len(head) > 22 and head.startswith(b"\x00\x00\x01\x00") and head[4] > 0 and head[5] == head[9] == 0


def _is_targa_header(head: bytes) -> bool:
    """Whether it is a Truevision TGA 2.0 header: colour map flag, one of six types, 8 to 32 bits per pixel, a size."""
    return (
        len(head) > 18
        and head[1] in (0, 1)
        and head[2] in (1, 2, 3, 9, 10, 11)
        and head[16] in (8, 15, 16, 24, 32)
        and any(head[12:14])
        and any(head[14:16])
    )


def _ends_as_targa(head: bytes, reopen: Callable[[], IO[bytes]]) -> bool:
    if not _is_targa_header(head):
        return False
    with reopen() as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 26))
        return b"TRUEVISION-XFILE." in file.read()
