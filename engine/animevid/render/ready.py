"""Chooses the network's size if sizes take long to open (TensorRT builds an engine for each)."""

from __future__ import annotations

from collections.abc import Sequence

from animevid.backends.frames import FrameRunner
from animevid.pixels import PlanesYUV420
from animevid.render.geometry import Size


class ReadySizes:
    """Remembers the last network size for each form of frame (its size and depth)."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int, int], Size] = {}

    def take(self, runner: FrameRunner, planes: PlanesYUV420, size: Size, *, steps: Sequence[Size]) -> Size:
        """``size`` if it is ready, else the last ready one, so that no frame waits.

        Args:
            runner (FrameRunner): opens sizes in the background.
            planes (PlanesYUV420): the frame.
            size (tuple[int, int]): (height, width) in pixels that is wanted now.
            steps (Sequence): sizes that may be wanted later; they are made ready once the first is there.
        """
        form = (planes.height, planes.width, planes.bit_depth)
        ready = runner.is_ready(planes, size)
        if ready or form not in self._last:
            self._last[form] = size
        if ready:
            # Not before the first is there: two engines are not built at once.
            runner.prepare(planes, [step for step in dict.fromkeys(steps) if runner.takes(planes, step)])
        else:
            runner.prepare(planes, [size] if self._last[form] != size else [])
        return self._last[form]
