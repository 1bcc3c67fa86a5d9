"""Uploads from receipt to removal: a queue, one at a time in a sandbox, and space for results."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from animevid.confinement import missing
from animevid.declare import changed
from animevid.errors import AnimevidError, LiveError
from animevid.io.still import still_demuxer
from animevid.left_overs import hold, release, sweep
from animevid.options import ConversionOptions
from animevid.run.live import BusyError
from animevid.server.converter import copy_style, run_sandbox
from animevid.server.receive import ReceiveLimits, store
from animevid.server.sandbox import SandboxLimits, SandboxRequest
from animevid.styles import Style

log = logging.getLogger(__name__)

_FOLDERS = re.compile(r"animevid-uploads-\w{8}")
#: The fields of a child's preview message: see :class:`animevid.server.preview.Preview`.
_PREVIEW_KEYS = ("width", "height", "duration_seconds", "film_seconds", "seconds")
_PREVIEW_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class JobLimits(ReceiveLimits):
    """Limits: ``waiting`` queued jobs; results are kept for ``keep_seconds``.

    An upload that is not received loses its place in the queue. All results together take at most ``kept_bytes``:
    fetched ones are removed for new ones, oldest first; others are not. At most ``held`` videos wait to be started.
    Originals of converted files are kept, for comparison and other styles, within ``originals_bytes``.
    ``may_be_unconfined``: convert even if the kernel cannot confine the child (Linux without Landlock or seccomp).
    """

    kept_bytes: int = 4 << 30
    waiting: int = 6
    held: int = 12
    originals_bytes: int = 2 << 30
    keep_seconds: float = 900.0
    wall_seconds: float = 3600.0
    may_be_unconfined: bool = False
    sandbox: SandboxLimits = field(default_factory=SandboxLimits)


@dataclass
class Job:
    """One upload, from receipt to removal. ``state``: receiving, held, waiting, running, done or failed."""

    id: str
    name: str
    folder: Path
    style: Style
    strength: float
    compare: bool
    state: str = "receiving"
    progress: float = 0.0
    error: str | None = None
    #: For a still image, the suffix of its result: ``".jpg"`` or ``".png"``.
    photo_suffix: str | None = None
    #: The result of a preview: see :class:`animevid.server.preview.Preview`.
    preview: dict[str, object] | None = None
    previews: int = 0
    #: Its number in the queue.
    turn: int = 0
    was_fetched: bool = False
    touched_at_seconds: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    @property
    def source(self) -> Path:
        return self.folder / "upload"

    @property
    def result(self) -> Path:
        return self.folder / f"result{self.photo_suffix or '.mp4'}"

    @property
    def result_name(self) -> str:
        """The file name of the download."""
        return f"{Path(self.name).stem}-{self.style.path.stem}{self.result.suffix}"

    @property
    def result_bytes(self) -> int:
        """The size of the result on disk, complete or not."""
        try:
            return self.result.stat().st_size
        except OSError:
            return 0

    def note(self, message: dict[str, object]) -> None:
        """Update the progress from a message of the child, whose content is not trusted."""
        progress, found = message.get("progress"), message.get("preview")
        if _is_number(progress) and 0.0 <= progress <= 1.0:
            self.progress = float(progress)
        if isinstance(found, dict):
            self.preview = {
                key: value for key in _PREVIEW_KEYS if (value := found.get(key)) is None or _is_number(value)
            }

    def as_json(self) -> dict[str, object]:
        size = self.result_bytes if self.state == "done" else None
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "progress": round(self.progress, 3),
            "error": self.error,
            "bytes": size,
            "photo": self.photo_suffix is not None,
            "style": self.style.card.name,
            "strength": self.strength,
            "preview": self.preview and {**self.preview, "number": self.previews},
            "hasOriginal": self.source.exists(),
        }


class Jobs:
    """All uploads of one server, in a private folder that is removed at the end. An async context manager."""

    def __init__(self, limits: JobLimits | None = None, *, options: ConversionOptions | None = None) -> None:
        self.limits = limits or JobLimits()
        self._options = options or ConversionOptions()
        # Created with mode 0700 and a name that cannot be guessed.
        sweep(Path(tempfile.gettempdir()), _FOLDERS)  # left by a killed server
        self.folder = Path(tempfile.mkdtemp(prefix="animevid-uploads-"))
        self._hold = hold(self.folder)
        self._jobs: dict[str, Job] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self._one_preview = asyncio.Semaphore(1)
        self._turns = 0
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
        release(self._hold)

    def find(self, job_id: str) -> Job | None:
        """A job by its id, which only its owner knows."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.touched_at_seconds = time.monotonic()
        return job

    async def receive(
        self,
        chunks: AsyncIterator[bytes],
        *,
        name: str,
        style: Style,
        strength: float,
        compare: bool = False,
        hold: bool = False,
    ) -> Job:
        """Store an upload and queue it; with ``hold`` a video waits for :meth:`start`.

        Raises:
            BusyError: too many wait already, or results not yet fetched fill the space.
            TooLargeError: more bytes than allowed; the partial upload is removed.
        """
        if missing() and not self.limits.may_be_unconfined:
            raise LiveError(f"no files are converted here: this system lacks {' and '.join(missing())}")
        self._check_line()
        if hold and sum(job.state == "held" for job in self._jobs.values()) >= self.limits.held:
            raise BusyError(f"{self.limits.held} videos already wait for their owners to start them: try again later")
        if await self._room_bytes(1) < 1:
            allowed = f"{self.limits.kept_bytes >> 20} MiB allowed"
            raise BusyError(f"results that were not fetched yet fill the {allowed}: try again later")
        job_id = secrets.token_urlsafe(16)
        job = Job(job_id, _clean(name), self.folder / job_id, style, strength, compare)
        job.folder.mkdir(mode=0o700)
        self._jobs[job_id] = job
        try:
            await store(chunks, job.source, self.limits)
            job.photo_suffix = await asyncio.to_thread(_photo_suffix, job.source)
        except BaseException:
            await self.remove(job_id)
            raise
        if hold and job.photo_suffix is None:
            job.state = "held"
        else:
            self._enqueue(job)
        return job

    async def start(self, job: Job, *, style: Style, strength: float) -> None:
        """Convert a held video, or convert any upload again, in this style.

        Raises:
            BusyError: too many wait already.
            LiveError: it is queued already, or the original is gone.
        """
        self._check_line()
        self._check_original(job)
        await _cancel(job.task)
        self._check_original(job)
        job.style, job.strength, job.was_fetched = style, strength, False
        job.result.unlink(missing_ok=True)
        self._enqueue(job)

    async def preview(self, job: Job, *, style: Style, strength: float) -> None:
        """Stylize one frame of a held video and estimate the time for all of it; ``job`` gets both.

        A newer call cancels an older one.

        Raises:
            LiveError: it is queued already, the original is gone, or the frame cannot be stylized.
        """
        self._check_original(job)
        await _cancel(job.task)
        self._check_original(job)
        job.style, job.strength = style, strength
        job.task = asyncio.create_task(self._draw_preview(job))
        with suppress(asyncio.CancelledError):
            await asyncio.shield(job.task)

    def ahead(self, job: Job) -> int:
        """How many files are converted before ``job``."""
        return sum(other.state in ("waiting", "running") and other.turn < job.turn for other in self._jobs.values())

    def _check_line(self) -> None:
        if sum(job.state in ("receiving", "waiting", "running") for job in self._jobs.values()) > self.limits.waiting:
            raise BusyError(f"{self.limits.waiting} files wait already: try again later")

    def _check_original(self, job: Job) -> None:
        if job.state not in ("held", "done", "failed"):
            raise LiveError(f"this file is {job.state}: wait until that is over")
        if job.id not in self._jobs or not job.source.exists():
            raise LiveError("the original is no longer here: send the file again")

    def _enqueue(self, job: Job) -> None:
        self._turns += 1
        job.state, job.progress, job.error, job.turn = "waiting", 0.0, None, self._turns
        job.task = asyncio.create_task(self._convert(job))

    async def remove(self, job_id: str) -> bool:
        """Stop a job and remove its files; false if the id is unknown."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return False
        await _cancel(job.task)
        shutil.rmtree(job.folder, ignore_errors=True)
        return True

    async def _room_bytes(self, wanted_bytes: int) -> int:
        """Remove fetched results, oldest first, until there is room for ``wanted_bytes``; returns the free space."""
        results = [job for job in self._jobs.values() if job.state == "done"]
        room = self.limits.kept_bytes - sum(job.result_bytes for job in results)
        for job in sorted(results, key=lambda job: job.touched_at_seconds):
            if room >= wanted_bytes:
                break
            if job.was_fetched:
                room += job.result_bytes
                await self.remove(job.id)
        return room

    async def _convert(self, job: Job) -> None:
        async with self._one_at_a_time:
            job.state = "running"
            max_bytes = self.limits.sandbox.output_bytes
            room_bytes = await self._room_bytes(max_bytes)
            error = await self._run(job, output_bytes=max(0, min(max_bytes, room_bytes)))
            if error and room_bytes < max_bytes:
                error += f" (results that were not fetched yet left {max(0, room_bytes) >> 20} MiB for it)"
            job.error, job.state = error, "failed" if error else "done"
            job.progress = job.progress if error else 1.0
            job.previews += job.photo_suffix is not None
            job.touched_at_seconds = time.monotonic()
            self._trim_originals()

    async def _draw_preview(self, job: Job) -> None:
        async with self._one_preview:
            job.error = await self._run(job, output_bytes=_PREVIEW_BYTES, preview=True)
            job.previews += 1
            if job.error:
                job.state = "failed"  # if one frame fails, all do
            job.touched_at_seconds = time.monotonic()

    async def _run(self, job: Job, *, output_bytes: int, preview: bool = False) -> str | None:
        """Run the child; returns the error in one line, or ``None``."""
        options = replace(self._options, strength=job.strength, compare="split" if job.compare else None)
        try:
            style = await asyncio.to_thread(copy_style, job.style, job.folder)
            request = SandboxRequest(
                source=os.fspath(job.source),
                target=os.fspath(job.result),
                style=os.fspath(style.path),
                card=style.card.to_json(),
                options=changed(options),
                allow_int8=style.allow_int8,
                preview=preview,
                may_be_unconfined=self.limits.may_be_unconfined,
                limits=replace(self.limits.sandbox, output_bytes=output_bytes),
            )
            async with asyncio.timeout(self.limits.wall_seconds):
                return await self._run_sandbox(request, job)
        except TimeoutError:
            return "it took too long: make it shorter or smaller"
        except OSError as failure:
            return f"the converter cannot be started ({failure.strerror})"
        except AnimevidError as failure:
            return str(failure)
        except Exception:
            log.exception("a conversion was given up")
            return "the conversion failed for an internal reason"

    async def _run_sandbox(self, request: SandboxRequest, job: Job) -> str | None:
        return await run_sandbox(request, job.folder, on_message=job.note)

    def _trim_originals(self) -> None:
        """Remove originals of converted files, oldest first, until the rest fits the limit."""
        ended = [job for job in self._jobs.values() if job.state in ("done", "failed") and job.source.exists()]
        sizes = {job.id: job.source.stat().st_size for job in ended}
        for job in sorted(ended, key=lambda job: job.touched_at_seconds):
            if sum(sizes.values()) <= self.limits.originals_bytes:
                return
            del sizes[job.id]
            job.source.unlink(missing_ok=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self.limits.keep_seconds))
            now = time.monotonic()
            for job in tuple(self._jobs.values()):
                if job.state in ("held", "done", "failed") and now - job.touched_at_seconds > self.limits.keep_seconds:
                    await self.remove(job.id)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end."""
    if task is not None and not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _photo_suffix(path: Path) -> str | None:
    """The suffix for the result of a still image, by its first bytes; ``None`` for anything else."""
    demuxer = still_demuxer(path)
    if demuxer is None:
        return None
    return ".png" if demuxer in ("png_pipe", "webp_pipe") else ".jpg"  # these may be transparent


def _clean(name: str) -> str:
    """A short file name for display and download, without path or control characters."""
    base = Path(name.replace("\\", "/")).name
    kept = "".join(letter for letter in base if letter.isprintable() and letter not in '"\\/;')
    return kept[:100] or "video"
