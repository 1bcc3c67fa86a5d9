"""Stylizing live: one worker, any number of viewers, the newest picture of each, in fair turns."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from animevid.errors import AnimevidError, LiveError
from animevid.pixels import PlanesYUV420, blend
from animevid.render.stylizer import Stylizer, TemporalFilter
from animevid.run.adaptive import QualityGovernor, QualityStep, quality_ladder
from animevid.run.latest import Latest
from animevid.run.live_frames import LiveFrame, LiveResult, mirrored
from animevid.styles import CardHints, Style

log = logging.getLogger(__name__)

#: Networks that stay open at a time; switching back to one of these is immediate.
_OPEN_STYLES = 6
#: A viewer that has been silent for this long takes no share of the machine.
_ACTIVE_SECONDS = 1.0

StyleName = str | os.PathLike[str] | Style | None


class BusyError(LiveError):
    """All places are taken: come back later."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What a viewer wants to see. ``net_pixels`` as in ``Stylizer``; ``fps`` is the rate that is to be held.

    ``adaptive``: step resolution, then quality, down while the machine cannot hold the rate.
    """

    style: StyleName = None
    quality: str = "fast"
    strength: float = 1.0
    net_pixels: int | None = None
    fps: Fraction = Fraction(30)
    adaptive: bool = True
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How networks run, and how many viewers there may be."""

    backend: str = "auto"
    device: str = "auto"
    threads: int = 0
    precision: str | None = None
    sha256: str | None = None
    hints: CardHints | None = field(default=None)
    max_sessions: int = 4


