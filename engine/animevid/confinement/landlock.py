"""Landlock (linux/landlock.h): a process restricts itself to certain files. It is three system calls, so no library.

The existing Python bindings cover less (no scopes) or are unmaintained.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

# The numbers of its three system calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PR_SET_NO_NEW_PRIVS = 38
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute (map a library), read a file, read a folder
_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # write, remove folder or file, make folder or file
_ON_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
_TRUNCATE = 1 << 14
#: The additions of each ABI version to the rights on files, and to those on TCP (bind, connect).
_HANDLED = ((1, (1 << 13) - 1), (2, 1 << 13), (3, _TRUNCATE), (5, 1 << 15))
_NETWORK_FROM, _NETWORK = 4, 1 << 0 | 1 << 1
_SCOPES_FROM, _SCOPES = 6, 1 << 0 | 1 << 1  # abstract UNIX sockets, signals


def version() -> int:
    """The kernel's Landlock ABI version; 0 without Landlock."""
    if platform.system() != "Linux":
        return 0
    found = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    return max(0, int(found))


def limit_files(*, writable: list[Path], readable: list[Path]) -> bool:
    """Restrict this thread, and threads it starts later, to these files and folders.

    If the kernel supports it, TCP (6.7) and signals to processes outside (6.12) are refused as well.

    Returns:
        Whether the kernel enforces it.
    """
    abi = version()
    if abi < 1:
        return False
    libc = _libc()
    handled = sum(rights for since, rights in _HANDLED if abi >= since)
    attributes = struct.pack("=Q", handled)
    if abi >= _NETWORK_FROM:
        attributes += struct.pack("=Q", _NETWORK)
    if abi >= _SCOPES_FROM:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for paths, access in ((readable, _READ), (writable, (_READ | _WRITE | _TRUNCATE) & handled)):
            for path in paths:
                _allow(libc, ruleset, path, access)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            access &= _ON_FILES
        libc.syscall(_ADD_RULE, ruleset, ctypes.c_int(1), struct.pack("=Qi", access, handle), ctypes.c_uint32(0))
    finally:
        os.close(handle)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
