"""Differentiable RGB <-> packed Y'CbCr 4:2:0: networks use the codec's layout, losses use RGB.

The packed layout is the engine's (``animevid.pixels.packed``): ``(N, 24, H / 4, W / 4)`` with channels 0..15 the luma
of a 4x4 cell (channel ``4 * dy + dx``), 16..19 the Cb and 20..23 the Cr of its 2x2 chroma samples (``2 * dy + dx``).
Luma is ``2 Y' - 1``; chroma is ``2 Cb``, ``2 Cr``: all in [-1, 1]. The matrix is BT.601 (K_R 0.299, K_B 0.114, H.273
table 4); the network sees BT.709 material in its own matrix, a hue shift too small to change a style.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

KR, KB = 0.299, 0.114
KG = 1.0 - KR - KB


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """``(N, 3, H, W)`` RGB in [-1, 1] -> luma ``2 Y' - 1``, chroma ``2 Cb``, ``2 Cr``: same shape, all in [-1, 1]."""
    red, green, blue = rgb.unbind(1)
    luma = KR * red + KG * green + KB * blue
    return torch.stack((luma, (blue - luma) / (2 * (1 - KB)), (red - luma) / (2 * (1 - KR))), 1)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Inverse of :func:`rgb_to_ycbcr`; not clamped."""
    luma, cb, cr = ycbcr.unbind(1)
    red = luma + 2 * (1 - KR) * cr
    blue = luma + 2 * (1 - KB) * cb
    return torch.stack((red, (luma - KR * red - KB * blue) / KG, blue), 1)


def rgb_to_packed(rgb: Tensor) -> Tensor:
    """``(N, 3, H, W)`` RGB in [-1, 1], H and W multiples of 4 -> ``(N, 24, H / 4, W / 4)``. Chroma is the 2x2 mean."""
    ycbcr = rgb_to_ycbcr(rgb)
    luma = functional.pixel_unshuffle(ycbcr[:, :1], 4)
    chroma = functional.avg_pool2d(ycbcr[:, 1:], 2)
    return torch.cat((luma, functional.pixel_unshuffle(chroma, 2)), 1)


def packed_to_rgb(packed: Tensor) -> Tensor:
    """``(N, 24, H / 4, W / 4)`` -> ``(N, 3, H, W)`` RGB in about [-1, 1], not clamped; chroma enlarged bilinearly."""
    luma = functional.pixel_shuffle(packed[:, :16], 4)
    chroma = functional.pixel_shuffle(packed[:, 16:], 2)
    chroma = functional.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    return ycbcr_to_rgb(torch.cat((luma, chroma), 1))
