"""The plan, the progress and the report of a conversion."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from animevid.io import (
    SourceInfo,
)
from animevid.run import PipelineStatistics


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a conversion. ``frames_total`` is an estimate, ``None`` where the source does not say."""

    frames_done: int
    frames_total: int | None
    statistics: PipelineStatistics


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """What a conversion will do, as described by its parts. Sizes are (height, width) in pixels."""

    source: str
    output: str
    style: str
    quality: str  #: of the network: fast or high
    network: str
    size: tuple[int, int]
    output_size: tuple[int, int]
    net_size: tuple[int, int]
    frames_total: int | None
    encoder: str
    decisions: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def losses(self) -> tuple[str, ...]:
        """The decisions about streams that are not copied."""
        return tuple(line for line in self.decisions if not line.endswith(": copied"))


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion did. ``elapsed_seconds`` is measured from the first frame's request to the finished file,
    ``first_frame_seconds`` from there to the first frame in the encoder.

    ``speed`` is seconds of video per second of work, ``None`` for images.
    """

    output: str
    frames_in: int
    frames_out: int
    frames_concealed: int
    frames_reused: int
    elapsed_seconds: float
    first_frame_seconds: float
    duration_seconds: Fraction | None
    network: str
    notices: tuple[str, ...]
    statistics: PipelineStatistics

    @property
    def fps(self) -> float:
        return self.frames_out / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0

    @property
    def speed(self) -> float | None:
        if not self.duration_seconds or self.elapsed_seconds <= 0:
            return None
        return float(self.duration_seconds) / self.elapsed_seconds


def describe_source(info: SourceInfo) -> str:
    """A source in one line."""
    parts = [f"{info.codec} {info.width}x{info.height}", info.pixel_format]
    if info.rotation_degrees:
        parts.append(f"turned {info.rotation_degrees} degrees")
    if info.average_rate and not info.is_still:
        parts.append(f"{float(info.average_rate):.5g} fps" + (" (variable)" if info.is_variable_rate else ""))
    if info.duration_seconds is not None:
        parts.append(f"{float(info.duration_seconds):.1f} s")
    return ", ".join(parts)
