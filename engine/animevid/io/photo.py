"""The metadata of a photo: EXIF and the ICC colour profile.

Pillow reads both from JPEG, PNG, WebP, TIFF and JPEG 2000; in HEIC and AVIF they are items and boxes.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from animevid.io.heif import item_of_kind

if TYPE_CHECKING:
    import PIL.Image

log = logging.getLogger(__name__)

_ORIENTATION, _COLOUR_SPACE, _WIDTH, _HEIGHT, _MAKER_NOTE, _INTEROPERABILITY = 274, 40961, 40962, 40963, 37500, 40965
_EXIF_IFD, _SRGB = 0x8769, 1
_HEADER = b"Exif\x00\x00"
_MAX_SEGMENT = 65533  # of a JPEG: two bytes hold the length, which includes them


@dataclass(frozen=True, slots=True)
class PhotoTags:
    """``exif`` (with its ``Exif`` header) and an ICC ``profile``, each empty where there is none.

    ``has_pages``: a TIFF has more than one. ``is_cmyk``: the image is CMYK, which Pillow converts by that profile.
    """

    exif: bytes = b""
    profile: bytes = b""
    is_cmyk: bool = False
    has_pages: bool = False


def tags_of(data: bytes, demuxer: str) -> PhotoTags:
    """The tags of the image file ``data``, of the kind that FFmpeg reads with ``demuxer``; empty for other kinds."""
    if demuxer == "mov":
        return PhotoTags(_heif_exif(data), _heif_profile(data))
    try:
        with open_image(data) as image:
            exif = image.info.get("exif") or (image.getexif().tobytes() if demuxer == "tiff_pipe" else b"")
            tags = PhotoTags(exif, image.info.get("icc_profile") or b"", image.mode == "CMYK")
            return replace(tags, has_pages=demuxer == "tiff_pipe" and _has_pages(image))
    except Exception as error:  # damaged metadata is no reason to refuse the image
        log.debug("no tags are read: %s", error)
        return PhotoTags()


def _has_pages(image: PIL.Image.Image) -> bool:
    """Whether a TIFF has a second page, not only a thumbnail of the first (TIFF 6.0, NewSubfileType)."""
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        image.seek(1)
    except EOFError:
        return False
    return isinstance(image, TiffImageFile) and not int(image.tag_v2.get(254, 0)) & 1


def open_image(data: bytes) -> PIL.Image.Image:
    """``data`` opened with Pillow: only the header is read; any size is allowed."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DecompressionBombWarning, from 89 million pixels on
        return Image.open(io.BytesIO(data))


def lasting_exif(exif: bytes) -> bytes:
    """``exif`` corrected for the stylized image: upright, in sRGB, without the old size and thumbnail."""
    from PIL import Image

    if not exif:
        return b""
    try:
        tags = Image.Exif()
        tags.load(exif)
        own = tags.get_ifd(_EXIF_IFD)
        if _ORIENTATION in tags:
            tags[_ORIENTATION] = 1
        for name in (_WIDTH, _HEIGHT, _INTEROPERABILITY):
            own.pop(name, None)
        if _COLOUR_SPACE in own:
            own[_COLOUR_SPACE] = _SRGB
        written: bytes = tags.tobytes()
        if len(written) > _MAX_SEGMENT and own.pop(_MAKER_NOTE, None) is not None:
            written = tags.tobytes()
    except Exception as error:
        log.debug("EXIF cannot be kept: %s", error)
        return b""
    return written if len(written) <= _MAX_SEGMENT else b""


def says_adobe_rgb(exif: bytes) -> bool:
    """Whether EXIF declares Adobe RGB, as cameras do (DCF 2.0: interoperability ``R03``)."""
    from PIL import Image

    try:
        tags = Image.Exif()
        tags.load(exif)
        return str(tags.get_ifd(_INTEROPERABILITY).get(1, "")).startswith("R03")
    except Exception:
        return False


def with_exif(data: bytes, exif: bytes) -> bytes:
    """The JPEG or PNG file ``data`` with ``exif`` in it."""
    if not exif:
        return data
    if data.startswith(b"\xff\xd8"):
        at = 2
        if data[2:4] == b"\xff\xe0":  # JFIF comes first
            at += 2 + int.from_bytes(data[4:6], "big")
        return data[:at] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[at:]
    if data.startswith(b"\x89PNG"):
        at = 8 + 12 + int.from_bytes(data[8:12], "big")  # after IHDR
        body = b"eXIf" + exif.removeprefix(_HEADER)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:at] + chunk + data[at:]
    return data


def _heif_exif(data: bytes) -> bytes:
    """ISO/IEC 23008-12, A.2.1: the first four bytes give the offset of the TIFF structure after them."""
    item = item_of_kind(data, b"Exif")
    if item is None or len(item) < 12:
        return b""
    tiff = item[4 + int.from_bytes(item[:4], "big") :]
    return _HEADER + tiff if tiff[:4] in (b"II*\x00", b"MM\x00*") else b""


def _heif_profile(data: bytes) -> bytes:
    """The first "colr" box with a profile (ISO/IEC 14496-12, 12.1.5)."""
    for kind in (b"colrprof", b"colrrICC"):
        at = data.find(kind)
        if at >= 4:
            return data[at + 8 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    return b""
