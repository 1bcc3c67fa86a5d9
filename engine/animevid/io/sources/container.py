"""Reading video: packets to upright planar frames with exact time, everything else handed on untouched."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import Any

import av
from av.stream import Discard

from animevid.errors import AnimevidError, InputError, UnsupportedInputError, UsageError
from animevid.frame import Frame
from animevid.io.clock import ARBITRARY_CLOCK_FORMATS, FrameClock, ticks_from_seconds
from animevid.io.colour import colour_of
from animevid.io.container_crop import container_crop
from animevid.io.deinterlace import Deinterlacer
from animevid.io.frame_fit import Crop, FrameFit
from animevid.io.hdr import open_tone_mapper
from animevid.io.network.protocols import (
    STANDARD_STREAM,
    Spec,
    input_error,
    is_local_file,
    local_path,
    open_input,
)
from animevid.io.orientation import Orientation, orientation_of, side_data_names, turn_upright
from animevid.io.packets import PacketQueue
from animevid.io.planes_io import PlaneReader, is_opaque
from animevid.io.programmes import strangers
from animevid.io.pyav import to_fraction
from animevid.io.source import Source, SourceInfo
from animevid.io.sources.opening import choose_stream, open_decoder
from animevid.io.sources.stream_facts import (
    MICROSECOND,
    container_colour,
    describe_source,
)
from animevid.io.timeline import Timeline
from animevid.pixels.device import is_on_device
from animevid.pixels.planes import PlanesYUV420
from animevid.redaction import redacted

log = logging.getLogger(__name__)

#: After the end of a cut, packets of other streams may still lie within this time of the last picture.
_INTERLEAVE_SECONDS = Fraction(2)
#: Captions inside the picture's stream are looked for in so many pictures.
_SEARCHED_FOR_CAPTIONS = 250
_DEINTERLACED = "the source is interlaced: its fields are made into whole pictures (bwdif)"
_CAPTIONS_LOST = "the captions inside the picture's stream (CEA-608/708) are lost: no encoder here takes them"
#: A film that has no whole picture (key frame) among its first packets is shown from the first one.
_PACKETS_WITHOUT_KEY = 300


class VideoSource(Source):
    """One video stream of a file, URL or standard input, as an iterator of :class:`Frame`.

    ::

        with VideoSource("in.mp4") as source:
            for frame in source: ...

    Opening reads as far as the first picture, so ``info`` is about real frames. ``start_seconds`` and ``end_seconds``
    cut: frames whose time lies in ``[start, end)``, counted from the beginning of the file. ``Frame.pts_seconds`` stays
    on the source's clock; ``origin_seconds`` is the moment that becomes zero in an output.

    The source reads each packet once; those of other streams go to ``packets`` for a sink made with
    ``template=source`` before the first frame is taken. One thread may iterate while another takes packets.

    Args:
        spec: a file name, a URL (http, https, rtsp, rtmp, srt, udp, ...) or ``-``.
        stream_index: the container's index of the video stream; ``None`` takes FFmpeg's best.
        upright: apply rotation and mirroring; otherwise rotation is left on ``Frame.rotation_degrees``.
        threads: decoder threads; 0 lets the decoder choose.
        options: FFmpeg options for the container or protocol.
        format_name: FFmpeg's demuxer, where it cannot be guessed.
        tone_map: bring HDR (PQ, HLG) to SDR BT.709; without it HDR is refused.
        deinterlace: make whole pictures of interlaced ones.
        device_index: decode on this CUDA device (NVDEC) and leave the pictures there, as
            :class:`~animevid.pixels.device.DevicePlanes`; where that cannot be, ``info.notices`` says why in one line
            (and ``is_on_device`` is false: a source without ``device_index`` then decodes with more threads).
        file: what to read ``-`` from where its beginning has been looked at.

    Raises:
        InputError: missing, unreadable, without a picture.
        UnsupportedInputError: encrypted, or colours that cannot be honoured.
        UsageError: a stream or a time that the file does not have.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        stream_index: int | None = None,
        start_seconds: Fraction | None = None,
        end_seconds: Fraction | None = None,
        threads: int = 0,
        options: dict[str, str] | None = None,
        format_name: str | None = None,
        upright: bool = True,
        tone_map: bool = True,
        deinterlace: bool = True,
        device_index: int | None = None,
        file: Any = None,
    ) -> None:
        self.spec = spec
        self.packets = PacketQueue()
        self.frames_decoded = 0
        self.frames_concealed = 0
        self.read_error: str | None = None
        self._start = start_seconds
        self._end = end_seconds
        self._upright = upright
        self._finished = False
        self._iterated = False
        self._reading = threading.Lock()
        self._encrypted = False
        self._has_captions = False
        self._damaged_pts: set[int | None] = set()
        if start_seconds is not None and end_seconds is not None and end_seconds <= start_seconds:
            raise UsageError(f"end = {float(end_seconds)} s must lie after start = {float(start_seconds)} s")
        self._device_trouble: str | None = None
        hwaccel = None
        if device_index is not None:
            from animevid.gpu import codecs

            self._device_trouble = codecs.why_no_cuda(device_index)
            if self._device_trouble is None:
                hwaccel = codecs.cuda_decoding(device_index)
        self._device_asked = on_device = device_index is not None and self._device_trouble is None
        self._container = open_input(spec, options=options, format_name=format_name, hwaccel=hwaccel, file=file)
        self._on_device = False
        try:
            self._stream = choose_stream(self._container, stream_index, name=redacted(spec))
            self._video_index = self._stream.index
            name = self._container.format.name
            path = local_path(spec) if is_local_file(spec) and local_path(spec).is_file() else None
            self._strangers = strangers(self._container.streams, self._stream, format_name=name, path=path)
            for index in self._strangers:
                self._container.streams[index].discard = Discard.all  # not even fetched
            self._subtitle_indices = {stream.index for stream in self._container.streams.subtitles}
            # One thread feeds NVDEC; more would each hold a picture of it back.
            self._decoder = open_decoder(self._stream, 1 if on_device else threads)
            self._time_base: Fraction = to_fraction(self._stream.time_base) or MICROSECOND
            self._clock = FrameClock(time_base=self._time_base, nominal_rate=to_fraction(self._stream.average_rate))
            self._file_start: Fraction
            self.origin_seconds: Fraction = self._seek_start()
            self._timeline = self._open_timeline()
            self._whole_from: int | None = None
            self._demuxed = self._demux()
            self._fit = FrameFit(self._container_crop())
            # Whoever decodes on a device looks at the first picture as it is, and leaves the device over fields.
            self._deinterlacer = Deinterlacer(self._time_base) if deinterlace and not on_device else None
            self._frames = self._decode() if self._deinterlacer is None else self._deinterlacer.through(self._decode())
            self._first = next(self._frames, None)
            if self._first is None:
                raise self._no_picture_error()
            self._codec: str = self._stream.codec_context.codec.canonical_name
            self._skipped_seconds = self._begin_at_first_whole_picture()
            self._orientation = orientation_of(self._first, codec=self._codec)
            tags = container_colour(self._stream)
            self._container_colour = tags
            self._reader = PlaneReader(container_colour=tags)
            # GIF and RGBA formats have an alpha channel whether it is used or not; the first picture tells.
            self._reader.keep_alpha = not is_opaque(self._reader.read(self._first))
            self._tone_mapper = open_tone_mapper(colour_of(self._first, container=tags), allowed=tone_map)
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
        self._finished = True
        with self._reading:  # FFmpeg's structures must not go away under a read
            self._container.close()

    @property
    def media_streams(self) -> Sequence[Any]:
        """The open ``av`` streams in the container's order, for whoever copies them."""
        if self._finished:
            raise UsageError("the source is closed: make the sink while it is open")
        return tuple(self._container.streams)

    @property
    def notices_so_far(self) -> tuple[str, ...]:
        captions = (_CAPTIONS_LOST,) if self._has_captions else ()
        fields = (_DEINTERLACED,) if self._deinterlacer is not None and self._deinterlacer.is_needed else ()
        return (*captions, *fields, *self._fit.notices, *(self._timeline.notices if self._timeline is not None else ()))

    @property
    def strangers(self) -> Mapping[int, str]:
        return self._strangers

    @property
    def end_seconds(self) -> Fraction | None:
        """Where the cut ends on the source's clock."""
        return None if self._end is None else self._end + self._file_start

    @property
    def is_finite(self) -> bool:
        """False for what may never end (a camera, a live stream)."""
        return is_local_file(self.spec) or self._container.duration is not None

    @property
    def is_live(self) -> bool:
        """Whether the source goes on while nobody reads it. Standard input does not, and may well be a film."""
        return not self.is_finite and os.fspath(self.spec) != STANDARD_STREAM

    @property
    def is_on_device(self) -> bool:
        """Whether the frames lie in the GPU's memory."""
        return self._on_device

    # --- frames -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order of time, each with its exact ``pts_seconds``. A source is read once.

        Raises:
            UsageError: iterated a second time.
            UnsupportedInputError: the picture's kind changes to one that cannot be honoured.
        """
        if self._iterated:
            raise UsageError("a VideoSource is read once: open it again")
        self._iterated = True
        self.packets.close_if_unclaimed()
        return self._iterate()

    def passing_packets(self) -> Iterator[Fraction]:
        """Read to the end without decoding: the times, on the source's clock, at which pictures were to be decoded.

        Other streams' packets go to ``packets``, as they do where frames are taken. Instead of iterating, once.
        """
        if self._iterated:
            raise UsageError("a VideoSource is read once: open it again")
        self._iterated = True
        end = self.end_seconds
        for packet in self._demuxed:
            if packet.stream_index != self._video_index:
                if self._belongs(packet):
                    self.packets.put(packet)
            elif packet.dts is not None:
                seconds = packet.dts * self._time_base
                if end is not None and seconds > end + _INTERLEAVE_SECONDS:
                    return
                yield seconds

    def _iterate(self) -> Iterator[Frame]:
        index, end = 0, self.end_seconds
        known_ticks, duration = 0, None
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
            if index < _SEARCHED_FOR_CAPTIONS and not self._has_captions:
                self._has_captions = "A53_CC" in side_data_names(raw, codec=self._codec)
            planes = self._picture(raw)
            rotation = self._orientation.rotation_degrees
            if self._upright:
                planes, rotation = turn_upright(planes, self._orientation), 0
            elif self._orientation.mirrored:
                planes = turn_upright(planes, Orientation(0, mirrored=True))
            yield Frame(planes, index, seconds, duration, rotation, concealed)
            index += 1
            self.frames_decoded = index
            raw = next(self._frames, None)

    def _why_not_on_device(self, frame: Any) -> str | None:
        if self._orientation != Orientation():
            return "pictures are turned by the CPU"
        if self._tone_mapper is not None:
            return "HDR is tone-mapped by the CPU"
        if frame.interlaced_frame or self._crop is not None:
            return "interlaced pictures and such as the container cuts go through the CPU"
        from animevid.gpu.codecs import why_not_on_device

        return why_not_on_device(frame)

    def _picture(self, raw: Any) -> PlanesYUV420:
        if self.is_on_device and is_on_device(raw):
            from animevid.gpu.codecs import planes_on_device

            tags = self._container_colour
            # Whoever downloads is in another thread, and a reader serves one.
            return planes_on_device(
                raw,
                colour=colour_of(raw, container=tags),
                download=PlaneReader(container_colour=tags).read,
            )
        planes = self._reader.read(raw)
        return self._fit(planes if self._tone_mapper is None else self._tone_mapper(planes))

    def _container_crop(self) -> Crop | None:
        """The edges that the container leaves out, of a local file."""
        self._crop = None
        if is_local_file(self.spec):
            context = self._stream.codec_context
            self._crop = container_crop(
                local_path(self.spec),
                format_name=self._container.format.name,
                stream_index=self._stream.index,
                width=context.width,
                height=context.height,
            )
        return self._crop

    def _decode(self) -> Iterator[Any]:
        """Raw decoded frames from ``start`` on; other streams' packets go to the relay."""
        start_ticks = None
        if self._start is not None:
            start_ticks = ticks_from_seconds(self._start + self._file_start, self._time_base)
        video = self._video_index
        put = self.packets.put
        for packet in chain(self._from_first_key(self._demuxed), (None,)):
            if packet is not None and packet.stream_index != video:
                if self._belongs(packet):
                    put(packet)
                continue
            if packet is not None and not self.frames_decoded and packet.has_sidedata("encryption_info"):
                self._encrypted = True
                return
            if packet is not None and packet.is_corrupt:  # the container knows of a gap that the decoder may not see
                self._damaged_pts.add(packet.pts)
            for frame in self._decode_packet(packet):
                if start_ticks is None or frame.pts is None or frame.pts >= start_ticks:
                    if self._whole_from is not None and frame.pts is not None and frame.pts < self._whole_from:
                        continue  # refers to pictures from before the first packet
                    yield frame

    def _from_first_key(self, packets: Iterator[Any]) -> Iterator[Any]:
        """``packets`` without those of the picture before its first key frame: a recording that begins in between."""
        held: list[Any] = []
        for packet in packets:
            if packet.stream_index != self._video_index:
                yield packet
            elif packet.is_keyframe:
                if held:
                    log.debug("%d packets before the first key frame are left out", len(held))
                    self._whole_from = packet.pts
                yield packet
                break
            else:
                held.append(packet)
                if len(held) > _PACKETS_WITHOUT_KEY:
                    break
        else:
            yield from held
            return
        if len(held) > _PACKETS_WITHOUT_KEY:
            yield from held
        yield from packets

    def _begin_at_first_whole_picture(self) -> Fraction | None:
        """Where pictures were left out at the start, let the film begin with the first whole one; how much later."""
        if self._whole_from is None or self._start is not None or self._first is None or self._first.pts is None:
            return None
        begin: Fraction = self._first.pts * self._time_base
        skipped: Fraction = begin - self.origin_seconds
        self._file_start = self.origin_seconds = begin
        self.packets.drop_before(begin)
        return skipped

    def _open_timeline(self) -> Timeline | None:
        if self._container.format.name.split(",")[0] not in ARBITRARY_CLOCK_FORMATS:
            return None
        sound = {stream.index for stream in self._container.streams.audio} - self._strangers.keys()
        return Timeline({self._video_index} | sound)

    def _decode_packet(self, packet: Any) -> list[Any]:
        """The frames that ``packet`` completes (``None``: those still under way); damage is counted, not raised."""
        try:
            decoded: list[Any] = self._decoder.decode(packet)
        except av.error.InvalidDataError as error:
            self.frames_concealed += 1
            log.debug("a packet cannot be decoded: %s", error)
            return []
        except av.FFmpegError as error:
            raise input_error(self.spec, error) from error
        return decoded

    def _belongs(self, packet: Any) -> bool:
        """Whether a packet of another stream lies in the cut (a subtitle on screen at its start does)."""
        if self._start is None and self._end is None:
            return True
        if packet.pts is None:
            return True
        seconds = packet.pts * packet.time_base
        end = self.end_seconds
        if end is not None and seconds >= end:
            return False
        if self._start is None or seconds >= self.origin_seconds:
            return True
        lasting = packet.stream_index in self._subtitle_indices and packet.duration
        return bool(lasting and seconds + packet.duration * packet.time_base > self.origin_seconds)

    def _demux(self) -> Iterator[Any]:
        """Packets of all streams; a file that breaks off ends there, and ``read_error`` says so."""
        packets = self._container.demux()
        while not self._finished:
            try:
                with self._reading:
                    packet = None if self._finished else next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self.read_error = str(input_error(self.spec, error))
                log.warning("reading stops early: %s", self.read_error)
                return
            if packet is None:
                self._note_cut_off()
                return
            if packet.size:  # PyAV's own flush packets do not say whose they are
                if self._timeline is not None:
                    self._timeline.place(packet)
                yield packet

    def _note_cut_off(self) -> None:
        """Say so if the container's index points beyond the end of the file."""
        with self._reading:
            if self._finished or not is_local_file(self.spec) or not len(self._stream.index_entries):
                return
            entries = self._stream.index_entries
            last, size = entries[len(entries) - 1], self._container.size
        if 0 < size < last.pos + last.size:
            self.read_error = f"path = {redacted(self.spec)!r} is cut off: its last pictures are missing"
            log.warning("%s", self.read_error)

    def _pass_remaining_packets(self) -> None:
        """After the last picture of a cut: hand on what other streams still have before the cut's end."""
        if not self.packets.wanted or self._end is None:
            return
        end = self._end + self._file_start
        for packet in self._demuxed:
            if packet.stream_index != self._video_index:
                if self._belongs(packet):
                    self.packets.put(packet)
            elif packet.dts is not None and packet.dts * self._time_base > end + _INTERLEAVE_SECONDS:
                return

    # --- opening ----------------------------------------------------------------------------------------------------

    def _seek_start(self) -> Fraction:
        """Go to the key frame before ``start``; returns the origin on the source's clock."""
        container = self._container
        self._file_start = Fraction(0)
        if container.format.name.split(",")[0] in ARBITRARY_CLOCK_FORMATS:
            carried = (self._stream, *(s for s in container.streams.audio if s.index not in self._strangers))
            known = [(s.start_time, to_fraction(s.time_base)) for s in carried]
            starts: list[Fraction] = [start * base for start, base in known if start is not None and base]
            self._file_start = min(starts, default=Fraction(0))
        if self._start is None:
            return self._file_start
        if self._start < 0:
            raise UsageError(f"start = {float(self._start)} s must not be negative")
        if container.duration is not None and self._start >= container.duration * MICROSECOND:
            length = container.duration / 1_000_000
            raise UsageError(f"start = {float(self._start)} s lies after the end of the file ({length:.3f} s)")
        origin: Fraction = self._start + self._file_start
        if self._start > 0:
            try:
                container.seek(ticks_from_seconds(origin, self._time_base), stream=self._stream, backward=True)
            except av.FFmpegError as error:  # a pipe or a live stream: read on until the time comes
                log.debug("cannot seek: %s", error)
        return origin

    def _no_picture_error(self) -> AnimevidError:
        name = redacted(self.spec)
        if self._encrypted:
            return UnsupportedInputError(f"path = {name!r} is encrypted: decrypt it first, animevid takes no keys")
        if self._start:
            return UsageError(f"start = {float(self._start)} s: {name!r} has no picture at or after it")
        if self.read_error:
            return InputError(self.read_error)
        return InputError(f"path = {name!r} holds no picture that can be decoded: it is empty or damaged")

    def _describe(self, frame: Any) -> SourceInfo:
        return describe_source(
            self._container,
            self._stream,
            frame,
            planes=self._picture(frame),
            orientation=self._orientation,
            upright=self._upright,
            cut=(self._start, self._end),
            time_base=self._time_base,
            notices=tuple(self._notices(frame)),
        )

    def _notices(self, frame: Any) -> Iterator[str]:
        if self._tone_mapper is not None:
            yield f"HDR ({self._tone_mapper.name}) is tone-mapped to SDR BT.709"
        if self._device_trouble is not None:
            yield f"pictures go through the host's memory on their way to the GPU: {self._device_trouble}"
        names = side_data_names(frame, codec=self._codec)
        for name, what in (("SPHERICAL", "spherical (360°)"), ("STEREO3D", "stereoscopic (3D)")):
            if name in names:
                yield f"the source is {what}: the boxes that say so are lost, the picture itself is kept as it lies"
        if self._skipped_seconds is not None:
            yield f"the first {float(self._skipped_seconds):.2f} s have no whole picture: the film begins after them"
        if self._crop is not None:
            yield f"edges that the container leaves out are cut ({self._crop})"
        if frame.interlaced_frame and self._deinterlacer is None:
            yield "the source is interlaced: its fields are treated as one picture"
