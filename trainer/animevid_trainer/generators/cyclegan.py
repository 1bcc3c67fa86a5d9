"""CycleGAN's ResNet generator (Zhu et al., arXiv:1703.10593, appendix 7.2; after Johnson et al., arXiv:1603.08155)."""

from __future__ import annotations

from typing import ClassVar

from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.generators.base import Generator, check_rgb
from animevid_trainer.layers import InstanceNorm, ReflectionPad, Relu, start_normal


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
            Relu(),
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


class CycleGan(Generator):
    """11,378,179 parameters with 9 blocks and width 64 (c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3).

    RGB in [-1, 1], ``N, 3, H, W``, H and W multiples of 4 -> the same shape. Instance norm without parameters;
    weights start from N(0, 0.02^2).
    """

    size_multiple: ClassVar[int] = 4

    def __init__(self, *, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        if width < 1 or blocks < 1:
            raise TrainingError(f"{width = }, {blocks = }: 1 or more")
        layers: list[nn.Module] = [ReflectionPad(3), nn.Conv2d(3, width, 7), InstanceNorm(width), Relu()]
        for channels in (width, 2 * width):
            layers += [
                nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
                InstanceNorm(2 * channels),
                Relu(),
            ]
        layers += [_Residual(4 * width) for _ in range(blocks)]
        for channels in (4 * width, 2 * width):
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1),
                InstanceNorm(channels // 2),
                Relu(),
            ]
        layers += [ReflectionPad(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        start_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        check_rgb(x, multiple=self.size_multiple)
        y: Tensor = self.layers(x)
        return y
