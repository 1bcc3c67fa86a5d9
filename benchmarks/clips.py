"""Clips for benchmarks: a real clip at a given size and number of frames, always with the same bytes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from animevid.io import Frame, VideoSink, frame_format_of, open_source
from animevid.options import EncodeOptions, OutputOptions
from animevid.pixels import resize_planes

DEMO_CLIP = Path(__file__).resolve().parent.parent / "engine" / "animevid" / "demo" / "demo.mp4"


def prepare_clip(source: Path, target: Path, *, width: int, height: int, frames: int, rate: int = 30) -> Path:
    """``source``, looped forth and back to ``frames`` frames at a constant ``rate``, as H.264 without sound."""
    with open_source(source) as opened:
        kind = frame_format_of(opened)
        planes = [resize_planes(frame.planes, (height, width)) for frame in opened]
    order = [*planes, *reversed(planes)]
    kind = replace(
        kind,
        width=width,
        height=height,
        rate=Fraction(rate),
        time_base=Fraction(1, rate),
        sample_aspect_ratio=Fraction(1),
    )
    settings = OutputOptions(encoder=EncodeOptions(crf=18, preset="veryfast"), overwrite=True)
    with VideoSink(target, frame_format=kind, settings=settings) as sink:
        for index in range(frames):
            seconds = Fraction(index, rate)
            sink.write(Frame(order[index % len(order)], index, seconds, Fraction(1, rate)))
        sink.finish()
    return target
