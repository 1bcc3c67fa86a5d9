"""HDR keeps skin tones: an SDR colour, encoded as HDR, is mapped back to itself."""

from __future__ import annotations

import numpy as np
import pytest
from animevid.io.colour import TRANSFER_HLG, TRANSFER_PQ
from animevid.io.hdr import open_tone_mapper
from animevid.pixels import planes_to_rgb
from animevid.pixels.colour import Colour, ColourRange, Matrix
from animevid.pixels.planes import PlanesYUV420

#: Linear BT.709 to BT.2020, Report ITU-R BT.2087-0, table 3.
_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
_WHITE_NITS = 203.0
SKIN = ((224, 172, 140), (141, 85, 56), (84, 50, 34))


def as_hdr(rgb: tuple[int, int, int], transfer: int) -> PlanesYUV420:
    """A frame of one colour, white at 203 cd/m2, in BT.2020, 10 bits, limited range."""
    nits = _TO_BT2020 @ (np.array(rgb) / 255) ** 2.4 * _WHITE_NITS
    if transfer == TRANSFER_PQ:  # SMPTE ST 2084
        power = (nits / 10000) ** 0.1593017578125
        code = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:  # BT.2100: the inverse of the display's system gamma of 1.2 at 1000 cd/m2, then the camera's curve
        luminance = float(nits @ (0.2627, 0.6780, 0.0593)) / 1000
        scene = nits / 1000 / luminance ** (1 / 6)
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        code = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    red, green, blue = code
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    values = 64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746
    shapes = ((32, 32), (16, 16), (16, 16))
    y, u, v = (np.full(shape, round(value), np.uint16) for shape, value in zip(shapes, values, strict=True))
    return PlanesYUV420(y, u, v, 10, Colour(Matrix.BT2020, ColourRange.LIMITED, 9, transfer))


@pytest.mark.parametrize("transfer", [TRANSFER_PQ, TRANSFER_HLG], ids=["PQ", "HLG"])
@pytest.mark.parametrize("skin", SKIN, ids=str)
def test_skin_in_hdr_comes_out_as_skin(skin: tuple[int, int, int], transfer: int) -> None:
    planes = as_hdr(skin, transfer)
    mapper = open_tone_mapper(planes.colour, allowed=True)
    assert mapper is not None
    shown = planes_to_rgb(mapper(planes))[16, 16].astype(float)
    assert np.abs(shown - skin).max() < 14, shown  # the curve compresses the lightest skin a little
    # Hue: the ratios of red, green and blue.
    spread = (shown - shown.min()) / np.ptp(shown) - (np.array(skin) - min(skin)) / np.ptp(skin)
    assert np.abs(spread).max() < 0.05, shown
