"""AnimeGAN v1's generator (Chen, Liu, Chen, ISICA 2019, figure 2)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from animevid_trainer.generators.base import Generator, Upsampling, check_rgb, make_norm, reflection_pad, upsample
from animevid_trainer.layers import InstanceNorm, LeakyRelu


class _Conv(nn.Sequential):
    """Convolution, instance norm, LeakyReLU 0.2, reflection padding, no bias."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3) -> None:
        super().__init__(
            reflection_pad(kernel, 1),
            nn.Conv2d(inputs, outputs, kernel, bias=False),
            make_norm("instance", outputs),
            LeakyRelu(0.2),
        )


class _Separable(nn.Sequential):
    """Depthwise 3x3 then pointwise convolution (DSConv), instance norm, LeakyReLU 0.2, no bias."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__(
            reflection_pad(3, stride),
            nn.Conv2d(inputs, inputs, 3, stride=stride, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            InstanceNorm(outputs, eps=1e-6, affine=True),  # epsilon of TensorFlow's separable layer
            LeakyRelu(0.2),
        )


class _Down(nn.Module):
    """Down-Conv: a strided DSConv plus a DSConv of the map halved by resizing, which keeps more information."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.strided = _Separable(inputs, outputs, stride=2)
        self.resized = _Separable(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        strided: Tensor = self.strided(x)
        # TensorFlow 1's bilinear resize reads output pixel i at input position 2 i: it takes every second pixel.
        resized: Tensor = self.resized(x[..., ::2, ::2])
        return strided + resized


class _Up(nn.Module):
    """Up-Conv: bilinear upsampling by 2, then DSConv; avoids the checkerboard of transposed convolutions."""

    def __init__(self, inputs: int, outputs: int, *, upsampling: Upsampling) -> None:
        super().__init__()
        self.upsampling: Upsampling = upsampling
        self.separable = _Separable(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.separable(upsample(x, self.upsampling))
        return y


class _InvertedResidual(nn.Module):
    """Inverted residual block (Sandler et al., arXiv:1801.04381) 256 -> 512 -> 512 depthwise -> 256, plus the input."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = _Conv(channels, hidden, kernel=1)
        self.depthwise = nn.Sequential(
            reflection_pad(3, 1),
            nn.Conv2d(hidden, hidden, 3, groups=hidden, bias=False),
            make_norm("instance", hidden),
            LeakyRelu(0.2),
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), make_norm("instance", channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y


class AnimeGan(Generator):
    """3,956,096 parameters. RGB in [-1, 1], ``N, 3, H, W``, H and W multiples of 4 -> the same shape.

    The second Up-Conv has 128 channels, as in the authors' code; the paper's figure says 64.
    Weights start Glorot-uniform. ``upsampling``: see ``base.upsample``; "asymmetric", the default, is the authors'.
    """

    size_multiple: ClassVar[int] = 4

    def __init__(self, *, upsampling: Upsampling = "asymmetric") -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            _Conv(3, 64),
            _Conv(64, 64),
            _Down(64, 128),
            _Conv(128, 128),
            _Separable(128, 128),
            _Down(128, 256),
        )
        self.body = nn.Sequential(_Conv(256, 256), *(_InvertedResidual(256, 512) for _ in range(8)), _Conv(256, 256))
        self.decoder = nn.Sequential(
            _Up(256, 128, upsampling=upsampling),
            _Separable(128, 128),
            _Conv(128, 128),
            _Up(128, 128, upsampling=upsampling),
            _Conv(128, 64),
            _Conv(64, 64),
        )
        self.to_rgb = nn.Conv2d(64, 3, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        check_rgb(x, multiple=self.size_multiple)
        y: Tensor = self.to_rgb(self.decoder(self.body(self.encoder(x))))
        return y.tanh()
