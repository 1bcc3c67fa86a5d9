"""Evaluates images with a network that no training used: does it classify them as drawings?

The evaluator is a classifier with classes for drawings (nsfwjs: drawing, hentai, neutral, porn, sexy; the first two are
drawn). It returns the probability that an image is drawn and features for distances; a linear probe fitted on art and
on *training* photos measures the likeness to that art. The network is not part of the repository; to get it:

    npm pack nsfwjs@4.4.0 && tar xf nsfwjs-4.4.0.tgz     (MIT; networks in package/dist/models/)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from animevid.errors import TrainingError
from torch import Tensor
from torch.nn import functional

from animevid_trainer.data.batches import tensor_of
from animevid_trainer.data.images import Image
from animevid_trainer.evaluate.distances import Features
from animevid_trainer.evaluate.keras_layers import KerasModel, read_keras_model

#: For nsfwjs' classes in their order: drawing, hentai, neutral, porn, sexy.
_DRAWN, _CLASSES = (0, 1), 5
_STRENGTHS = (0.01, 0.05, 0.2, 1.0)
_FOLDS = 5
_VIEWS = 2


@dataclass(frozen=True)
class Opinion:
    """Output for n images: ``drawn`` (n,) probabilities, ``features`` (n * views, d)."""

    drawn: Features
    features: Features


@dataclass(frozen=True)
class Evaluator:
    """One of the package's networks; ``name`` is the name of its folder."""

    name: str
    model: KerasModel

    def __call__(self, images: Iterable[Image]) -> Opinion:
        drawn: list[float] = []
        features: list[Features] = []
        for image in images:
            classes, found = self.model(self._views(image))
            drawn.append(float(classes[:, list(_DRAWN)].sum(1).mean()))
            features.append(found.double().numpy())
        return Opinion(np.array(drawn), np.concatenate(features))

    def _views(self, image: Image) -> Tensor:
        """Return (2, 3, size, size) on [0, 1]: the largest square at each end of the longer side."""
        side, size = min(image.shape[:2]), self.model.size_px
        ends = (image[:side, :side], image[-side:, -side:])
        shrunk = [cv2.resize(end, (size, size), interpolation=cv2.INTER_AREA) for end in ends]
        return tensor_of([np.asarray(view, np.uint8) for view in shrunk]) * 0.5 + 0.5


def open_evaluator(folder: Path) -> Evaluator:
    """Open the evaluator in ``folder``, ``.../dist/models/NETWORK`` of the unpacked package.

    Raises:
        TrainingError: no model in the folder, or one with other classes.
    """
    model = read_keras_model(folder)
    if model.classes != _CLASSES:
        raise TrainingError(f"{str(folder)!r} has {model.classes} classes, nsfwjs' networks have {_CLASSES}")
    return Evaluator(folder.resolve().name, model)


@dataclass(frozen=True)
class Probe:
    """A logistic regression between photos (0) and art (1) on an evaluator's features.

    ``accuracy``: balanced accuracy on images outside the training folds. ``strength``: the L2 penalty with the lowest
    cross-validation loss.
    """

    mean: Features
    deviation: Features
    weights: Features
    bias: float
    strength: float
    accuracy: float

    def __call__(self, features: Features) -> float:
        """Return the mean probability that the images are art, 0 to 1."""
        return float(_sigmoid(self.logits(features)).mean())

    def logits(self, features: Features) -> Features:
        return np.asarray((features - self.mean) / self.deviation @ self.weights + self.bias, np.float64)


def fit_probe(photos: Features, art: Features, *, seed: int = 0) -> Probe:
    """Fit a probe on features of both sets, ``_VIEWS`` rows per image; folds do not split images.

    Raises:
        TrainingError: fewer images than folds.
    """
    images = [len(photos) // _VIEWS, len(art) // _VIEWS]
    if min(images) < _FOLDS:
        raise TrainingError(f"{images[0]} photos, {images[1]} drawings: a probe needs {_FOLDS} of each")
    random = np.random.default_rng(seed)
    folds = np.concatenate([np.repeat(random.permutation(count) % _FOLDS, _VIEWS) for count in images])
    values = np.concatenate([photos, art])
    classes = np.concatenate([np.zeros(len(photos)), np.ones(len(art))])
    balance = np.where(classes == 1, 0.5 / classes.mean(), 0.5 / (1 - classes.mean()))
    tried = []
    for strength in _STRENGTHS:
        logits = np.empty(len(values))
        for fold in range(_FOLDS):
            seen = folds != fold
            fitted = _fit(values[seen], classes[seen], balance[seen], strength)
            logits[~seen] = fitted.logits(values[~seen])
        loss = float((balance * np.logaddexp(0.0, np.where(classes == 1, -logits, logits))).mean())
        of_image = logits.reshape(-1, _VIEWS).mean(1) > 0
        right = of_image == (classes[::_VIEWS] == 1)
        tried.append((loss, strength, float(np.average(right, weights=balance[::_VIEWS]))))
    _, strength, accuracy = min(tried)
    return _fit(values, classes, balance, strength, accuracy=accuracy)


def _fit(values: Features, classes: Features, balance: Features, strength: float, *, accuracy: float = 0.0) -> Probe:
    mean, deviation = values.mean(0), values.std(0) + 1e-3
    inputs = torch.from_numpy((values - mean) / deviation)
    targets, weight = torch.from_numpy(classes), torch.from_numpy(balance)
    weights = torch.zeros(values.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        solver.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(inputs @ weights + bias, targets, weight=weight)
        total = loss + strength * (weights**2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    solver.step(closure)  # type: ignore[no-untyped-call]
    return Probe(mean, deviation, weights.detach().numpy(), float(bias.detach()), strength, accuracy)


def _sigmoid(logits: Sequence[float] | Features) -> Features:
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(logits, np.float64))), np.float64)
