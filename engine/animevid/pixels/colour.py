"""The meaning of code values: matrix, range, primaries and transfer, as ITU-T H.273 names them.

The integer values are H.273 code points, which FFmpeg's ``AVColorSpace``, ``AVColorPrimaries`` and
``AVColorTransferCharacteristic`` share. ``ColourRange`` follows FFmpeg's ``AVColorRange``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Matrix(IntEnum):
    """How R'G'B' becomes Y'CbCr (H.273 MatrixCoefficients)."""

    BT709 = 1
    UNSPECIFIED = 2
    BT470BG = 5  # the same coefficients as BT.601
    BT601 = 6
    BT2020 = 9  # non-constant luminance


class ColourRange(IntEnum):
    """Which code values are used (FFmpeg ``AVColorRange``)."""

    UNSPECIFIED = 0
    LIMITED = 1  # 16..235 luma, 16..240 chroma at 8 bits
    FULL = 2  # 0..255


#: (K_R, K_B) of ``Y' = K_R R' + (1 - K_R - K_B) G' + K_B B'``; H.273 equations 41 ff., table 4.
LUMA_COEFFICIENTS: dict[Matrix, tuple[float, float]] = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.BT470BG: (0.299, 0.114),
    Matrix.BT601: (0.299, 0.114),
    Matrix.BT2020: (0.2627, 0.0593),
}


@dataclass(frozen=True, slots=True)
class Colour:
    """The colour tags of a frame, unchanged from source to output.

    ``primaries`` and ``transfer`` are raw H.273 code points (2 = unspecified): they are passed on, not used in
    computations.
    """

    matrix: Matrix = Matrix.UNSPECIFIED
    range: ColourRange = ColourRange.UNSPECIFIED
    primaries: int = 2
    transfer: int = 2

    def resolved(self, *, height: int) -> Colour:
        """The same tags with nothing left unspecified that a conversion needs.

        Unspecified range means limited; an unspecified matrix is BT.709 for ``height >= 720``, else BT.601,
        as most players guess (the tags written to the output remain those of the source).
        """
        matrix = self.matrix
        if matrix is Matrix.UNSPECIFIED:
            matrix = Matrix.BT709 if height >= 720 else Matrix.BT601
        colour_range = ColourRange.LIMITED if self.range is ColourRange.UNSPECIFIED else self.range
        return Colour(matrix, colour_range, self.primaries, self.transfer)
