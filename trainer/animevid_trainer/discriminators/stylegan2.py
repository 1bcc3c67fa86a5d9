"""StyleGAN2's discriminator (Karras et al., arXiv:1912.04958, figure 7c) with minibatch standard deviation."""

from __future__ import annotations

import itertools
import math

from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.generators.noise import doublings
from animevid_trainer.style_layers import EqualConv, EqualLinear, add_deviation, channels_at, leaky


class _Down(nn.Module):
    """Residual block: 3x3, 3x3 and halving; shortcut 1x1 and halving; their sum divided by sqrt(2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = EqualConv(inputs, inputs, 3)
        self.conv2 = EqualConv(inputs, outputs, 3, down=True)
        self.beside = EqualConv(inputs, outputs, 1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        y = leaky(self.conv2(leaky(self.conv1(x))))
        beside: Tensor = self.beside(x)
        return (y + beside) / math.sqrt(2.0)


class StyleGan2Discriminator(nn.Module):
    """RGB in [-1, 1], ``N, 3, size_px, size_px`` -> one logit per image, ``N, 1``.

    Args:
        size_px: side of the images, a power of two; default 64.
        channel_base: channels times size; default 16384 (the release's for up to 256 px).
        channel_max: maximum number of channels; default 512.
    """

    def __init__(self, *, size_px: int = 64, channel_base: int = 16384, channel_max: int = 512) -> None:
        super().__init__()
        if min(channel_base, channel_max) < 1:
            raise TrainingError(f"{channel_base = }, {channel_max = }: 1 or more")
        sides = [size_px >> step for step in range(doublings(size_px) + 1)]
        channels = [channels_at(side, base=channel_base, most=channel_max) for side in sides]
        self.from_rgb = EqualConv(3, channels[0], 1)
        self.blocks = nn.Sequential(*(_Down(*pair) for pair in itertools.pairwise(channels)))
        self.conv = EqualConv(channels[-1] + 1, channels[-1], 3)
        self.dense = EqualLinear(16 * channels[-1], channels[-1])
        self.head = EqualLinear(channels[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(leaky(self.from_rgb(images)))
        x = leaky(self.conv(add_deviation(x)))
        logits: Tensor = self.head(leaky(self.dense(x.flatten(1))))
        return logits
