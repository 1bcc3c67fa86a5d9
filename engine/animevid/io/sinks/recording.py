"""A recording: the container sink plus a microphone, both timed by the clock."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error
import av.filter

from animevid.frame import Frame
from animevid.io.containers import container_of
from animevid.io.encoders import EncoderPlan, FrameFormat
from animevid.io.frame_fit import letterboxed
from animevid.io.sink import SinkReport
from animevid.io.sinks.container import VideoSink
from animevid.io.sound import add_audio_stream
from animevid.options import EncodeOptions, OutputOptions

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

    from animevid.io.packets import MediaPacket

_TICK = Fraction(1, 90_000)
_SOUND_RATE_HZ = 48_000
#: Maximum number of samples per second that are added or dropped to keep audio in sync: 0.4%, which is inaudible.
_SOUND_ELASTICITY = 200
#: Maximum number of audio frames that wait for the next video frame, some 20 ms each.
_MAX_WAITING = 3000


class RecordingSink(VideoSink):
    """One recording: frames and audio timed by the clock, in sync even if frames are dropped. Frames of another size
    than the first are letterboxed.

    ``first`` sets size and start; earlier audio is dropped. ``offer_sound`` may be called from any thread.

    Args:
        path (Path): a file that does not exist; its suffix selects the container.
        first (Frame): a captured frame like the later ones.
        fps (Fraction): the nominal rate. Default: 30.
        sound (bool): whether audio will be offered. Default: false.
        encoder (EncodeOptions): codec and quality. Default: the fastest.

    Raises:
        OutputError: the file exists or cannot be written.
        UsageError: an unknown container or codec.
    """

    def __init__(
        self,
        path: Path,
        *,
        first: Frame,
        fps: Fraction = Fraction(30),
        sound: bool = False,
        encoder: EncodeOptions | None = None,
    ) -> None:
        planes = first.planes
        settings = OutputOptions(
            encoder=encoder or EncodeOptions(preset="ultrafast"),
            muxer_options=(("movflags", "0"),),  # long recordings end at once instead of being copied
        )
        frame_format = FrameFormat(
            width=planes.width,
            height=planes.height,
            bit_depth=planes.bit_depth,
            colour=planes.colour,
            rate=fps,
            time_base=_TICK,
        )
        super().__init__(path, settings=settings, frame_format=frame_format)
        self._size = planes.height, planes.width
        self._start = first.pts_seconds
        self._frame_seconds = 1 / fps
        self._sound: _ElasticSound | None = _ElasticSound(float(self._start)) if sound else None

    def offer_sound(self, frame: av.AudioFrame, arrived_at_seconds: float) -> None:
        """Queue an ``av.AudioFrame`` whose end arrived at that time; it is written with the next video frame."""
        if self._sound is not None:
            self._sound.waiting.append((frame, arrived_at_seconds))

    def _write(self, frame: Frame) -> None:
        """Encode ``frame`` at its capture time, and the audio that arrived since the last one."""
        planes = frame.planes
        if (planes.height, planes.width) != self._size:
            planes = letterboxed(planes, self._size)
        seconds = round((frame.pts_seconds - self._start) / _TICK) * _TICK
        super()._write(Frame(planes, frame.index, max(seconds, Fraction(0)), duration_seconds=self._frame_seconds))
        if self._sound is not None:
            self._mux(self._sound.take())

    def _finish(self) -> SinkReport:
        if self._sound is not None and self._container is not None:
            self._mux(self._sound.take())
            self._mux(self._sound.flush())
        return super()._finish()

    def _add_streams(self, plan: EncoderPlan, frame_format: FrameFormat, *, device_index: int | None) -> None:
        super()._add_streams(plan, frame_format, device_index=device_index)
        if self._sound is not None:
            row = container_of(self.muxer)
            codec = row.audio_fallback if row.holds("audio", "aac") is False else "aac"
            assert self._container is not None
            assert codec is not None
            stream = add_audio_stream(self._container, codec, rate_hz=_SOUND_RATE_HZ)
            stream.codec_context.layout = "stereo"
            self._sound.open(stream)


class _ElasticSound:
    """Audio in the encoder's format, resampled to the clock of its arrival.

    A microphone's crystal is off by a few thousandths of a percent or more, which is audible after half an hour. So the
    audio is continuously resampled towards the clock (``async`` of FFmpeg's resampler), and gaps are filled with
    silence.
    """

    def __init__(self, start_seconds: float) -> None:
        self.waiting: deque[tuple[av.AudioFrame, float]] = deque(maxlen=_MAX_WAITING)
        self._start_seconds = start_seconds
        self._stream: AudioStream | None = None
        self._filter: av.filter.Graph | None = None
        self._kind: tuple[str, str, int] | None = None
        self._end = 0

    def open(self, stream: AudioStream) -> None:
        stream.codec_context.open()
        self._stream = stream

    def take(self) -> list[MediaPacket]:
        """The packets of the audio that has arrived."""
        packets: list[MediaPacket] = []
        while self.waiting:
            frame, arrived_at_seconds = self.waiting.popleft()
            begin = arrived_at_seconds - frame.samples / frame.rate - self._start_seconds
            if begin < 0:
                continue
            kind = (frame.format.name, frame.layout.name, frame.rate)
            if self._filter is None or self._kind != kind:
                self._filter, self._kind = self._resampler(frame), kind
            frame.pts, frame.time_base = round(begin * frame.rate), Fraction(1, frame.rate)
            self._filter.push(frame)
            packets += self._filtered(self._filter)
        return packets

    def flush(self) -> list[MediaPacket]:
        """The remaining packets, at the end."""
        packets: list[MediaPacket] = []
        if self._filter is not None and self._stream is not None:
            self._filter.push(None)
            packets += self._filtered(self._filter)
            packets += self._stream.encode(None)
        return packets

    def _filtered(self, graph: av.filter.Graph) -> list[MediaPacket]:
        assert self._stream is not None
        packets: list[MediaPacket] = []
        while True:
            try:
                part = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return packets
            assert isinstance(part, av.AudioFrame)
            # After a burst of packets the filter steps back by a millisecond or two; a file's clock must not.
            begin = self._end if part.pts is None else max(part.pts, self._end)
            part.pts, self._end = begin, begin + part.samples
            packets += self._stream.encode(part)

    def _resampler(self, frame: av.AudioFrame) -> av.filter.Graph:
        assert self._stream is not None
        context = self._stream.codec_context
        graph = av.filter.Graph()
        steps = [
            graph.add_abuffer(
                sample_rate=frame.rate, format=frame.format, layout=frame.layout, time_base=Fraction(1, frame.rate)
            ),
            graph.add("aresample", f"{_SOUND_RATE_HZ}:async={_SOUND_ELASTICITY}"),
            graph.add("aformat", f"sample_fmts={context.format.name}:channel_layouts=stereo"),
            graph.add("asetnsamples", f"n={context.frame_size or 1024}:p=0"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*steps).configure()
        return graph
