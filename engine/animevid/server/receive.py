"""Receives a file within limits of size, speed and silence."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from animevid.errors import LiveError


class TooLargeError(LiveError):
    """An upload beyond the limit."""


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """Limits of one file: its size, no data for ``stall_seconds``, and the least rate after that time."""

    upload_bytes: int = 512 << 20
    stall_seconds: float = 30.0
    slowest_bytes_per_second: int = 8 << 10


async def store(chunks: AsyncIterator[bytes], path: Path, limits: ReceiveLimits) -> None:
    """Write ``chunks`` to the new file ``path``, which only its owner can read.

    Raises:
        TooLargeError: more bytes than allowed.
        LiveError: they stall, come too slowly, or there are none.
    """
    received, waited_seconds = 0, 0.0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        while True:
            began = time.monotonic()
            chunk = await _next(chunks, limits.stall_seconds)
            waited_seconds += time.monotonic() - began  # excludes the time for writing
            if chunk is None:
                break
            received += len(chunk)
            slowest = limits.slowest_bytes_per_second
            if waited_seconds > limits.stall_seconds and received < waited_seconds * slowest:
                raise LiveError(f"the file comes at fewer than {slowest} bytes a second: use a faster connection")
            if received > limits.upload_bytes:
                raise TooLargeError(f"the file is larger than the {limits.upload_bytes >> 20} MiB allowed")
            file.write(chunk)
    if received == 0:
        raise LiveError("the file is empty")


async def _next(chunks: AsyncIterator[bytes], stall_seconds: float) -> bytes | None:
    try:
        async with asyncio.timeout(stall_seconds):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise LiveError(f"nothing came for {stall_seconds:g} s: send the file again") from error
