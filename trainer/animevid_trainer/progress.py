"""Reports a run's progress: log.jsonl, TensorBoard if installed, and a callback for display."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from animevid_trainer.data.images import Image

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

#: suffix of the name of a term's unweighted value
RAW = "/raw"


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """One report. ``terms`` are weighted, with ``NAME/raw`` beside ``NAME`` where the weight is not 1.

    ``eta_seconds`` assumes the speed of this session's steps so far.
    """

    step: int
    steps: int
    terms: Mapping[str, float]
    learning_rates: Mapping[str, float]
    images_per_second: float
    eta_seconds: float
    memory_bytes: int = 0  # peak memory of this process; 0 if unknown

    def __str__(self) -> str:
        figures = "  ".join(self._figure(name) for name in self.terms if not name.endswith(RAW))
        hours, rest = divmod(round(self.eta_seconds), 3600)
        return (
            f"{self.step}/{self.steps}  {self.images_per_second:.2f} img/s  "
            f"eta {hours}:{rest // 60:02d}:{rest % 60:02d}  {figures}"
        )

    def _figure(self, name: str) -> str:
        """``G/content 57.6 (38.4)``: weighted, and in brackets without its weight."""
        raw = self.terms.get(name + RAW)
        return f"{name} {self.terms[name]:.4g}" + ("" if raw is None else f" ({raw:.4g})")


def peak_memory_bytes() -> int:
    """Return the peak memory of this process, 0 if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Progress:
    """Reports of one run. Calls ``on_line`` for each report and ``on_notice`` for urgent messages; the library itself
    prints nothing."""

    def __init__(
        self,
        on_line: Callable[[ProgressLine], None] | None = None,
        *,
        on_notice: Callable[[str], None] | None = None,
        tensorboard: bool = True,
    ) -> None:
        self._on_line = on_line
        self._on_notice = on_notice
        self._wants_tensorboard = tensorboard
        self._file: TextIO | None = None
        self._board: SummaryWriter | None = None
        self._first_step = self._steps = 0
        self._started = 0.0

    @contextmanager
    def open(self, folder: Path | None, first_step: int, steps: int) -> Iterator[None]:
        """Write reports to ``folder`` inside the block; None (another process writes them) writes nothing."""
        self._first_step, self._steps, self._started = first_step, steps, time.perf_counter()
        if folder is None:
            yield
            return
        folder.mkdir(parents=True, exist_ok=True)
        # Line-buffered, so that a killed run loses no line.
        with (folder / "log.jsonl").open("a", buffering=1) as self._file:
            if self._wants_tensorboard:
                self._board = _open_tensorboard(folder / "tensorboard", first_step)
            try:
                yield
            finally:
                self._file = None
                if self._board is not None:
                    self._board.close()
                    self._board = None

    def report(
        self, step: int, terms: Mapping[str, float], learning_rates: Mapping[str, float], *, images_per_second: float
    ) -> None:
        if self._file is None:
            return
        elapsed = time.perf_counter() - self._started
        eta = elapsed / max(1, step - self._first_step) * (self._steps - step)
        line = ProgressLine(step, self._steps, terms, learning_rates, images_per_second, eta, peak_memory_bytes())
        self._write(
            {
                "step": step,
                "terms": {name: float(f"{value:.6g}") for name, value in terms.items()},
                "learning_rates": dict(learning_rates),
                "images_per_second": round(images_per_second, 3),
                "seconds": round(elapsed, 1),
            }
        )
        if self._board is not None:
            for name, value in terms.items():
                self._board.add_scalar(name, value, step)
            for name, value in learning_rates.items():
                self._board.add_scalar(f"learning_rate/{name}", value, step)
            self._board.add_scalar("images_per_second", images_per_second, step)
        if self._on_line is not None:
            self._on_line(line)

    def notice(self, text: str) -> None:
        """Report an urgent message, such as a requested stop. Thread-safe."""
        if self._on_notice is not None:
            self._on_notice(text)

    def report_validation(self, step: int, figures: Mapping[str, float]) -> None:
        if self._file is None:
            return
        self._write({"step": step, "validation": dict(figures)})
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"validation/{name}", value, step)

    def image(self, name: str, image: Image, step: int) -> None:
        """Report an image grid (H, W, 3)."""
        if self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")

    def _write(self, record: Mapping[str, object]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(record) + "\n")


def _open_tensorboard(folder: Path, first_step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard is not installed; figures go to log.jsonl only")
        return None
    # A resumed run repeats the steps after its checkpoint: those of the killed session are purged from the plots.
    return SummaryWriter(str(folder), purge_step=first_step + 1)
