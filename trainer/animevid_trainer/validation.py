"""Scores each checkpoint on validation photos to choose the best one.

The generator's own loss is unsuitable: its adversarial term depends on a discriminator that changes, and the others
(content or cycle) are lowest if the photo stays unchanged. So the score adds two figures; when one is 0, the other is
about 1:

- ``content``: distance of the output's features to its photo's, over that of unrelated images (photos and art);
- ``style``: distance of the output's Gram matrices to the mean of the art's, over that of the untouched photos.

The photo itself scores 0 + 1, a drawing from the art about 1 + 0; a style that keeps the scene scores less. A student
is compared with its teacher by the terms of its loss, with the recipe's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from animevid.errors import TrainingError
from torch import Tensor

from animevid_trainer import losses
from animevid_trainer.data.batches import Images, tensor_of
from animevid_trainer.data.images import Image, enlarge_to, shrink_shortest_to
from animevid_trainer.perceptual import Perceptual
from animevid_trainer.recipes import LossWeights

Stylize = Callable[[Tensor], Tensor]
#: current stylizing function -> figures; the lowest "score" selects the best checkpoint
Validate = Callable[[Stylize], Mapping[str, float]]

#: batch size of the networks
_BATCH = 4


def middle(image: Image, size_px: int) -> Image:
    """Return the middle square of ``image``, scaled so that its shorter side is ``size_px``."""
    fitted = enlarge_to(shrink_shortest_to(image, size_px), size_px)
    top, left = ((side - size_px) // 2 for side in fitted.shape[:2])
    return np.ascontiguousarray(fitted[top : top + size_px, left : left + size_px])


def middles(photo: Image, target: Image, size_px: int) -> tuple[Image, Image]:
    """Return the same middle square of both at their own scale (enlarged if they are smaller)."""
    photo, target = enlarge_to(photo, size_px), enlarge_to(target, size_px)
    top, left = ((side - size_px) // 2 for side in photo.shape[:2])
    window = (slice(top, top + size_px), slice(left, left + size_px))
    return np.ascontiguousarray(photo[window]), np.ascontiguousarray(target[window])


def spread(images: Images, count: int) -> list[Image]:
    """Return up to ``count`` images, evenly spread over the set."""
    count = min(count, len(images))
    return [images[index * len(images) // count] for index in range(count)]


@dataclass
class StyleValidation:
    """Measures content and style, each relative (see the module)."""

    photos: Tensor
    art: Tensor
    perceptual: Perceptual
    content_layer: str
    style_layers: tuple[str, ...]
    on_gray: bool
    _reference: _Reference | None = None

    def __call__(self, stylize: Stylize) -> dict[str, float]:
        """``content``, ``style`` and their sum, ``score``.

        Raises:
            TrainingError: the photos cannot be told from the art (the figures would have no unit).
        """
        if self._reference is None:
            self._reference = self._measure_reference()
        reference = self._reference
        outputs = torch.cat([stylize(part) for part in _parts(self.photos)])
        content = _distance(self._content(outputs), reference.photo_features) / reference.content
        style = self._style_distance(outputs, reference.art_grams) / reference.style
        return {"content": content, "style": style, "score": content + style}

    def _measure_reference(self) -> _Reference:
        features = self._content(self.photos)
        # compare each photo with a drawing
        turns = torch.arange(len(self.photos)) % len(self.art)
        unrelated = _distance(self._content(self.art)[turns], features)
        grams = [gram.mean(0, keepdim=True) for gram in self._grams(self.art)]
        untouched = self._style_distance(self.photos, grams)
        if min(unrelated, untouched) <= 0.0:
            raise TrainingError("the validation photos have the same features as the art; give photos with --photos")
        return _Reference(features, grams, unrelated, untouched)

    def _content(self, images: Tensor) -> Tensor:
        return torch.cat([self._features(part, (self.content_layer,))[0] for part in _parts(images)])

    def _grams(self, images: Tensor) -> list[Tensor]:
        images = losses.gray(images) if self.on_gray else images
        parts = [
            [losses.gram_matrix(feature) for feature in self._features(part, self.style_layers)]
            for part in _parts(images)
        ]
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    def _style_distance(self, images: Tensor, art_grams: Sequence[Tensor]) -> float:
        pairs = zip(self._grams(images), art_grams, strict=True)
        return sum(float((gram - theirs).abs().mean()) for gram, theirs in pairs)

    @torch.no_grad()
    def _features(self, images: Tensor, layers: tuple[str, ...]) -> list[Tensor]:
        device = next(self.perceptual.parameters()).device
        found = self.perceptual.features(images.to(device), layers)
        return [found[layer].cpu() for layer in layers]


@dataclass(frozen=True)
class _Reference:
    photo_features: Tensor
    art_grams: list[Tensor]
    content: float
    style: float


@dataclass
class StudentValidation:
    """Compares a student with its teacher: pixel, perceptual and gradient terms with the recipe's weights; ``score`` is
    their sum."""

    photos: Tensor
    targets: Tensor
    weights: LossWeights
    perceptual: Perceptual | None
    teacher_layer: str = ""

    @torch.no_grad()
    def __call__(self, stylize: Stylize) -> dict[str, float]:
        figures: dict[str, float] = {}
        for photos, targets in zip(_parts(self.photos), _parts(self.targets), strict=True):
            share = len(photos) / len(self.photos)
            for name, value in self._terms(stylize(photos), targets).items():
                figures[name] = figures.get(name, 0.0) + share * value
        return {**figures, "score": sum(figures.values())}

    def _terms(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        weights = self.weights
        terms = {
            "pixel": weights.pixel * float(losses.pixel_loss(outputs, targets)),
            "gradient": weights.gradient * float(losses.gradient_loss(outputs, targets)),
        }
        if weights.perceptual and self.perceptual is not None:
            device = next(self.perceptual.parameters()).device
            layer = self.teacher_layer or self.perceptual.default_layer
            ours, theirs = (self.perceptual.features(images.to(device), (layer,)) for images in (outputs, targets))
            terms["perceptual"] = weights.perceptual * float(losses.content_loss(ours[layer], theirs[layer]))
        return terms


def _parts(images: Tensor) -> list[Tensor]:
    return [images[first : first + _BATCH] for first in range(0, len(images), _BATCH)]


def _distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().mean())


def squares(images: Sequence[Image], size_px: int) -> Tensor:
    """The middles of ``images`` as one batch: ``N, 3, H, W`` in [-1, 1]."""
    return tensor_of([middle(image, size_px) for image in images])
