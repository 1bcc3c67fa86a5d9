"""Converts videos without changing pixels and reads them back, for tests of sources and sinks."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from animevid.io import Frame, SinkReport, Source, open_sink, open_source
from animevid.options import SourceOptions
from animevid.pixels.planes import PlanesYUV420


def pass_through(source: Path | str, target: Path | str, *, frames: int | None = None, **options: Any) -> SinkReport:
    """Source to sink with nothing in between (the first ``frames`` frames only, if given)."""
    sink_options = {key: options.pop(key) for key in ("settings", "frame_format") if key in options}
    with _opened(source, **options) as opened, open_sink(target, template=opened, **sink_options) as sink:
        for frame in opened:
            sink.write(frame)
            if frame.index + 1 == frames:
                break
        return sink.finish()


def read_frames(path: Path | str, **options: Any) -> list[Frame]:
    with _opened(path, **options) as source:
        return list(source)


def _opened(path: Path | str, **options: Any) -> Source:
    apart = {key: options.pop(key) for key in ("image_rate", "upright") if key in options}
    return open_source(path, SourceOptions(**options), **apart)


def times(path: Path | str, **options: Any) -> list[Fraction]:
    """Presentation times of a source's frames, exact."""
    return [frame.pts_seconds for frame in read_frames(path, **options)]


def packet_times(probed: dict[str, Any], stream_index: int) -> list[float]:
    """What ffprobe says about one stream's packets, in presentation order."""
    return sorted(float(p["pts_time"]) for p in probed["packets"] if p["stream_index"] == stream_index)


def corner_colours(planes: PlanesYUV420) -> tuple[str, str, str, str]:
    """What colour each quadrant of a test card has: top left, top right, bottom left, bottom right."""
    height, width = planes.u.shape

    def name(row: int, column: int) -> str:
        u = float(np.mean(planes.u[row - 1 : row + 2, column - 1 : column + 2])) / (1 << (planes.bit_depth - 8))
        v = float(np.mean(planes.v[row - 1 : row + 2, column - 1 : column + 2])) / (1 << (planes.bit_depth - 8))
        if abs(u - 128) < 12 and abs(v - 128) < 12:
            return "grey"
        if u > 150:
            return "blue"
        return "red" if v > 150 else "green"

    top, bottom, left, right = height // 6, height * 5 // 6, width // 5, width * 4 // 5
    return name(top, left), name(top, right), name(bottom, left), name(bottom, right)
