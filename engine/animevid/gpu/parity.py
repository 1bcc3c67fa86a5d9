"""Measures and limits how far a network's output changes with its precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from animevid.backends.base import Tensor, one_line
from animevid.errors import BackendError
from animevid.gpu.precision import spell_out_rounding

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Bound:
    """How much two runs of a network may differ, on outputs in [-1, 1] (one 8-bit code is 2/255 = 0.0078).

    ``stray_share``: the share of values that may differ by more than ``largest``, but not by infinity or NaN: a filter
    that selects (the smoothest square, ink or none) may choose differently near its threshold.
    """

    largest: float
    mean: float
    stray_share: float = 0.0


#: float32: half a code anywhere, a sixteenth on average. fp16: a code on average; where an edge is, more.
BOUNDS: dict[str, Bound] = {"fp32": Bound(4e-3, 5e-4), "fp16": Bound(0.1, 8e-3, 1e-4)}


#: The share of largest differences that a ``Parity`` keeps; no bound may have a larger ``stray_share``.
_KEPT_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class Parity:
    """Absolute difference between two runs over all outputs of all ``frames``, on outputs in [-1, 1].

    ``tail``: the largest differences, largest first, of ``values`` in all.
    """

    largest: float
    mean: float
    frames: int
    tail: tuple[float, ...] = field(default=(), repr=False, compare=False)
    values: int = field(default=0, repr=False, compare=False)

    def __str__(self) -> str:
        return f"max {self.largest:.2e}, mean {self.mean:.2e} over {self.frames} frames (range [-1, 1])"

    def within(self, bound: Bound) -> bool:
        """Whether both values are within the bound, except for its strays; false for NaN."""
        strays = int(min(bound.stray_share, _KEPT_SHARE) * self.values)
        largest = self.tail[strays] if strays < len(self.tail) else self.largest
        return math.isfinite(self.largest) and largest <= bound.largest and self.mean <= bound.mean

    @classmethod
    def between(cls, pairs: Iterable[tuple[Tensor, Tensor]], *, unit: float = 1.0) -> Parity:
        """Over pairs of (expected, got), batches of one shape; differences are divided by ``unit``.

        A NaN on either side counts as an infinite difference.
        """
        total, frames = 0.0, 0
        differences: list[Tensor] = []
        for expected, got in pairs:
            difference = np.abs(got.astype(np.float64) - expected.astype(np.float64)).ravel() / unit
            total, frames = total + float(difference.sum()), frames + len(got)
            differences.append(np.where(np.isnan(difference), np.inf, difference).astype(np.float32))
        every = np.concatenate(differences) if differences else np.zeros(1, np.float32)
        kept = int(_KEPT_SHARE * every.size) + 1
        tail = np.sort(np.partition(every, every.size - kept)[every.size - kept :])[::-1]
        return cls(float(tail[0]), total / every.size, frames, tuple(tail.tolist()), every.size)


def measure_parity(reference: bytes, candidate: bytes, batches: Sequence[Tensor], *, unit: float = 1.0) -> Parity:
    """Run both models in ONNX Runtime on ``batches`` (float32, in the style's layout) and compare every value.

    Half precision is rounded after every operator, as a GPU that stores it would (``spell_out_rounding``).

    ``unit`` is half the card's output range: 1 for [-1, 1], 127.5 for [0, 255].

    Raises:
        BackendError: no batches, or ONNX Runtime refuses a model or a batch.
    """
    if not batches:
        raise BackendError("parity needs at least one frame; give real photos")
    first, second = (_session(spell_out_rounding(model)) for model in (reference, candidate))
    return Parity.between(((first(batch), second(batch)) for batch in batches), unit=unit)


def check_parity(parity: Parity, bound: Bound, *, what: str) -> None:
    """Raises:
    BackendError: ``parity`` is above ``bound``, or not a number.
    """
    if not parity.within(bound):
        strays = f" (but for {bound.stray_share:.0e} of the values)" if bound.stray_share else ""
        raise BackendError(
            f"{what} differs from float32: {parity}; allowed are max {bound.largest:.0e}{strays}, mean "
            f"{bound.mean:.0e}; "
            "use --precision fp32"
        )


def _session(model: bytes) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes share no base but Exception
        raise BackendError(f"ONNX Runtime refuses the model ({one_line(error)})") from error
    given = session.get_inputs()[0]
    dtype = np.float16 if "16" in given.type else np.float32

    def run(batch: Tensor) -> Tensor:
        try:
            output = session.run(None, {given.name: batch.astype(dtype, copy=False)})[0]
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on {batch.shape} ({one_line(error)})") from error
        return np.asarray(output, np.float32)

    return run
