"""Stylizing live: any number of viewers, the newest frame of each, in fair turns."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from animevid.errors import LiveError
from animevid.frame import Frame, StylizedFrame
from animevid.options import LiveOptions, RuntimeOptions
from animevid.run.adaptive import QualityStep
from animevid.run.live_renderer import LiveRenderer
from animevid.run.queues import Turns
from animevid.run.session import LIVE, Session, beside_original
from animevid.run.statistics import PipelineStatistics
from animevid.run.stylizer_cache import StylizerCache

log = logging.getLogger(__name__)

#: A viewer that has been silent for this long takes no share of the machine.
_ACTIVE_SECONDS = 1.0
#: How long an error of a viewer's own is told: some rounds of the page's figures.
_REPORTED_SECONDS = 5.0


class BusyError(LiveError):
    """All places are taken: come back later."""


class LiveSession:
    """One viewer's place. Frames go in by ``offer``, come out by ``take``; settings may change at any time.

    Made by ``LiveEngine.open_session``. A context manager; ``close`` frees the place.
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

    def change(self, **changes: Any) -> None:
        """Change settings, from the next frame on. A new style is loaded while the old one goes on.

        Raises:
            UsageError: a value outside its limits.
        """
        self.renderer.settings = replace(self.settings, **changes)

    @property
    def trouble(self) -> str | None:
        """What is wrong, as one line: with the style that was asked for, the frame, or what was asked of us."""
        if self._reported is not None and time.monotonic() < self._reported[1]:
            return self._reported[0]
        return self.renderer.trouble

    def report(self, trouble: str) -> None:
        """Say ``trouble`` (one line) for some seconds, whatever becomes of the next frames."""
        self._reported = trouble, time.monotonic() + _REPORTED_SECONDS

    @property
    def step(self) -> QualityStep:
        """The level of quality that is shown now."""
        return self.renderer.step

    @property
    def is_reduced(self) -> bool:
        """Whether the machine cannot hold the rate at the quality that was asked for."""
        return self.renderer.is_reduced

    @property
    def held_fps(self) -> float:
        """The rate that is to be held: the one that was asked for, or the camera's where that is slower."""
        wanted, camera = float(self.settings.fps), self.renderer.arrivals.frame_seconds
        return min(wanted, 1 / camera) if camera else wanted

    @property
    def style_name(self) -> str:
        """The style on screen."""
        return self.renderer.style_name

    @property
    def frames_dropped(self) -> int:
        """Frames that were replaced by newer ones, before the network or behind it."""
        return sum(stage.dropped for stage in self.statistics().stages)

    def statistics(self) -> PipelineStatistics:
        """Where the time goes, stage by stage."""
        return self._session.statistics()

    def offer(self, frame: Frame) -> None:
        """The newest frame; one that still waits is dropped. Never blocks."""
        self.offered_at_seconds = time.monotonic()
        self.renderer.arrivals.observe(self.offered_at_seconds)
        self._session.offer(frame)

    def take(self, *, timeout_seconds: float | None = None) -> StylizedFrame | None:
        """The newest result; ``None`` after ``timeout_seconds`` or once closed."""
        return self._session.take(timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Leave, without waiting for the frame at hand. Safe to call twice."""
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
        # One odd frame must not end the stream.
        if self.trouble != str(error):
            log.warning("a frame could not be stylized: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))
        self.renderer.fail(str(error))


class LiveEngine:
    """What all viewers share: the networks that are open, and the turns they take. A context manager.

    Each viewer's newest frame is stylized in turn: one who sends more gets no more turns. One frame at a time suits it:
    a network uses all cores by itself, and a frame that is worked on alone is finished soonest.

    Args:
        runtime (RuntimeOptions): what runs the networks. Default: what is fastest here.
        max_sessions (int): how many viewers there may be at a time. Default: 4.
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
        """How many viewers have sent a frame of late."""
        now = time.monotonic()
        return max(1, sum(now - session.offered_at_seconds < _ACTIVE_SECONDS for session in tuple(self._sessions)))

    def open_session(self, settings: LiveOptions | None = None) -> LiveSession:
        """A place for one more viewer. Its style is loaded first.

        Raises:
            BusyError: ``max_sessions`` viewers are there already.
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
        """Free a session's place (``LiveSession.close`` calls it)."""
        with self._lock:
            if session in self._sessions:
                self._sessions.remove(session)

    def close(self) -> None:
        """Stop working and free the networks. Safe to call twice."""
        self._closed = True
        for session in tuple(self._sessions):
            session.close()
        with self.turns:  # whoever is at it has finished, and none begins after
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
