"""The backend interface. One conformance suite (``tests/backends/test_conformance.py``) tests all backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from animevid.errors import BackendError, UsageError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard

if TYPE_CHECKING:
    from animevid.backends.frames import FrameRunner

Tensor = npt.NDArray[np.float32]


class Backend(ABC):
    """Runs one style's network: a batch in, a batch of the same N out.

    A backend is opened on a model and closed (context manager). ``run`` may be called from several threads at once
    and releases the GIL while it computes. ``preferred_batch``: the number of
    frames per call if that many are waiting; any batch of 1 or more is accepted.
    """

    name: ClassVar[str]
    #: Whether N frames at once, one thread each, are faster than one after another on N threads.
    faster_concurrently: ClassVar[bool] = False

    @classmethod
    def runs_on_cpu(cls, device: str) -> bool:
        """Whether ``device`` (``"auto"``, ``"cpu"``, ...) is the CPU here, so that pixel kernels may help."""
        return False

    @classmethod
    def prefers_int8(cls, device: str) -> bool:
        """Whether a style's INT8 file is faster than its float32 one on ``device``."""
        return False

    @classmethod
    @abstractmethod
    def unavailable_reason(cls) -> str | None:
        """One line with the reason why this backend cannot be used here, and a remedy; ``None`` if it can."""

    @classmethod
    @abstractmethod
    def open(cls, model: bytes, card: StyleCard, options: RuntimeOptions | None = None) -> Self:
        """Load ``model`` (a serialized ONNX file). Of the options, ``device`` and ``threads`` are for this backend.

        Raises:
            BackendError: the runtime is missing or refuses the model.
        """

    @property
    @abstractmethod
    def preferred_batch(self) -> int: ...

    @property
    @abstractmethod
    def description(self) -> str:
        """Runtime and device for ``-v`` and the summary line, e.g. ``onnxruntime 1.23 CPU, 2 threads``."""

    @property
    def device_name(self) -> str:
        """The device as in ``description``: ``"CPU"``, or the GPU's name."""
        return "CPU"

    @property
    def frame_runner(self) -> FrameRunner | None:
        """The runner for whole frames, which keeps them on its device; ``None`` if the backend only has ``run``."""
        return None

    def fall_back(self, error: BackendError) -> bool:
        """Switch to another runtime after ``error``, from the next call on; false if there is none."""
        return False

    @abstractmethod
    def run(self, batch: Tensor) -> Tensor:
        """Stylize ``batch``: float32, C-contiguous, in the card's layout (``N, C, H, W`` or ``N, H, W, C``), sizes
        a multiple of ``card.size_multiple``. Returns an array of the same layout, N, H and W (C as the card says).

        Raises:
            UsageError: a shape or dtype outside the card's limits.
            BackendError, DeviceError: the runtime failed; the backend may be closed but not used again.
        """

    def interrupt(self) -> None:
        """Abort running calls with an error, from any thread. A runtime that cannot do so lets them finish."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Free everything. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_batch(batch: Tensor, card: StyleCard) -> None:
    """Raises:
    UsageError: ``batch`` is not float32, not C-contiguous, or of a shape outside ``card``.
    """
    layout = card.layout
    if batch.dtype != np.float32 or not batch.flags.c_contiguous:
        contiguous = batch.flags.c_contiguous
        raise UsageError(f"{batch.dtype = }, {contiguous = }: give a C-contiguous float32 batch")
    axes = {"NHWC": "N, H, W, 3", "NCHW": "N, 3, H, W"}.get(layout.value, "N, 24, H / 4, W / 4")
    if batch.ndim != 4 or 0 in batch.shape or batch.shape[layout.channel_axis] != layout.channels:
        raise UsageError(f"{batch.shape = }: the style {card.name!r} takes ({axes})")
    (axis_y, axis_x), cell_px = layout.spatial_axes, layout.cell_px
    height, width = batch.shape[axis_y] * cell_px, batch.shape[axis_x] * cell_px
    if card.fixed_size_px is not None and (height, width) != card.fixed_size_px:
        raise UsageError(f"{(height, width) = } px: the style {card.name!r} takes {card.fixed_size_px} only")
    if height % card.size_multiple or width % card.size_multiple:
        raise UsageError(f"{(height, width) = } px: the style {card.name!r} takes multiples of {card.size_multiple}")


def run_in_pieces(batch: Tensor, size: int, run: Callable[[Tensor], Tensor]) -> Tensor:
    """``batch`` through a network that takes exactly ``size`` frames at once; the last piece is padded."""
    if size == len(batch):
        return run(batch)
    pieces = []
    for start in range(0, len(batch), size):
        piece = batch[start : start + size]
        filled = np.concatenate([piece, *[piece[-1:]] * (size - len(piece))]) if len(piece) < size else piece
        pieces.append(run(filled)[: len(piece)])
    return np.concatenate(pieces)


def check_output(output: Tensor, batch: Tensor, card: StyleCard) -> None:
    """Raises:
    BackendError: the network changed the shape, or returned NaN or infinity.
    """
    if output.shape != batch.shape:
        raise BackendError(
            f"the style {card.name!r} gave {output.shape} for {batch.shape}; its card or its file is wrong for this use"
        )
    if not np.isfinite(output).all():
        raise BackendError(f"the style {card.name!r} gave NaN or infinity, which are no colours: its file is broken")


def one_line(error: BaseException) -> str:
    """The first line of a runtime's error message, without source locations."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
