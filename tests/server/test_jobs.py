"""Uploads are queued, converted one at a time, inherit no file handles, and leave no files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from animevid.styles import load_style

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
from animevid.confinement import missing
from animevid.run.live import BusyError
from animevid.server.uploads import Job, JobLimits, Jobs

pytestmark = pytest.mark.skipif(bool(missing()), reason="without confinement by the kernel, nothing is converted")


async def video() -> AsyncIterator[bytes]:
    yield b"a video"


class Watched(Jobs):
    """Jobs whose conversion only waits; records their order and how many run at a time."""

    at_once = max_at_once = 0
    seconds = 0.05

    async def _run_sandbox(self, request: Any, job: Job) -> str | None:
        self.order: list[str] = getattr(self, "order", [])
        self.order.append(job.name)
        self.at_once += 1
        self.max_at_once = max(self.max_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            job.result.write_bytes(b"drawn")
        finally:
            self.at_once -= 1
        return None


def test_files_wait_in_line_and_are_converted_one_at_a_time(packed_style: Path) -> None:
    style = load_style(packed_style)

    async def talk() -> None:
        async with Watched(JobLimits(waiting=2)) as jobs:
            sent = [await jobs.receive(video(), name=f"{n}.mp4", style=style, strength=1.0) for n in range(3)]
            await asyncio.sleep(0.01)
            assert [jobs.ahead(job) for job in sent] == [0, 1, 2]
            with pytest.raises(BusyError):
                await jobs.receive(video(), name="late.mp4", style=style, strength=1.0)
            await asyncio.gather(*(job.task for job in sent if job.task))
            assert [job.state for job in sent] == ["done"] * 3
            assert jobs.order == ["0.mp4", "1.mp4", "2.mp4"]
            assert jobs.max_at_once == 1

    asyncio.run(talk())


def test_a_job_that_is_removed_leaves_no_file_and_the_folder_goes_with_the_server(packed_style: Path) -> None:
    style = load_style(packed_style)

    async def talk() -> Path:
        async with Watched() as jobs:
            job = await jobs.receive(video(), name="a.mp4", style=style, strength=1.0)
            assert job.source.stat().st_mode & 0o077 == 0  # no other user can read it
            assert job.folder.stat().st_mode & 0o077 == 0
            await asyncio.sleep(0.01)
            assert await jobs.remove(job.id)
            assert not job.folder.exists()
            assert not await jobs.remove(job.id)
            return jobs.folder

    assert not asyncio.run(talk()).exists()


def test_a_job_that_takes_too_long_is_ended(packed_style: Path) -> None:
    style = load_style(packed_style)

    async def talk() -> None:
        async with Watched(JobLimits(wall_seconds=0.1)) as jobs:
            jobs.seconds = 30
            job = await jobs.receive(video(), name="a.mp4", style=style, strength=1.0)
            assert job.task is not None
            await asyncio.wait_for(job.task, timeout=10)
            assert (job.state, job.error) == ("failed", "it took too long: make it shorter or smaller")

    asyncio.run(talk())


def test_the_child_inherits_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from animevid.server import converter

    for name in ("ANIMEVID_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "HTTPS_PROXY", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "hidden")
    environment = converter._environment(tmp_path)
    assert "hidden" not in json.dumps(environment)
    assert environment["HOME"] == str(tmp_path)
