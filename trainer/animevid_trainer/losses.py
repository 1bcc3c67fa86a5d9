"""Losses as pure functions: tensors in, one scalar out, equation and source in each docstring.

Images are RGB in [-1, 1], ``N, 3, H, W``; logits are any shape; features ``N, C, H, W``. Every function computes in
the dtype it is given (float64 for tests, float32 in training), means over everything unless it says otherwise, and
does not apply a recipe's weights, which are in ``recipes``.

Sources: AnimeGAN = Chen, Liu, Chen, "AnimeGAN: A Novel Lightweight GAN for Photo Animation", ISICA 2019; AnimeGANv2 =
its authors' second release (2020); CartoonGAN = Chen, Lai, Liu, CVPR 2018; CycleGAN = Zhu et al., arXiv:1703.10593;
LSGAN = Mao et al., arXiv:1611.04076; GAN = Goodfellow et al., arXiv:1406.2661; Gatys = Gatys et al., CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from animevid.errors import TrainingError
from torch import Tensor
from torch.nn import functional as F

AdversarialKind = Literal["lsgan", "bce", "hinge", "minimax"]

#: R'G'B' in [0, 1] -> Y'UV of analogue BT.601 (Y' in [0, 1], U in [-0.436, 0.436], V in [-0.615, 0.615]); the matrix
#: of TensorFlow's ``rgb_to_yuv``, which both AnimeGAN releases use. Rows: Y', U, V.
RGB_TO_YUV = (
    (0.299, 0.587, 0.114),
    (-0.14714119, -0.28886916, 0.43601035),
    (0.61497538, -0.51496512, -0.10001026),
)
#: Y' of ``RGB_TO_YUV``
LUMA_WEIGHTS = RGB_TO_YUV[0]


# ---------------------------------------------------------------------------------------------------- adversarial


def real_loss(logits: Tensor, *, kind: AdversarialKind) -> Tensor:
    """D's loss for images that it should classify as real.

    LSGAN: ``mean((D - 1)^2)`` (LSGAN with a = 0, b = c = 1, without the 1/2, as AnimeGAN has it).
    BCE and minimax: ``mean(-log sigmoid(D))`` (GAN eq. 1). Hinge: ``mean(max(0, 1 - D))`` (Miyato et al.,
    arXiv:1802.05957 eq. 16).
    """
    if kind == "lsgan":
        return (logits - 1.0).square().mean()
    if kind in ("bce", "minimax"):
        return F.softplus(-logits).mean()
    if kind == "hinge":
        return F.relu(1.0 - logits).mean()
    raise TrainingError(f"adversarial {kind = }: allowed are lsgan, bce, hinge, minimax")


def fake_loss(logits: Tensor, *, kind: AdversarialKind) -> Tensor:
    """D's loss for images that it should classify as fake.

    LSGAN: ``mean(D^2)``. BCE and minimax: ``mean(-log(1 - sigmoid(D)))``. Hinge: ``mean(max(0, 1 + D))``. Sources:
    ``real_loss``.
    """
    if kind == "lsgan":
        return logits.square().mean()
    if kind in ("bce", "minimax"):
        return F.softplus(logits).mean()
    if kind == "hinge":
        return F.relu(1.0 + logits).mean()
    raise TrainingError(f"adversarial {kind = }: allowed are lsgan, bce, hinge, minimax")


def generator_adversarial_loss(fake_logits: Tensor, *, kind: AdversarialKind) -> Tensor:
    """G's adversarial loss.

    LSGAN: ``mean((D(G) - 1)^2)``. BCE: ``mean(-log sigmoid(D(G)))``, the non-saturating form (GAN section 3).
    Minimax: ``mean(log(1 - sigmoid(D(G))))``, GAN eq. 1 as published, whose gradient vanishes where D is
    confident. Hinge:
    ``-mean(D(G))``.
    """
    if kind == "minimax":
        return -F.softplus(fake_logits).mean()
    if kind == "hinge":
        return -fake_logits.mean()
    return real_loss(fake_logits, kind=kind)


def discriminator_terms(logits: Mapping[str, Tensor], *, kind: AdversarialKind) -> dict[str, Tensor]:
    """The terms of D's loss, by the names of ``logits``: "real" should be classified as real, all others as fake.

    Weighted as recipes have it: ``overall (w_real real(D(a)) + w_fake fake(D(G(p))) + w_gray fake(D(x)) + w_smooth
    fake(D(y)))``, where a is art, x its gray version and y the gray version of edge-smoothed art: AnimeGAN's L(D), with
    LSGAN, overall 300 and weights 1, 1, 1, 0.1. CartoonGAN's edge-promoting loss (eq. 3) is the BCE form with e, the
    edge-smoothed art in colour, as "smooth" at weight 1 and no gray term. CycleGAN (eq. 1, LSGAN) halves the sum: 0.5
    and 0.5. pix2pix (Isola et al., arXiv:1611.07004, eq. 1) discriminates pairs, each with its photo.
    """
    return {
        name: real_loss(logit, kind=kind) if name == "real" else fake_loss(logit, kind=kind)
        for name, logit in logits.items()
    }


# ------------------------------------------------------------------------------------------------ content and style


def content_loss(features: Tensor, photo_features: Tensor) -> Tensor:
    """``mean(|F(G(p)) - F(p)|)`` over a feature map. AnimeGAN L_con, CartoonGAN eq. 4: VGG conv4_4 before its ReLU."""
    return (features - photo_features).abs().mean()


def gram_matrix(features: Tensor) -> Tensor:
    """``F F^T / (C H W)`` per image, F the map as ``C x (H W)``: ``N, C, H, W`` -> ``N, C, C``.

    The normalization by C H W is the AnimeGAN releases'; Gatys eq. 3 has none and divides in the loss (eq. 4).
    """
    n, c, h, w = features.shape
    flat = features.reshape(n, c, h * w)
    return torch.bmm(flat, flat.transpose(1, 2)) / (c * h * w)


def style_loss(gram: Tensor, style_gram: Tensor) -> Tensor:
    """``mean(|Gram(F(G(p))) - Gram(F(x))|)`` for Gram matrices of equal shape. AnimeGAN L_gra: x is *gray* art.

    Takes Gram matrices (``gram_matrix``), so that those of the art can be cached.
    """
    return (gram - style_gram).abs().mean()


def gray(images: Tensor) -> Tensor:
    """BT.601 luma of RGB in [-1, 1], repeated to three channels: ``N, 3, H, W`` -> the same shape."""
    return luma(images).expand(-1, 3, -1, -1)


def luma(images: Tensor) -> Tensor:
    """BT.601 luma of RGB, in the images' own range: ``N, 3, H, W`` -> ``N, 1, H, W``."""
    weights = images.new_tensor(LUMA_WEIGHTS).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def rgb_to_yuv(images: Tensor) -> Tensor:
    """RGB in [-1, 1] -> Y'UV by ``RGB_TO_YUV`` of RGB in [0, 1]. ``N, 3, H, W`` -> ``N, 3, H, W``."""
    matrix = images.new_tensor(RGB_TO_YUV)
    return torch.einsum("kc,nchw->nkhw", matrix, (images + 1.0) * 0.5)


