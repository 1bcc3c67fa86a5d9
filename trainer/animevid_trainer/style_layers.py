"""The layers of StyleGAN and StyleGAN2 (Karras et al., arXiv:1812.04948 and 1912.04958).

Weights are stored at N(0, 1) and scaled when used, so that Adam's steps are equally large for all (equalized learning
rate, arXiv:1710.10196, section 4.1). Images are ``N, C, H, W``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Coefficients of the filter that every resizing uses.
_TAPS = (1.0, 3.0, 3.0, 1.0)
_GAIN = math.sqrt(2.0)  # of leaky ReLU: keeps the variance at 1
_EPSILON = 1e-8


def leaky(x: Tensor) -> Tensor:
    """``sqrt(2) leaky_relu(x, 0.2)``."""
    return F.leaky_relu(x, 0.2) * _GAIN


class EqualLinear(nn.Module):
    """``W x / sqrt(inputs) + b``. ``rate`` scales the learning rate of both: 0.01 in the mapping network."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.rate = rate
        self.scale = rate / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualConv(nn.Module):
    """A convolution by ``W / sqrt(inputs k^2)`` that keeps the size; ``down`` filters and halves it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, down: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1.0 / math.sqrt(inputs * kernel**2)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        weight, reach = self.weight * self.scale, self.weight.shape[-1] // 2
        if self.down:
            return F.conv2d(blur(x, pad=1 + reach), weight, self.bias, stride=2)
        return F.conv2d(x, weight, self.bias, padding=reach)


def _filter(x: Tensor, gain: float) -> Tensor:
    taps = x.new_tensor(_TAPS)
    kernel = torch.outer(taps, taps)
    return (kernel * (gain / kernel.sum())).expand(x.shape[1], 1, 4, 4)


def blur(x: Tensor, *, pad: int, gain: float = 1.0) -> Tensor:
    """Pad ``x`` with ``pad`` zeros on each side and filter it; the result has ``H + 2 pad - 3`` rows."""
    return F.conv2d(x, _filter(x, gain), padding=pad, groups=x.shape[1])


def enlarge(x: Tensor) -> Tensor:
    """Double the size with the filter."""
    return F.conv_transpose2d(x, _filter(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def modulated_conv(x: Tensor, weight: Tensor, scales: Tensor, *, demodulate: bool = True, up: bool = False) -> Tensor:
    """Convolve each image with its weights: ``w'_ijk = s_i w_ijk``, ``w''_ijk = w'_ijk / sqrt(sum over i, k of w'^2)``.

    StyleGAN2, equations 1 and 3. ``weight``: ``outputs, inputs, k, k``; ``scales``: ``N, inputs``. Scaling inputs
    and outputs instead of weights is equivalent and needs one convolution for all images. ``up`` doubles the size
    by a transposed convolution and the filter.
    """
    x = x * scales[:, :, None, None]
    if up:
        y = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), pad=1, gain=4.0)
    else:
        y = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if not demodulate:
        return y
    energy = (weight.square().sum((2, 3)) * scales.square().unsqueeze(1)).sum(2)
    return y * torch.rsqrt(energy + _EPSILON)[:, :, None, None]


def adain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``scale (x - mean(x)) / std(x) + shift``, for each image and channel. StyleGAN, equation 1.

    ``scale`` and ``shift``: ``N, C``.
    """
    normal = F.instance_norm(x, eps=_EPSILON)
    return normal * scale[:, :, None, None] + shift[:, :, None, None]


def add_deviation(x: Tensor, *, group: int = 4) -> Tensor:
    """Append a channel with the deviation within a group of images, so that D notices when all fakes are alike.

    It is the standard deviation over the group, averaged over all else (arXiv:1710.10196, section 3). A group has
    ``group`` images if the batch size is a multiple of that, otherwise it is the whole batch.
    """
    n, _, height, width = x.shape
    group = group if n % group == 0 else n
    groups = x.reshape(group, n // group, *x.shape[1:])
    deviation = (groups.var(0, unbiased=False) + _EPSILON).sqrt().mean((1, 2, 3))
    return torch.cat((x, deviation.repeat(group).view(n, 1, 1, 1).expand(n, 1, height, width)), 1)


def channels_at(size_px: int, *, base: int, most: int) -> int:
    """``base / size_px`` channels, at most ``most``."""
    return max(1, min(most, base // size_px))
