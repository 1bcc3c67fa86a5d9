"""Sessions: a source, a renderer and sinks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from animevid.frame import Frame
from animevid.pixels import PlanesYUV420
from animevid.run.session import Session


class _Unchanged:
    """A renderer that returns the frame itself."""

    batch_limit = 2

    def preprocess(self, planes: PlanesYUV420) -> PlanesYUV420:
        return planes

    def infer(self, inputs: Sequence[PlanesYUV420]) -> list[PlanesYUV420]:
        return list(inputs)

    def wait(self, output: PlanesYUV420) -> None: ...

    def interrupt(self) -> None: ...

    def postprocess(self, planes: PlanesYUV420, output: PlanesYUV420) -> PlanesYUV420:
        return output


def test_each_sink_gets_each_frame_in_order_in_the_thread_of_the_sinks():
    planes = PlanesYUV420(*(np.zeros(size, np.uint8) for size in ((4, 4), (2, 2), (2, 2))))
    frames = [Frame(planes, index, Fraction(index, 30)) for index in range(9)]
    received: dict[str, list[tuple[int, str]]] = {"first": [], "second": []}

    def into(name: str, frame: Frame) -> None:
        received[name].append((frame.index, threading.current_thread().name))

    sinks = [lambda frame, name=name: into(name, frame) for name in received]
    statistics = Session(frames, _Unchanged(), sinks).run()
    expected = [(index, "animevid-encode") for index in range(9)]
    assert received == {"first": expected, "second": expected}
    assert statistics.items == 9
