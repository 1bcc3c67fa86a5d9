"""Runs the sandbox that converts an upload: starts it with a clean environment, reads its messages and ends it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from animevid.server.sandbox import SandboxRequest
from animevid.styles import Style

_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
_MAX_MESSAGE_LENGTH = 300
_WATCH_SECONDS = 0.25
#: Disk space for a conversion's samples and page images, beside its output.
_SLACK_BYTES = 16 << 20
_MAX_FILES = 500


async def run_sandbox(
    request: SandboxRequest, folder: Path, *, on_message: Callable[[dict[str, object]], None]
) -> str | None:
    """Run the sandbox until it ends.

    Args:
        request: the conversion.
        folder: the upload's private folder.
        on_message: called with each JSON object that it writes; do not trust their content.

    Returns:
        The error in one line of printable text, or ``None``.

    Raises:
        OSError: it cannot be started.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # import nothing from the upload's folder
        "-m",
        "animevid.server.sandbox",
        request.to_json(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env=_environment(folder),
    )
    assert child.stdout is not None
    last: dict[str, object] = {}
    quota = Quota(folder, child.pid, request.limits.output_bytes)
    watching = asyncio.create_task(quota.hold(child.kill))
    try:
        while line := await _line(child.stdout):
            last = _message(line) or last
            on_message(last)
        if not child.stdout.at_eof():
            child.kill()
        await _drain(child.stdout)
        code = await child.wait()
    finally:
        watching.cancel()
        if child.returncode is None:
            child.kill()
            await _drain(child.stdout)
            await child.wait()
    if quota.is_broken:
        return f"the converter was stopped: it wrote more than the {request.limits.output_bytes >> 20} MiB allowed"
    if last.get("done") is True and (request.preview or Path(request.target).exists()):
        return None
    if isinstance(last.get("error"), str):
        return _clean(str(last["error"]))
    return f"the converter was stopped by a limit (code {code}): make the file shorter or smaller"


def copy_style(style: Style, folder: Path) -> Style:
    """``style`` with its INT8 file, copied into ``folder``, the only one that the sandbox sees.

    Raises:
        StyleError: it cannot be read, or is no style.
        OSError: there is no room.
    """
    style = style.with_card()
    copies = folder / "style"
    copies.mkdir(mode=0o700, exist_ok=True)
    smaller = style.int8() if style.allow_int8 else None
    for found in (style, smaller):
        if found is not None:
            copy = copies / found.path.name
            copy.touch(mode=0o600)
            copy.write_bytes(found.model)
    return replace(style, path=copies / style.path.name)


class Quota:
    """Limits the disk space that process ``pid`` uses in ``folder``, including removed files that it holds open."""

    def __init__(self, folder: Path, pid: int, max_bytes: int) -> None:
        self._folder = folder
        self._open_files = Path(f"/proc/{pid}/fd")
        self._max_bytes = _used_bytes(folder)[0] + max_bytes + _SLACK_BYTES
        self.is_broken = False

    async def hold(self, end: Callable[[], None]) -> None:
        """Call ``end`` once the limit is exceeded."""
        while not self.is_broken:
            await asyncio.sleep(_WATCH_SECONDS)
            size, count = await asyncio.to_thread(_used_bytes, self._folder)
            size += await asyncio.to_thread(_removed_bytes, self._open_files)
            if size > self._max_bytes or count > _MAX_FILES:
                self.is_broken = True
                with suppress(ProcessLookupError):
                    end()


def _used_bytes(folder: Path) -> tuple[int, int]:
    """Disk space and number of all files below ``folder`` (counting stops soon after the limit)."""
    size = count = 0
    for where, _, names in os.walk(folder):
        for name in names:
            count += 1
            with suppress(OSError):
                size += os.lstat(os.path.join(where, name)).st_blocks * 512
        if count > _MAX_FILES:
            break
    return size, count


def _removed_bytes(open_files: Path) -> int:
    """Disk space of removed files that a process holds open; 0 if unknown."""
    size = 0
    with suppress(OSError):
        for path in open_files.iterdir():
            with suppress(OSError):
                status = path.stat()
                if status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                    size += status.st_blocks * 512
    return size


def _environment(folder: Path) -> dict[str, str]:
    """The child's environment: paths of programs, no secrets."""
    package = os.fspath(Path(__file__).parents[2])
    others = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "PYTHONPATH": os.pathsep.join((package, *others)),
        "TMPDIR": os.fspath(folder),
        "HOME": os.fspath(folder),
        "MALLOC_ARENA_MAX": "2",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The child's next line; empty at the end, and for a line that is too long."""
    try:
        return await stream.readline()
    except ValueError:  # over asyncio's limit of 64 KiB
        return b""


async def _drain(stream: asyncio.StreamReader) -> None:
    """Read to the end: asyncio does not say that a process has ended while its pipe is full."""
    while await stream.read(1 << 16):
        pass


def _message(line: bytes) -> dict[str, object] | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _clean(text: str) -> str:
    """A message of the child as one short printable line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MAX_MESSAGE_LENGTH]
