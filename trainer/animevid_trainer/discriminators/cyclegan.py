"""CycleGAN's 70x70 PatchGAN (Zhu et al., arXiv:1703.10593, appendix 7.2; Isola et al., arXiv:1611.07004)."""

from __future__ import annotations

from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.layers import InstanceNorm, LeakyRelu, start_normal


class CycleGanDiscriminator(nn.Module):
    """C64-C128-C256-C512: ``N, channels, H, W`` in [-1, 1] (64 or more) -> logits ``N, 1, H/8 - 2, W/8 - 2``.

    4x4 convolutions, three with stride 2 and two with stride 1; instance norm without parameters after all but the
    first; LeakyReLU 0.2. Each logit has a receptive field of 70 x 70 pixels. 2,764,737 parameters with width 64 and
    3 channels (6 for a photo with its stylized image). Weights start from N(0, 0.02^2).
    """

    size_multiple = 8

    def __init__(self, *, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        if width < 1:
            raise TrainingError(f"{width = }: 1 or more")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), LeakyRelu(0.2)]
        for inputs, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [
                nn.Conv2d(inputs, 2 * inputs, 4, stride=stride, padding=1),
                InstanceNorm(2 * inputs),
                LeakyRelu(0.2),
            ]
        layers.append(nn.Conv2d(8 * width, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        start_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
