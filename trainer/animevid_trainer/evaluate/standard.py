"""FID, KID and Inception Score as in the literature: torch-fidelity's protocol with the standard weights.

Fréchet Inception Distance: Heusel et al. 2017 (arXiv:1706.08500); Kernel Inception Distance: Binkowski et al. 2018
(arXiv:1801.01401); Inception Score: Salimans et al. 2016 (arXiv:1606.03498). Studies of photo-to-anime networks report
FID twice: "with ani" to the drawings (likeness to them), "with photo" to the photos (how much of them is preserved).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image

from animevid_trainer.data.images import Image
from animevid_trainer.evaluate.columns import Column
from animevid_trainer.evaluate.distances import (
    ENOUGH_IMAGES,
    Features,
    frechet_distance,
    inception_score,
    kernel_distance_of_subsets,
)
from animevid_trainer.evaluate.inception import PUBLISHED_INCEPTION, Inception

#: The side of the images that published studies compare.
SQUARE_PX = 256
_SPLITS = 10

STANDARD_COLUMNS: tuple[Column, ...] = (
    Column("fid_ani", "FID with ani", "Fréchet Inception Distance to the art; lower: more similar", -1, 1),
    Column("fid_photo", "FID with photo", "Fréchet Inception Distance to the photos; 0 is the photos", 0, 1),
    Column("kid_ani", "KID with ani", "Kernel Inception Distance to the art, mean of 100 subsets", -1, 4),
    Column("kid_photo", "KID with photo", "Kernel Inception Distance to the photos, mean of 100 subsets", 0, 4),
    Column("inception_score", "Inception Score", "1 (all alike) to 1,008; with 100 images or more in 10 splits", +1, 2),
)

NO_STANDARD = (
    "No FID, KID or Inception Score: they need Inception's weights, --inception-weights FILE or download "
    f"({PUBLISHED_INCEPTION.megabytes} MB). The Fréchet and kernel distances here use the feature network's "
    "features and are comparable only within this table"
)


class StandardFigures:
    """Computes the figures of sets of images, compared with ``art`` and ``photos``, whose features it computes once."""

    def __init__(self, network: Inception, photos: Sequence[Image], art: Sequence[Image]) -> None:
        self._network = network
        self._photos = self._look_at(photos)[0]
        self._art = self._look_at(art)[0]
        few = min(len(photos), len(art) or len(photos)) < ENOUGH_IMAGES
        self.note = (
            "FID, KID and Inception Score: Inception of 2015-12-05, torch-fidelity's protocol on middle squares of "
            f"{SQUARE_PX} px"
        ) + (
            f"; published figures use {ENOUGH_IMAGES:,} images or more. With fewer, FID is too high: these figures "
            "are comparable only within this table"
            if few
            else ""
        )

    def __call__(self, images: Sequence[Image]) -> dict[str, float]:
        """Return the figures by column key, without those to a set of fewer than two images."""
        features, logits = self._look_at(images)
        splits = _SPLITS if len(images) >= _SPLITS**2 else 1
        found = {"inception_score": inception_score(logits, splits=splits)[0]}
        for name, reference in (("ani", self._art), ("photo", self._photos)):
            if min(len(reference), len(features)) > 1:
                found[f"fid_{name}"] = frechet_distance(features, reference)
                found[f"kid_{name}"] = kernel_distance_of_subsets(features, reference)[0]
        return found

    def _look_at(self, images: Sequence[Image]) -> tuple[Features, Features]:
        features, logits = self._network.look_at(square_of(image) for image in images)
        return features.astype(np.float64), logits.astype(np.float64)


def square_of(image: Image, *, side_px: int = SQUARE_PX) -> Image:
    """Return the middle square of (H, W, 3) uint8, resized to ``side_px`` with Pillow's bilinear filter.

    Resizes first and then crops, rounding like torchvision's ``Resize`` and ``CenterCrop``, as torch-fidelity does with
    ``samples_resize_and_crop``.
    """
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    longer = side_px * long // short
    size = (longer, side_px) if width >= height else (side_px, longer)
    shrunk = (
        image
        if short == side_px
        else np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BILINEAR))
    )
    top, left = (round((side - side_px) / 2) for side in shrunk.shape[:2])
    return np.ascontiguousarray(shrunk[top : top + side_px, left : left + side_px])
