"""The webcam loop: camera in, window, virtual camera and recording out; always the newest frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from animevid.errors import AnimevidError, LiveError
from animevid.frame import Frame, StylizedFrame
from animevid.io.sink import Sink
from animevid.io.sinks.recording import RecordingSink
from animevid.io.sinks.virtual_camera import VirtualCamera
from animevid.io.sinks.window import View, Window, compose, pressed
from animevid.io.sources.camera import Camera
from animevid.io.sources.microphone import Microphone
from animevid.options import WebcamOptions
from animevid.pixels import planes_to_rgb
from animevid.run.latency import LiveStatistics, Meter
from animevid.run.live import LiveEngine, LiveSession

log = logging.getLogger(__name__)

#: How long the loop waits for a frame before it checks the keyboard again.
_PATIENCE_SECONDS = 0.02


class Webcam:
    """One run of the webcam command. ``run`` returns when the user quits or ``stop`` is called."""

    def __init__(self, options: WebcamOptions, *, sinks: Sequence[Sink] = ()) -> None:
        """``sinks`` get each frame as it is shown, beside window, virtual camera and recording; ``run`` ends them."""
        self._options, self._more_sinks = options, tuple(sinks)
        self._view = View(
            strength=options.live.strength,
            compare=options.compare,
            mirror=options.live.mirror,
            recording=options.record,
            figures=options.figures,
        )
        self._recorder: RecordingSink | None = None
        self._microphone: Microphone | None = None
        self._meter = Meter()
        self._notice, self._notice_until = "", 0.0
        self._last: StylizedFrame | None = None
        self._stopped = False
        self._dropped_while_opening = 0
        #: Paths of the written files.
        self.files: list[Path] = []

    def stop(self) -> None:
        """End ``run`` after the current frame. From any thread or signal handler."""
        self._stopped = True

    def run(
        self,
        *,
        on_status: Callable[[str], None] | None = None,
        on_result: Callable[[StylizedFrame, Window | None], None] | None = None,
    ) -> LiveStatistics:
        """Show the camera until the end. ``on_status`` is called about once a second; ``on_result`` after each frame.

        Raises:
            LiveError: no camera, no screen, no virtual camera.
            StyleError, BackendError: the style cannot be used.
        """
        options = self._options
        with ExitStack() as stack:
            engine = stack.enter_context(LiveEngine(options.runtime, max_sessions=1))
            session = stack.enter_context(engine.open_session(options.live))
            camera = stack.enter_context(Camera(options.camera, session.offer))
            first = session.take(timeout_seconds=20)
            if first is None:
                raise LiveError(session.trouble or "no frame came within 20 s")
            size = (first.stylized.height, first.stylized.width)
            window = stack.enter_context(Window(size=size)) if options.window else None
            sinks = [stack.enter_context(sink) for sink in self._more_sinks]
            if options.virtual_camera is not None:
                virtual = VirtualCamera(size=size, fps=options.live.fps, device=options.virtual_camera or None)
                sinks.append(stack.enter_context(virtual))
                self._tell(f"virtual camera: {virtual.device}")
            stack.callback(self._stop_recording)
            result: StylizedFrame | None = first
            started = time.monotonic()
            next_status = started + 1.0
            while self._view.open and not self._stopped and self._has_time_since(started):
                if window is not None:
                    for key, shift in window.pressed_keys():
                        self._act(pressed(self._view, key, styles=len(options.styles), shift=shift), session)
                if result is not None:
                    self._last = result
                    self._show(result, window, sinks, session, camera)
                    if on_result is not None:
                        on_result(result, window)
                elif window is not None and camera.trouble is not None and self._last is not None:
                    self._show_in(window, self._last.frame.with_planes(self._last.stylized), session, camera)
                if on_status is not None and time.monotonic() >= next_status:
                    next_status += 1.0
                    on_status("  ".join(self._lines(session, camera)))
                result = session.take(timeout_seconds=_PATIENCE_SECONDS)
            for sink in sinks:
                sink.finish()
            return self._figures(session)

    def _has_time_since(self, started: float) -> bool:
        limit = self._options.seconds
        return limit is None or time.monotonic() - started < limit

    def _show(
        self,
        result: StylizedFrame,
        window: Window | None,
        sinks: Sequence[Sink],
        session: LiveSession,
        camera: Camera,
    ) -> None:
        frame = result.frame.with_planes(compose(result, self._view))
        shown_at = result.finished_at_seconds
        if window is not None:
            self._show_in(window, frame, session, camera)
            shown_at = window.shown_at_seconds
        self._meter.note(shown_at, captured_at_seconds=result.captured_at_seconds)
        if self._meter.frames_shown == 1:
            self._dropped_while_opening = session.frames_dropped
        for sink in sinks:
            sink.write(frame)
        self._record(frame)

    def _show_in(self, window: Window, frame: Frame, session: LiveSession, camera: Camera) -> None:
        window.view, window.lines = self._view, self._lines(session, camera)
        window.write(frame)

    # --- status -----------------------------------------------------------------------------------------------------

    def _figures(self, session: LiveSession) -> LiveStatistics:
        # Frames from before the window opened do not count as dropped.
        dropped = session.frames_dropped - self._dropped_while_opening
        figures = self._meter.statistics(time.monotonic(), frames_dropped=dropped)
        return replace(figures, stages=session.statistics().stages)

    def _lines(self, session: LiveSession, camera: Camera) -> list[str]:
        figures = self._figures(session)
        lines = [
            f"{figures.fps:.0f} fps   {figures.latency_median_seconds * 1000:.0f} ms   "
            f"{figures.frames_dropped} dropped",
            f"{session.style_name}   strength {session.settings.strength:.0%}",
        ]
        if session.is_reduced:
            lines.append(f"reduced to {session.step} to hold {session.held_fps:.0f} fps")
        lines += [trouble for trouble in (camera.trouble, session.trouble) if trouble]
        if time.monotonic() < self._notice_until:
            lines.append(self._notice)
        return lines

    def _tell(self, notice: str, *, level: int = logging.INFO) -> None:
        """Show a notice in the window for some seconds; a warning is printed too."""
        log.log(level, "%s", notice)
        self._notice, self._notice_until = notice, time.monotonic() + 4.0

    # --- keys -------------------------------------------------------------------------------------------------------

    def _act(self, view: View, session: LiveSession) -> None:
        before, self._view = self._view, view
        if view.style_index != before.style_index:
            session.change(style=self._options.styles[view.style_index])
        if view.strength != before.strength:
            session.change(strength=view.strength)
        if view.mirror != before.mirror:
            session.change(mirror=view.mirror)
        if view.snapshots != before.snapshots:
            self._take_snapshot()
        if before.recording and not view.recording:
            self._stop_recording()

    def _take_snapshot(self) -> None:
        if self._last is None:
            return
        path = _free_name(self._options.folder, ".png")
        try:
            save_png(compose_rgb(self._last, self._view), path)
        except (OSError, AnimevidError) as error:
            self._tell(f"no snapshot: {error}", level=logging.WARNING)
            return
        self.files.append(path)
        self._tell(f"saved {path.name}")

    def _record(self, frame: Frame) -> None:
        if not self._view.recording:
            return
        try:
            if self._recorder is None:
                self._microphone = self._open_microphone()
                fps = self._options.live.fps
                path = _free_name(self._options.folder, ".mp4")
                sound = self._microphone is not None
                self._recorder = RecordingSink(path, first=frame, fps=fps, sound=sound)
                if self._microphone is not None:
                    self._microphone.start(self._recorder.offer_sound)
            self._recorder.write(frame)
        except AnimevidError as error:
            self._tell(f"not recorded: {error}", level=logging.WARNING)
            self._view = replace(self._view, recording=False)
            self._stop_recording()

    def _open_microphone(self) -> Microphone | None:
        if self._options.microphone is None:
            return None
        try:
            return Microphone(self._options.microphone)
        except LiveError as error:
            if self._options.microphone != "auto":
                raise
            self._tell(f"recording without sound: {error}")
            return None

    def _stop_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        microphone, self._microphone = self._microphone, None
        if microphone is not None:
            microphone.close()
        if recorder is None:
            return
        with recorder:
            try:
                path = Path(recorder.finish().path)
            except AnimevidError as error:
                self._tell(str(error), level=logging.WARNING)
                return
        self.files.append(path)
        self._tell(f"saved {path.name}")


def compose_rgb(result: StylizedFrame, view: View) -> object:
    """The window's content without the statistics, uint8 RGB ``(H, W, 3)``."""
    return planes_to_rgb(compose(result, view))


def save_png(rgb: object, path: Path) -> None:
    """Write uint8 RGB ``(H, W, 3)`` as a PNG.

    Raises:
        OSError: it cannot be written.
    """
    import cv2
    import numpy as np

    written, data = cv2.imencode(".png", np.ascontiguousarray(np.asarray(rgb)[..., ::-1]))
    if not written:
        raise OSError("the frame cannot be encoded")
    path.write_bytes(data.tobytes())


def _free_name(folder: Path, suffix: str) -> Path:
    stem = datetime.now().strftime("animevid-%Y%m%d-%H%M%S")
    path = folder / f"{stem}{suffix}"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path
