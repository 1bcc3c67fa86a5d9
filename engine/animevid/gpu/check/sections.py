"""The sections in order, with their time limits."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from animevid.gpu.check.findings import CheckOptions, Finding


@dataclass(frozen=True, slots=True)
class Section:
    """``limit_seconds``: its own time limit, in addition to the budget."""

    name: str
    title: str
    limit_seconds: float

    @property
    def work(self) -> Callable[[CheckOptions], Iterator[Finding]]:
        found: Callable[[CheckOptions], Iterator[Finding]] = importlib.import_module(
            f"{__package__}.{self.name}"
        ).section
        return found


#: Basic sections come first. All together take less than nine minutes.
SECTIONS = (
    Section("kernels", "Kernels against their references", 60),
    Section("slots", "Frames in slots against the CPU's", 120),
    Section("decoding", "NVDEC against decoding on the CPU", 40),
    Section("interop", "Frames and streams of other libraries", 40),
    Section("sanitizer", "compute-sanitizer over the kernels", 80),
    Section("graphs", "CUDA graphs", 20),
    Section("bandwidth", "Kernels against memory bandwidth", 40),
    Section("rates", "Frames a second", 80),
    Section("training", "A training step", 40),
)


def section_named(name: str) -> Section:
    return next(section for section in SECTIONS if section.name == name)
