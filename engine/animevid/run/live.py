"""Stylizing live: one worker, any number of viewers, the newest picture of each, in fair turns."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from animevid.errors import AnimevidError, LiveError
from animevid.options import LiveOptions, RuntimeOptions
from animevid.pixels import PlanesYUV420, blend
from animevid.render.temporal import TemporalFilter
from animevid.run.adaptive import ArrivalRate, QualityGovernor, QualityStep, quality_ladder
from animevid.run.live_frames import LiveFrame, LiveResult, mirrored
from animevid.run.queues import BoundedQueue, WhenFull
from animevid.run.stylizer_cache import StylizerCache

log = logging.getLogger(__name__)

#: A viewer that has been silent for this long takes no share of the machine.
_ACTIVE_SECONDS = 1.0
#: How long an error of a viewer's own is told: some rounds of the page's figures.
_REPORTED_SECONDS = 5.0


class BusyError(LiveError):
    """All places are taken: come back later."""


class LiveSession:
    """One viewer's place. Pictures go in by ``offer``, come out by ``take``; settings may change at any time.

    Made by ``LiveEngine.open_session``. A context manager; ``close`` frees the place.
    """

    def __init__(self, engine: LiveEngine, settings: LiveOptions) -> None:
        self._engine = engine
        self._settings = settings
        self._waiting: BoundedQueue[LiveFrame] = BoundedQueue(
            1, when_full=WhenFull.KEEP_LATEST, condition=engine.condition
        )
        self._done: BoundedQueue[LiveResult] = BoundedQueue(1, when_full=WhenFull.KEEP_LATEST)
        self._governor = _governor(settings)
        self._arrivals = ArrivalRate()
        self._steps: TemporalFilter | None = None
        self.offered_at_seconds = 0.0
        self.cost_seconds = 0.0
        self._work_trouble: str | None = None
        self._reported: tuple[str, float] | None = None

    @property
    def settings(self) -> LiveOptions:
        return self._settings

    def change(self, **changes: Any) -> None:
        """Change settings, from the next picture on. A new style is loaded while the old one goes on."""
        settings = replace(self._settings, **changes)
        if settings.quality != self._settings.quality or settings.fps != self._settings.fps:
            self._governor = _governor(settings)
        self._settings = settings

    @property
    def trouble(self) -> str | None:
        """What is wrong, as one line: with the style that was asked for, the picture, or what was asked of us."""
        if self._reported is not None and time.monotonic() < self._reported[1]:
            return self._reported[0]
        return self._work_trouble

    def report(self, trouble: str) -> None:
        """Say ``trouble`` (one line) for some seconds, whatever becomes of the next frames."""
        self._reported = trouble, time.monotonic() + _REPORTED_SECONDS

    def fail(self, trouble: str) -> None:
        """Say ``trouble`` (one line) until a frame is stylized again."""
        self._work_trouble = trouble

    @property
    def step(self) -> QualityStep:
        """The level of quality that is shown now."""
        return self._governor.step if self._settings.adaptive else self._governor.ladder[0]

    @property
    def is_reduced(self) -> bool:
        """Whether the machine cannot hold the rate at the quality that was asked for."""
        return self._settings.adaptive and self._governor.is_reduced

    @property
    def held_fps(self) -> float:
        """The rate that is to be held: the one that was asked for, or the camera's where that is slower."""
        wanted, camera = float(self._settings.fps), self._arrivals.frame_seconds
        return min(wanted, 1 / camera) if camera else wanted

    @property
    def style_name(self) -> str:
        """The style on screen."""
        return "" if self._steps is None else self._steps.stylizer.card.name

    @property
    def frames_dropped(self) -> int:
        """Pictures that were replaced by newer ones, before the network or behind it."""
        return self._waiting.dropped + self._done.dropped

    @property
    def is_waiting(self) -> bool:
        return len(self._waiting) > 0

    @property
    def is_closed(self) -> bool:
        return self._waiting.is_cancelled

    def offer(self, frame: LiveFrame) -> None:
        """The newest picture; one that still waits is dropped. Never blocks."""
        self.offered_at_seconds = time.monotonic()
        self._arrivals.observe(self.offered_at_seconds)
        self._waiting.offer(frame)

    def take(self, *, timeout_seconds: float | None = None) -> LiveResult | None:
        """The newest result; ``None`` after ``timeout_seconds`` or once closed."""
        return self._done.take(timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Leave. Safe to call twice."""
        self._waiting.cancel()
        self._done.cancel()
        self._engine.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- the worker's side ------------------------------------------------------------------------------------------

    def work(self, *, sharers: int) -> None:
        """Stylize the picture that waits. Called by the engine's worker; ``sharers`` viewers take turns."""
        frame = self._waiting.take(timeout_seconds=0)
        if frame is None:
            return
        settings, step = self._settings, self.step
        if settings.mirror:
            frame = replace(frame, planes=mirrored(frame.planes))
        started = time.monotonic()
        stylized = self._stylize(frame.planes, settings, step)
        finished = time.monotonic()
        self.cost_seconds = finished - started
        if settings.adaptive and settings.strength > 0:
            arrival = self._arrivals.frame_seconds
            self._governor.observe(finished, self.cost_seconds * sharers, arrival_seconds=arrival)
        self._done.offer(LiveResult(frame, stylized, finished))

    def _stylize(self, planes: PlanesYUV420, settings: LiveOptions, step: QualityStep) -> PlanesYUV420:
        trouble: str | None = None
        try:
            wanted = self._engine.stylizer_cache.get(replace(settings, quality=step.quality))
        except AnimevidError as error:
            wanted, trouble = None, str(error)
        if wanted is not None and (self._steps is None or self._steps.stylizer is not wanted):
            self._steps = TemporalFilter(wanted)
        if self._steps is None or settings.strength == 0:
            self._work_trouble = trouble
            return planes
        stylizer = self._steps.stylizer
        base = stylizer.card.net_pixels if settings.net_pixels is None else settings.net_pixels
        pixels = planes.height * planes.width
        base = min(base, pixels) if base else pixels
        stylizer.net_pixels = max(32 * 32, round(base * step.net_share))
        stylizer.strength = 1.0
        stylized = self._steps.stylize_planes(planes)
        self._work_trouble = trouble  # not before: a frame that fails again is not a new trouble
        return blend(planes, stylized, strength=settings.strength)


def _governor(settings: LiveOptions) -> QualityGovernor:
    return QualityGovernor(quality_ladder(settings.quality), frame_seconds=float(1 / settings.fps))


class LiveEngine:
    """The worker that all viewers share, and the networks it keeps open. A context manager.

    Each viewer's newest picture is stylized in turn (round robin): one who sends more gets no more turns. Work in one
    thread suits it: a network uses all cores by itself, and a picture that is worked on alone is finished soonest.
    """

    def __init__(self, runtime: RuntimeOptions | None = None, *, max_sessions: int = 4) -> None:
        """
        Args:
            runtime (RuntimeOptions): what runs the networks. Default: what is fastest here.
            max_sessions (int): how many viewers there may be at a time. Default: 4.
        """
        self._max_sessions = max_sessions
        self.condition = threading.Condition()
        self.stylizer_cache = StylizerCache(runtime or RuntimeOptions())
        self._sessions: list[LiveSession] = []
        self._closed = False
        self._turn = 0
        self._thread = threading.Thread(target=self._run, name="animevid-live", daemon=True)
        self._thread.start()

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    def open_session(self, settings: LiveOptions | None = None) -> LiveSession:
        """A place for one more viewer. Its style is loaded first.

        Raises:
            BusyError: ``max_sessions`` viewers are there already.
            StyleError, BackendError: the style cannot be used.
        """
        settings = settings or LiveOptions()
        self._check_room()
        self.stylizer_cache.load(settings)
        session = LiveSession(self, settings)
        with self.condition:
            self._check_room()
            self._sessions.append(session)
        return session

    def forget(self, session: LiveSession) -> None:
        """Free a session's place (``LiveSession.close`` calls it)."""
        with self.condition:
            if session in self._sessions:
                self._sessions.remove(session)

    def close(self) -> None:
        """Stop working and free the networks. Safe to call twice."""
        for session in tuple(self._sessions):
            session.close()
        with self.condition:
            self._closed = True
            self.condition.notify_all()
        self._thread.join(timeout=10)
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

    def _next_session(self) -> tuple[LiveSession, int] | None:
        """Whose turn it is among those with a picture waiting, and how many share the machine."""
        with self.condition:
            self.condition.wait_for(lambda: self._closed or any(s.is_waiting for s in self._sessions))
            if self._closed:
                return None
            count = len(self._sessions)
            order = [self._sessions[(self._turn + offset) % count] for offset in range(count)]
            chosen = next(session for session in order if session.is_waiting)
            self._turn = (self._sessions.index(chosen) + 1) % count
            now = time.monotonic()
            sharers = sum(now - session.offered_at_seconds < _ACTIVE_SECONDS for session in self._sessions)
            return chosen, max(1, sharers)

    def _run(self) -> None:
        while (turn := self._next_session()) is not None:
            session, sharers = turn
            try:
                session.work(sharers=sharers)
            except Exception as error:
                # One viewer's odd picture must not end the others' stream.
                if session.trouble != str(error):
                    log.warning("a picture could not be stylized: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))
                session.fail(str(error))
