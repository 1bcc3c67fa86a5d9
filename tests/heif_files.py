"""Builds AVIF photos with tiles, auxiliary images and properties that no available writer produces."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from animevid.io.mp4_boxes import boxes
from PIL import Image

TILE = 64


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *parts)


def turned(quarters: int) -> bytes:
    """A property: rotate counter-clockwise."""
    return box(b"irot", bytes([quarters]))


def mirrored(axis: int) -> bytes:
    """A property: 0 swaps top and bottom, 1 left and right."""
    return box(b"imir", bytes([axis]))


def aperture(width: int, height: int) -> bytes:
    """A property: crop to the middle of the image."""
    return box(b"clap", struct.pack(">8I", width, 1, height, 1, 0, 1, 0, 1))


@dataclass(frozen=True)
class Item:
    number: int
    kind: bytes
    body: bytes
    properties: tuple[bytes, ...]


def coded(image: Image.Image, number: int, *properties: bytes) -> Item:
    """``image`` as AV1."""
    file = io.BytesIO()
    image.save(file, "AVIF", quality=95, speed=10)
    data = file.getvalue()
    media = next(body for kind, body in boxes(data) if kind == b"mdat")
    at = data.find(b"av1C") - 4
    configuration = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    size = full(b"ispe", struct.pack(">II", *image.size))
    return Item(number, b"av01", media, (size, configuration, *properties))


def tiled(image: Image.Image, number: int, first_tile: int, size: tuple[int, int], *properties: bytes) -> list[Item]:
    """``image`` in tiles of 64 px, cut to ``size`` (width, height)."""
    columns, rows = image.width // TILE, image.height // TILE
    places = [(c * TILE, r * TILE) for r in range(rows) for c in range(columns)]
    items = [coded(image.crop((x, y, x + TILE, y + TILE)), first_tile + n) for n, (x, y) in enumerate(places)]
    body = bytes([0, 0, rows - 1, columns - 1]) + struct.pack(">HH", *size)
    return [Item(number, b"grid", body, (full(b"ispe", struct.pack(">II", *size)), *properties)), *items]


def opacity() -> bytes:
    """A property: the item is an alpha plane."""
    return full(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


def put_together(
    items: Sequence[Item], references: Sequence[tuple[bytes, int, Sequence[int]]], *, primary: int
) -> bytes:
    """The file; each of ``references`` is a kind, the referring item, and the items it refers to."""
    known = list(dict.fromkeys(each for item in items for each in item.properties))
    rows = [
        struct.pack(">HB", item.number, len(item.properties)) + bytes(known.index(each) + 1 for each in item.properties)
        for item in items
    ]
    entries = [full(b"infe", struct.pack(">HH", item.number, 0), item.kind, b"\0", version=2) for item in items]
    links = [box(kind, struct.pack(f">{2 + len(to)}H", item, len(to), *to)) for kind, item, to in references]
    head = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")

    def meta(offset: int) -> bytes:
        places = b""
        for item in items:
            places += struct.pack(">HHHII", item.number, 0, 1, offset, len(item.body))
            offset += len(item.body)
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", primary)),
            full(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places),
            full(b"iinf", struct.pack(">H", len(items)), *entries),
            full(b"iref", *links) if links else b"",
            box(b"iprp", box(b"ipco", *known), full(b"ipma", struct.pack(">I", len(rows)), *rows)),
        )

    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *(item.body for item in items))


def card(width: int, height: int) -> Image.Image:
    """An image whose four corners all differ."""
    y, x = np.mgrid[0:height, 0:width]
    third = np.where((x < width // 2) == (y < height // 2), 40, 200)
    pixels = np.stack([x * 255 // width, y * 255 // height, third], axis=-1).astype(np.uint8)
    pixels[: height // 4, : width // 4] = 255
    return Image.fromarray(pixels)


def ramp(width: int, height: int) -> Image.Image:
    """Black on the left, white on the right."""
    return Image.fromarray(np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1)))
