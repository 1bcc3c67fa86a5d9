"""The orientation in EXIF (tag 0x0112, TIFF 6.0 and EXIF 2.32), the only tag that animevid reads."""

from __future__ import annotations

import struct

from animevid.io.orientation import Orientation

_ORIENTATION_TAG = 0x0112
#: EXIF's eight values: how to bring the image upright (mirror first, then turn clockwise).
_ORIENTATIONS = {
    1: Orientation(0),
    2: Orientation(0, mirrored=True),
    3: Orientation(180),
    4: Orientation(180, mirrored=True),
    5: Orientation(270, mirrored=True),
    6: Orientation(90),
    7: Orientation(90, mirrored=True),
    8: Orientation(270),
}


def exif_orientation(data: bytes) -> Orientation | None:
    """The orientation that a JPEG, PNG, WebP or TIFF file declares; ``None`` if it declares none or is damaged."""
    tiff = _tiff_block(data)
    if tiff is None:
        return None
    try:
        return _ORIENTATIONS.get(_orientation_value(tiff))
    except (struct.error, IndexError):
        return None  # a damaged block is ignored


def _orientation_value(tiff: bytes) -> int:
    order = "<" if tiff[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, offset)
    for entry in range(count):
        tag, kind, _ = struct.unpack_from(order + "HHI", tiff, offset + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG:
            (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), tiff, offset + 10 + 12 * entry)
            return int(value)
    return 0


def _tiff_block(data: bytes) -> bytes | None:
    """The TIFF structure inside a file that holds the EXIF tags."""
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return data
    block: bytes | None = None
    if data.startswith(b"\xff\xd8"):
        block = _jpeg_segment(data)
    elif data.startswith(b"\x89PNG"):
        block = _chunk(data, 8, b"eXIf", order=">", name_first=False, extra=4)
    elif data[:4] == b"RIFF":
        block = _chunk(data, 12, b"EXIF", order="<", name_first=True, extra=0)
    if block is None:
        return None
    block = block.removeprefix(b"Exif\x00\x00")
    return block if block[:4] in (b"II*\x00", b"MM\x00*") else None


def _jpeg_segment(data: bytes) -> bytes | None:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:  # start of scan: no more metadata
            return None
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\x00\x00":
            return data[position + 4 : position + 2 + length]
        position += 2 + length
    return None


def _chunk(data: bytes, position: int, name: bytes, *, order: str, name_first: bool, extra: int) -> bytes | None:
    """The body of the first PNG (length, name, body, checksum) or RIFF (name, length, body, pad) chunk ``name``."""
    while position + 8 <= len(data):
        head = data[position : position + 8]
        found, size = (head[:4], head[4:]) if name_first else (head[4:], head[:4])
        (length,) = struct.unpack(order + "I", size)
        if found == name:
            return data[position + 8 : position + 8 + length]
        position += 8 + length + extra + (length % 2 if name_first else 0)
    return None
