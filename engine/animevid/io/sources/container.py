"""Reads video: decodes packets to upright planar frames with exact times, and queues all other packets unchanged."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING

import av
from av.stream import Discard, Stream

from animevid.errors import AnimevidError, InputError, UnsupportedInputError, UsageError
from animevid.frame import Frame
from animevid.io.clock import ARBITRARY_CLOCK_FORMATS, FrameClock
from animevid.io.colour import colour_of
from animevid.io.deinterlace import Deinterlacer
from animevid.io.frame_fit import FrameFit
from animevid.io.hdr import open_tone_mapper
from animevid.io.network.protocols import STANDARD_STREAM, Spec, input_error, is_local_file, local_path, open_input
from animevid.io.orientation import Orientation, orientation_of, turn_upright
from animevid.io.packets import PacketQueue
from animevid.io.planes_io import PlaneReader, is_opaque
from animevid.io.programmes import unrelated_streams
from animevid.io.pyav import time_base_of, to_fraction
from animevid.io.side_data import captions_of
from animevid.io.source import Source, SourceInfo
from animevid.io.sources.cut import Cut
from animevid.io.sources.joins import Joins, VideoDecoder
from animevid.io.sources.opening import choose_stream, crop_of, open_decoder
from animevid.io.sources.packet_reader import PacketReader, from_first_key
from animevid.io.sources.stream_facts import container_colour, describe_source
from animevid.io.timeline import Timeline
from animevid.options import SourceOptions
from animevid.pixels.device import is_on_device
from animevid.pixels.planes import PlanesYUV420
from animevid.redaction import redacted

if TYPE_CHECKING:
    from animevid.io.network.standard_input import StandardInput
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)

#: After the end of a cut, packets of other streams may follow within this time of the last frame.
_INTERLEAVE_SECONDS = Fraction(2)
_NOT_POSSIBLE = (av.error.PatchWelcomeError, av.error.PermissionError)
_DEINTERLACED = "the source is interlaced: it is deinterlaced (bwdif)"


class VideoSource(Source):
    """One video stream of a file, URL or standard input, as an iterator of :class:`Frame`.

    ::

        with VideoSource("in.mp4") as source:
            for frame in source: ...

    Opening decodes the first frame, so ``info`` describes actual frames. The options' ``start_seconds`` and
    ``end_seconds`` select frames whose time lies in ``[start, end)``, counted from the beginning of the file.
    ``Frame.pts_seconds`` stays on the source's clock; ``origin_seconds`` is the time that becomes zero in an output.

    The source reads each packet once; those of other streams go to ``packets`` for a sink made with
    ``template=source`` before the first frame is taken. One thread may iterate while another takes packets.

    Args:
        spec: a file name, a URL (http, https, rtsp, rtmp, srt, udp, ...) or ``-``.
        options: the part that is read, the stream, deinterlacing, tone mapping and FFmpeg's own options.
        threads: decoder threads; 0 lets the decoder choose.
        format_name: FFmpeg's demuxer, if it cannot be detected.
        upright: apply rotation and mirroring; otherwise rotation is left on ``Frame.rotation_degrees``.
        device_index: decode on this CUDA device (NVDEC) and leave the frames there, as
            :class:`~animevid.pixels.device.DevicePlanes`; if that is impossible, ``info.notices`` says why in one line
            (and ``is_on_device`` is false: a source without ``device_index`` then decodes with more threads).
        file: replaces ``-`` if its beginning has been read already.

    Raises:
        InputError: missing, unreadable, without a frame.
        UnsupportedInputError: encrypted, or colours that are not supported.
        UsageError: a stream or a time that the file does not have.
    """

    def __init__(
        self,
        spec: Spec,
        options: SourceOptions | None = None,
        *,
        threads: int = 0,
        format_name: str | None = None,
        upright: bool = True,
        device_index: int | None = None,
        file: StandardInput | None = None,
    ) -> None:
        options = options or SourceOptions()
        self.spec = spec
        self.packets = PacketQueue()
        self.frames_decoded = 0
        self.frames_concealed = 0
        self._file = file
        self._cut = Cut(options.start, options.end)
        self._upright = upright
        self._iterated = False
        self._encrypted = False
        self._damaged_pts: set[int | None] = set()
        self._device_trouble: str | None = None
        hwaccel = None
        if device_index is not None:
            from animevid.gpu import codecs

            self._device_trouble = codecs.why_no_cuda(device_index)
            if self._device_trouble is None:
                hwaccel = codecs.cuda_decoding(device_index)
        self._device_asked = on_device = device_index is not None and self._device_trouble is None
        self._container = open_input(
            spec, options=dict(options.input_options) or None, format_name=format_name, hwaccel=hwaccel, file=file
        )
        self._packet_reader = PacketReader(self._container, spec)
        self._on_device = False
        try:
            self._stream = choose_stream(self._container, options.stream_index, name=redacted(spec))
            self._video_index = self._stream.index
            name = self._container.format.name
            path = local_path(spec) if is_local_file(spec) and local_path(spec).is_file() else None
            self._joins = Joins(self._container, self._stream, path=path)
            self._unrelated_streams = unrelated_streams(self._joins.streams, self._stream, format_name=name, path=path)
            for index in self._unrelated_streams:
                self._container.streams[index].discard = Discard.all  # not even fetched
            self._subtitle_indices = {stream.index for stream in self._container.streams.subtitles}
            # One thread feeds NVDEC; each further one would delay by a frame.
            self._decoder = VideoDecoder(open_decoder(self._stream, 1 if on_device else threads), self._stream)
            self._time_base = time_base_of(self._stream)
            self._clock = FrameClock(time_base=self._time_base, nominal_rate=to_fraction(self._stream.average_rate))
            self._sound = self._joins.sound(self._unrelated_streams)
            self._cut.seek(self._container, self._stream, time_base=self._time_base, beside=self._sound)
            self.origin_seconds = self._joins.origin_seconds = self._cut.origin_seconds
            self._timeline = self._open_timeline()
            self._whole_from: int | None = None
            self._demuxed = self._packet_reader.packets(self._stream, self._timeline, self._joins)
            self._crop = crop_of(spec, self._container, self._stream)
            self._fit = FrameFit(self._crop)
            # On a device the first frame is examined as it is: an interlaced one moves decoding to the CPU.
            self._deinterlacer = Deinterlacer(self._time_base) if options.deinterlace and not on_device else None
            self._frames = self._decode() if self._deinterlacer is None else self._deinterlacer.through(self._decode())
            self._first = next(self._frames, None)
            if self._first is None:
                raise self._no_frame_error()
            self._codec: str = self._stream.codec_context.codec.canonical_name
            self._skipped_seconds = self._begin_at_first_key_frame()
            self._orientation = orientation_of(self._first, codec=self._codec)
            tags = container_colour(self._stream)
            self._container_colour = tags
            self._reader = PlaneReader(container_colour=tags)
            # GIF and RGBA formats always have an alpha channel; the first frame tells whether it is used.
            self._reader.keep_alpha = not is_opaque(self._reader.read(self._first))
            self._tone_mapper = open_tone_mapper(colour_of(self._first, container=tags), allowed=options.tone_map)
            if on_device:
                self._device_trouble = self._why_not_on_device(self._first)
                self._on_device = self._device_trouble is None
            self.info = self._describe(self._first)
        except BaseException:
            self._container.close()
            raise

    # --- life cycle -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the file. Safe to call twice, and from another thread than the one that iterates (which then ends)."""
        self._packet_reader.close()

    @property
    def media_streams(self) -> Sequence[Stream]:
        """The open ``av`` streams in the container's order, for copying."""
        if self._packet_reader.is_closed:
            raise UsageError("the source is closed: make the sink while it is open")
        return self._joins.streams

    @property
    def notices_so_far(self) -> tuple[str, ...]:
        fields = (_DEINTERLACED,) if self._deinterlacer is not None and self._deinterlacer.is_needed else ()
        return (*fields, *self._fit.notices, *self._timeline.notices, *self._joins.notices)

    @property
    def unrelated_streams(self) -> Mapping[int, str]:
        return self._unrelated_streams

    @property
    def end_seconds(self) -> Fraction | None:
        """Where the cut ends on the source's clock."""
        return self._cut.end_seconds

    @property
    def can_be_sought(self) -> bool:
        return is_local_file(self.spec) and local_path(self.spec).is_file()

    @property
    def is_finite(self) -> bool:
        """False for a source that may never end (a camera, a live stream)."""
        return is_local_file(self.spec) or self._container.duration is not None

    @property
    def is_live(self) -> bool:
        """Whether the source continues while it is not read. Standard input does not, and may be a file."""
        return not self.is_finite and os.fspath(self.spec) != STANDARD_STREAM

    @property
    def read_error(self) -> str | None:  # type: ignore[override]
        """Why reading ended early, in one line."""
        return self._packet_reader.read_error

    @property
    def is_on_device(self) -> bool:
        """Whether frames are in GPU memory."""
        return self._on_device

    # --- frames -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order of time, each with its exact ``pts_seconds``. A source is read once.

        Raises:
            UsageError: iterated a second time.
            UnsupportedInputError: the frames' colours change to unsupported ones.
        """
        if self._iterated:
            raise UsageError("a VideoSource is read once: open it again")
        self._iterated = True
        self.packets.close_if_unclaimed()
        return self._iterate()

    def passing_packets(self) -> Iterator[Fraction]:
        if self._iterated:
            raise UsageError("a VideoSource is read once: open it again")
        self._iterated = True
        end = self.end_seconds
        for packet in self._demuxed:
            if packet.stream_index != self._video_index:
                self._pass_on(packet)
            elif packet.dts is not None:
                seconds = packet.dts * self._time_base
                if end is not None and seconds > end + _INTERLEAVE_SECONDS:
                    return
                yield seconds

    def _iterate(self) -> Iterator[Frame]:
        try:
            yield from self._read()
        finally:
            self._frames = iter(())  # an unfinished generator would keep this object and its decoder alive

    def _read(self) -> Iterator[Frame]:
        index, end = 0, self.end_seconds
        known_ticks, duration = 0, None
        turn, rotation = self._orientation, 0
        if not self._upright:
            turn, rotation = Orientation(0, mirrored=turn.mirrored), turn.rotation_degrees
        is_turned = not turn.is_upright
        raw = self._first
        self._first = None
        while raw is not None:
            ticks = raw.duration
            if ticks != known_ticks:
                known_ticks, duration = ticks, (ticks * self._time_base if ticks else None)
            seconds = self._clock.stamp(raw.pts, duration=ticks)
            if end is not None and seconds >= end:
                self._pass_remaining_packets()
                return
            concealed = raw.is_corrupt or raw.pts in self._damaged_pts
            self._damaged_pts.discard(raw.pts)
            self.frames_concealed += concealed
            captions = captions_of(raw, codec=self._codec)
            planes = self._planes_of(raw)
            if is_turned:
                planes = turn_upright(planes, turn)
            yield Frame(planes, index, seconds, duration, rotation, concealed, captions=captions)
            index += 1
            self.frames_decoded = index
            raw = next(self._frames, None)

    def _why_not_on_device(self, frame: av.VideoFrame) -> str | None:
        if self._orientation != Orientation():
            return "frames are turned by the CPU"
        if self._tone_mapper is not None:
            return "HDR is tone-mapped by the CPU"
        if frame.interlaced_frame or self._crop is not None:
            return "interlaced and cropped frames go through the CPU"
        from animevid.gpu.codecs import why_not_on_device

        return why_not_on_device(frame)

    def _planes_of(self, raw: av.VideoFrame) -> PlanesYUV420:
        if self._on_device and is_on_device(raw):
            from animevid.gpu.codecs import planes_on_device

            tags = self._container_colour
            # Downloads happen in another thread, and a reader serves one thread.
            return planes_on_device(
                raw,
                colour=colour_of(raw, container=tags),
                download=PlaneReader(container_colour=tags).read,
            )
        planes = self._reader.read(raw)
        if self._tone_mapper is not None:
            planes = self._tone_mapper(planes)
        return planes if planes.y.shape == self._fit.unchanged_size else self._fit(planes)

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Raw decoded frames from ``start`` on; other streams' packets go to the packet queue."""
        start_ticks = self._cut.start_ticks(self._time_base)
        video = self._video_index
        for packet in chain(from_first_key(self._demuxed, self._video_index, self._begin_whole), (None,)):
            if packet is not None and packet.stream_index != video:
                self._pass_on(packet)
                continue
            if packet is not None and not self.frames_decoded and packet.has_sidedata("encryption_info"):
                self._encrypted = True
                return
            if packet is not None and packet.is_corrupt:  # the container reports a gap that the decoder may miss
                self._damaged_pts.add(packet.pts)
            for frame in self._decode_packet(packet):
                if start_ticks is None or frame.pts is None or frame.pts >= start_ticks:
                    if self._whole_from is not None and frame.pts is not None and frame.pts < self._whole_from:
                        continue  # refers to frames from before the first packet
                    yield frame

    def _pass_on(self, packet: MediaPacket) -> None:
        """Queue a packet of another stream if it is inside the cut."""
        is_lasting = packet.stream_index in self._subtitle_indices
        if self._cut.holds(packet, lasting=is_lasting):
            if is_lasting:
                self._cut.shorten(packet)
            self.packets.put(packet)

    def _begin_whole(self, pts: int | None) -> None:
        self._whole_from = pts

    def _begin_at_first_key_frame(self) -> Fraction | None:
        """If frames were skipped at the start, let the video begin at the first key frame; returns the delay."""
        if self._whole_from is None or self._cut.start is not None or self._first is None or self._first.pts is None:
            return None
        begin: Fraction = self._first.pts * self._time_base
        skipped: Fraction = begin - self.origin_seconds
        self._cut.begin_at(begin)
        self.origin_seconds = begin
        self.packets.drop_before(begin)
        return skipped

    def _open_timeline(self) -> Timeline:
        is_arbitrary = self._container.format.name.split(",")[0] in ARBITRARY_CLOCK_FORMATS
        sound = {stream.index for stream in self._sound}
        return Timeline({self._video_index} | sound, sound=sound, closes_gaps=is_arbitrary)

    def _decode_packet(self, packet: MediaPacket | None) -> list[av.VideoFrame]:
        """The frames that ``packet`` completes (``None``: flush); damage is counted, not raised."""
        try:
            return self._decoder.decode(packet)
        except av.FFmpegError as error:
            # After the first frame, unsupported data counts as damage (a header inside a chained Ogg).
            if not isinstance(error, (av.error.InvalidDataError, *(_NOT_POSSIBLE if self.frames_decoded else ()))):
                raise input_error(self.spec, error) from error
            self.frames_concealed += 1
            log.debug("a packet cannot be decoded: %s", error)
            return []

    def _pass_remaining_packets(self) -> None:
        """After the last frame of a cut: pass on the other streams' packets up to the cut's end."""
        end = self.end_seconds
        if not self.packets.wanted or end is None:
            return
        for packet in self._demuxed:
            if packet.stream_index != self._video_index:
                self._pass_on(packet)
            elif packet.dts is not None and packet.dts * self._time_base > end + _INTERLEAVE_SECONDS:
                return

    # --- opening ----------------------------------------------------------------------------------------------------

    def _no_frame_error(self) -> AnimevidError:
        name = redacted(self.spec)
        if self._encrypted:
            return UnsupportedInputError(f"path = {name!r} is encrypted: decrypt it first, animevid takes no keys")
        if self._cut.start:
            return UsageError(f"start = {float(self._cut.start)} s: {name!r} has no frame at or after it")
        if self.read_error and self._file is not None and self._file.head[4:8] == b"ftyp":
            way_out = "give the file itself, or move its index to its beginning (ffmpeg -movflags +faststart)"
            return InputError(f"path = {name!r} is an MP4 with its index at its end, beyond a pipe's reach: {way_out}")
        if self.read_error:
            return InputError(self.read_error)
        return InputError(f"path = {name!r} holds no frame that can be decoded: it is empty or damaged")

    def _describe(self, frame: av.VideoFrame) -> SourceInfo:
        return describe_source(
            self._container,
            self._stream,
            frame,
            planes=self._planes_of(frame),
            orientation=self._orientation,
            upright=self._upright,
            start=self._cut.start,
            end=self._cut.end,
            time_base=self._time_base,
            notices=(*getattr(self._container, "notices", ()), *self._notices(frame)),
        )

    def _notices(self, frame: av.VideoFrame) -> Iterator[str]:
        if self._tone_mapper is not None:
            yield f"HDR ({self._tone_mapper.name}) is tone-mapped to SDR BT.709"
        if self._device_trouble is not None:
            yield f"frames go through the host's memory on their way to the GPU: {self._device_trouble}"
        if self._skipped_seconds is not None:
            yield f"the first {float(self._skipped_seconds):.2f} s have no key frame: the video begins after them"
        if self._crop is not None:
            yield f"the crop that the container declares is applied ({self._crop})"
        if frame.interlaced_frame and self._deinterlacer is None:
            yield "the source is interlaced: both fields are treated as one frame"
