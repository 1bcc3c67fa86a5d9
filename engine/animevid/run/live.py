"""Live stylization: the newest frame of each viewer, in fair turns."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Self, TypedDict, Unpack

from animevid.errors import LiveError
from animevid.frame import Frame, StylizedFrame
from animevid.options import LiveOptions, RuntimeOptions, StyleSpec
from animevid.run.adaptive import QualityStep
from animevid.run.live_renderer import LiveRenderer
from animevid.run.queues import Turns
from animevid.run.session import LIVE, Session, beside_original
from animevid.run.statistics import PipelineStatistics
from animevid.run.stylizer_cache import StylizerCache

log = logging.getLogger(__name__)

#: A viewer without frames for this long takes no share of the machine.
_ACTIVE_SECONDS = 1.0
#: How long a viewer's error is shown, a few updates of the page.
_REPORTED_SECONDS = 5.0


class LiveChanges(TypedDict, total=False):
    """The settings that a viewer may change."""

    style: StyleSpec
    strength: float
    mirror: bool


class BusyError(LiveError):
    """The maximum number of viewers is connected: try again later."""


class LiveSession:
    """One viewer's session. Frames go in by ``offer`` and come out by ``take``; settings may change at any time.

    Made by ``LiveEngine.open_session``. A context manager; ``close`` lets another viewer in.
    """

    def __init__(self, engine: LiveEngine, settings: LiveOptions) -> None:
        self._engine = engine
        self.renderer = LiveRenderer(engine.stylizer_cache, settings, sharers=engine.sharers)
        self._session: Session[StylizedFrame] = Session(
            None,
            self.renderer,
            policy=LIVE,
            fit=self.renderer.fit,
            finish=beside_original,
            turns=engine.turns,
            on_error=self._fail,
            source_name="camera",
        )
        self._session.__enter__()
        self._reported: tuple[str, float] | None = None
        self.offered_at_seconds = 0.0
        self.is_closed = False

    @property
    def settings(self) -> LiveOptions:
        return self.renderer.settings

    def change(self, **changes: Unpack[LiveChanges]) -> None:
        """Change settings from the next frame on. A new style loads while the old one stays in use.

        Raises:
            UsageError: a value outside its limits.
        """
        self.renderer.settings = replace(self.settings, **changes)

    @property
    def trouble(self) -> str | None:
        """The current error in one line: of the style, the frame or a request; ``None`` if there is none."""
        if self._reported is not None and time.monotonic() < self._reported[1]:
            return self._reported[0]
        return self.renderer.trouble

    def report(self, trouble: str) -> None:
        """Show ``trouble`` (one line) for some seconds, whether or not later frames succeed."""
        self._reported = trouble, time.monotonic() + _REPORTED_SECONDS

    @property
    def step(self) -> QualityStep:
        """The current quality level."""
        return self.renderer.step

    @property
    def is_reduced(self) -> bool:
        """Whether the machine is too slow for the requested quality at the target rate."""
        return self.renderer.is_reduced

    @property
    def held_fps(self) -> float:
        """The target rate: the requested one, or the camera's where that is slower."""
        wanted, camera = float(self.settings.fps), self.renderer.arrivals.frame_seconds
        return min(wanted, 1 / camera) if camera else wanted

    @property
    def style_name(self) -> str:
        """The name of the style in use."""
        return self.renderer.style_name

    @property
    def frames_dropped(self) -> int:
        """Frames that newer ones replaced, before or after the network."""
        return sum(stage.dropped for stage in self.statistics().stages)

    def statistics(self) -> PipelineStatistics:
        """Time per stage."""
        return self._session.statistics()

    def offer(self, frame: Frame) -> None:
        """Pass the newest frame; one that still waits is dropped. Never blocks."""
        self.offered_at_seconds = time.monotonic()
        self.renderer.arrivals.observe(self.offered_at_seconds)
        self._session.offer(frame)

    def take(self, *, timeout_seconds: float | None = None) -> StylizedFrame | None:
        """The newest result; ``None`` after ``timeout_seconds`` or once closed."""
        return self._session.take(timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Leave without waiting for the current frame. Safe to call twice."""
        self.is_closed = True
        self._session.cancel()
        self._engine.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _fail(self, error: Exception) -> None:
        # A frame that fails must not end the stream.
        if self.trouble != str(error):
            log.warning("a frame could not be stylized: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))
        self.renderer.fail(str(error))


class LiveEngine:
    """What viewers share: the open networks and their turns on the machine. A context manager.

    Viewers take turns, one frame each, however many they send. One frame at a time is best: a network uses all cores,
    and a frame that runs alone is finished soonest.

    Args:
        runtime (RuntimeOptions): how networks run. Default: the fastest way on this machine.
        max_sessions (int): the maximum number of viewers at a time. Default: 4.
    """

    def __init__(self, runtime: RuntimeOptions | None = None, *, max_sessions: int = 4) -> None:
        self._max_sessions = max_sessions
        self.turns = Turns()
        self.stylizer_cache = StylizerCache(runtime or RuntimeOptions())
        self._sessions: list[LiveSession] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    def sharers(self) -> int:
        """How many viewers have sent a frame recently."""
        now = time.monotonic()
        return max(1, sum(now - session.offered_at_seconds < _ACTIVE_SECONDS for session in tuple(self._sessions)))

    def open_session(self, settings: LiveOptions | None = None) -> LiveSession:
        """A session for one more viewer. Its style is loaded first.

        Raises:
            BusyError: ``max_sessions`` viewers are connected already.
            StyleError, BackendError: the style cannot be used.
        """
        settings = settings or LiveOptions()
        self._check_room()
        self.stylizer_cache.load(settings)
        with self._lock:
            self._check_room()
            session = LiveSession(self, settings)
            self._sessions.append(session)
        return session

    def forget(self, session: LiveSession) -> None:
        """Remove a session (``LiveSession.close`` calls it)."""
        with self._lock:
            if session in self._sessions:
                self._sessions.remove(session)

    def close(self) -> None:
        """Stop and close the networks. Safe to call twice."""
        self._closed = True
        for session in tuple(self._sessions):
            session.close()
        with self.turns:  # the running frame has finished, and no other begins
            self.stylizer_cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_room(self) -> None:
        if self._closed:
            raise LiveError("the live engine was closed: start it again")
        if len(self._sessions) >= self._max_sessions:
            raise BusyError(f"all {self._max_sessions} places are taken: wait until one is free")
