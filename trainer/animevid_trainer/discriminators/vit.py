"""A small vision transformer as discriminator, after ViTGAN (Lee et al., arXiv:2107.04589)."""

from __future__ import annotations

import math

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from animevid_trainer.layers import LeakyRelu


class _L2Attention(nn.Module):
    """L2 self-attention with tied queries and keys: ``softmax(-|q_i - q_j|^2 / sqrt(d)) v``.

    Dot-product attention is not Lipschitz continuous; L2 attention is (Kim et al., arXiv:2006.04710), as D requires.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = spectral_norm(nn.Linear(width, width, bias=False))
        self.value = spectral_norm(nn.Linear(width, width, bias=False))
        self.project = spectral_norm(nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        size = width // self.heads
        q = self.query(tokens).view(n, length, self.heads, size).transpose(1, 2)
        v = self.value(tokens).view(n, length, self.heads, size).transpose(1, 2)
        # -|q_i - q_j|^2 = 2 q_i q_j - |q_j|^2 - |q_i|^2, and softmax over j ignores the last term.
        bias = -q.square().sum(-1).unsqueeze(-2) / math.sqrt(size)
        attended = F.scaled_dot_product_attention(2.0 * q, q, v, attn_mask=bias.expand(-1, -1, length, -1))
        y: Tensor = self.project(attended.transpose(1, 2).reshape(n, length, width))
        return y


class _Block(nn.Module):
    """Pre-norm transformer block; its MLP has twice the width and GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = _L2Attention(width, heads)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            spectral_norm(nn.Linear(width, 2 * width)), nn.GELU(), spectral_norm(nn.Linear(2 * width, width))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        y: Tensor = tokens + self.perceptron(self.perceptron_norm(tokens))
        return y


class VitDiscriminator(nn.Module):
    """RGB in [-1, 1], ``N, 3, H, W`` -> one logit per patch, ``N, 1, H/patch, W/patch``.

    Overlapping patches from two strided convolutions, the first with stride patch/4; sine-cosine position encodings
    for any size; ``depth`` blocks of L2 attention, spectral norm on every matrix. Each logit
    sees the whole image, so composition counts and not only texture. 2,475,649 parameters with the defaults.
    """

    def __init__(self, *, width: int = 192, depth: int = 6, heads: int = 4, patch_px: int = 16) -> None:
        super().__init__()
        if width % (4 * heads) or depth < 1 or patch_px not in (8, 16, 32):
            raise TrainingError(
                f"{width = } a multiple of 4 {heads = }, {depth = } 1 or more, {patch_px = } 8, 16 or 32"
            )
        self.size_multiple = patch_px
        self.patch_px = patch_px
        # Without overlap, G could learn a grid at patch borders.
        first = patch_px // 4
        self.stem = nn.Sequential(
            spectral_norm(nn.Conv2d(3, width // 2, 2 * first - 1, stride=first, padding=first - 1)),
            LeakyRelu(0.2),
            spectral_norm(nn.Conv2d(width // 2, width, 7, stride=4, padding=3)),
        )
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = spectral_norm(nn.Linear(width, 1))

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % self.patch_px or width % self.patch_px:
            raise TrainingError(f"a batch of shape {tuple(images.shape)}: H and W multiples of {self.patch_px}")
        patches: Tensor = self.stem(images)
        n, channels, rows, columns = patches.shape
        tokens = patches.flatten(2).transpose(1, 2) + positions(rows, columns, channels, like=patches)
        logits: Tensor = self.head(self.norm(self.blocks(tokens)))
        return logits.transpose(1, 2).reshape(n, 1, rows, columns)


def positions(rows: int, columns: int, channels: int, *, like: Tensor) -> Tensor:
    """Sine-cosine position encodings of a grid, ``rows * columns, channels``: half the channels for y, half for x.

    Vaswani et al., arXiv:1706.03762 section 3.5, in two dimensions as in MAE (arXiv:2111.06377).
    """
    quarter = channels // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
    encoded = []
    for count in (rows, columns):
        angle = torch.arange(count, dtype=torch.float32).unsqueeze(1) * frequency
        encoded.append(torch.cat((angle.sin(), angle.cos()), dim=1))
    y = encoded[0].unsqueeze(1).expand(rows, columns, -1)
    x = encoded[1].unsqueeze(0).expand(rows, columns, -1)
    return torch.cat((y, x), dim=2).flatten(0, 1).to(like)
