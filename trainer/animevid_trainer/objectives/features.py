"""Computes features of a batch in one pass, and caches those of repeated crops."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from animevid.errors import TrainingError
from torch import Tensor
from torch.nn import functional

from animevid_trainer import losses
from animevid_trainer.data.batches import Batch, CropKeys
from animevid_trainer.perceptual import Perceptual
from animevid_trainer.recipes import Recipe


class FeatureCache:
    """Caches features of repeated crops, in bfloat16 or the given precision, up to ``budget_bytes``.

    Use it only for images that do not depend on trained networks: photos, art and teachers' images.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.hits = self.misses = 0
        self._used_bytes = 0
        self._kept: OrderedDict[tuple[object, ...], tuple[Tensor, ...]] = OrderedDict()

    def get(
        self, what: str, keys: CropKeys, images: Tensor, compute: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Return ``compute(images)``, from the cache if possible; ``keys`` None always computes."""
        if keys is None or self.budget_bytes <= 0:
            return compute(images)
        names = [(what, images.shape[-1], *key) for key in keys]
        missing = [row for row, name in enumerate(names) if name not in self._kept]
        self.misses += len(missing)
        self.hits += len(names) - len(missing)
        rows: dict[int, tuple[Tensor, ...]] = {
            row: self._kept[name] for row, name in enumerate(names) if name in self._kept
        }
        if missing:
            computed = compute(images if len(missing) == len(names) else images[missing])
            for position, row in enumerate(missing):
                rows[row] = tuple(item[position] for item in computed)
                self._put(names[row], rows[row])
        parts = [rows[row] for row in range(len(names))]
        return tuple(torch.stack(column) for column in zip(*parts, strict=True))

    def _put(self, name: tuple[object, ...], value: tuple[Tensor, ...]) -> None:
        if name in self._kept:
            return
        value = tuple(item.clone() for item in value)  # a view would keep the whole batch in memory
        self._kept[name] = value
        self._used_bytes += sum(item.nbytes for item in value)
        while self._used_bytes > self.budget_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._used_bytes -= sum(item.nbytes for item in dropped)


@dataclass(frozen=True, slots=True)
class Seen:
    """Images ``(N, 3, H, W)`` and their computed features, by layer."""

    images: Tensor
    features: Mapping[str, Tensor]

    def detach(self) -> Seen:
        features = {layer: feature.detach() for layer, feature in self.features.items()}
        return Seen(self.images.detach(), features)


def needed(images: Tensor | None, what: str) -> Tensor:
    """Return ``images``, or raise if they are missing.

    Raises:
        TrainingError: ``images`` is None, though a term with a weight needs them.
    """
    if images is None:
        raise TrainingError(f"a term has a weight but the run has no {what}; give the folder or set the weight to 0")
    return images


class Looking:
    """The perceptual network with the recipe's layers and scale, and a cache.

    ``content_layer``, ``style_layers`` and ``teacher_layer``: the layers for the content, style and teacher losses.
    """

    def __init__(self, recipe: Recipe, perceptual: Perceptual | None, *, cache_bytes: int) -> None:
        choice = recipe.perceptual
        self.perceptual = perceptual
        self.content_layer = choice.content_layer or (perceptual.default_layer if perceptual is not None else "")
        self.style_layers = choice.style_layers or (self.content_layer,)
        self.teacher_layer = choice.teacher_layer or self.content_layer
        self.scale = choice.scale
        self.cache = FeatureCache(cache_bytes)
        self._art_is_gray = recipe.style_on == "gray"

    def features(self, images: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        """Compute features of ``images`` by layer, with gradients, in one pass."""
        assert self.perceptual is not None
        if self.scale != 1.0:
            size = [max(8, round(side * self.scale)) for side in images.shape[-2:]]
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        return self.perceptual.features(images, layers)

    def of_photo(self, batch: Batch, layer: str) -> Tensor:
        """Return the photos' features at ``layer``."""
        return self.kept("photo", batch.photo_keys, batch.photo, (layer,))[0]

    def of_target(self, batch: Batch, layer: str) -> Tensor:
        """Return the features of the teacher's images at ``layer``."""
        with torch.no_grad():
            return self.features(needed(batch.target, "targets"), (layer,))[layer]

    def grams_of_art(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return the Gram matrices of the art at the style layers, in gray or colour as the recipe says."""

        def compute(images: Tensor) -> tuple[Tensor, ...]:
            found = self.features(images, self.style_layers)
            return tuple(losses.gram_matrix(found[layer]) for layer in self.style_layers)

        with torch.no_grad():
            art = batch.art_gray if self._art_is_gray else batch.art
            return self.cache.get("art", batch.art_keys, needed(art, "art"), compute)

    def kept(self, what: str, keys: CropKeys, images: Tensor, layers: tuple[str, ...]) -> tuple[Tensor, ...]:
        """Return features at ``layers``, cached if crops repeat, without gradients."""

        def compute(images: Tensor) -> tuple[Tensor, ...]:
            found = self.features(images, layers)
            return tuple(found[layer] for layer in layers)

        with torch.no_grad():
            return self.cache.get(what, keys, images, compute)
