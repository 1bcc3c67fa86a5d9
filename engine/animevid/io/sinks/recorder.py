"""Recording what is seen, with the microphone where there is one, into a file that appears when it is whole."""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import av.filter

from animevid.errors import LiveError, OutputError
from animevid.files import PendingFile, check_target
from animevid.io import PictureKind
from animevid.io.encoders import choose_encoder, open_context
from animevid.io.network.protocols import output_error
from animevid.io.planes_io import PlaneWriter
from animevid.io.sinks.container import muxer_for
from animevid.options import EncodeOptions
from animevid.pixels import PlanesYUV420, resize_planes

log = logging.getLogger(__name__)

_VIDEO_TICK = Fraction(1, 90_000)
_AUDIO_RATE_HZ = 48_000
#: How many samples a second may be added or left out to keep sound with the pictures: 0.4 %, which nobody hears.
_SOUND_ELASTICITY = 200
_MICROPHONE_FORMATS = {"linux": ("alsa", "default"), "darwin": ("avfoundation", ":default")}


class Microphone:
    """Sound of a microphone, or of a file in its place, read in a thread of its own. A context manager.

    ``device``: ``"auto"`` (the system's default), a device's name, or a file that plays in real time.

    Raises:
        LiveError: there is none, or it does not open.
    """

    def __init__(self, device: str = "auto") -> None:
        self._stopping = threading.Event()
        self._container = _open_microphone(device)
        self._is_file = Path(device).is_file()
        self._deliver: Any = None
        self._thread = threading.Thread(target=self._run, name="animevid-microphone", daemon=True)

    def start(self, deliver: Any) -> None:
        """Call ``deliver(frame, arrived_at_seconds)`` with each audio frame, on ``time.monotonic``'s clock."""
        self._deliver = deliver
        self._thread.start()

    def close(self) -> None:
        """Stop. Safe to call twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        started = time.monotonic()
        try:
            for frame in self._container.decode(audio=0):
                if self._is_file and frame.time is not None:
                    self._stopping.wait(max(0.0, started + frame.time + frame.samples / frame.rate - time.monotonic()))
                if self._stopping.is_set():
                    return
                self._deliver(frame, time.monotonic())
        except (av.FFmpegError, OSError) as error:
            log.warning("the microphone broke off: %s", error)


def _open_microphone(device: str) -> Any:
    if Path(device).is_file():
        name, format_name = f"file:{device}", None
        options = {"protocol_whitelist": "file"}
    else:
        format_name, default = _MICROPHONE_FORMATS.get(sys.platform, ("dshow", ""))
        name, options = (default if device == "auto" else device), {}
        if not name:
            raise LiveError("name the microphone as this system does: --microphone 'audio=Microphone (...)'")
    try:
        container = av.open(name, "r", format=format_name, container_options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise LiveError(f"microphone {name!r} cannot be opened ({error.__class__.__name__}): name another") from error
    if not container.streams.audio:
        container.close()
        raise LiveError(f"microphone {name!r} has no sound: name another")
    return container


class Recorder:
    """One recording: pictures and sound by the clock, together whatever is dropped. A context manager.

    The first picture sets size and start; sound from before it is left out. Leaving without ``finish`` throws the
    recording away.

    Raises:
        OutputError: the file exists or cannot be written.
        UsageError: a container or codec that cannot be.
    """

    def __init__(
        self, path: Path, *, fps: Fraction = Fraction(30), sound: bool = False, encoder: EncodeOptions | None = None
    ) -> None:
        check_target(path, overwrite=False)
        self.path = path
        self._muxer = muxer_for(path)
        self._fps = fps
        self._sound = sound
        self._settings = encoder or EncodeOptions(preset="ultrafast")
        self._file: PendingFile | None = None
        self._container: Any = None
        self._lock = threading.Lock()
        self._start_seconds = 0.0
        self._last_ticks = -1
        self._sound_filter: Any = None
        self._sound_kind: tuple[str, str, int] | None = None
        self._sound_end = 0
        self._failure: OutputError | None = None
        self.frames_written = 0

    def write(self, planes: PlanesYUV420, *, at_seconds: float) -> None:
        """The next picture and the moment it was captured, on ``time.monotonic``'s clock.

        Raises:
            OutputError: the disk is full, or the like, now or when sound was written; the recording is thrown away.
        """
        with self._lock, self._tidied():
            if self._failure is not None:
                raise self._failure
            if self._container is None:
                self._open(planes, at_seconds)
            if (planes.height, planes.width) != self._size:
                planes = resize_planes(planes, self._size)
            ticks = max(round((at_seconds - self._start_seconds) / _VIDEO_TICK), self._last_ticks + 1)
            self._last_ticks = ticks
            raw = self._writer.write(planes)
            raw.pts, raw.time_base, raw.pict_type = ticks, _VIDEO_TICK, 0
            raw.duration = round(1 / self._fps / _VIDEO_TICK)
            self._container.mux(self._video.encode(raw))
            self.frames_written += 1

    def write_sound(self, frame: Any, arrived_at_seconds: float) -> None:
        """An ``av.AudioFrame`` and the moment it arrived (its end). What fails here, the next ``write`` raises."""
        with suppress(OutputError), self._lock, self._tidied():
            if self._container is None or self._audio is None:
                return
            begin = arrived_at_seconds - frame.samples / frame.rate - self._start_seconds
            if begin < 0:
                return
            kind = (frame.format.name, frame.layout.name, frame.rate)
            if self._sound_filter is None or self._sound_kind != kind:
                self._sound_filter, self._sound_kind = self._elastic_sound(frame), kind
            frame.pts, frame.time_base = round(begin * frame.rate), Fraction(1, frame.rate)
            self._sound_filter.push(frame)
            self._drain_sound()

    def _drain_sound(self) -> None:
        while True:
            try:
                part = self._sound_filter.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            # Where packets came in a burst, the filter steps back by a millisecond or two; a file's clock must not.
            part.pts = max(part.pts, self._sound_end)
            self._sound_end = part.pts + part.samples
            self._container.mux(self._audio.encode(part))

    def _elastic_sound(self, frame: Any) -> Any:
        """Sound as the encoder wants it, on the clock of its arrival.

        A microphone counts its samples by a crystal of its own, which is a few thousandths of a percent off, or more;
        in half an hour that is heard. So it is stretched or squeezed a little all the time towards the clock (the
        ``async`` of FFmpeg's resampler), and where sound is missing there is silence.
        """
        context = self._audio.codec_context
        graph = av.filter.Graph()
        steps = [
            graph.add_abuffer(
                sample_rate=frame.rate, format=frame.format, layout=frame.layout, time_base=Fraction(1, frame.rate)
            ),
            graph.add("aresample", f"{_AUDIO_RATE_HZ}:async={_SOUND_ELASTICITY}"),
            graph.add("aformat", f"sample_fmts={context.format.name}:channel_layouts=stereo"),
            graph.add("asetnsamples", f"n={context.frame_size or 1024}:p=0"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*steps).configure()
        return graph

    def finish(self) -> Path | None:
        """Complete the file and give it its name; ``None`` if no picture came.

        Raises:
            OutputError: it cannot be written.
        """
        with self._lock, self._tidied():
            if self._container is None or self._file is None:
                return None
            self._container.mux(self._video.encode(None))
            if self._audio is not None and self._sound_filter is not None:
                self._sound_filter.push(None)
                self._drain_sound()
                self._container.mux(self._audio.encode(None))
            self._container.close()
            self._container = None
            self._file.publish()
            return self.path

    def abort(self) -> None:
        """Throw the recording away. Safe to call twice, and after ``finish``."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(av.FFmpegError, OSError, ValueError):
                container.close()
            if self._file is not None:
                self._file.discard()

    def fail(self, failure: OutputError) -> None:
        """Throw the recording away, and say why to whoever writes next."""
        self._failure = failure
        self.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    def _tidied(self) -> _Tidied:
        return _Tidied(self)

    def _open(self, planes: PlanesYUV420, at_seconds: float) -> None:
        kind = PictureKind(
            width=planes.width,
            height=planes.height,
            bit_depth=planes.bit_depth,
            colour=planes.colour,
            rate=self._fps,
            time_base=_VIDEO_TICK,
        )
        plan = choose_encoder(self._settings, kind, container=self._muxer)
        self._file = PendingFile(self.path, overwrite=False)
        self._container = av.open(f"file:{self._file.path}", "w", format=self._muxer)
        self._video = self._container.add_stream(plan.encoder, rate=self._fps)
        open_context(self._video.codec_context, plan, kind)
        self._video.time_base = _VIDEO_TICK
        self._writer = PlaneWriter(
            width=plan.width, height=plan.height, pixel_format=plan.pixel_format, colour=planes.colour
        )
        self._audio: Any = None
        if self._sound:
            codec = "libopus" if self._muxer == "webm" else "aac"
            self._audio = self._container.add_stream(codec, rate=_AUDIO_RATE_HZ, layout="stereo")
            self._audio.codec_context.open()
        self._size = (planes.height, planes.width)
        self._start_seconds = at_seconds


class _Tidied:
    """Turns a failure to write into one line, and throws the recording away."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, av.FFmpegError | OSError) and not isinstance(exc, OutputError):
            self._recorder.fail(output_error(self._recorder.path, exc))
            raise output_error(self._recorder.path, exc) from exc
