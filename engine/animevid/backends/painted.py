"""Painted styles on the CPU: another backend runs the graph up to the filters, compiled kernels are the filters.

The filters are a tenth of such a network's arithmetic and a third of its time in a runtime of small operators, which
carries the whole picture through memory for each of them; ``animevid.pixels.paint`` does all of them in one walk.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from animevid.backends.base import Backend, Tensor
from animevid.pixels import is_native, paint
from animevid.styles.card import GROUND, StyleCard
from animevid.styles.onnx_file import cut_at


def below_the_filters(model: bytes, card: StyleCard) -> bytes | None:
    """``model`` without its filters; ``None`` where it has none, or nothing faster is there to replace them."""
    if card.paint is None or not is_native() or card.precision == "fp16":  # fp16: the ground is no float32 tensor
        return None
    return cut_at(model, GROUND)


class PaintedBackend(Backend):
    """``inner``, opened on what :func:`below_the_filters` gave, and the filters of ``card`` over it."""

    def __init__(self, inner: Backend, card: StyleCard) -> None:
        assert card.paint is not None
        self._inner = inner
        self._settings = card.paint

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, *, threads: int = 0, device: str = "auto") -> Self:
        raise NotImplementedError("made around an open backend; see animevid.backends.open_backend")

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._inner.name

    @property
    def faster_concurrently(self) -> bool:  # type: ignore[override]
        return self._inner.faster_concurrently

    @property
    def preferred_batch(self) -> int:
        return self._inner.preferred_batch

    @property
    def description(self) -> str:
        return f"{self._inner.description}, compiled filters"

    def run(self, batch: Tensor) -> Tensor:
        ground = self._inner.run(batch)
        drawn = np.empty_like(ground)
        for photo, under, out in zip(batch, ground, drawn, strict=True):
            paint(photo, under, self._settings, out=out)
        return drawn

    def close(self) -> None:
        self._inner.close()
