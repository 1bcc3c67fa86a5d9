"""HEIF and AVIF photos composed of items (ISO/IEC 23008-12): tiles, alpha as an auxiliary image, crop, orientation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from animevid.io.frame_fit import Crop
from animevid.io.mp4_boxes import boxes
from animevid.io.orientation import Orientation
from animevid.pixels.colour import ColourRange
from animevid.pixels.planes import Plane, PlanesYUV420

_MAX_ITEMS = 65536
_ALPHA_KINDS = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_UPRIGHT = Orientation()


@dataclass(frozen=True, slots=True)
class Grid:
    """A photo in tiles: rows and columns, the size of the composed and cropped image, and the item numbers in order."""

    rows: int
    columns: int
    height: int
    width: int
    tiles: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a photo.

    Args:
        image (int | Grid): the item that is shown, or its tiles.
        alpha (int | Grid | None): the auxiliary image with its alpha channel.
        clean_aperture (tuple[float, ...]): width, height and centre offset of the visible area, in pixels; empty:
            everything.
        orientation (Orientation): how to bring it upright.
    """

    image: int | Grid
    alpha: int | Grid | None = None
    clean_aperture: tuple[float, ...] = ()
    orientation: Orientation = _UPRIGHT

    def crop(self, width: int, height: int) -> Crop | None:
        """The crop for an image of that size; ``None`` if there is none."""
        if len(self.clean_aperture) < 4:
            return None
        wide, high, x, y = self.clean_aperture
        left, top = round((width - wide) / 2 + x), round((height - high) / 2 + y)
        found = Crop(left, top, width - left - round(wide), height - top - round(high))
        return found if found.fits(width, height) else None


@dataclass(slots=True)
class _Meta:
    """The items that a file lists (ISO/IEC 14496-12, 8.11)."""

    primary: int | None = None
    kinds: dict[int, bytes] = field(default_factory=dict)
    properties: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)
    locations: bytes = b""
    idat: bytes = b""


def layout_of(data: bytes) -> Layout | None:
    """The parts of the primary item of the file ``data``; ``None`` if the file does not list them."""
    meta = _meta(data)
    primary = meta.primary
    if primary is None or primary not in meta.kinds:
        return None
    auxiliary = (item for kind, item, shown in meta.references if kind == b"auxl" and primary in shown)
    alpha = next((item for item in auxiliary if _is_alpha(meta, item)), None)
    aperture: tuple[float, ...] = ()
    turn, mirrored = 0, False
    for kind, body in meta.properties.get(primary, ()):
        if kind == b"clap" and len(body) >= 32:
            numbers = [int.from_bytes(body[n : n + 4], "big", signed=True) for n in range(0, 32, 4)]
            if all(numbers[1::2]):
                aperture = tuple(numbers[n] / numbers[n + 1] for n in range(0, 8, 2))
        elif kind == b"irot" and body:
            turn += -90 * (body[0] & 3)  # anti-clockwise, 6.5.10
        elif kind == b"imir" and body:  # 6.5.12: 0 exchanges top and bottom, 1 left and right
            # The file mirrors after the turn; an Orientation mirrors first, which reverses the turn.
            mirrored, turn = not mirrored, -turn + (0 if body[0] & 1 else 180)
    return Layout(
        _item_or_grid(data, meta, primary),
        None if alpha is None else _item_or_grid(data, meta, alpha),
        aperture,
        Orientation(turn % 360, mirrored),
    )


def item_of_kind(data: bytes, kind: bytes) -> bytes | None:
    """The bytes of the first item of ``kind`` (``b"Exif"``); ``None`` if there is none."""
    meta = _meta(data)
    number = next((number for number, found in meta.kinds.items() if found == kind), None)
    return None if number is None else _item(data, meta, number)


def _item_or_grid(data: bytes, meta: _Meta, number: int) -> int | Grid:
    body = _item(data, meta, number) if meta.kinds.get(number) == b"grid" else None
    if body is None or len(body) < 8 or body[0] != 0:
        return number
    size = 4 if body[1] & 1 else 2
    width, height = (int.from_bytes(body[4 + n * size : 4 + (n + 1) * size], "big") for n in range(2))
    tiles = next((to for kind, item, to in meta.references if kind == b"dimg" and item == number), ())
    return Grid(body[2] + 1, body[3] + 1, height, width, tiles) if width and height else number


def _is_alpha(meta: _Meta, item: int) -> bool:
    bodies = (body[4:] for kind, body in meta.properties.get(item, ()) if kind == b"auxC")
    return any(body.startswith(_ALPHA_KINDS) for body in bodies)


def _meta(data: bytes) -> _Meta:
    """The items of the file; damaged parts are left out."""
    meta = _Meta()
    body = next((inner for kind, inner in boxes(data) if kind == b"meta"), b"")[4:]
    for kind, inner in boxes(body):
        if kind == b"pitm":
            meta.primary = int.from_bytes(inner[4 : 8 if inner[:1] != b"\0" else 6], "big")
        elif kind == b"iinf":
            meta.kinds = dict(_kinds(inner[6 if inner[:1] == b"\0" else 8 :]))
        elif kind == b"iref":
            meta.references = list(_references(inner))
        elif kind == b"iprp":
            meta.properties = _properties(inner)
        elif kind == b"iloc":
            meta.locations = inner
        elif kind == b"idat":
            meta.idat = inner
    return meta


