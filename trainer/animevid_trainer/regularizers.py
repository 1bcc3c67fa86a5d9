"""Regularizers for GANs from noise, as pure functions; each docstring has equation and source."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """R1: ``mean over images of |dD(x) / dx|^2 / 2``, x real. Mescheder et al., arXiv:1801.04406, eq. 9.

    ``images``: ``N, 3, H, W``; ``discriminator``: images -> logits, each of which depends only on its image and on
    statistics of the batch.
    """
    seen = images.detach().requires_grad_()
    # the fast kernels of attention have no second derivative
    with sdpa_kernel(SDPBackend.MATH):
        (gradient,) = torch.autograd.grad(discriminator(seen).sum(), seen, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """``|J^T y|``, J the images' derivative by their styles. StyleGAN2, equation 4. ``N``.

    Args:
        images: ``N, 3, H, W``, drawn from ``styles``.
        styles: ``N, layers, length``; rows are averaged over, as in the release.
        noise: y, as ``images``, from N(0, 1); divided by ``sqrt(H W)`` here, as in the release.
    """
    weighted = (images * noise).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(weighted, styles, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor) -> Tensor:
    """``mean((|J^T y| - a)^2)``, a the running mean of lengths. StyleGAN2, equation 4."""
    return (lengths - mean).square().mean()
