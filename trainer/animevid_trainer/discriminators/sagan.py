"""SAGAN's discriminator (Zhang et al., arXiv:1805.08318) on the residual blocks of SNGAN (arXiv:1802.05957)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from animevid_trainer.attention import SelfAttention
from animevid_trainer.generators.noise import doublings
from animevid_trainer.generators.sagan import check_attention, with_spectral_norm


class _Down(nn.Module):
    """Downsampling residual block: ReLU (not in the first block), 3x3, ReLU, 3x3, halving; shortcut 1x1 and halving."""

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.beside = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        # A 1x1 convolution and averaging commute; averaging first is cheaper.
        beside: Tensor = self.beside(F.avg_pool2d(x, 2))
        return F.avg_pool2d(y, 2) + beside


class SaGanDiscriminator(nn.Module):
    """RGB in [-1, 1], ``N, 3, size_px, size_px`` -> one logit per image, ``N, 1``: residual blocks, self-attention at
    ``attention_px``, ReLU, the sum over positions, a linear layer; spectral norm on every matrix, no other norm.

    Args:
        size_px: side of the images, a power of two; default 64.
        width: channels after the first block; each later one doubles them, up to 16 times; default 64.
        attention_px: side of the feature map with self-attention; default 32.
    """

    def __init__(self, *, size_px: int = 64, width: int = 64, attention_px: int = 32) -> None:
        super().__init__()
        check_attention(size_px // 2, attention_px, width=width)
        layers: list[nn.Module] = []
        inputs = 3
        for step in range(doublings(size_px)):
            outputs = width * 2 ** min(4, step)
            layers.append(_Down(inputs, outputs, first=step == 0))
            if size_px >> (step + 1) == attention_px:
                layers.append(SelfAttention(outputs))
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, 1)
        with_spectral_norm(self)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.layers(images)).sum((2, 3)))
        return logits
