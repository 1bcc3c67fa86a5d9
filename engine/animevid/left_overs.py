"""Hidden files and folders of unfinished work: locked while their process runs, else removed by the next run.

The lock ends with the process, even after a crash, so an unlocked file is a leftover.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows, where leftovers of a crash stay
    fcntl = None

#: Newer files may not be locked yet.
_FRESH_SECONDS = 5.0
_PENDING = re.compile(r"\..*\.[0-9a-f]{8}\.part(\.[^/]*)?", re.DOTALL)
#: Each folder is scanned once per run, since it may hold a million files.
_MAX_ENTRIES = 20_000
#: Unfinished outputs of this process, by the descriptor that holds the lock.
_under_way: dict[int, Path] = {}


def hold(path: Path) -> int | None:
    """Lock ``path``, a file or folder that this process has just made.

    Returns:
        A descriptor to close when the work is done; ``None`` where the system has no such locks.
    """
    if fcntl is None:
        return None
    handle = os.open(path, os.O_RDONLY)
    keep(handle, path)
    return handle


def keep(handle: int, path: Path) -> None:
    """Lock ``path``, which this process has just made and opened as ``handle``, until :func:`release`."""
    try_lock(handle)
    _under_way[handle] = path


def remove_under_way() -> None:
    """Remove all unfinished outputs of this process, which is about to exit without waiting for its threads."""
    for path in tuple(_under_way.values()):
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def release(handle: int | None) -> None:
    """Unlock a descriptor that :func:`hold` returned or :func:`keep` was given."""
    if handle is not None:
        _under_way.pop(handle, None)
        with suppress(OSError):
            os.close(handle)


def try_lock(handle: int) -> bool:
    """Lock the file open as ``handle``; false if another process holds the lock, or there are no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sweep(folder: Path, names: re.Pattern[str] = _PENDING) -> int:
    """Remove what killed runs of this user left in ``folder``, whatever the output was.

    Args:
        folder: searched, but not its subfolders.
        names: which names may be removed (default: the hidden names of outputs).

    Returns:
        How many files and folders were removed. Files held by another process and new ones stay.
    """
    removed = 0
    if fcntl is None:
        return 0
    with suppress(OSError), os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= _MAX_ENTRIES:
                break
            if names.fullmatch(entry.name):
                removed += _remove_if_abandoned(Path(entry.path))
    return removed


def _remove_if_abandoned(path: Path) -> bool:
    handle = None
    try:
        status = path.lstat()
        is_ours = status.st_uid == os.getuid() and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))
        if not is_ours or time.time() - status.st_mtime < _FRESH_SECONDS:
            return False
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not try_lock(handle):
            return False
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
        return True
    except OSError:
        return False
    finally:
        release(handle)
