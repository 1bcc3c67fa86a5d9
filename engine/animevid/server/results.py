"""A live session's results on the event loop, for WebRTC and MJPEG."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import partial

from animevid.frame import StylizedFrame
from animevid.run.latency import Meter
from animevid.run.live import LiveSession


class Results:
    """A session's results for readers on the event loop: each reader gets the newest one that it has not seen."""

    def __init__(self, session: LiveSession, executor: Executor) -> None:
        self._session = session
        self._executor = executor
        self._condition = asyncio.Condition()
        self._newest: StylizedFrame | None = None
        self._count = 0
        self.meter = Meter()
        self.has_ended = False

    async def pump(self) -> None:
        """Move results from the session's thread to the event loop until it is closed."""
        loop = asyncio.get_running_loop()
        try:
            while not self._session.is_closed:
                result = await loop.run_in_executor(self._executor, partial(self._session.take, timeout_seconds=0.5))
                if result is None:
                    continue
                self.meter.note(result.finished_at_seconds, captured_at_seconds=result.captured_at_seconds)
                async with self._condition:
                    self._newest, self._count = result, self._count + 1
                    self._condition.notify_all()
        finally:
            self.has_ended = True
            async with self._condition:
                self._condition.notify_all()

    async def after(self, seen: int) -> tuple[int, StylizedFrame] | None:
        """The newest result and its number, once the number exceeds ``seen``; ``None`` at the end."""
        async with self._condition:
            await self._condition.wait_for(lambda: self._count > seen or self.has_ended)
            if self._newest is None or self._count <= seen:
                return None
            return self._count, self._newest
