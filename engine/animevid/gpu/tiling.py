"""Copies between a whole frame's tensor and a tile's, on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from animevid.gpu.driver import Device
from animevid.pixels.resize import Size
from animevid.render.tiles import Span
from animevid.styles.card import Layout, StyleCard

if TYPE_CHECKING:
    from cuda.bindings import driver as cuda

_DEVICE_MEMORY = 2  # CU_MEMORYTYPE_DEVICE


class TileCopies:
    """Copies tiles of one style's tensors.

    Args:
        card (StyleCard): the style, for its layout.
        value_bytes (int): of one value, 2 or 4.
        whole (tuple[int, int]): (height, width) in pixels of the whole tensor.
        tile (tuple[int, int]): (height, width) in pixels of a tile.
    """

    def __init__(self, card: StyleCard, *, value_bytes: int, whole: Size, tile: Size) -> None:
        self._cell = card.layout.cell_px
        nhwc = card.layout is Layout.NHWC
        #: Adjacent values per cell, and the number of planes.
        self._interleaved, self._planes = (3, 1) if nhwc else (1, card.layout.channels)
        self._value_bytes = value_bytes * self._interleaved
        self._whole, self._tile = whole, tile

    def cut(self, device: Device, stream: cuda.CUstream, whole: int, tile: int, place: tuple[Span, Span]) -> None:
        """Copy a tile from the tensor at address ``whole`` to ``tile``."""
        row, column = place
        source = whole, self._whole, row.read_start, column.read_start
        self._copy(device, stream, source=source, target=(tile, self._tile, 0, 0), size=self._tile)

    def paste(self, device: Device, stream: cuda.CUstream, tile: int, whole: int, place: tuple[Span, Span]) -> None:
        """Copy the kept part of the tile at address ``tile`` into the tensor at ``whole``."""
        row, column = place
        self._copy(
            device,
            stream,
            source=(tile, self._tile, row.keep_start - row.read_start, column.keep_start - column.read_start),
            target=(whole, self._whole, row.keep_start, column.keep_start),
            size=(row.keep_stop - row.keep_start, column.keep_stop - column.keep_start),
        )

    def _copy(
        self, device: Device, stream: cuda.CUstream, *, source: tuple[int, Size, int, int],
        target: tuple[int, Size, int, int], size: Size,
    ) -> None:  # fmt: skip
        copy = device.driver.CUDA_MEMCPY3D()
        for prefix, (address, (height, width), row, column) in (("src", source), ("dst", target)):
            for name, value in (
                ("MemoryType", device.driver.CUmemorytype(_DEVICE_MEMORY)),
                ("Device", address),
                ("Pitch", width // self._cell * self._value_bytes),
                ("Height", height // self._cell),
                ("XInBytes", column // self._cell * self._value_bytes),
                ("Y", row // self._cell),
            ):
                setattr(copy, prefix + name, value)
        copy.WidthInBytes = size[1] // self._cell * self._value_bytes
        copy.Height, copy.Depth = size[0] // self._cell, self._planes
        device.call("cuMemcpy3DAsync", copy, stream)
