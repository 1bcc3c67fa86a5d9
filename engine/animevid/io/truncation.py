"""Detects truncated image files, which decoders show partially without an error."""

from __future__ import annotations

import re

#: A JPEG marker that ends entropy-coded data: not a stuffed byte, a restart or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_IMAGE = 0xD9
_PNG_END = b"IEND\xaeB`\x82"


def is_cut_short(data: bytes, demuxer: str | None) -> bool:
    """Whether the image file ``data``, of the kind that FFmpeg reads with ``demuxer``, is truncated.

    JPEG, PNG, WebP and BMP are checked by their end markers and lengths; other formats count as complete.
    """
    if demuxer == "jpeg_pipe":
        return not _reaches_end_of_jpeg(data)
    if demuxer == "png_pipe":
        return _PNG_END not in data
    if demuxer == "webp_pipe":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if demuxer == "bmp_pipe":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False


def _reaches_end_of_jpeg(data: bytes) -> bool:
    """Whether the end marker is reached; walks the segments, to ignore end markers of thumbnails and trailing bytes."""
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        code = data[marker.start() + 1]
        if code == _END_OF_IMAGE:
            return True
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        at = marker.end() + max(length, 2)
    return False
