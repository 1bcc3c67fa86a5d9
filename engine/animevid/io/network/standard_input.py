"""Standard input whose beginning can be inspected before a reader is chosen."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAX_BYTES = 1 << 30
_PIECE_BYTES = 1 << 20


class StandardInput(io.RawIOBase):
    """The bytes of standard input, or of a FIFO, from the first one on, for ``av.open``. ``head`` has the first ones.

    A redirected file is seekable; a pipe is not.

    Args:
        head_bytes: how many bytes to inspect.
        path: a FIFO; ``None``: standard input.
    """

    def __init__(self, *, head_bytes: int, path: Path | None = None) -> None:
        super().__init__()
        self._handle = sys.stdin.fileno() if path is None else os.open(path, os.O_RDONLY)
        self._is_own = path is not None
        self._seekable = True
        try:
            self._start = os.lseek(self._handle, 0, os.SEEK_CUR)
        except OSError:
            self._seekable = False
        self.head = b""
        while len(self.head) < head_bytes and (piece := os.read(self._handle, head_bytes - len(self.head))):
            self.head += piece
        self._waiting = memoryview(self.head)
        if self._seekable:
            self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if not self._seekable:
            raise io.UnsupportedOperation("a pipe cannot be sought")
        self._waiting = memoryview(b"")
        base = self._start if whence == os.SEEK_SET else 0
        return os.lseek(self._handle, base + offset, whence) - self._start

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not self._waiting:
            piece = os.read(self._handle, len(view))
            view[: len(piece)] = piece
            return len(piece)
        count = min(len(view), len(self._waiting))
        view[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count

    def close(self) -> None:
        """Close a FIFO; standard input stays open."""
        if self._is_own and not self.closed:
            os.close(self._handle)
        super().close()

    def look_further(self, enough: Callable[[bytes], bool]) -> bytes:
        """Inspect more bytes, until ``enough(last ones)`` is true or to the end; all of them can still be read."""
        data = bytearray(self.head)
        if self._seekable:
            self.seek(len(data))
        while len(data) <= _MAX_BYTES and not enough(bytes(data[-2 * _PIECE_BYTES :])):
            piece = os.read(self._handle, _PIECE_BYTES)
            if not piece:
                break
            data += piece
        self.head = bytes(data)
        self._waiting = memoryview(self.head)
        if self._seekable:
            self.seek(0)
        return self.head
