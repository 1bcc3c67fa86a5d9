"""What every backend promises. One conformance suite (``tests/backends/test_conformance.py``) holds them all to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from animevid.styles.card import StyleCard

Tensor = npt.NDArray[np.float32]


class Backend(ABC):
    """Runs one style's network: a batch in, a batch of the same N out.

    A backend is opened on a model and closed (context manager). ``run`` may be called from several threads at once
    and releases the GIL while it computes. Batching is its own affair: ``preferred_batch`` says how many pictures
    it likes to be given when that many wait; any batch of 1 or more is accepted.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def unavailable_reason(cls) -> str | None:
        """One line saying why this backend cannot be used here and the way out; ``None`` if it can."""

    @classmethod
    @abstractmethod
    def open(cls, model: bytes, card: StyleCard, *, threads: int = 0, device: str = "auto") -> Self:
        """Load ``model`` (a serialized ONNX file). ``threads`` 0 lets the backend choose.

        Raises:
            BackendError: the runtime is missing or refuses the model.
        """

    @property
    @abstractmethod
    def preferred_batch(self) -> int: ...

    @property
    @abstractmethod
    def description(self) -> str:
        """What runs where, for ``-v`` and the summary line: e.g. ``onnxruntime 1.23 CPU, 2 threads``."""

    @abstractmethod
    def run(self, batch: Tensor) -> Tensor:
        """Stylize ``batch``: float32, C-contiguous, in the card's layout (``N, C, H, W`` or ``N, H, W, C``), sizes
        a multiple of ``card.size_multiple``. Returns an array of the same layout, N, H and W (C as the card says).

        Raises:
            UsageError: a shape or dtype outside the card's limits.
            BackendError, DeviceError: the runtime failed; the backend may be closed but not used again.
        """

    @abstractmethod
    def close(self) -> None:
        """Free everything. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
