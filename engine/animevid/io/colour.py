"""FFmpeg's colour tags to :class:`animevid.pixels.colour.Colour` and back, and which tags animevid supports."""

from __future__ import annotations

from functools import lru_cache

import av

from animevid.errors import UnsupportedInputError
from animevid.pixels.colour import Colour, ColourRange, Matrix

UNSPECIFIED = 2  # primaries and transfer
TRANSFER_PQ = 16  # SMPTE ST 2084
TRANSFER_HLG = 18  # ARIB STD-B67

#: H.273 matrices that swscale converts to BT.709 for us on the way in (0: R'G'B'; 4 FCC; 7 SMPTE 240M).
CONVERTED_MATRICES = frozenset({0, 4, 7})

_UNSUPPORTED_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "Y'D'zD'x",
    12: "chromaticity-derived non-constant luminance",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2 (Dolby Vision)",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}


@lru_cache(maxsize=64)
def colour_from_tags(*, matrix: int, colour_range: int, primaries: int, transfer: int, pixel_format: str) -> Colour:
    """Tags as H.273 code points to a :class:`Colour`. The ``yuvj`` formats are full range whatever the tag says.

    Raises:
        UnsupportedInputError: a matrix that would give wrong colours.
    """
    if matrix in _UNSUPPORTED_MATRICES:
        raise UnsupportedInputError(
            f"matrix = {_UNSUPPORTED_MATRICES[matrix]!r} is not supported (BT.601, BT.709, BT.2020, FCC, SMPTE 240M "
            "and RGB are): convert the source to BT.709 first"
        )
    if pixel_format.startswith("yuvj"):
        colour_range = ColourRange.FULL
    try:
        known_matrix = Matrix(matrix)
    except ValueError:
        known_matrix = Matrix.UNSPECIFIED
    try:
        known_range = ColourRange(colour_range)
    except ValueError:
        known_range = ColourRange.UNSPECIFIED
    return Colour(known_matrix, known_range, primaries, transfer)


def colour_of(frame: av.VideoFrame, *, container: Colour | None = None) -> Colour:
    """The tags of a decoded frame; unspecified ones are taken from the ``container``.

    Raises:
        UnsupportedInputError: as :func:`colour_from_tags`.
    """
    colour = colour_from_tags(
        matrix=frame.colorspace,
        colour_range=frame.color_range,
        primaries=frame.color_primaries,
        transfer=frame.color_trc,
        pixel_format=frame.format.name,
    )
    if container is None or container == colour:
        return colour
    return Colour(
        container.matrix if colour.matrix is Matrix.UNSPECIFIED else colour.matrix,
        container.range if colour.range is ColourRange.UNSPECIFIED else colour.range,
        container.primaries if colour.primaries == UNSPECIFIED else colour.primaries,
        container.transfer if colour.transfer == UNSPECIFIED else colour.transfer,
    )


def write_tags(target: av.VideoCodecContext | av.VideoFrame, colour: Colour) -> None:
    """Put the tags on an encoder's context or on an ``av.VideoFrame``, so that encoder and muxer record them."""
    target.colorspace = int(colour.matrix)
    target.color_range = int(colour.range)
    target.color_primaries = colour.primaries
    target.color_trc = colour.transfer


def is_hdr(colour: Colour) -> bool:
    """Whether the transfer function is HDR (PQ or HLG)."""
    return colour.transfer in (TRANSFER_PQ, TRANSFER_HLG)


def swscale_matrix(matrix: Matrix) -> int:
    """The ``SWS_CS_*`` number of a resolved matrix (BT.601 and BT.470BG share one)."""
    return 5 if matrix in (Matrix.BT601, Matrix.BT470BG) else int(matrix)
