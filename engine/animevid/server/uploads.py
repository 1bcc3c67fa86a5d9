"""Files that viewers upload: received within limits, converted one at a time in a sandbox, given back, removed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from animevid.declare import changed
from animevid.errors import LiveError
from animevid.options import ConversionOptions
from animevid.run.live import BusyError
from animevid.server.sandbox import SandboxLimits, SandboxRequest
from animevid.styles import Style

log = logging.getLogger(__name__)


class TooLargeError(LiveError):
    """An upload beyond the limit."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """``upload_bytes`` of one file; ``waiting`` jobs at most in line; results stay for ``keep_seconds``.

    An upload of which nothing comes for ``stall_seconds`` gives its place in the line away. All results together take
    ``kept_bytes`` at most: those that were fetched make room, the oldest first; the others do not.
    """

    upload_bytes: int = 512 << 20
    kept_bytes: int = 4 << 30
    waiting: int = 6
    keep_seconds: float = 900.0
    wall_seconds: float = 3600.0
    stall_seconds: float = 30.0
    sandbox: SandboxLimits = field(default_factory=SandboxLimits)


@dataclass
class Job:
    """One upload, from its first byte to its removal. ``state``: receiving, waiting, running, done or failed."""

    id: str
    name: str
    folder: Path
    style: Style
    options: ConversionOptions
    state: str = "receiving"
    progress: float = 0.0
    error: str | None = None
    was_fetched: bool = False
    touched_at_seconds: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    @property
    def source(self) -> Path:
        return self.folder / "upload"

    @property
    def result(self) -> Path:
        return self.folder / "result.mp4"

    @property
    def result_bytes(self) -> int:
        """What the result takes on disk, whole or not yet."""
        try:
            return self.result.stat().st_size
        except OSError:
            return 0

    def as_json(self) -> dict[str, object]:
        size = self.result_bytes if self.state == "done" else None
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "progress": round(self.progress, 3),
            "error": self.error,
            "bytes": size,
        }


class Jobs:
    """All uploads of one server, in one private folder that goes when the server does. An async context manager."""

    def __init__(self, limits: JobLimits | None = None) -> None:
        self.limits = limits or JobLimits()
        # Created with mode 0700 and a name that cannot be guessed.
        self.folder = Path(tempfile.mkdtemp(prefix="animevid-"))
        self._jobs: dict[str, Job] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Jobs:
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for job in tuple(self._jobs.values()):
            await self.remove(job.id)
        shutil.rmtree(self.folder, ignore_errors=True)

    def find(self, job_id: str) -> Job | None:
        """A job by its id, which only its owner knows."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.touched_at_seconds = time.monotonic()
        return job

    async def receive(
        self, chunks: AsyncIterator[bytes], *, name: str, style: Style, options: ConversionOptions
    ) -> Job:
        """Store an upload and put it in line; ``options`` are its conversion's, but for the style.

        Raises:
            BusyError: too many wait already, or results that nobody has fetched fill the place that there is.
            TooLargeError: more bytes than allowed; what came so far is removed.
        """
        if sum(job.state in ("receiving", "waiting", "running") for job in self._jobs.values()) > self.limits.waiting:
            raise BusyError(f"{self.limits.waiting} files wait already: try again later")
        if await self._room_bytes(1) < 1:
            allowed = f"{self.limits.kept_bytes >> 20} MiB allowed"
            raise BusyError(f"results that were not fetched yet fill the {allowed}: try again later")
        job_id = secrets.token_urlsafe(16)
        job = Job(job_id, _clean(name), self.folder / job_id, style, options)
        job.folder.mkdir(mode=0o700)
        self._jobs[job_id] = job
        try:
            await self._store(chunks, job)
        except BaseException:
            await self.remove(job_id)
            raise
        job.state = "waiting"
        job.task = asyncio.create_task(self._convert(job))
        return job

    async def remove(self, job_id: str) -> bool:
        """Stop a job and remove its files; false if there is none of that id."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return False
        if job.task is not None and not job.task.done():
            job.task.cancel()
            with suppress(asyncio.CancelledError):
                await job.task
        shutil.rmtree(job.folder, ignore_errors=True)
        return True

    async def _room_bytes(self, wanted_bytes: int) -> int:
        """Remove fetched results, oldest first, until there is room for ``wanted_bytes``; returns the room there is."""
        results = [job for job in self._jobs.values() if job.state == "done"]
        room = self.limits.kept_bytes - sum(job.result_bytes for job in results)
        for job in sorted(results, key=lambda job: job.touched_at_seconds):
            if room >= wanted_bytes:
                break
            if job.was_fetched:
                room += job.result_bytes
                await self.remove(job.id)
        return room

    async def _store(self, chunks: AsyncIterator[bytes], job: Job) -> None:
        received = 0
        handle = os.open(job.source, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            while (chunk := await self._next(chunks)) is not None:
                received += len(chunk)
                if received > self.limits.upload_bytes:
                    raise TooLargeError(f"the file is larger than the {self.limits.upload_bytes >> 20} MiB allowed")
                file.write(chunk)
        if received == 0:
            raise LiveError("the file is empty")

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(self.limits.stall_seconds):
                return await anext(chunks, None)
        except TimeoutError as error:
            raise LiveError(f"nothing came for {self.limits.stall_seconds:g} s: send the file again") from error

    async def _convert(self, job: Job) -> None:
        async with self._one_at_a_time:
            job.state = "running"
            most_bytes = self.limits.sandbox.output_bytes
            room_bytes = await self._room_bytes(most_bytes)
            request = SandboxRequest(
                source=os.fspath(job.source),
                target=os.fspath(job.result),
                style=os.fspath(job.style.path),
                card=job.style.card.to_json() if job.style.has_card else None,
                options=changed(job.options),
                allow_int8=job.style.allow_int8,
                limits=replace(self.limits.sandbox, output_bytes=max(0, min(most_bytes, room_bytes))),
            )
            error: str | None
            try:
                async with asyncio.timeout(self.limits.wall_seconds):
                    error = await self._run_sandbox(request, job)
            except TimeoutError:
                error = "it took too long: make it shorter or smaller"
            except OSError as failure:
                error = f"the converter cannot be started ({failure.strerror})"
            job.source.unlink(missing_ok=True)
            if error and room_bytes < most_bytes:
                error += f" (results that were not fetched yet left {max(0, room_bytes) >> 20} MiB for it)"
            job.error, job.state = error, "failed" if error else "done"
            job.progress = job.progress if error else 1.0
            job.touched_at_seconds = time.monotonic()

    async def _run_sandbox(self, request: SandboxRequest, job: Job) -> str | None:
        """Run the child to its end; what went wrong as one line, or ``None``."""
        kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {"TMPDIR": os.fspath(job.folder), "HOME": os.fspath(job.folder), "MALLOC_ARENA_MAX": "2"}
        environment["ORT_DISABLE_TELEMETRY"] = "1"
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the upload's folder is no place to import from
            "-m",
            "animevid.server.sandbox",
            request.to_json(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=job.folder,
            env=environment,
        )
        assert child.stdout is not None
        try:
            last: dict[str, object] = {}
            async for line in child.stdout:
                with suppress(ValueError):
                    last = json.loads(line)
                    progress = last.get("progress")
                    if isinstance(progress, float | int):
                        job.progress = float(progress)
            code = await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if last.get("done") is True and request.target and Path(request.target).exists():
            return None
        if isinstance(last.get("error"), str):
            return str(last["error"])
        return f"the converter was stopped by a limit (code {code}): make the file shorter or smaller"

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self.limits.keep_seconds))
            now = time.monotonic()
            for job in tuple(self._jobs.values()):
                if job.state in ("done", "failed") and now - job.touched_at_seconds > self.limits.keep_seconds:
                    await self.remove(job.id)


def _clean(name: str) -> str:
    """A file's name for people and for a download: no path, no control characters, not long."""
    base = Path(name.replace("\\", "/")).name
    kept = "".join(letter for letter in base if letter.isprintable() and letter not in '"\\/;')
    return kept[:100] or "video"
