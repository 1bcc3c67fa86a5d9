"""Findings of sections, and the difference of two frames."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Size


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The options of all sections.

    Args:
        size (tuple[int, int]): (height, width) in pixels of the frames that are compared and timed. Default: 1080p.
        frames (int): number of frames through the slots. Default: 200.
        seconds (float): duration of each measurement of a rate. Default: 2.
        styles_folder (str): more styles (``*.onnx``), for example AnimeGANv2; empty: none. Default: ``""``.
        limit_seconds (float): time limit of the section. Default: 600.
    """

    size: Size = (1080, 1920)
    frames: int = 200
    seconds: float = 2.0
    styles_folder: str = ""
    limit_seconds: float = 600.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CheckOptions:
        fields = json.loads(text)
        return cls(**{**fields, "size": tuple(fields["size"])})

    @property
    def more_styles(self) -> list[Path]:
        return sorted(Path(self.styles_folder).glob("*.onnx")) if self.styles_folder else []


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a section. ``agrees``: the result of a comparison; ``None``: a measurement or a remark."""

    text: str
    agrees: bool | None = None


class Skipped(Exception):
    """A section that cannot run on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Distance:
    """The difference of two frames, in codes of 8 bits.

    Args:
        mean (float): mean of |a - b| over all samples.
        largest (float): the largest |a - b|.
        far_share (float): share of samples that differ by more than ``FAR_CODES``.
    """

    mean: float
    largest: float
    far_share: float

    def __str__(self) -> str:
        return f"mean {self.mean:.3f}, largest {self.largest:.3g} codes, {self.far_share:.3%} above {FAR_CODES}"

    @property
    def is_half_precision(self) -> bool:
        """Whether half precision explains the difference: on average only rounding, and almost no large differences."""
        return self.mean <= 0.5 and self.far_share <= 0.002


FAR_CODES = 4


def distance(one: PlanesYUV420, other: PlanesYUV420) -> Distance:
    """The distance of two frames of one size and depth; infinite for frames of different sizes."""
    if (one.y.shape, one.bit_depth) != (other.y.shape, other.bit_depth):
        return Distance(np.inf, np.inf, 1.0)
    code = 1 << (one.bit_depth - 8)
    # In their unsigned type, for speed: hundreds of large frames are compared.
    pairs = ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    apart = [np.maximum(a, b) - np.minimum(a, b) for a, b in pairs]
    samples = sum(plane.size for plane in apart)
    return Distance(
        sum(int(plane.sum(dtype=np.int64)) for plane in apart) / samples / code,
        max(int(plane.max()) for plane in apart) / code,
        sum(int(np.count_nonzero(plane > FAR_CODES * code)) for plane in apart) / samples,
    )


def worst(distances: list[Distance]) -> Distance:
    """The largest of each figure."""
    return Distance(
        max(one.mean for one in distances), max(one.largest for one in distances), max(o.far_share for o in distances)
    )


def largest_difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The largest difference of two tensors; NaN, which means unwritten memory, counts as infinite."""
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(np.where(np.isnan(difference), np.inf, difference).max())
