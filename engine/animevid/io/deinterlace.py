"""Deinterlaces with FFmpeg's bwdif: frames keep their times, and the lines of the second field are interpolated."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av

from animevid.io.pyav import to_fraction

_GONE = (av.error.BlockingIOError, av.error.EOFError)


class Deinterlacer:
    """Passes progressive frames unchanged; from the first interlaced one on, all go through ``bwdif``.

    It outputs one frame per frame (not one per field), with a delay of one frame. A frame of another size or pixel
    format starts a new filter.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graph: av.filter.Graph | None = None
        self._form: tuple[int, int, str] | None = None
        #: Whether any frame so far was interlaced.
        self.is_needed = False

    def through(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """``frames`` (decoded ``av.VideoFrame``), in order, deinterlaced."""
        for frame in frames:
            self.is_needed = self.is_needed or frame.interlaced_frame
            if not self.is_needed:
                yield frame
                continue
            form = frame.width, frame.height, frame.format.name
            if self._graph is None or form != self._form:
                yield from self._flush()
                self._graph, self._form = self._opened(form), form
            self._graph.push(frame)
            yield from self._pull(self._graph)
        yield from self._flush()

    def _opened(self, form: tuple[int, int, str]) -> av.filter.Graph:
        width, height, name = form
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format=av.VideoFormat(name), time_base=self._time_base)
        # send_frame: one output frame per input frame; frames that are not marked as interlaced pass.
        graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
        graph.configure()
        return graph

    def _pull(self, graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = graph.vpull()
            except _GONE:
                return
            base = to_fraction(frame.time_base)
            if base is not None and base != self._time_base:  # bwdif counts in halves, for the second fields
                frame.pts = None if frame.pts is None else round(frame.pts * base / self._time_base)
                frame.duration = round(frame.duration * base / self._time_base)
                frame.time_base = self._time_base
            yield frame

    def _flush(self) -> Iterator[av.VideoFrame]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull(self._graph)
            self._graph = self._form = None
