"""The host's camera, shared by viewers."""

from __future__ import annotations

import threading

from animevid.errors import LiveError
from animevid.frame import Frame
from animevid.io.sources.camera import Camera
from animevid.options import CameraOptions
from animevid.run.live import LiveSession


class HostCamera:
    """The host's camera, read once for all viewers, and only while there are any."""

    def __init__(self, settings: CameraOptions | None) -> None:
        self.settings = settings
        self._camera: Camera | None = None
        self._sessions: set[LiveSession] = set()
        self._lock = threading.Lock()

    @property
    def is_offered(self) -> bool:
        return self.settings is not None

    def join(self, session: LiveSession) -> None:
        """Start sending the camera's frames to ``session``. Blocks while the camera opens.

        Raises:
            LiveError, InputError: there is no camera, or it does not open.
        """
        if self.settings is None:
            raise LiveError("this server has no camera to offer: start it with --device")
        with self._lock:
            self._sessions.add(session)
            if self._camera is not None:
                return
            camera = Camera(self.settings, self._deliver)
            try:
                self._camera = camera.__enter__()
            except BaseException:
                self._sessions.discard(session)
                raise

    def leave(self, session: LiveSession) -> None:
        """Stop sending; the last session closes the camera."""
        with self._lock:
            self._sessions.discard(session)
            if self._sessions or self._camera is None:
                return
            camera, self._camera = self._camera, None
        camera.close()

    def _deliver(self, frame: Frame) -> None:
        for session in tuple(self._sessions):
            session.offer(frame)
