"""Writes a video as independent segments, each with its own encoder and file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.rational import AVRational

from animevid.errors import InputError, UsageError
from animevid.frame import Frame
from animevid.io.captions import Captions
from animevid.io.clock import OutputClock, ticks_from_seconds
from animevid.io.encoders import EncoderPlan, FrameFormat, open_video_stream
from animevid.io.planes_io import PlaneWriter
from animevid.io.sink import Sink, SinkReport
from animevid.io.sinks.container import VideoSink
from animevid.jobs.cuts import Segment
from animevid.jobs.packets import PacketWriter
from animevid.pixels.device import on_host

if TYPE_CHECKING:
    from animevid.io.packets import MediaPacket


@dataclass(frozen=True, slots=True)
class FinishedSegment:
    """A segment on disk."""

    index: int
    path: Path
    frames: int
    bytes: int
    checksum: str


class SegmentSink(Sink):
    """Writes the frames of neighbouring segments, without those of the lead-in before them.

    Each segment has its own encoder, so it can be decoded by itself and its bytes do not depend on where a run began.
    ``on_segment`` is called with each segment on disk.

    Args:
        planned: an unopened sink of the whole output: it decides encoder and frame format.
        segments: neighbouring segments, in order. The last one ends with the source.
        origin_seconds: the time on the source's clock that is zero in the whole output.
        file_start: the time on the source's clock that is zero in the segments' times.
        path_of: the path of a segment's file.
    """

    def __init__(
        self,
        planned: VideoSink,
        segments: Sequence[Segment],
        *,
        origin_seconds: Fraction,
        file_start: Fraction,
        path_of: Callable[[int], Path],
        on_segment: Callable[[FinishedSegment], None],
    ) -> None:
        self._planned = planned
        self.path = planned.path
        self.keeps_captions = planned.keeps_captions
        self._segments = tuple(segments)
        self._origin = origin_seconds
        self._starts = [None if s.start_seconds is None else s.start_seconds + file_start for s in segments]
        self._path_of = path_of
        self._on_segment = on_segment
        self._at = -1  # in the lead-in
        self._encoder: _SegmentEncoder | None = None
        self._writer: PlaneWriter | None = None
        self._plan: EncoderPlan | None = None
        self._frame_format: FrameFormat | None = None
        self._clock = OutputClock(planned.frame_format.time_base)  # runs on from segment to segment
        self._bytes = 0

    @property
    def description(self) -> str:
        return self._planned.description

    @property
    def decision_lines(self) -> tuple[str, ...]:
        return self._planned.decision_lines

    @property
    def notices(self) -> tuple[str, ...]:
        return self._planned.notices

    def _write(self, frame: Frame) -> None:
        if self._begins(frame.pts_seconds):
            self._next_segment(frame)
        self._encode(frame)

    def _finish(self) -> SinkReport:
        self._close_segment()
        if self._at + 1 < len(self._segments):
            missing = self._starts[self._at + 1]
            raise InputError(
                f"the source ends before {float(missing or 0):.3f} s, where it had frames when it was cut: check the "
                "file and give --restart"
            )
        return self._report(bytes_written=self._bytes)

    def abort(self) -> None:
        if self._done:
            return
        self._done = True
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.discard()

    def _begins(self, seconds: Fraction) -> bool:
        """Whether the next segment begins with a frame at ``seconds``."""
        if self._at + 1 >= len(self._segments):
            return False
        start = self._starts[self._at + 1]
        return start is None or seconds >= start

    def _next_segment(self, frame: Frame) -> None:
        self._close_segment()
        self._at += 1
        start = self._starts[self._at]
        if self._segments[self._at].index > 0 and frame.pts_seconds != start:
            raise InputError(
                f"the source has no frame at {float(start or 0):.3f} s, where it was cut: it cannot be sought "
                "exactly; convert it with --no-resume"
            )
        if self._plan is None:
            self._plan, self._frame_format = self._planned.plan_for(frame)
            self._writer = PlaneWriter(
                width=self._plan.width,
                height=self._plan.height,
                pixel_format=self._plan.pixel_format,
                colour=self._frame_format.colour,
            )
        assert self._frame_format is not None
        index = self._segments[self._at].index
        self._encoder = _SegmentEncoder(
            index, self._path_of(index), self._plan, self._frame_format, container=self._planned.container_format
        )

    def _close_segment(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            finished = encoder.finish()
            self._bytes += finished.bytes
            self._on_segment(finished)

    def _encode(self, frame: Frame) -> None:
        seconds = frame.pts_seconds - self._origin
        ticks = self._clock.ticks(seconds)
        if self._encoder is None:
            return  # the lead-in
        assert self._writer is not None
        assert self._frame_format is not None
        planes, frame_format = frame.planes, self._frame_format
        if (planes.width, planes.height) != (frame_format.width, frame_format.height):
            raise UsageError(
                f"frame {frame.index} is {planes.width}x{planes.height}, the first one was "
                f"{frame_format.width}x{frame_format.height}: the frame size must not change within an output"
            )
        raw = self._writer.write(on_host(planes))
        raw.duration = (
            0 if frame.duration_seconds is None else ticks_from_seconds(frame.duration_seconds, frame_format.time_base)
        )
        self._encoder.write(raw, ticks, captions=frame.captions)
        self._count(seconds, frame.duration_seconds)


class _SegmentEncoder:
    """One encoder, opened as for a whole output, and its file."""

    def __init__(self, index: int, path: Path, plan: EncoderPlan, frame_format: FrameFormat, *, container: str) -> None:
        self._index, self._plan = index, plan
        self._base = frame_format.time_base
        self._captions = Captions()
        # A stream of a discarded output: a bare encoder has other defaults and no global header.
        self._output = av.open(os.devnull, "w", format=container)
        self._stream = open_video_stream(self._output, plan, frame_format)
        self._file = PacketWriter(path, frame_format=frame_format)
        self.frames = 0

    def write(self, raw: av.VideoFrame, ticks: int, *, captions: bytes) -> None:
        if captions:
            self._captions.note(ticks * self._base, captions)
        raw.pts, raw.time_base, raw.pict_type = ticks, self._base, 0
        self._put(self._stream.encode(raw))
        self.frames += 1

    def finish(self) -> FinishedSegment:
        try:
            self._put(self._stream.encode(None))
            checksum = self._file.publish()
        except BaseException:
            self.discard()
            raise
        self._close()
        return FinishedSegment(self._index, self._file.path, self.frames, self._file.bytes, checksum)

    def discard(self) -> None:
        with suppress(OSError):  # closing tries again to write what did not fit on a full disk
            self._file.discard()
        self._close()

    def _put(self, packets: Iterable[MediaPacket]) -> None:
        for packet in self._captions.put_into(packets, codec=self._plan.codec):
            if packet.time_base != self._base:
                packet.rescale_ts(AVRational(self._base))
            self._file.write(packet)

    def _close(self) -> None:
        with suppress(av.FFmpegError, OSError, ValueError):
            self._output.close()
