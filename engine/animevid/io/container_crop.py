"""The crop that a container declares: QuickTime's clean aperture, Matroska's crop. FFmpeg applies neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from animevid.io.frame_fit import Crop
from animevid.io.mp4_boxes import boxes, find_moov

_MAX_BYTES = 16 << 20
#: Matroska (RFC 9559, 5.1.4.1.28): PixelCropBottom, Top, Left, Right.
_PIXEL_CROP = {b"\x54\xaa": "bottom", b"\x54\xbb": "top", b"\x54\xcc": "left", b"\x54\xdd": "right"}
_TRACKS, _TRACK_ENTRY, _TRACK_NUMBER, _VIDEO = b"\x16\x54\xae\x6b", b"\xae", b"\xd7", b"\xe0"


def container_crop(path: Path, *, format_name: str, stream_index: int, width: int, height: int) -> Crop | None:
    """The crop that the file declares for stream ``stream_index`` of ``width`` x ``height`` px; ``None`` if none."""
    kind = format_name.split(",")[0] if path.is_file() else ""  # a FIFO can only be read once
    try:
        if kind == "mov":
            with path.open("rb") as file:
                found = _clean_aperture(file, stream_index, width, height)
        elif kind == "matroska":
            with path.open("rb") as file:
                found = _pixel_crop(file.read(_MAX_BYTES), stream_index)
        else:
            return None
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        return None
    return found if found is not None and found.fits(width, height) else None


def _clean_aperture(file: BinaryIO, stream_index: int, width: int, height: int) -> Crop | None:
    """The "clap" box (ISO/IEC 14496-12, 12.1.4): size and offset of the centre, as four fractions."""
    place = find_moov(file)
    if place is None:
        return None
    file.seek(place[0])
    moov = file.read(min(place[1] - place[0], _MAX_BYTES))
    tracks = [body for kind, body in boxes(moov[8:]) if kind == b"trak"]
    if stream_index >= len(tracks):
        return None
    body = tracks[stream_index]
    for wanted in (b"mdia", b"minf", b"stbl", b"stsd"):
        body = next((inner for kind, inner in boxes(body) if kind == wanted), b"")  # it may be damaged
    entry = next((inner for _, inner in boxes(body[8:])), b"")
    clap = next((inner for kind, inner in boxes(entry[78:]) if kind == b"clap"), None)  # after its fields
    if clap is None or len(clap) < 32:
        return None
    numbers = [int.from_bytes(clap[n : n + 4], "big", signed=True) for n in range(0, 32, 4)]
    clean_width, clean_height, x, y = (numbers[n] / numbers[n + 1] for n in range(0, 8, 2))
    left, top = round((width - clean_width) / 2 + x), round((height - clean_height) / 2 + y)
    return Crop(left, top, width - left - round(clean_width), height - top - round(clean_height))


def _pixel_crop(data: bytes, stream_index: int) -> Crop | None:
    at = data.find(_TRACKS)
    if at < 0:
        return None
    tracks = next((body for kind, body in _elements(data[at:]) if kind == _TRACKS), b"")
    entries = [body for kind, body in _elements(tracks) if kind == _TRACK_ENTRY]
    if stream_index >= len(entries):
        return None
    video = next((body for kind, body in _elements(entries[stream_index]) if kind == _VIDEO), b"")
    edges = {_PIXEL_CROP[kind]: int.from_bytes(body, "big") for kind, body in _elements(video) if kind in _PIXEL_CROP}
    return Crop(**edges) if edges else None


def _elements(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """EBML elements as (identifier, body). The leading zero bits of identifier and size give their lengths."""
    at = 0
    while at < len(data):
        length = 9 - data[at].bit_length()
        kind, at = data[at : at + length], at + length
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
        at += length
        yield kind, data[at : at + size]
        at += size
