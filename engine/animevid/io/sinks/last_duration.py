"""Sets the duration of an animation's last frame, which FFmpeg's muxers can only guess."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import IO

_GIF_DELAY = re.compile(rb"\x21\xf9\x04.(..).\x00\x2c", re.DOTALL)
_SEARCHED_BYTES = 64 << 20


def set_last_duration(path: Path, ticks: int) -> None:
    """Set the duration of the last frame of the finished GIF, APNG or WebP ``path`` to ``ticks``.

    A tick is 1/100 s in a GIF and 1/1000 s in the others, the time bases with which they are written here.
    """
    with path.open("r+b") as file:
        head = file.read(12)
        if head.startswith(b"GIF8"):
            _set_gif(file, ticks)
        elif head.startswith(b"\x89PNG"):
            _set_apng(file, ticks)
        elif head.endswith(b"WEBP"):
            _set_webp(file, ticks)


def _set_gif(file: IO[bytes], hundredths: int) -> None:
    """GIF89a, 23: the delay of the last graphic control extension."""
    start = max(0, file.seek(0, 2) - _SEARCHED_BYTES)
    file.seek(start)
    found = list(_GIF_DELAY.finditer(file.read()))
    if found:
        file.seek(start + found[-1].start(1))
        file.write(min(hundredths, 0xFFFF).to_bytes(2, "little"))


def _set_apng(file: IO[bytes], milliseconds: int) -> None:
    """APNG 1.0, fcTL: numerator and denominator of the delay, then the chunk's checksum."""
    at, last = 8, 0
    while file.seek(at) == at and len(head := file.read(8)) == 8:
        last = at if head[4:] == b"fcTL" else last
        at += 12 + int.from_bytes(head[:4], "big")
    if not last:
        return
    numerator, denominator = (milliseconds, 1000) if milliseconds < 1 << 16 else (milliseconds // 1000, 1)
    file.seek(last + 4)
    body = bytearray(file.read(4 + 26))
    body[24:28] = min(numerator, 0xFFFF).to_bytes(2, "big") + denominator.to_bytes(2, "big")
    file.seek(last + 4)
    file.write(bytes(body) + zlib.crc32(body).to_bytes(4, "big"))


def _set_webp(file: IO[bytes], milliseconds: int) -> None:
    """The duration of the last ANMF chunk, after the frame's position and size."""
    at, last = 12, 0
    while file.seek(at) == at and len(head := file.read(8)) == 8:
        last = at if head[:4] == b"ANMF" else last
        size = int.from_bytes(head[4:], "little")
        at += 8 + size + size % 2
    if last:
        file.seek(last + 20)
        file.write(min(milliseconds, 0xFFFFFF).to_bytes(3, "little"))
