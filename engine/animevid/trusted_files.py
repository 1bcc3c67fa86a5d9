"""Atomic writes, and checks that only the owner can write a file."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import stat
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


def atomic_write(path: Path, content: bytes, *, permissions: int = 0o600) -> None:
    """Write ``path`` atomically.

    Args:
        path (Path): the file; folders above it are made.
        content (bytes): all of it.
        permissions (int): of a new file and, with search, of new folders, less the umask. Default: only the owner's.

    Raises:
        OutputError: it cannot be written; an existing file is unchanged.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=permissions | (permissions & 0o444) >> 2)
        with open(partial, "xb", opener=functools.partial(os.open, mode=permissions)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(f"{str(path)!r} cannot be written ({error.strerror})") from error
