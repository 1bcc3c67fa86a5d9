"""Writes video: encodes frames and muxes them into a container, which appears under its name only when complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from animevid.errors import DeviceError, OutputError, UsageError
from animevid.files import PendingFile, PendingPlaylist
from animevid.frame import Frame
from animevid.io.captions import can_hold_captions
from animevid.io.clock import OutputClock, ticks_from_seconds
from animevid.io.colour import write_tags
from animevid.io.containers import container_of
from animevid.io.encoders import EncoderPlan, FrameFormat, choose_encoder, open_video_stream
from animevid.io.network.ffmpeg_subprocess import PipedContainer
from animevid.io.network.protocols import Spec, is_published, open_output
from animevid.io.packets import CodedFrame
from animevid.io.planes_io import PlaneWriter
from animevid.io.sink import Sink, SinkReport
from animevid.io.sinks.browser_pace import BrowserPace
from animevid.io.sinks.container_plan import (
    PLAYLIST_OPTIONS,
    check_playlist,
    check_size,
    decide_for,
    easy_to_tune_in,
    frame_format_after,
    muxer_options,
    reads_device_memory,
    shifted_chapters,
    tags_lost,
    where_to,
)
from animevid.io.sinks.frame_metadata import FrameMetadata
from animevid.io.sinks.video_end import set_last_durations
from animevid.io.source import Source
from animevid.io.stream_muxers import StreamMuxer, add_cover, add_stream_muxer
from animevid.io.streams import StreamAction, StreamDecision
from animevid.io.tags import lasting_metadata, stream_tags
from animevid.options import OutputOptions
from animevid.pixels.device import DevicePlanes, on_host
from animevid.pixels.planes import PlanesYUV420
from animevid.redaction import redacted

if TYPE_CHECKING:
    from av.video.stream import VideoStream

    from animevid.gpu.codecs import DeviceWriter
    from animevid.io.network.protocols import MediaOutput
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)


class VideoSink(Sink):
    """One output video: takes frames in order; leaves a complete file or nothing.

    ::

        with VideoSource("in.mp4") as source, VideoSink("out.mp4", template=source) as sink:
            for frame in source:
                sink.write(frame)
            report = sink.finish()

    If it is made before the first frame is taken from ``template``, it also copies the template's other streams,
    chapters and metadata, shifted by the template's ``origin_seconds`` like the frames. Leaving the ``with`` block
    without ``finish()`` aborts: nothing is left behind and an existing file is unchanged.

    One thread calls ``write`` and ``finish``.

    Args:
        path: a file name (``.mp4``, ``.mov``, ``.mkv``, ``.webm``, ...), a URL to publish to, or ``-``.
        template: the source from which time base, rate, aspect ratio, tags and streams are copied.
        settings: encoder, overwriting and container.
        frame_format: the format of the frames, if it differs from the template's or there is no template.
        should_stop: whether to stop waiting for a server.

    Raises:
        UsageError: container, codec and settings do not fit together.
        OutputError: the target exists, or cannot be written.
    """

    def __init__(
        self,
        path: Spec,
        *,
        template: Source | None = None,
        settings: OutputOptions | None = None,
        frame_format: FrameFormat | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path = path
        self._should_stop = should_stop
        self._settings = settings = settings or OutputOptions()
        self._template, self._pace = template, BrowserPace(template)
        frame_format = frame_format or frame_format_after(template)
        if is_published(path):
            self._settings = settings = easy_to_tune_in(settings, frame_format)
        self._target, self._name, self.muxer = where_to(path, settings, template=template)
        if self.muxer not in av.formats_available:
            raise UsageError(f"muxer = {self.muxer!r} is none of FFmpeg's: give matroska, mp4, mpegts ...")
        if self.muxer == "hls":
            check_playlist(self._target)
            self._settings = settings = easy_to_tune_in(settings, frame_format)  # a segment ends before a key frame
        #: The muxer of the streams (for a playlist: that of its segments).
        self._format = "mpegts" if self.muxer == "hls" else self.muxer
        self._file: PendingFile | PendingPlaylist | None = None
        self.decisions: tuple[StreamDecision, ...] = ()
        if template is not None:
            if settings.copy_streams:
                self.decisions = decide_for(template, muxer=self.muxer, container_format=self._format)
            kept = (each.stream.index for each in self.decisions if each.action is not StreamAction.DROP)
            template.packets.subscribe(frozenset(kept))
        tick = container_of(self.muxer).tick
        if tick is not None:
            frame_format = replace(frame_format, time_base=tick)
        self._frame_format = frame_format
        self.encoder: EncoderPlan = choose_encoder(settings.encoder, frame_format, container=self._format)
        is_file = self._target is not None
        self._frame_metadata = FrameMetadata(template, frame_format, muxer=self._format, is_file=is_file)
        self.keeps_captions = can_hold_captions(self.encoder.encoder, self.encoder.codec)
        self._lost_tags = tags_lost(template, settings, muxer=self.muxer)
        self._container: MediaOutput | None = None
        self._stream: VideoStream | None = None
        self._writer: PlaneWriter | None = None
        self._device_writer: DeviceWriter | None = None
        self._stream_muxers: dict[int, StreamMuxer] = {}
        self._packets_at_break = 0, 0
        self._clock = OutputClock(frame_format.time_base)
        self._takes_coded = False
        self._first_dts: Fraction | None = None  # of the stylized video, in seconds

    @property
    def description(self) -> str:
        return self.encoder.description

    @property
    def decision_lines(self) -> tuple[str, ...]:
        return tuple(str(decision) for decision in self.decisions)

    @property
    def notices(self) -> tuple[str, ...]:
        return self.encoder.notices + self._frame_metadata.notices + self._pace.notices + self._lost_tags

    @property
    def frame_format(self) -> FrameFormat:
        """The format of the frames, on the output's clock."""
        return self._frame_format

    @property
    def container_format(self) -> str:
        """FFmpeg's muxer of the streams (for a playlist: that of its segments)."""
        return self._format

    def plan_for(self, frame: Frame) -> tuple[EncoderPlan, FrameFormat]:
        """The encoder for frames like ``frame``, which may differ from the announced format."""
        planes = frame.planes
        actual = replace(
            self._frame_format,
            width=planes.width,
            height=planes.height,
            bit_depth=planes.bit_depth,
            has_alpha=planes.alpha is not None,
            colour=planes.colour,
        )
        if actual != self._frame_format:
            self._frame_format = actual
            self.encoder = choose_encoder(self._settings.encoder, actual, container=self._format)
        return self.encoder, self._frame_format

    @property
    def packets_so_far(self) -> tuple[int, int]:
        return self._packets_at_break

    @property
    def why_not_joined(self) -> str | None:
        if self._target is None or self.muxer == "hls" or self._pace.is_animation:
            return super().why_not_joined
        return "frames with an alpha channel are not joined" if self._frame_format.has_alpha else None

    @property
    def encodes_on_device(self) -> bool:
        """Whether frames may stay in NVIDIA GPU memory (``DevicePlanes``), where the encoder reads them."""
        return reads_device_memory(self.encoder, self._frame_format)

    @property
    def origin_seconds(self) -> Fraction:
        """The time on the source's clock that is zero in the output."""
        return self._template.origin_seconds if self._template is not None else Fraction(0)

    def abort(self) -> None:
        """Discard the output. Safe to call twice, and after ``finish``."""
        if self._done:
            return
        self._done = True
        if self._file is not None:
            # Remove the file before closing it, to avoid the muxer's final work (faststart reads all of it again).
            self._file.discard()
        self._close_quietly()
        if self._file is not None:
            self._file.discard()

    def _close_quietly(self) -> None:
        self._packets_at_break = self._packets()
        output, self._container, self._stream, self._stream_muxers = self._container, None, None, {}
        if isinstance(output, PipedContainer):
            output.abandon()
        elif output is not None:
            with suppress(av.FFmpegError, OSError, ValueError):
                output.close()

    def open(self, frame: Frame) -> None:
        """Open the target for frames like ``frame``; otherwise the first ``write`` does it.

        Raises:
            OutputError: the target cannot be written (nothing is left behind).
        """
        if self._container is None:
            with self._errors_translated():
                self._open(frame)

    def _write(self, frame: Frame) -> None:
        """Encode ``frame`` and mux the packets of other streams that have arrived so far.

        If the first frame's size differs from the announced one, it becomes that of the output.
        """
        if self._container is None:
            self._open(frame)
        check_size(frame, self._frame_format)
        self._remux_packets()
        self._encode(frame)

    def write_coded(self, coded: CodedFrame) -> None:
        """Mux a frame that was already encoded with the settings of ``self.encoder``, in decoding order, and the
        packets of other streams that have arrived so far. An output takes either these or raw frames.

        Raises:
            OutputError: the disk is full or the target cannot be written (nothing is left behind).
        """
        base = self._frame_format.time_base
        with self._errors_translated():
            if self._container is None:
                self._open_file()
                self._open_container()
                self._takes_coded = True
            self._remux_packets()
            packet = av.Packet(coded.payload)
            packet.pts, packet.dts, packet.duration, packet.time_base = coded.pts, coded.dts, coded.duration, base
            packet.is_keyframe = coded.is_key_frame
            assert self._stream is not None
            packet.stream = self._stream
            self._mux([packet])
        self.frames_written += 1
        first, last = coded.pts * base, (coded.pts + coded.duration) * base
        self._first_seconds = first if self._first_seconds is None else min(first, self._first_seconds)
        self._end_seconds = max(last, self._end_seconds)

    def _finish(self) -> SinkReport:
        """Flush everything, close the container and give it its name."""
        if self._container is None or self._stream is None:
            self.abort()
            raise OutputError(f"path = {redacted(self.path)!r} is not written: no frame came")
        self._remux_packets()
        if not self._takes_coded:
            packets = self._coded(None)
            set_last_durations(
                packets,
                muxer=self.muxer,
                begin_seconds=self._first_seconds or Fraction(0),
                end_seconds=self._end_seconds,
                first_dts_seconds=self._first_dts,
            )
            self._mux(packets)
        for stream_muxer in self._stream_muxers.values():
            self._mux(stream_muxer.flush())
        output, self._container = self._container, None
        output.close()
        self._frame_metadata.complete(self._file.path if self._file is not None else None)
        size = self._file.publish() if self._file is not None else None
        return self._report(bytes_written=size, packets=self._packets())

    def _open(self, frame: Frame) -> None:
        self.plan_for(frame)
        planes = frame.planes
        self._open_file()
        if isinstance(planes, DevicePlanes) and self.encodes_on_device:
            from animevid.gpu import codecs

            index = codecs.device_index_of(planes)
            try:
                self._open_container(device_index=index)
                self._device_writer = codecs.DeviceWriter(device_index=index)
                return
            except (av.FFmpegError, NotImplementedError, ValueError, DeviceError) as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                log.warning("frames go through the host's memory to %s: %s", self.encoder.encoder, reason)
                self._close_quietly()
        self._open_container()

    def _open_file(self) -> None:
        if self._target is not None:
            pending = PendingPlaylist if self.muxer == "hls" else PendingFile
            self._file = pending(self._target, overwrite=self._settings.overwrite)
            self._name = self._file.url if isinstance(self._file, PendingFile) else f"file:{self._file.path}"

    def _open_container(self, *, device_index: int | None = None) -> None:
        plan, frame_format = self.encoder, self._frame_format
        tags = self._template.info.metadata if self._template is not None else {}
        options = muxer_options(
            self.muxer, self._settings, tick=frame_format.time_base, is_file=self._target is not None, tags=tags
        )
        io_open = None
        if isinstance(self._file, PendingPlaylist):
            segments = f"file:{self._file.folder / self._file.target.stem}-%05d.ts"
            options = {**PLAYLIST_OPTIONS, "hls_segment_filename": segments, **options}
            io_open = self._file.open
        self._container = open_output(
            self._name, muxer=self.muxer, options=options, should_stop=self._should_stop, io_open=io_open
        )
        self._writer = PlaneWriter(
            width=plan.width, height=plan.height, pixel_format=plan.pixel_format, colour=frame_format.colour
        )
        self._add_streams(plan, frame_format, device_index=device_index)
        self._container.start_encoding()

    def _add_streams(self, plan: EncoderPlan, frame_format: FrameFormat, *, device_index: int | None) -> None:
        """The video stream and all copied ones, in the template's order."""
        output, template = self._container, self._template
        assert output is not None
        if template is None or not template.media_streams:
            self._add_video_stream(plan, frame_format, device_index=device_index)
            return
        decisions = {decision.stream.index: decision for decision in self.decisions}
        for stream in template.media_streams:
            if stream.index == template.info.stream_index:
                self._add_video_stream(plan, frame_format, device_index=device_index)
                assert self._stream is not None
                self._stream.metadata.update(stream_tags(dict(stream.metadata), muxer=self._format))
                self._stream.disposition = stream.disposition
                self._frame_metadata.tag(output, self._stream)
            elif stream.index in decisions:
                decision = decisions[stream.index]
                if decision.stream.is_cover and self._format == "matroska":
                    cover = template.packets.first(stream.index)
                    stream_muxer = add_cover(output, stream, decision, cover)
                else:
                    stream_muxer = add_stream_muxer(output, stream, decision, origin_seconds=self.origin_seconds)
                if stream_muxer is not None:
                    self._stream_muxers[stream.index] = stream_muxer
        output.metadata.update(lasting_metadata(template.info.metadata))
        output.set_chapters(shifted_chapters(template))

    def _add_video_stream(self, plan: EncoderPlan, frame_format: FrameFormat, *, device_index: int | None) -> None:
        assert self._container is not None
        tag = container_of(self.muxer).codec_tags.get(plan.codec)
        self._stream = open_video_stream(self._container, plan, frame_format, tag=tag, device_index=device_index)

    def _encode(self, frame: Frame) -> None:
        base = self._frame_format.time_base
        seconds, duration = self._pace(frame.pts_seconds - self.origin_seconds, frame.duration_seconds)
        ticks = self._clock.ticks(seconds)
        raw = self._raw(frame.planes)
        raw.pts = ticks
        raw.time_base = base
        raw.duration = 0 if duration is None else ticks_from_seconds(duration, base)
        raw.pict_type = 0
        if frame.captions:
            self._frame_metadata.note(frame.captions, ticks * base)
        self._mux(self._coded(raw))
        self._count(seconds, duration)

    def _raw(self, planes: PlanesYUV420) -> av.VideoFrame:
        if self._device_writer is not None and isinstance(planes, DevicePlanes):
            raw = self._device_writer.write(planes)
            write_tags(raw, self._frame_format.colour)
            return raw
        assert self._writer is not None
        return self._writer.write(on_host(planes) if isinstance(planes, DevicePlanes) else planes)

    def _remux_packets(self) -> None:
        if self._template is None or not self._stream_muxers:
            return
        stream_muxers = self._stream_muxers
        for packet in self._template.packets.take():
            stream_muxer = stream_muxers.get(packet.stream_index)
            if stream_muxer is not None:
                self._mux(stream_muxer.remux(packet))

    def _packets(self) -> tuple[int, int]:
        """The number of packets of other streams written and lost so far."""
        muxers = self._stream_muxers.values()
        return sum(muxer.packets_written for muxer in muxers), sum(muxer.packets_lost for muxer in muxers)

    def _coded(self, raw: av.VideoFrame | None) -> list[MediaPacket]:
        """The encoder's next packets; its last ones for ``None``."""
        assert self._stream is not None
        packets = list(self._frame_metadata.through(self._stream.encode(raw), self.encoder))
        if self._first_dts is None and packets:
            first = packets[0]
            self._first_dts = None if first.dts is None or first.time_base is None else first.dts * first.time_base
        return packets

    def _mux(self, packets: Iterable[MediaPacket]) -> None:
        assert self._container is not None
        mux = self._container.mux_one
        for packet in packets:
            mux(packet)
        if isinstance(self._file, PendingPlaylist):
            self._file.check()
