"""What a file is by its first bytes: a still image and of which kind, or something that moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from animevid.io.network.protocols import input_error
from animevid.io.pillow import is_jpeg_xl

#: How much of a file tells its kind.
HEAD_BYTES = 4096
#: The kinds of still images, for messages.
READ_KINDS = "JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP, JPEG 2000, JPEG XL, TGA, ICO, QOI, PCX, PNM, SGI and DPX"

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
    """What reads the still image in ``path``: FFmpeg's demuxer, or ``"pillow"``; ``None`` for anything else.

    Names are not asked: a JPEG called ``.png`` is still a JPEG, and a ``%`` in a name is no pattern. TGA alone has no
    mark at its beginning and is known by one at its end, or by its name.

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
    """As :func:`still_demuxer`, of what begins with ``head`` and is read from its start by ``reopen``."""
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
    """Whether what begins with ``head`` is a still image, or an animation of such, which the whole file tells."""
    return head.startswith(_MAGIC) or head[8:12] == b"WEBP" or head[8:12] in _STILL_BRANDS or is_jpeg_xl(head)


def is_row_of_jpegs(data: bytes) -> bool:
    """Whether one JPEG ends in ``data`` and the next begins."""
    return _JOINT in data


def is_animated_webp(head: bytes) -> bool:
    """Whether what begins with ``head`` is a WebP of several frames."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 0x02)


def _moves(reopen: Callable[[], IO[bytes]]) -> bool:
    """Whether there is a second frame; the reader reports what is too damaged to tell."""
    from PIL import Image

    try:
        with reopen() as file, Image.open(file) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow's plug-ins raise any kind of exception over damaged files
        return True


def _is_motion_jpeg(reopen: Callable[[], IO[bytes]]) -> bool:
    """Whether it is a film: JPEGs that follow each other and are listed nowhere. Phones append images to a photo too,
    but list them (CIPA DC-007, Multi-Picture Format) or name them in XMP.
    """
    with reopen() as file:
        data = file.read(_SEARCHED_BYTES)
    if b"MPF\0" in data[: 1 << 18] or b"http://ns.adobe.com/xap" in data[: 1 << 18]:
        return False
    return _JOINT in data


def _is_one_pixel_map(head: bytes, reopen: Callable[[], IO[bytes]]) -> bool:
    """Whether it is one Netpbm image; several that follow each other are a film."""
    found = _PIXEL_MAP.match(head)
    if found is None:
        return False
    width, height, largest = int(found[2]), int(found[3]), int(found[4] or 1)
    row = (width + 7) // 8 if found[1] == b"4" else width * (3 if found[1] == b"6" else 1) * (2 if largest > 255 else 1)
    with reopen() as file:
        file.seek(0, 2)
        return file.tell() <= found.end() + row * height + 2


def _is_icon(head: bytes) -> bool:
    """An ICO lists 1 to 255 images; MPEG's start codes begin alike and continue otherwise."""
    return len(head) > 22 and head.startswith(b"\x00\x00\x01\x00") and head[4] > 0 and head[5] == head[9] == 0


def _is_targa_header(head: bytes) -> bool:
    """Truevision TGA 2.0: a colour map or none, one of six kinds, 8 to 32 bits a pixel, a size."""
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
