"""Makes batches of crops as a pure function of the step number; one thread prefetches them.

Tensors are float32 in [-1, 1], shape (N, 3, H, W), RGB, ``channels_last`` in memory (the layout of images on disk).
"""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from animevid_trainer.data.crops import CropSettings, draw_crop, prepare
from animevid_trainer.data.edge_smoothing import EdgeSmoothing, edge_smooth, gray_of
from animevid_trainer.data.images import Image
from animevid_trainer.data.sampler import SeededSampler
from animevid_trainer.plan import PhaseSpan, Plan

# Identifies a repeated crop: (image, crop). None if crops are fresh each time.
CropKeys = tuple[tuple[int, int], ...] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's images, each (N, 3, H, W) in [-1, 1], or None if the recipe does not use it.

    ``photo``/``target``: the same crop of a photo and of its teacher's image; for a generator from noise, ``photo`` is
    the training data. ``art``: drawings, with their gray version ``art_gray`` S(x), their edge-smoothed version
    ``smooth`` S(e) and its gray version ``smooth_gray`` S(y). ``photo_keys``/``art_keys`` identify repeated crops, so
    that their features can be cached.
    """

    step: int
    photo: Tensor
    target: Tensor | None = None
    art: Tensor | None = None
    art_gray: Tensor | None = None
    smooth: Tensor | None = None
    smooth_gray: Tensor | None = None
    photo_keys: CropKeys = None
    art_keys: CropKeys = None

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {
            item.name: value.to(device, non_blocking=True)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **moved)


def tensor_of(images: Sequence[Image]) -> Tensor:
    """Convert images (H, W, 3) uint8 of one size to (N, 3, H, W) float32 in [-1, 1], channels_last."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.to(torch.float32).mul_(1.0 / 127.5).sub_(1.0)


def images_of(tensor: Tensor) -> list[Image]:
    """Convert (N, 3, H, W) in [-1, 1] to N images (H, W, 3) uint8, rounded and clamped."""
    codes = tensor.detach().float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return [np.ascontiguousarray(image) for image in codes.permute(0, 2, 3, 1).cpu().numpy()]


