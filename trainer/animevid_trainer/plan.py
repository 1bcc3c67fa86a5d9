"""A run's sequence of phases: the phase, batch size, crop size and first sample number of each step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from animevid.errors import TrainingError

from animevid_trainer.recipes import Phase


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase's position in a run: steps ``first_step`` to ``first_step + steps - 1``, the first of which draws sample
    number ``first_sample``. ``batch`` is the global batch."""

    phase: Phase
    first_step: int
    steps: int
    batch: int
    crop_px: int
    first_sample: int

    def lr_factor(self, step: int) -> float:
        """Return the factor of the phase's learning rates at the run's ``step``."""
        return self.phase.lr_factor(step - self.first_step, steps=self.steps)

    def sample_at(self, step: int) -> int:
        """Return the number of the first sample that ``step`` draws."""
        return self.first_sample + (step - self.first_step) * self.batch


@dataclass(frozen=True, slots=True)
class Plan:
    """The phases of a run. Steps beyond the end belong to the last phase."""

    spans: tuple[PhaseSpan, ...]

    @property
    def steps(self) -> int:
        last = self.spans[-1]
        return last.first_step + last.steps

    def at(self, step: int) -> PhaseSpan:
        firsts = [span.first_step for span in self.spans]
        return self.spans[max(0, bisect_right(firsts, step) - 1)]


def make_plan(phases: Sequence[Phase], *, photos: int, batch: int, crop_px: int) -> Plan:
    """Concatenate ``phases``; ``batch`` and ``crop_px`` are defaults for phases that set none.

    Raises:
        TrainingError: no phase.
    """
    if not phases:
        raise TrainingError("a run needs at least one phase")
    spans: list[PhaseSpan] = []
    step = sample = 0
    for phase in phases:
        steps = phase.steps(photos=photos, batch=batch)
        own_batch = phase.batch or batch
        spans.append(PhaseSpan(phase, step, steps, own_batch, phase.crop_px or crop_px, sample))
        step += steps
        sample += steps * own_batch
    return Plan(tuple(spans))
