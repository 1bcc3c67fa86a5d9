"""Options and comparisons for tests of jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from animevid.jobs import open_conversion
from animevid.options import ConversionOptions, EncodeOptions


@dataclass(frozen=True)
class Video:
    """The content of a file. ``packets``: ``(pts, dts, duration)`` of each stream, in ticks."""

    packets: dict[int, list[tuple[Any, ...]]]
    shown: list[int]
    decoded_at: list[int]
    frames: list[np.ndarray]
    tags: tuple[Any, ...]


def look(path: Path) -> Video:
    with av.open(str(path)) as container:
        video = container.streams.video[0].index
        packets: dict[int, list[tuple[Any, ...]]] = {}
        shown, decoded_at = [], []
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.stream_index == video:
                shown.append(packet.pts)
                decoded_at.append(packet.dts)
            else:
                parts = (packet.pts, packet.dts, packet.duration, bytes(packet))
                packets.setdefault(packet.stream_index, []).append(parts)
        tags = (
            sorted(container.metadata.items()),
            [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]) for c in container.chapters()],
            [
                (s.type, getattr(s.codec_context, "extradata", None), s.time_base, s.start_time)
                for s in container.streams
            ],
        )
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    return Video(packets, sorted(shown), decoded_at, frames, tags)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    top = np.iinfo(first.dtype).max if first.dtype == np.uint8 else 1023
    error = ((first.astype(float) - second.astype(float)) ** 2).mean()
    return 100.0 if error == 0 else 10 * np.log10(top**2 / error)


def same_but_frames(video: Video, other: Video) -> bool:
    return (video.packets, video.shown, video.decoded_at, video.tags) == (
        other.packets,
        other.shown,
        other.decoded_at,
        other.tags,
    )


@pytest.fixture
def options(packed_style: Path) -> ConversionOptions:
    return ConversionOptions(style=packed_style, threads=1, encoder=EncodeOptions(threads=1))


@pytest.fixture
def convert() -> Callable[..., Path]:
    def run(src: Path, dst: Path, options: ConversionOptions, *, segment_seconds: Fraction | None = None) -> Path:
        kind: dict[str, Any] = {"resumable": False}
        if segment_seconds is not None:
            kind = {"resumable": True, "segment_seconds": segment_seconds}
        with open_conversion(src, dst, options, **kind) as conversion:
            conversion.run()
        return dst

    return run