class LiveSession:
    """One viewer's place. Pictures go in by ``offer``, come out by ``take``; settings may change at any time.

    Made by ``LiveEngine.open_session``. A context manager; ``close`` frees the place.
    """

    def __init__(self, engine: LiveEngine, settings: LiveSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._waiting: Latest[LiveFrame] = Latest(engine.condition)
        self._done: Latest[LiveResult] = Latest()
        self._governor = _governor(settings)
        self._steps: TemporalFilter | None = None
        self.offered_at_seconds = 0.0
        self.cost_seconds = 0.0
        #: Why the style on screen is not the one that was asked for, as one line.
        self.trouble: str | None = None

    @property
    def settings(self) -> LiveSettings:
        return self._settings

    def change(self, **changes: Any) -> None:
        """Change settings, from the next picture on. A new style is loaded while the old one goes on."""
        settings = replace(self._settings, **changes)
        if not 0.0 <= settings.strength <= 1.0:
            raise LiveError(f"{settings.strength = } must lie between 0 (original) and 1")
        if settings.quality != self._settings.quality or settings.fps != self._settings.fps:
            self._governor = _governor(settings)
        self._settings = settings

    @property
    def step(self) -> QualityStep:
        """The level of quality that is shown now."""
        return self._governor.step if self._settings.adaptive else self._governor.ladder[0]

    @property
    def is_reduced(self) -> bool:
        """Whether the machine cannot hold the rate at the quality that was asked for."""
        return self._settings.adaptive and self._governor.is_reduced

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
        return self._waiting.is_waiting

    @property
    def is_closed(self) -> bool:
        return self._waiting.is_closed

    def offer(self, frame: LiveFrame) -> None:
        """The newest picture; one that still waits is dropped. Never blocks."""
        self.offered_at_seconds = time.monotonic()
        self._waiting.put(frame)

    def take(self, *, timeout_seconds: float | None = None) -> LiveResult | None:
        """The newest result; ``None`` after ``timeout_seconds`` or once closed."""
        return self._done.take(timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Leave. Safe to call twice."""
        self._waiting.close()
        self._done.close()
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
            self._governor.observe(finished, self.cost_seconds * sharers)
        self._done.put(LiveResult(frame, stylized, finished))

    def _stylize(self, planes: PlanesYUV420, settings: LiveSettings, step: QualityStep) -> PlanesYUV420:
        try:
            wanted = self._engine.stylizer_cache.get(settings.style, quality=step.quality)
            self.trouble = None
        except AnimevidError as error:
            wanted, self.trouble = None, str(error)
        if wanted is not None and (self._steps is None or self._steps.stylizer is not wanted):
            self._steps = TemporalFilter(wanted)
        if self._steps is None or settings.strength == 0:
            return planes
        stylizer = self._steps.stylizer
        base = stylizer.card.net_pixels if settings.net_pixels is None else settings.net_pixels
        pixels = planes.height * planes.width
        base = min(base, pixels) if base else pixels
        stylizer.net_pixels = max(32 * 32, round(base * step.net_share))
        stylizer.strength = 1.0
        return blend(planes, self._steps.stylize_planes(planes), strength=settings.strength)


def _governor(settings: LiveSettings) -> QualityGovernor:
    return QualityGovernor(quality_ladder(settings.quality), frame_seconds=float(1 / settings.fps))


class LiveEngine:
    """The worker that all viewers share, and the networks it keeps open. A context manager.

    Each viewer's newest picture is stylized in turn (round robin): one who sends more gets no more turns. Work in one
    thread suits it: a network uses all cores by itself, and a picture that is worked on alone is finished soonest.
    """

    def __init__(self, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self.condition = threading.Condition()
        self.stylizer_cache = StylizerCache(self.options)
        self._sessions: list[LiveSession] = []
        self._closed = False
        self._failure: BaseException | None = None
        self._turn = 0
        self._thread = threading.Thread(target=self._run, name="animevid-live", daemon=True)
        self._thread.start()

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    def open_session(self, settings: LiveSettings | None = None) -> LiveSession:
        """A place for one more viewer. Its style is loaded first.

        Raises:
            BusyError: ``max_sessions`` viewers are there already.
            StyleError, BackendError: the style cannot be used.
        """
        settings = settings or LiveSettings()
        self._check_room()
        self.stylizer_cache.load(settings.style, quality=settings.quality)
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
        if self._closed or self._failure is not None:
            raise LiveError(f"the live engine has stopped ({self._failure or 'it was closed'}): start it again")
        limit = self.options.max_sessions
        if len(self._sessions) >= limit:
            raise BusyError(f"all {limit} places are taken: wait until one is free")

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
                session.trouble = str(error)


class StylizerCache:
    """The networks that are open, by style and quality; the one that was not used for longest goes first."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._open: OrderedDict[tuple[str, str], Future[Stylizer]] = OrderedDict()
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="animevid-style")

    def get(self, style: StyleName, *, quality: str) -> Stylizer | None:
        """The network if it is open; ``None`` while it is being loaded, which this starts.

        Raises:
            StyleError, BackendError: it cannot be loaded.
        """
        future = self._future(style, quality)
        return future.result() if future.done() else None

    def load(self, style: StyleName, *, quality: str) -> Stylizer:
        """The network, waiting for it.

        Raises:
            StyleError, BackendError: it cannot be loaded.
        """
        return self._future(style, quality).result()

    def _future(self, style: StyleName, quality: str) -> Future[Stylizer]:
        key = (str(style.path) if isinstance(style, Style) else str(style), quality)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._loader.submit(self._load, style, quality)
            self._open.move_to_end(key)
            oldest = next(iter(self._open))
            # Only a reference is dropped here: a viewer may still look through it.
            if len(self._open) > _OPEN_STYLES and self._open[oldest].done():
                del self._open[oldest]
            return self._open[key]

    def _load(self, style: StyleName, quality: str) -> Stylizer:
        options = self._options
        return Stylizer(
            style,
            backend=options.backend,
            device=options.device,
            threads=options.threads,
            quality=quality,
            precision=options.precision,
            sha256=options.sha256,
            hints=options.hints,
        )

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)
        for future in self._open.values():
            if not future.cancelled() and future.exception() is None:
                future.result().close()
        self._open.clear()
