"""Distances between two sets of feature vectors (n, d), float64."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]

# With fewer images, a Fréchet distance depends mainly on their number (Heusel et al. use 50,000 and require at least
# 2,048, the feature dimension, so that covariances have full rank).
ENOUGH_IMAGES = 2048


def frechet_distance(first: Features, second: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Heusel et al. 2017, equation 6.

    The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2). It is computed from the centred
    features: with C = A'A, these are the singular values of A1 A2'. Exact also for fewer images than dimensions.
    """
    means = first.mean(0) - second.mean(0)
    centred = [(values - values.mean(0)) / np.sqrt(max(1, len(values) - 1)) for values in (first, second)]
    traces = sum(float((values**2).sum()) for values in centred)
    # With A = QR, R gives the same singular values in such a product, and has no more rows than dimensions.
    small = [np.asarray(np.linalg.qr(v, mode="r") if len(v) > v.shape[1] else v, np.float64) for v in centred]
    product = np.asarray(small[0] @ small[1].T, np.float64)
    root = float(np.linalg.svd(product, compute_uv=False).sum())
    return float(means @ means) + traces - 2.0 * root


def kernel_distance(first: Features, second: Features) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3, Binkowski et al. 2018, section 4. May be below 0.

    With Inception's features, this is KID.
    """

    def kernel(left: Features, right: Features) -> Features:
        return np.asarray((left @ right.T / left.shape[1] + 1.0) ** 3, np.float64)

    def within(values: Features) -> float:
        inner = kernel(values, values)
        count = len(values)
        return float(inner.sum() - np.trace(inner)) / (count * (count - 1))

    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} images: a kernel distance needs two of each")
    return within(first) + within(second) - 2.0 * float(kernel(first, second).mean())


def likeness(output: Features, photos: Features, art: Features) -> float:
    """Position of the outputs between photos (0) and art (1): d(photos) / (d(photos) + d(art)), d the root of KID."""
    to_photos, to_art = (np.sqrt(max(0.0, kernel_distance(output, other))) for other in (photos, art))
    return float(to_photos / (to_photos + to_art)) if to_photos + to_art > 0 else 0.0


def kernel_distance_of_subsets(
    first: Features, second: Features, *, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Mean and standard deviation of :func:`kernel_distance` over random subsets, as KID is published.

    The number and size of the subsets are those of Binkowski et al., their random choice is torch-fidelity's. If there
    are fewer images than ``size``, a subset has as many images as the smaller set.
    """
    size = min(size, len(first), len(second))
    if size == len(first) == len(second):
        return kernel_distance(first, second), 0.0
    random = np.random.RandomState(seed)
    found = []
    for _ in range(subsets):
        drawn = [values[random.choice(len(values), size, replace=False)] for values in (first, second)]
        found.append(kernel_distance(*drawn))
    return float(np.mean(found)), float(np.std(found))


def divergence_score(probabilities: Features) -> float:
    """exp(mean KL(p(y|x) || p(y))), Salimans et al. 2016: 1 (all alike, or all uncertain) to the number of classes."""
    clipped = np.clip(probabilities, 1e-12, None)
    marginal = clipped.mean(0)
    return float(np.exp((clipped * (np.log(clipped) - np.log(marginal))).sum(1).mean()))


def inception_score(logits: Features, *, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Mean and standard deviation of :func:`divergence_score` over ``splits`` parts of the shuffled images.

    Args:
        logits: Inception's, (n, classes); n at least ``splits``
        splits: number of parts; default 10, as in Salimans et al.
        seed: for shuffling; the default is torch-fidelity's
    """
    count = len(logits)
    shuffled = logits[np.random.RandomState(seed).permutation(count)]
    exponent = np.exp(shuffled - shuffled.max(1, keepdims=True))
    probabilities = exponent / exponent.sum(1, keepdims=True)
    ends = [index * count // splits for index in range(splits + 1)]
    scores = [divergence_score(probabilities[start:end]) for start, end in pairwise(ends)]
    return float(np.mean(scores)), float(np.std(scores))


def cluster_probabilities(features: Features, reference: Features, *, clusters: int = 16, seed: int = 0) -> Features:
    """Class probabilities for :func:`divergence_score` without a classifier: (n, clusters).

    Classes are the ``clusters`` centres of k-means over ``reference``; p(y|x) is the softmax of the negative squared
    distance, divided by the reference's mean squared distance to its centre.
    """
    clusters = min(clusters, len(reference))
    random = np.random.default_rng(seed)
    centres = reference[random.permutation(len(reference))[:clusters]].copy()

    def squared(values: Features) -> Features:
        distances = (values**2).sum(1)[:, None] - 2.0 * values @ centres.T + (centres**2).sum(1)[None]
        return np.asarray(np.maximum(distances, 0.0), np.float64)

    for _ in range(20):
        nearest = squared(reference).argmin(1)
        for index in range(clusters):
            if (nearest == index).any():
                centres[index] = reference[nearest == index].mean(0)
    scale = float(squared(reference).min(1).mean()) + 1e-12
    logits = -squared(features) / scale
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponent / exponent.sum(1, keepdims=True), np.float64)
