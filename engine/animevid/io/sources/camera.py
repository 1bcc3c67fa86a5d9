"""Cameras and substitutes for one: a file played in real time, a test pattern, a network stream."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
import numpy as np

from animevid.errors import AnimevidError, LiveError
from animevid.frame import Frame
from animevid.io import open_source
from animevid.io.network.protocols import is_local_file, scheme_of
from animevid.io.pacing import Pacer, ticks
from animevid.io.planes_io import PlaneReader
from animevid.io.retry import Backoff
from animevid.io.sources.counter import draw_counter
from animevid.options import CameraOptions, SourceOptions
from animevid.pixels import PlanesYUV420, resize_planes
from animevid.redaction import redacted, redacted_text

if TYPE_CHECKING:
    from av.container import InputContainer

log = logging.getLogger(__name__)

#: The name of the synthetic camera: moving shapes with the frame's number drawn over them.
TEST_PATTERN = "testpattern"
#: FFmpeg's camera input of each platform.
_CAMERA_FORMATS = {"linux": "video4linux2", "darwin": "avfoundation", "win32": "dshow"}
_OPEN_TIMEOUT_SECONDS = 20.0
_DEFAULT_SIZE = (360, 640)
_DEFAULT_FPS = Fraction(30)


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """A camera of this machine: ``name`` is the value for ``--device``, ``title`` the name for users."""

    name: str
    title: str


def list_cameras() -> list[CameraDevice]:
    """The cameras of this machine, the default one first."""
    if sys.platform.startswith("linux"):
        return _linux_cameras()
    import av.device

    try:
        found = av.device.enumerate_input_devices(_CAMERA_FORMATS[sys.platform])
    except (KeyError, ValueError, av.FFmpegError) as error:
        log.debug("cameras cannot be listed: %s", error)
        return []
    cameras = [device for device in found if not device.media_types or "video" in device.media_types]
    return [
        CameraDevice(device.name, device.description or device.name)
        for device in sorted(cameras, key=lambda device: not device.is_default)
    ]


def _linux_cameras(root: Path = Path("/sys/class/video4linux")) -> list[CameraDevice]:
    cameras = []
    for folder in sorted(root.glob("video*"), key=lambda folder: int(folder.name[5:] or 0)):
        with suppress(OSError):
            # A camera has several nodes; index 0 is the video, the others are metadata.
            if (folder / "index").read_text().strip() not in ("", "0"):
                continue
            cameras.append(CameraDevice(f"/dev/{folder.name}", (folder / "name").read_text().strip()))
    return cameras


class Camera:
    """Reads frames in its own thread and passes each to ``deliver`` at once. A context manager.

    Entering waits for the first frame. A camera that is unplugged, or a stream that breaks off, is reopened with
    growing pauses; meanwhile ``trouble`` says so in one line. A file starts again at its end.

    Raises (on entering):
        LiveError: no camera, or it does not open.
        InputError, UsageError: a file or URL that cannot be read.
    """

    def __init__(
        self, settings: CameraOptions, deliver: Callable[[Frame], None], *, backoff: Backoff | None = None
    ) -> None:
        self._settings = settings
        self._deliver = deliver
        self._backoff = backoff or Backoff()
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="animevid-camera", daemon=True)
        self.trouble: str | None = None
        self.frames_read = 0
        self.description = redacted(settings.device or "camera")

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_OPEN_TIMEOUT_SECONDS):
            self._stopping.set()
            raise LiveError(f"{self.description!r} gave no frame in {_OPEN_TIMEOUT_SECONDS:g} s: check the camera")
        if self._failure is not None:
            self.close()
            raise self._failure
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading. Safe to call twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        reason = self._read()
        if not self._ready.is_set():
            self._failure = self._failure or LiveError(f"{self.description!r} gave no frame")
            self._ready.set()
            return

        def wait(seconds: float) -> bool:
            self.trouble = f"{self.description}: {reason}; trying again in {seconds:.1f} s"
            log.info("%s", self.trouble)
            return not self._stopping.wait(seconds)

        if not self._stopping.is_set():
            for _ in self._backoff.attempts(wait):
                reason = self._read()
                if self._stopping.is_set():
                    return

    def _read(self) -> str:
        """Deliver frames until the camera breaks off; returns the reason in a few words."""
        try:
            for planes in open_feed(self._settings, self._stopping):
                self._backoff.reset()
                self.trouble = None
                self._deliver(Frame.captured(planes, self.frames_read, time.monotonic()))
                self.frames_read += 1
                self._ready.set()
                if self._stopping.is_set():
                    break
        except AnimevidError as error:
            if not self._ready.is_set():
                self._failure = error
            return str(error)
        except Exception as error:
            log.debug("the camera failed", exc_info=True)
            reason = redacted_text(f"{type(error).__name__}: {error}")
            if not self._ready.is_set():
                self._failure = LiveError(f"{self.description!r} failed: {reason}")
            return reason
        return "it ended"


def open_feed(settings: CameraOptions, stopping: threading.Event) -> Iterator[PlanesYUV420]:
    """The frames of a camera or its substitute in real time, until ``stopping`` is set or it breaks off.

    Raises:
        LiveError, InputError, UsageError: it does not open, or fails later.
    """
    device = settings.device
    if device == TEST_PATTERN:
        return test_pattern(settings, stopping)
    if device is not None and (scheme_of(device) is not None or Path(device).is_file()):
        return _stand_in(device, settings, stopping)
    return _device(device, settings, stopping)


def test_pattern(settings: CameraOptions, stopping: threading.Event) -> Iterator[PlanesYUV420]:
    """A synthetic camera: colour gradients, a moving ball, and the number of each frame (``counter``)."""
    height, width = settings.size or _DEFAULT_SIZE
    rows, columns = np.mgrid[0:height, 0:width]
    ground = (70 + 90 * rows / height + 30 * np.sin(columns * 9 / width)).astype(np.uint8)
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    u = np.full((half_height, half_width), np.linspace(90, 165, half_width).astype(np.uint8), np.uint8)
    v = np.full((half_height, half_width), np.linspace(160, 95, half_height).astype(np.uint8)[:, None], np.uint8)
    radius = max(4, height // 9)
    y, x = np.ogrid[-radius:radius, -radius:radius]
    ball = x * x + y * y < radius * radius
    for index in ticks(settings.fps or _DEFAULT_FPS, stopping):
        luma = ground.copy()
        left = int((0.5 + 0.45 * np.sin(index / 17)) * (width - 2 * radius))
        top = int((0.6 + 0.3 * np.sin(index / 11)) * (height - 2 * radius))
        luma[top : top + 2 * radius, left : left + 2 * radius][ball] = 225
        draw_counter(luma, index)
        yield PlanesYUV420(luma, u, v)


test_pattern.__test__ = False  # type: ignore[attr-defined]  # not a pytest test, despite its name


def _stand_in(spec: str, settings: CameraOptions, stopping: threading.Event) -> Iterator[PlanesYUV420]:
    """A file, looped in real time, or a stream as it arrives."""
    is_file = is_local_file(spec)
    options = SourceOptions(input_options=() if is_file else (("fflags", "nobuffer"),))
    while not stopping.is_set():
        with open_source(spec, options, threads=1) as source:
            pacer, first, next_due = Pacer(should_stop=stopping.is_set, sleep=stopping.wait), None, 0.0
            for frame in source:
                if stopping.is_set():
                    return
                if is_file:
                    first = frame.pts_seconds if first is None else first
                    due = float(frame.pts_seconds - first)
                    if settings.fps is not None:
                        if due < next_due:
                            continue
                        next_due = max(next_due + float(1 / settings.fps), due)
                    pacer.hold(frame.pts_seconds)
                planes = frame.planes
                yield planes if settings.size is None else resize_planes(planes, settings.size)
            trouble = source.read_error
        if not is_file:
            raise LiveError(trouble or f"url = {redacted(spec)!r} ended")


def _device(device: str | None, settings: CameraOptions, stopping: threading.Event) -> Iterator[PlanesYUV420]:
    """A real camera, read at its own pace."""
    name = _device_name(device)
    height, width = settings.size or _DEFAULT_SIZE
    rate = settings.fps or _DEFAULT_FPS
    options = {"video_size": f"{width}x{height}", "framerate": str(rate), "fflags": "nobuffer"}
    reader = PlaneReader()
    with _open_device(name, options) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # frame threads would delay frames
        try:
            for raw in container.decode(stream):
                if stopping.is_set():
                    return
                yield reader.read(raw)
        except (av.FFmpegError, OSError) as error:
            raise LiveError(f"camera {name!r} broke off: {_reason(error)}; check its cable") from error


def _device_name(device: str | None) -> str:
    cameras = list_cameras()
    if device is None:
        if not cameras:
            raise LiveError(
                "no camera was found: plug one in, or give --device testpattern, a file or a URL to stand in for it"
            )
        return cameras[0].name
    if device.isdigit() and int(device) < len(cameras):
        return cameras[int(device)].name
    if sys.platform.startswith("linux"):
        path = Path(f"/dev/video{device}") if device.isdigit() else Path(device)
        if not path.exists():
            known = ", ".join(camera.name for camera in cameras) or "none"
            raise LiveError(
                f"{device = } is no camera here (there is: {known}), no file and no URL; see animevid webcam "
                "--list-devices"
            )
        return str(path)
    return device


def _open_device(name: str, options: dict[str, str]) -> InputContainer:
    """The camera's container: with the requested size and rate, or the camera's own if it refuses them."""
    format_name = _CAMERA_FORMATS.get(sys.platform, "video4linux2")
    target = f"video={name}" if format_name == "dshow" and not name.startswith("video=") else name
    failure: Exception | None = None
    # Try MJPEG first: over USB 2 only MJPEG reaches 30 fps above 640x480.
    extra = {"input_format": "mjpeg"} if format_name == "video4linux2" else {}
    for params in ({**options, **extra}, options, {"fflags": "nobuffer"}):
        try:
            return av.open(target, "r", format=format_name, container_options=params)
        except (av.FFmpegError, OSError, ValueError) as error:
            failure = error
    reason = _reason(failure)
    if isinstance(failure, PermissionError):
        reason += "; add yourself to its group: sudo usermod -aG video $USER"
    elif isinstance(failure, OSError) and failure.errno == 16:
        reason += "; another program uses it"
    raise LiveError(f"camera {name!r} cannot be opened: {reason}") from failure


def _reason(error: BaseException | None) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return redacted_text(str(text).splitlines()[0])
