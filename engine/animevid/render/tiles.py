"""Runs a network on a large frame in tiles, so that memory does not grow with the frame.

Only for networks whose card says ``tileable``: no statistic of the whole frame, and a receptive field of
``receptive_field_px``. A tile is read with a margin of that many pixels on each inner side and the margin is thrown
away, so every kept pixel is computed from all the pixels that it depends on in the whole frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Span:
    """Along one axis, in cells: what a tile reads, and the part of it that is kept."""

    read_start: int
    read_stop: int
    keep_start: int
    keep_stop: int


def spans(length: int, *, tile: int, margin: int, step: int = 1) -> list[Span]:
    """Tiles that cover ``0..length``, each keeping about ``tile`` cells and reading ``margin`` more on inner sides.

    All starts and read lengths are multiples of ``step``, which must divide ``length``.
    """
    margin = ceil(margin / step) * step
    count = max(1, ceil(length / max(tile, step)))
    kept = ceil(length / count / step) * step
    result = []
    for start in range(0, length, kept):
        stop = min(start + kept, length)
        result.append(Span(max(start - margin, 0), min(stop + margin, length), start, stop))
    return result


def equal_spans(length: int, *, read: int, margin: int, step: int = 1) -> list[Span]:
    """Tiles that cover ``0..length``, each reading exactly ``read`` cells: for networks of one fixed size.

    Every cell that is kept has ``margin`` cells around it within its tile, except at the ends of the axis. All starts
    are multiples of ``step``, which must divide ``length`` and ``read``; ``read`` is above twice the margin, or
    ``length``.
    """
    if read >= length:
        return [Span(0, length, 0, length)]
    margin = ceil(margin / step) * step
    result = []
    keep_start = read_start = 0
    while True:
        is_last = read_start + read >= length
        keep_stop = length if is_last else read_start + read - margin
        result.append(Span(read_start, read_start + read, keep_start, keep_stop))
        if is_last:
            return result
        keep_start = keep_stop
        read_start = min(keep_start - margin, length - read)


def run_tiled(
    run: Callable[[Tensor], Tensor],
    batch: Tensor,
    *,
    spatial_axes: tuple[int, int],
    tile: int,
    margin: int,
    step: int = 1,
) -> Tensor:
    """``run(batch)``, tile by tile, for a batch of N frames whose height and width are ``spatial_axes``.

    ``tile``, ``margin`` and ``step`` are in cells of those axes. ``run`` keeps N, height and width; the number of
    channels may change.
    """
    axis_y, axis_x = spatial_axes
    rows = spans(batch.shape[axis_y], tile=tile, margin=margin, step=step)
    columns = spans(batch.shape[axis_x], tile=tile, margin=margin, step=step)
    if len(rows) == len(columns) == 1:
        return run(batch)
    result: Tensor | None = None
    for row in rows:
        for column in columns:
            read, keep, cut = ([slice(None)] * batch.ndim for _ in range(3))
            for axis, span in ((axis_y, row), (axis_x, column)):
                read[axis] = slice(span.read_start, span.read_stop)
                keep[axis] = slice(span.keep_start, span.keep_stop)
                cut[axis] = slice(span.keep_start - span.read_start, span.keep_stop - span.read_start)
            out = run(np.ascontiguousarray(batch[tuple(read)]))
            if result is None:
                shape = list(out.shape)
                shape[axis_y], shape[axis_x] = batch.shape[axis_y], batch.shape[axis_x]
                result = np.empty(shape, np.float32)
            result[tuple(keep)] = out[tuple(cut)]
    assert result is not None
    return result
