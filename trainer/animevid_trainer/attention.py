"""SAGAN's self-attention (Zhang, Goodfellow, Metaxas, Odena, arXiv:1805.08318, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """``y = gamma o + x``: every position attends to every other one. ``N, C, H, W`` -> the same shape.

    ``s_ij = f(x_i) . g(x_j)``, ``beta_ji = softmax over i of s_ij``, ``o_j = v(sum over i of beta_ji h(x_i))``; f, g
    and h are 1x1 convolutions to C / 8 channels, v one back to C. gamma starts at 0, so that the network learns local
    structure first. Spectral norm is added by the enclosing network.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.f = nn.Conv2d(channels, inner, 1, bias=False)
        self.g = nn.Conv2d(channels, inner, 1, bias=False)
        self.h = nn.Conv2d(channels, inner, 1, bias=False)
        self.v = nn.Conv2d(inner, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        # positions as rows; g makes queries (j), f makes keys (i); SAGAN does not scale by the root of the width
        asking, asked, told = (network(x).flatten(2).transpose(1, 2) for network in (self.g, self.f, self.h))
        seen = F.scaled_dot_product_attention(asking, asked, told, scale=1.0)
        seen = seen.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])
        y: Tensor = self.gamma * self.v(seen) + x
        return y
