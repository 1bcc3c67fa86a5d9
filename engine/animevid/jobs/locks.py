"""Locks that end with their process, even after a crash."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from animevid.errors import UsageError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class FileLock:
    """Holds ``path`` for this process alone. A context manager.

    Raises:
        UsageError: another process holds it; ``what`` names it in the message.
    """

    def __init__(self, path: Path, *, what: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(self._file, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(self._file)
                raise UsageError(
                    f"{what} is being made by another animevid (process {holder}): wait for it, or choose another name"
                ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Release the lock. Safe to call twice."""
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
