"""The base class of generators, and the convolution blocks that AnimeGAN v1 and v2 share."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from animevid.errors import TrainingError
from animevid.styles.card import Layout
from torch import Tensor, nn
from torch.nn import functional as F

from animevid_trainer.layers import InstanceNorm, ReflectionPad, in_own_dtype

NormKind = Literal["instance", "layer"]
Upsampling = Literal["half_pixel", "align_corners", "asymmetric"]


class Generator(nn.Module):
    """Maps a photo to an image of the same shape, dtype and range: RGB in [-1, 1], ``N, 3, H, W``.

    ``size_multiple``: H and W in pixels must be multiples of it. ``tileable``: the network uses no
    statistic of the whole image, so tiles that overlap by ``receptive_field_px`` give the same result.
    """

    layout: ClassVar[Layout] = Layout.NCHW
    size_multiple: ClassVar[int]
    tileable: bool = False
    receptive_field_px: int = 0


def make_norm(kind: NormKind, channels: int) -> nn.Module:
    """Instance norm or layer norm over C, H and W, each with a scale and a shift per channel, epsilon 1e-5."""
    if kind == "instance":
        return InstanceNorm(channels, affine=True)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    raise TrainingError(f"norm {kind = }: allowed are instance, layer")


def reflection_pad(kernel: int, stride: int) -> nn.Module:
    """AnimeGAN's reflection padding: on all sides for stride 1, only at the bottom and right for stride 2 (3x3)."""
    if stride == 2:
        return ReflectionPad((0, 1, 0, 1))
    return ReflectionPad(kernel // 2) if kernel > 1 else nn.Identity()


def upsample(x: Tensor, mode: Upsampling) -> Tensor:
    """Upsample bilinearly by 2: ``N, C, H, W`` -> ``N, C, 2H, 2W``.

    ``half_pixel`` samples at pixel centres without a shift; use it for new training. ``align_corners`` reproduces
    PyTorch ports of AnimeGANv2. ``asymmetric`` reproduces TensorFlow 1, whose resize reads output pixel i at input
    position i / 2 and so shifts by half a pixel.
    """
    with in_own_dtype(x):
        return _upsample(x, mode)


def _upsample(x: Tensor, mode: Upsampling) -> Tensor:
    if mode == "half_pixel":
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    height, width = x.shape[-2:]
    if mode == "align_corners":
        return F.interpolate(x, size=(2 * height, 2 * width), mode="bilinear", align_corners=True)
    if mode == "asymmetric":
        # With the last row and column repeated, corner-aligned positions are exactly i / 2.
        padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
        size = (2 * height + 1, 2 * width + 1)
        return F.interpolate(padded, size=size, mode="bilinear", align_corners=True)[..., :-1, :-1]
    raise TrainingError(f"upsample {mode = }: allowed are half_pixel, align_corners, asymmetric")


def check_rgb(x: Tensor, *, multiple: int) -> None:
    """Check the input's shape. Not traced into exported graphs.

    Raises:
        TrainingError: not ``N, 3, H, W``, or H or W not a multiple.
    """
    if torch.compiler.is_compiling():
        return
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % multiple or x.shape[3] % multiple:
        raise TrainingError(f"a batch of shape {tuple(x.shape)}: N, 3, H, W with H and W multiples of {multiple}")