def colour_loss(images: Tensor, photos: Tensor, *, pool_px: int = 1) -> Tensor:
    """Colour reconstruction: ``L1(Y) + Huber(U) + Huber(V)`` between G(p) and p in Y'UV. AnimeGAN L_col.

    Each term a mean over its channel; Huber with delta 1 (``x^2 / 2`` below it), as TensorFlow's default has it. With
    ``pool_px`` > 1 both are averaged over blocks of that many pixels first: an area's hue and brightness are kept while
    its details are free (ours, for ``distill``).
    """
    ours, theirs = rgb_to_yuv(images), rgb_to_yuv(photos)
    if pool_px > 1:
        ours, theirs = F.avg_pool2d(ours, pool_px), F.avg_pool2d(theirs, pool_px)
    difference = ours - theirs
    return (
        difference[:, 0].abs().mean()
        + F.huber_loss(ours[:, 1], theirs[:, 1], delta=1.0)
        + F.huber_loss(ours[:, 2], theirs[:, 2], delta=1.0)
    )


# ---------------------------------------------------------------------------------------------------- image priors


def total_variation_loss(images: Tensor) -> Tensor:
    """``mean(d_y^2) / 2 + mean(d_x^2) / 2``, d the difference of neighbours: AnimeGANv2's smoothness term.

    (TensorFlow's ``l2_loss`` is half the sum of squares; v2 divides it by the number of differences.)
    """
    down = images[..., 1:, :] - images[..., :-1, :]
    right = images[..., :, 1:] - images[..., :, :-1]
    return 0.5 * down.square().mean() + 0.5 * right.square().mean()


def sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    """(d/dx, d/dy) by the Sobel kernels over 8 (so that a ramp of slope s gives s), valid part: ``N, C, H-2, W-2``."""
    channels = images.shape[1]
    kernel = images.new_tensor(((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))) / 8.0
    across = kernel.expand(channels, 1, 3, 3)
    down = kernel.t().expand(channels, 1, 3, 3)
    return F.conv2d(images, across, groups=channels), F.conv2d(images, down, groups=channels)


def gradient_loss(images: Tensor, targets: Tensor) -> Tensor:
    """``mean(|S_x a - S_x b|) + mean(|S_y a - S_y b|)`` with S Sobel / 8: preserves the target's lines.

    The gradient difference of Mathieu et al., arXiv:1511.05440 eq. 6 with alpha 1, on signed Sobel gradients.
    """
    ours, theirs = sobel(images), sobel(targets)
    return (ours[0] - theirs[0]).abs().mean() + (ours[1] - theirs[1]).abs().mean()


def flatness_loss(images: Tensor, photos: Tensor, *, edge_scale: float = 10.0) -> Tensor:
    """Edge-aware flatness: ``mean(|d G(p)| exp(-k max_c |d p|))`` over both directions, k = ``edge_scale``.

    Penalizes variation of the output only where the photo has none, so areas become flat and borders stay. The
    edge-aware smoothness of Godard et al., arXiv:1609.03677 eq. 3, applied to an image.
    """

    def along(dim: int) -> Tensor:
        ours = images.diff(dim=dim).abs()
        edge = photos.diff(dim=dim).abs().amax(dim=1, keepdim=True)
        return (ours * torch.exp(-edge_scale * edge)).mean()

    return along(2) + along(3)


# ------------------------------------------------------------------------------------------------- pairs of images


def pixel_loss(images: Tensor, targets: Tensor) -> Tensor:
    """``mean(|a - b|)``: distillation's pixel term."""
    return (images - targets).abs().mean()


def cycle_loss(reconstructed: Tensor, originals: Tensor) -> Tensor:
    """``mean(|F(G(x)) - x|)``. CycleGAN eq. 2, one of its two halves."""
    return pixel_loss(reconstructed, originals)


def identity_loss(outputs: Tensor, inputs: Tensor) -> Tensor:
    """``mean(|G(y) - y|)`` for y already in G's target domain. CycleGAN section 5.2."""
    return pixel_loss(outputs, inputs)


def temporal_consistency_loss(outputs: Tensor, expected: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """``sum(v |G(T p) - T G(p)|) / sum(v)``: the output of a moved, noised or re-lit crop is the moved output.

    ``valid`` (``N, 1, H, W`` or ``N, C, H, W``, 0 or 1) leaves out pixels that T brought in from outside. The
    transformation-consistency loss of Eilertsen et al., arXiv:1902.10424, with L1. 0 where nothing is valid.
    """
    difference = (outputs - expected).abs()
    if valid is None:
        return difference.mean()
    weight = valid.to(difference.dtype).expand_as(difference)
    return (difference * weight).sum() / weight.sum().clamp_min(1.0)
