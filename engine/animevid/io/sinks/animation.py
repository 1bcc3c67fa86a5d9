"""Writing animations: GIF, APNG and animated WebP."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from animevid.errors import OutputError, UsageError
from animevid.files import PendingFile, check_target
from animevid.frame import Frame
from animevid.io.clock import ticks_from_seconds
from animevid.io.encoders import add_video_stream
from animevid.io.network.protocols import Spec, is_local_file, local_path
from animevid.io.planes_io import PlaneWriter
from animevid.io.sink import Sink, SinkReport
from animevid.io.sinks.images import DEFAULT_QUALITY
from animevid.io.sinks.last_duration import set_last_duration
from animevid.io.source import Source
from animevid.pixels import planes_to_rgb
from animevid.pixels.palette import KeptPalette
from animevid.pixels.planes import PlanesYUV420

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

#: Suffix -> (FFmpeg's muxer, encoder, pixel format).
ANIMATIONS: dict[str, tuple[str, str, str]] = {
    ".gif": ("gif", "gif", "pal8"),
    ".apng": ("apng", "apng", "rgba"),
    ".webp": ("webp", "libwebp_anim", "bgra"),
}
#: Viewers show a GIF frame with a shorter duration than this for a tenth of a second.
_MIN_GIF_FRAME_TICKS = 2
#: The transparent entry of a GIF's palette, which FFmpeg also uses for unchanged pixels.
_SEE_THROUGH = 255


class AnimationSink(Sink):
    """A looping GIF, APNG or animated WebP; sound and all other streams are left out.

    GIF gets a palette made from its first frame, and a new one when that no longer fits, so memory does not grow with
    the clip. Its clock counts 1/100 s: above 50 frames per second some are dropped.
    """

    def __init__(
        self, path: Spec, *, template: Source | None = None, overwrite: bool = False, quality: int = DEFAULT_QUALITY
    ) -> None:
        self.path = self._target = local_path(path)
        suffix = self._target.suffix.lower()
        if suffix not in ANIMATIONS:
            raise UsageError(f"{suffix = } is no animation: use one of {', '.join(ANIMATIONS)}")
        self._muxer, self._encoder, self._pixel_format = ANIMATIONS[suffix]
        check_target(self._target, overwrite=overwrite, source=template.spec if template is not None else None)
        self._overwrite = overwrite
        self._quality = quality
        self._origin = template.origin_seconds if template is not None else Fraction(0)
        self._time_base = Fraction(1, 100) if suffix == ".gif" else Fraction(1, 1000)
        self._notices = tuple(
            f"{stream.kind} stream {stream.index} ({stream.codec}) is left out: {suffix} holds video only"
            for stream in (template.info.other_streams if template is not None else ())
        )
        self._pending: PendingFile | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._palette = KeptPalette()
        self._writer: PlaneWriter | None = None
        self._size = (0, 0)
        self._last_ticks: int | None = None
        self._last_duration = 0
        # Keep a source GIF's durations, however short: viewers slow both down alike.
        self._is_copy = template is not None and template.info.container == "gif"
        self._plays = 0
        if template is not None and is_local_file(template.spec) and local_path(template.spec).is_file():
            self._plays = how_often_played(local_path(template.spec)) or 0
        self._first_seconds = Fraction(0)  # the first frame is shown until the second one's time
        self._thinned = 0

    @property
    def description(self) -> str:
        return self._encoder

    @property
    def decision_lines(self) -> tuple[str, ...]:
        return self._notices

    @property
    def notices(self) -> tuple[str, ...]:
        return (f"{self._thinned} frames left out: GIF shows at most 50 a second",) if self._thinned else ()

    def _write(self, frame: Frame) -> None:
        planes = frame.planes
        if self._container is None:
            self._open(planes)
        if (planes.width, planes.height) != self._size:
            raise UsageError(f"frame {frame.index} is {planes.width}x{planes.height}, the first one was {self._size}")
        ticks = ticks_from_seconds(frame.pts_seconds - self._origin, self._time_base)
        if self._last_ticks is not None:
            shortest = _MIN_GIF_FRAME_TICKS if self._muxer == "gif" and not self._is_copy else 1
            if ticks - self._last_ticks < shortest:
                self._thinned += 1
                return
        self._last_ticks = ticks
        self._last_duration = max(1, ticks_from_seconds(frame.duration_seconds or Fraction(1, 25), self._time_base))
        duration = frame.duration_seconds or Fraction(1, 25)
        written = self._writer.write(planes) if self._writer is not None else self._paletted(planes)
        written.pts, written.time_base = ticks, self._time_base
        written.duration = max(1, ticks_from_seconds(duration, self._time_base))
        assert self._container is not None
        assert self._stream is not None
        self._container.mux(self._stream.encode(written))
        self._count(frame.pts_seconds - self._origin, duration)

    def _open(self, planes: PlanesYUV420) -> None:
        self._size = width, height = planes.width, planes.height
        self._pending = PendingFile(self._target, overwrite=self._overwrite)
        options = self._loop_options()
        self._container = av.open(self._pending.url, "w", format=self._muxer, container_options=options)
        self._stream = add_video_stream(self._container, self._encoder, rate=25)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, self._pixel_format
        context.time_base = self._time_base
        if self._muxer == "webp":
            context.options = {"quality": str(self._quality)}
        if self._muxer != "gif":
            self._writer = PlaneWriter(
                width=width, height=height, pixel_format=self._pixel_format, colour=planes.colour
            )

    def _paletted(self, planes: PlanesYUV420) -> av.VideoFrame:
        """An FFmpeg frame of ``planes`` in the colours of the palette."""
        rgb = planes_to_rgb(planes)
        opaque = None if planes.alpha is None else planes.alpha >= 1 << (planes.bit_depth - 1)
        palette = self._palette.palette_for(rgb, opaque=opaque)
        indices = palette.dithered(rgb)
        if opaque is not None:
            indices[~opaque] = _SEE_THROUGH
        colours = np.zeros((256, 4), np.uint8)  # opacity, R', G', B'
        colours[:_SEE_THROUGH, 0] = 255
        colours[: len(palette.colours), 1:] = palette.colours
        pal8: Any = (indices, colours)
        return av.VideoFrame.from_ndarray(pal8, format="pal8")

    def _loop_options(self) -> dict[str, str]:
        """FFmpeg's options for the loop count: GIF counts repetitions, the others plays."""
        if self._muxer == "apng":
            return {"plays": str(self._plays)}
        if self._muxer == "gif":
            return {"loop": "0" if not self._plays else "-1" if self._plays == 1 else str(self._plays - 1)}
        return {"loop": str(self._plays)}

    def _finish(self) -> SinkReport:
        if self._container is None or self._stream is None or self._pending is None:
            self.abort()
            raise OutputError(f"path = {str(self._target)!r} is not written: no frame came")
        self._container.mux(self._stream.encode(None))
        container, self._container = self._container, None
        container.close()
        if self._last_duration:
            set_last_duration(self._pending.path, self._last_duration)
        return self._report(bytes_written=self._pending.publish())

    def abort(self) -> None:
        if self._done:
            return
        self._done = True
        container, self._container = self._container, None
        if container is not None:
            try:
                container.close()
            except (av.FFmpegError, OSError, ValueError) as error:
                log.debug("closing an aborted animation: %s", error)
        if self._pending is not None:
            self._pending.discard()


def how_often_played(path: Path) -> int | None:
    """How often an animation plays; 0: for ever; ``None``: not an animation, or without a loop count."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return None
    if head.startswith((b"GIF87a", b"GIF89a")):
        at = head.find(b"NETSCAPE2.0\x03\x01")
        if at < 0:
            return 1
        repeats = int.from_bytes(head[at + 13 : at + 15], "little")
        return repeats + 1 if repeats else 0
    if head.startswith(b"\x89PNG") and b"acTL" in head:
        at = head.find(b"acTL")
        return int.from_bytes(head[at + 8 : at + 12], "big")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and b"ANIM" in head:
        at = head.find(b"ANIM")
        return int.from_bytes(head[at + 12 : at + 14], "little")
    return None
