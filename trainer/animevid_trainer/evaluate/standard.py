"""FID, KID and Inception Score as the literature computes them: torch-fidelity's protocol on the standard weights.

Fréchet Inception Distance: Heusel et al. 2017 (arXiv:1706.08500); Kernel Inception Distance: Binkowski et al. 2018
(arXiv:1801.01401); Inception Score: Salimans et al. 2016 (arXiv:1606.03498). Studies of photo-to-anime networks give
the FID twice: "with ani", to the drawings, how much it looks like them; "with photo", to the photos, how much of them
is left.
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

#: The side of the squares that the published studies compare.
SQUARE_PX = 256
_SPLITS = 10

STANDARD_COLUMNS: tuple[Column, ...] = (
    Column("fid_ani", "FID with ani", "Fréchet Inception Distance to the art; lower is more like it", -1, 1),
    Column("fid_photo", "FID with photo", "Fréchet Inception Distance to the photos; 0 is the photos", 0, 1),
    Column("kid_ani", "KID with ani", "Kernel Inception Distance to the art, mean of 100 subsets", -1, 4),
    Column("kid_photo", "KID with photo", "Kernel Inception Distance to the photos, mean of 100 subsets", 0, 4),
    Column("inception_score", "Inception Score", "1 (all alike) to 1,008; of 100 images or more in 10 splits", +1, 2),
)

NO_STANDARD = (
    "No FID, KID or Inception Score: they are defined on Inception's weights, --inception-weights FILE or download "
    f"({PUBLISHED_INCEPTION.megabytes} MB). The Fréchet and kernel distances here are in the feature network's "
    "features and compare within this table only"
)


class StandardFigures:
    """The figures of any set of images beside ``art`` and ``photos``, which are looked at once."""

    def __init__(self, network: Inception, photos: Sequence[Image], art: Sequence[Image]) -> None:
        self._network = network
        self._photos = self._look_at(photos)[0]
        self._art = self._look_at(art)[0]
        few = min(len(photos), len(art) or len(photos)) < ENOUGH_IMAGES
        self.note = (
            "FID, KID and Inception Score: Inception of 2015-12-05, torch-fidelity's protocol on middle squares of "
            f"{SQUARE_PX} px"
        ) + (
            f"; published ones are of {ENOUGH_IMAGES:,} images and more, with fewer FID comes out too high: these "
            "compare within this table only"
            if few
            else ""
        )

    def __call__(self, images: Sequence[Image]) -> dict[str, float]:
        """The figures by their columns' keys; those to a set of fewer than two images are left out."""
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
    """The middle square of (H, W, 3) uint8, its side brought to ``side_px`` by Pillow's bilinear filter.

    Shrinks first and cuts then, rounding as torchvision's ``Resize`` and ``CenterCrop`` do: what torch-fidelity does
    with ``samples_resize_and_crop``.
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
