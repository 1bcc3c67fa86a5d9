"""AnimeGANv2's generator and its lite version, as the authors released them (2020).

``AnimeGan2`` names its layers as the widespread PyTorch ports do (``block_a.0.1.weight`` ...), so that their published
weights load without renaming.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from animevid_trainer.generators.base import Generator, Upsampling, check_rgb, make_norm, reflection_pad, upsample
from animevid_trainer.layers import LeakyRelu


def _initialize(module: nn.Module) -> None:
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)


class _Conv(nn.Sequential):
    """Reflection padding, convolution without bias, layer norm, LeakyReLU 0.2; indices 0 to 3 as in the ports."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            reflection_pad(kernel, stride),
            nn.Conv2d(inputs, outputs, kernel, stride=stride, bias=False),
            make_norm("layer", outputs),
            LeakyRelu(0.2),
        )


class _InvertedResidual(nn.Module):
    """1x1 to twice the channels, 3x3 depthwise (with a bias), 1x1 to ``outputs``; plus the input if shapes agree."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = 2 * inputs
        depthwise = nn.Sequential(
            reflection_pad(3, 1),
            nn.Conv2d(hidden, hidden, 3, groups=hidden, bias=True),
            make_norm("layer", hidden),
            LeakyRelu(0.2),
        )
        self.layers = nn.Sequential(
            _Conv(inputs, hidden, kernel=1),
            depthwise,
            nn.Conv2d(hidden, outputs, 1, bias=False),
            make_norm("layer", outputs),
        )
        self.adds_input = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds_input else y


class AnimeGan2(Generator):
    """2,143,552 parameters. RGB in [-1, 1], ``N, 3, H, W``, H and W multiples of 4 -> the same shape.

    ``upsampling``: see ``base.upsample``; imported weights need the mode that they were trained with.
    """

    size_multiple: ClassVar[int] = 4

    def __init__(self, *, upsampling: Upsampling = "half_pixel") -> None:
        super().__init__()
        self.upsampling: Upsampling = upsampling
        self.block_a = nn.Sequential(_Conv(3, 32, kernel=7), _Conv(32, 64, stride=2), _Conv(64, 64))
        self.block_b = nn.Sequential(_Conv(64, 128, stride=2), _Conv(128, 128))
        self.block_c = nn.Sequential(
            _Conv(128, 128),
            _InvertedResidual(128, 256),
            _InvertedResidual(256, 256),
            _InvertedResidual(256, 256),
            _InvertedResidual(256, 256),
            _Conv(256, 128),
        )
        self.block_d = nn.Sequential(_Conv(128, 128), _Conv(128, 128))
        self.block_e = nn.Sequential(_Conv(128, 64), _Conv(64, 64), _Conv(64, 32, kernel=7))
        self.out_layer = nn.Sequential(nn.Conv2d(32, 3, 1, bias=False), nn.Tanh())
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        check_rgb(x, multiple=self.size_multiple)
        y: Tensor = self.block_c(self.block_b(self.block_a(x)))
        y = self.block_d(upsample(y, self.upsampling))
        y = self.block_e(upsample(y, self.upsampling))
        z: Tensor = self.out_layer(y)
        return z


class _BottleneckResidual(nn.Module):
    """1x1 to a quarter of the channels, 3x3, 1x1 back (without norm and activation), plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // 4
        self.layers = nn.Sequential(
            _Conv(channels, quarter, kernel=1), _Conv(quarter, quarter), nn.Conv2d(quarter, channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


class AnimeGan2Lite(Generator):
    """698,240 parameters (the published 0.70 M): four bottleneck blocks, additive skip connections.

    RGB in [-1, 1], ``N, 3, H, W``, H and W multiples of 8 -> the same shape.
    """

    size_multiple: ClassVar[int] = 8

    def __init__(self, *, upsampling: Upsampling = "half_pixel") -> None:
        super().__init__()
        self.upsampling: Upsampling = upsampling
        self.stem = _Conv(3, 32, kernel=7)
        self.down1 = nn.Sequential(_Conv(32, 32, stride=2), _Conv(32, 64))
        self.down2 = nn.Sequential(_Conv(64, 64, stride=2), _Conv(64, 128))
        self.down3 = nn.Sequential(_Conv(128, 64, stride=2), _Conv(64, 128))
        self.body = nn.Sequential(*(_BottleneckResidual(128) for _ in range(4)))
        self.up2, self.merge2 = _Conv(128, 128), _Conv(128, 64)
        self.up1, self.merge1 = _Conv(64, 64), _Conv(64, 32)
        self.up0, self.merge0 = _Conv(32, 32), _Conv(32, 32, kernel=7)
        self.to_rgb = nn.Conv2d(32, 3, 1, bias=False)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        check_rgb(x, multiple=self.size_multiple)
        full = self.stem(x)
        half = self.down1(full)
        quarter = self.down2(half)
        y: Tensor = self.body(self.down3(quarter))
        y = self.merge2(self.up2(upsample(y, self.upsampling)) + quarter)
        y = self.merge1(self.up1(upsample(y, self.upsampling)) + half)
        y = self.merge0(self.up0(upsample(y, self.upsampling)) + full)
        y = self.to_rgb(y)
        return y.tanh()
