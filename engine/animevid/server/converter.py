"""The child that converts an upload, seen from the server: started with a clean environment, listened to, ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from animevid.server.sandbox import SandboxRequest

_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
_MOST_LETTERS = 300


async def run_sandbox(
    request: SandboxRequest, folder: Path, *, on_message: Callable[[dict[str, object]], None]
) -> str | None:
    """Run the child to its end.

    Args:
        request: what it is to do.
        folder: the upload's own, where it works.
        on_message: is given each JSON object that it writes; a broken child writes anything.

    Returns:
        What went wrong, as one line of printable text, or ``None``.

    Raises:
        OSError: it cannot be started.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the upload's folder is no place to import from
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
    try:
        while line := await _line(child.stdout):
            last = _message(line) or last
            on_message(last)
        if not child.stdout.at_eof():
            child.kill()
        await _drain(child.stdout)
        code = await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await _drain(child.stdout)
            await child.wait()
    if last.get("done") is True and (request.preview or Path(request.target).exists()):
        return None
    if isinstance(last.get("error"), str):
        return _clean(str(last["error"]))
    return f"the converter was stopped by a limit (code {code}): make the file shorter or smaller"


def _environment(folder: Path) -> dict[str, str]:
    """What the child inherits: where programs lie, and no secrets."""
    package = os.fspath(Path(__file__).parents[2])
    others = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "PYTHONPATH": os.pathsep.join((package, *others)),
        "TMPDIR": os.fspath(folder),
        "HOME": os.fspath(folder),
        "MALLOC_ARENA_MAX": "2",
        "ORT_DISABLE_TELEMETRY": "1",
    }


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The child's next line; empty at the end, and for one that is longer than any it writes."""
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
    """A message of the child's for people: one line, printable, not long."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MOST_LETTERS]
