"""HEIF and AVIF photos that are made of parts (ISO/IEC 23008-12): a grid of tiles, opacity in a picture beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from animevid.pixels.planes import Plane, PlanesYUV420


def grid_of(data: bytes) -> tuple[int, int, int, int] | None:
    """(rows, columns, height, width) of a photo in tiles (6.6.2.3.2); ``None`` for another. ``data`` is the file."""
    at = data.find(b"grid")
    if at < 4:
        return None
    body = _item(data, int.from_bytes(data[at - 4 : at - 2], "big"))  # "infe" has the item's number before its kind
    if body is None or len(body) < 8 or body[0] != 0:
        return None
    size = 4 if body[1] & 1 else 2
    width, height = (int.from_bytes(body[4 + n * size : 4 + (n + 1) * size], "big") for n in range(2))
    return (body[2] + 1, body[3] + 1, height, width) if width and height else None


def _item(data: bytes, number: int) -> bytes | None:
    """The bytes of an item by its "iloc" (ISO/IEC 14496-12, 8.11.3), in the file or in "idat"."""
    at = data.find(b"iloc")
    if at < 0:
        return None
    version, at = data[at + 4], at + 8
    if version > 1 or at + 4 > len(data):
        return None
    offset_size, length_size, base_size, index_size = data[at] >> 4, data[at] & 15, data[at + 1] >> 4, data[at + 1] & 15
    count, at = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4

    def take(size: int) -> int:
        nonlocal at
        value, at = int.from_bytes(data[at : at + size], "big"), at + size
        return value

    for _ in range(count):
        item, method, _, base = take(2), take(2) & 15 if version else 0, take(2), take(base_size)
        for _ in range(take(2)):
            if version:
                take(index_size)
            start, length = base + take(offset_size), take(length_size)
            if item == number:
                start += data.find(b"idat") + 4 if method == 1 else 0
                return data[start : start + length]
    return None


def put_together(tiles: Sequence[PlanesYUV420], grid: tuple[int, int, int, int]) -> PlanesYUV420:
    """One picture of ``tiles``, row by row, cut to its size."""
    rows, columns, height, width = grid

    def join(planes: Sequence[Plane], height: int, width: int) -> Plane:
        lines = [np.concatenate(planes[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
        whole: Plane = np.ascontiguousarray(np.concatenate(lines)[:height, :width])
        return whole

    chroma = (height + 1) // 2, (width + 1) // 2
    return replace(
        tiles[0],
        y=join([tile.y for tile in tiles], height, width),
        u=join([tile.u for tile in tiles], *chroma),
        v=join([tile.v for tile in tiles], *chroma),
        owner=None,
    )
