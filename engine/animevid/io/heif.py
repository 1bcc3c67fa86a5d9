"""HEIF and AVIF photos made of parts (ISO/IEC 23008-12): a grid of tiles, and opacity in an auxiliary image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from animevid.pixels.planes import Plane, PlanesYUV420

_MAX_ITEMS = 65536


@dataclass(frozen=True, slots=True)
class Grid:
    """A photo in tiles: how many, its size after they are put together and cut, and their items' numbers in order."""

    rows: int
    columns: int
    height: int
    width: int
    tiles: tuple[int, ...] = ()


def grid_of(data: bytes) -> Grid | None:
    """The grid that the primary item of the file ``data`` is (6.6.2.3.2); ``None`` where it is another."""
    primary = _primary(data)
    number = next((n for n, kind in _kinds(data) if kind == b"grid" and primary in (None, n)), None)
    body = None if number is None else _item(data, number)
    if body is None or number is None or len(body) < 8 or body[0] != 0:
        return None
    size = 4 if body[1] & 1 else 2
    width, height = (int.from_bytes(body[4 + n * size : 4 + (n + 1) * size], "big") for n in range(2))
    return Grid(body[2] + 1, body[3] + 1, height, width, _derived_from(data, number)) if width and height else None


def item_of_kind(data: bytes, kind: bytes) -> bytes | None:
    """The bytes of the first item of ``kind`` (``b"Exif"``); ``None`` without one."""
    number = next((number for number, found in _kinds(data) if found == kind), None)
    return None if number is None else _item(data, number)


def _kinds(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and kind of each item, by its "infe" (ISO/IEC 14496-12, 8.11.6)."""
    at = data.find(b"infe")
    while at >= 4 and at + 12 <= len(data):
        size = 4 if data[at + 4] > 2 else 2  # of the item's number; two bytes of its protection follow
        start = at + 8 + size + 2
        yield int.from_bytes(data[at + 8 : at + 8 + size], "big"), data[start : start + 4]
        at = data.find(b"infe", at + 4)


def _primary(data: bytes) -> int | None:
    """The number in "pitm" (ISO/IEC 14496-12, 8.11.4)."""
    at = data.find(b"pitm")
    if at < 4 or at + 12 > len(data):
        return None
    return int.from_bytes(data[at + 8 : at + (12 if data[at + 4] else 10)], "big")


def _derived_from(data: bytes, number: int) -> tuple[int, ...]:
    """The items that item ``number`` is made of, in order: its reference "dimg" (ISO/IEC 14496-12, 8.11.12)."""
    box = data.find(b"iref")
    size = 4 if box >= 4 and data[box + 4] else 2
    at = data.find(b"dimg", max(box, 0))
    while at >= 4:
        place = at + 4 + size
        if int.from_bytes(data[at + 4 : place], "big") == number:
            count = int.from_bytes(data[place : place + 2], "big")
            body = data[place + 2 : place + 2 + count * size]
            return tuple(int.from_bytes(body[n : n + size], "big") for n in range(0, len(body), size))
        at = data.find(b"dimg", at + 4)
    return ()


def _item(data: bytes, number: int) -> bytes | None:
    """The bytes of an item by its "iloc" (ISO/IEC 14496-12, 8.11.3), in the file or in "idat"."""
    at = data.find(b"iloc")
    if at < 0 or at + 16 > len(data):
        return None
    version, at = data[at + 4], at + 8
    if version > 2:
        return None
    offset_size, length_size, base_size, index_size = data[at] >> 4, data[at] & 15, data[at + 1] >> 4, data[at + 1] & 15
    at += 2

    def take(size: int) -> int:
        nonlocal at
        value, at = int.from_bytes(data[at : at + size], "big"), at + size
        return value

    name_size = 4 if version == 2 else 2
    for _ in range(min(take(name_size), _MAX_ITEMS)):
        item, method, _, base = take(name_size), take(2) & 15 if version else 0, take(2), take(base_size)
        for _ in range(take(2)):
            if version:
                take(index_size)
            start, length = base + take(offset_size), take(length_size)
            if item == number:
                start += data.find(b"idat") + 4 if method == 1 else 0
                return data[start : start + length]
    return None


def put_together(tiles: Sequence[PlanesYUV420], grid: Grid) -> PlanesYUV420:
    """One image of ``tiles``, row by row, cropped to its size."""
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