class Images(Protocol):
    """Anything that returns image ``index``: a list or an ImageStore."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Image: ...


@dataclass
class CropCache:
    """Caches repeated crops up to ``budget_bytes``; evicts the least recently used."""

    budget_bytes: int
    _kept: OrderedDict[tuple[int, int, int], tuple[Image, ...]] = field(default_factory=OrderedDict, repr=False)
    _used_bytes: int = 0

    def get(self, key: tuple[int, int, int]) -> tuple[Image, ...] | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: tuple[int, int, int], images: tuple[Image, ...]) -> None:
        if key in self._kept:
            return
        self._kept[key] = images
        self._used_bytes += sum(image.nbytes for image in images)
        while self._used_bytes > self.budget_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._used_bytes -= sum(image.nbytes for image in dropped)


@dataclass
class PhotoCrops:
    """Crops photos, and their teacher's images alike if ``targets`` is given.

    ``crops_per_image``: 0 draws a fresh crop each time; k draws from k fixed crops of each photo, so that features of
    them can be cached.
    """

    photos: Images
    sampler: SeededSampler
    crop: CropSettings
    targets: Images | None = None
    crops_per_image: int = 0

    def draw(self, place: PhaseSpan, step: int) -> tuple[list[Image], list[Image], CropKeys]:
        settings = replace(self.crop, size_px=place.crop_px)
        photos: list[Image] = []
        targets: list[Image] = []
        keys: list[tuple[int, int]] = []
        self.sampler.batch, self.sampler.position = place.batch, place.sample_at(step)
        for number in self.sampler.draw():
            index = self.sampler.index_of(number)
            random = self.sampler.random_of(number)
            if self.crops_per_image:
                chosen = int(random.integers(self.crops_per_image))
                random = self.sampler.random_of_crop(index, chosen)
                keys.append((index, chosen))
            photo = prepare(self.photos[index], settings)
            crop = draw_crop(photo, random, settings)
            photos.append(crop.of(photo))
            if self.targets is not None:
                targets.append(crop.of(prepare(self.targets[index], settings)))
        return photos, targets, tuple(keys) if keys else None


@dataclass
class ArtCrops:
    """Crops art, makes each crop gray and, if ``with_edges``, also edge-smoothed: S(e) and S(y).

    Edges are smoothed after the crop is scaled, so that the blurred band is as wide for a large drawing as for a small
    one. Fixed crops (``crops_per_image`` > 0) are made once and kept.
    """

    art: Images
    sampler: SeededSampler
    crop: CropSettings
    with_edges: bool = True
    smoothing: EdgeSmoothing = field(default_factory=EdgeSmoothing)
    crops_per_image: int = 0
    cache: CropCache = field(default_factory=lambda: CropCache(2 << 30))

    def draw(self, place: PhaseSpan, step: int) -> tuple[list[tuple[Image, ...]], CropKeys]:
        """Return (art, gray) or (art, gray, smooth, smooth gray) for each sample, and the crops' keys."""
        settings = replace(self.crop, size_px=place.crop_px)
        drawn: list[tuple[Image, ...]] = []
        keys: list[tuple[int, int]] = []
        self.sampler.batch, self.sampler.position = place.batch, place.sample_at(step)
        for number in self.sampler.draw():
            index = self.sampler.index_of(number)
            random = self.sampler.random_of(number)
            if not self.crops_per_image:
                drawn.append(self._make(index, random, settings))
                continue
            chosen = int(random.integers(self.crops_per_image))
            keys.append((index, chosen))
            kept = self.cache.get((index, chosen, place.crop_px))
            if kept is None:
                kept = self._make(index, self.sampler.random_of_crop(index, chosen), settings)
                self.cache.put((index, chosen, place.crop_px), kept)
            drawn.append(kept)
        return drawn, tuple(keys) if keys else None

    def _make(self, index: int, random: np.random.Generator, settings: CropSettings) -> tuple[Image, ...]:
        image = prepare(self.art[index], settings)
        art = draw_crop(image, random, settings).of(image)
        if not self.with_edges:
            return art, gray_of(art)
        smooth = edge_smooth(art, self.smoothing)
        return art, gray_of(art), smooth, gray_of(smooth)


@dataclass
class BatchSource:
    """Combines photos (with targets) and art in batches, with the batch and crop sizes of the plan."""

    photos: PhotoCrops
    plan: Plan
    art: ArtCrops | None = None

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``; it does not depend on the run's history."""
        place = self.plan.at(step)
        photos, targets, photo_keys = self.photos.draw(place, step)
        batch = Batch(step, tensor_of(photos), target=tensor_of(targets) if targets else None, photo_keys=photo_keys)
        if self.art is None:
            return batch
        drawn, art_keys = self.art.draw(place, step)
        columns = [tensor_of(column) for column in zip(*drawn, strict=True)]
        names = ("art", "art_gray", "smooth", "smooth_gray")
        return replace(batch, art_keys=art_keys, **dict(zip(names, columns, strict=False)))  # type: ignore[arg-type]


class Prefetcher:
    """Prefetches batches from ``first_step`` on, ``depth`` ahead, in one thread (OpenCV and torch release the GIL).

    A context manager: leaving it ends the thread. An error in the thread is raised when its batch is requested.
    """

    def __init__(self, source: BatchSource, *, first_step: int, depth: int = 3) -> None:
        self._source = source
        self._next_step = first_step
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=depth)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="animevid-batches", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def _fill(self) -> None:
        while not self._stopping.is_set():
            try:
                item: Batch | BaseException = self._source.batch(self._next_step)
            except BaseException as error:
                item = error
            self._next_step += 1
            self._ready.put(item)
            if isinstance(item, BaseException):
                return
