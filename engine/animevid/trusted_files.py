"""Atomic writes, and checks that only the owner can write a file."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from animevid.errors import BackendError, OutputError


def check_owner_only(path: Path, status: os.stat_result | None = None) -> None:
    """Refuse code that another user could have written: an engine, a fatbin, or their folder.

    Args:
        path: the file or folder.
        status: ``os.fstat`` of the open file, so that the file cannot be swapped between this check and the read
            (default: that of ``path``).

    Raises:
        BackendError: ``path`` belongs to another user, or its group or everybody can write it, or it cannot be read.
    """
    if status is None:
        try:
            status = path.stat()
        except OSError as error:
            raise BackendError(f"{str(path)!r} cannot be read ({error.strerror})") from error
    if not hasattr(os, "getuid"):  # Windows: access lists, not modes
        return
    if status.st_uid not in (os.getuid(), 0):
        raise BackendError(f"{str(path)!r} belongs to another user; engines are code: delete it, or set another cache")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BackendError(f"{str(path)!r} can be written by others; engines are code: chmod go-w it, or delete it")


def atomic_write(path: Path, content: bytes) -> None:
    """Write ``path`` atomically, readable and writable by its owner only.

    Args:
        path: the file; folders above it are made.
        content: all of it.

    Raises:
        OutputError: it cannot be written; an existing file is unchanged.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes it readable and writable by its owner alone.
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            with contextlib.suppress(OSError):
                os.unlink(partial)
        raise OutputError(f"{str(path)!r} cannot be written ({error.strerror})") from error