def _kinds(entries: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and kind of each item, from "infe" (8.11.6)."""
    for _, body in boxes(entries):
        size = 4 if body[:1] > b"\2" else 2  # of the item's number; two bytes for its protection follow
        yield int.from_bytes(body[4 : 4 + size], "big"), body[6 + size : 10 + size]


def _references(inner: bytes) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    """Kind, item and referenced items of each reference (8.11.12)."""
    size = 4 if inner[:1] != b"\0" else 2
    for kind, body in boxes(inner[4:]):
        count = int.from_bytes(body[size : size + 2], "big")
        ends = body[size + 2 : size + 2 + count * size]
        targets = tuple(int.from_bytes(ends[n : n + size], "big") for n in range(0, len(ends), size))
        yield kind, int.from_bytes(body[:size], "big"), targets


def _properties(inner: bytes) -> dict[int, list[tuple[bytes, bytes]]]:
    """Each item's properties, in order (ISO/IEC 23008-12, 9.3)."""
    known = [found for kind, body in boxes(inner) if kind == b"ipco" for found in boxes(body)]
    properties: dict[int, list[tuple[bytes, bytes]]] = {}
    for body in (body for kind, body in boxes(inner) if kind == b"ipma" and len(body) >= 8):
        name_size, index_size = 4 if body[0] else 2, 2 if body[3] & 1 else 1
        at = 8
        for _ in range(min(int.from_bytes(body[4:8], "big"), _MAX_ITEMS)):
            item, count = (
                int.from_bytes(body[at : at + name_size], "big"),
                int.from_bytes(body[at + name_size :][:1], "big"),
            )
            at += name_size + 1
            for _ in range(count):
                index = int.from_bytes(body[at : at + index_size], "big") & (0x7FFF if index_size == 2 else 0x7F)
                at += index_size
                if 0 < index <= len(known):
                    properties.setdefault(item, []).append(known[index - 1])
            if at >= len(body):
                break
    return properties


def _item(data: bytes, meta: _Meta, number: int) -> bytes | None:
    """The bytes of an item, located by "iloc" (8.11.3) in the file or in "idat"."""
    table = meta.locations
    if len(table) < 8 or table[0] > 2:
        return None
    version, at = table[0], 4
    offset_size, length_size, base_size, index_size = table[4] >> 4, table[4] & 15, table[5] >> 4, table[5] & 15
    at += 2

    def take(size: int) -> int:
        nonlocal at
        value, at = int.from_bytes(table[at : at + size], "big"), at + size
        return value

    name_size = 4 if version == 2 else 2
    for _ in range(min(take(name_size), _MAX_ITEMS)):
        item, method, _, base = take(name_size), take(2) & 15 if version else 0, take(2), take(base_size)
        pieces = []
        for _ in range(take(2)):
            if version:
                take(index_size)
            start, length = base + take(offset_size), take(length_size)
            pieces.append((meta.idat if method == 1 else data)[start : start + length])
            if at >= len(table):
                break
        if item == number:
            return b"".join(pieces)
        if at >= len(table):
            break
    return None


def put_together(tiles: Sequence[PlanesYUV420], grid: Grid) -> PlanesYUV420:
    """The image composed of ``tiles``, row by row, cropped to its size."""
    columns = grid.columns

    def join(planes: Sequence[Plane], height: int, width: int) -> Plane:
        lines = [np.concatenate(planes[row * columns : (row + 1) * columns], axis=1) for row in range(grid.rows)]
        whole: Plane = np.ascontiguousarray(np.concatenate(lines)[:height, :width])
        return whole

    height, width = grid.height, grid.width
    chroma = (height + 1) // 2, (width + 1) // 2
    return replace(
        tiles[0],
        y=join([tile.y for tile in tiles], height, width),
        u=join([tile.u for tile in tiles], *chroma),
        v=join([tile.v for tile in tiles], *chroma),
        owner=None,
    )


def with_alpha(planes: PlanesYUV420, alpha: PlanesYUV420) -> PlanesYUV420:
    """``planes`` with the luma of ``alpha`` as alpha channel, at their size and depth."""
    levels: Any = alpha.y
    if alpha.colour.range is ColourRange.LIMITED:
        black, span = (level << (alpha.bit_depth - 8) for level in (16, 219))
        largest = (1 << alpha.bit_depth) - 1
        levels = ((levels.clip(black, black + span).astype(np.uint32) - black) * largest // span).astype(levels.dtype)
    if levels.shape != planes.y.shape:
        levels = cv2.resize(levels, (planes.width, planes.height), interpolation=cv2.INTER_LINEAR)
    if planes.bit_depth != alpha.bit_depth:
        have, want = (1 << alpha.bit_depth) - 1, (1 << planes.bit_depth) - 1
        levels = (levels.astype(np.uint32) * want // have).astype(planes.y.dtype)
    return replace(planes, alpha=np.ascontiguousarray(levels))
