"""Confines a process before it opens an untrusted file: memory, time, files, sockets, signals.

The kernel enforces the limits: rlimits, except on Windows, and on Linux also Landlock (files) and seccomp (system
calls). They cannot be undone, so only child processes started for one file use them.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from animevid.confinement import landlock, seccomp

__all__ = [
    "ResourceLimits",
    "confine",
    "end_with_parent",
    "is_confined",
    "limit_resources",
    "missing",
    "program_folders",
]

_log = logging.getLogger(__name__)
_confined = False
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Resource limits of a process.

    Args:
        memory_bytes: of address space (``RLIMIT_AS``; default 2 GiB). macOS does not enforce it.
        cpu_seconds: of CPU time, for all threads together (default 60).
        file_bytes: maximum size of a file (default 0: no file can be written).
        open_files: at a time (default 256).
    """

    memory_bytes: int = 2 << 30
    cpu_seconds: int = 60
    file_bytes: int = 0
    open_files: int = 256


def limit_resources(limits: ResourceLimits) -> None:
    """Permanently limit memory, CPU time, and size and number of files of this process."""
    try:
        import resource
    except ImportError:  # Windows
        _log.warning("this system has no resource limits")
        return
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS does not support RLIMIT_AS
            hard = resource.getrlimit(kind)[1]
            bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (bounded, bounded))


def missing() -> tuple[str, ...]:
    """The confinement features that this Linux kernel lacks; empty on other systems.

    Returns:
        Names with the required kernel, such as ``"Landlock (Linux 5.13)"``; empty if nothing is missing.
    """
    if sys.platform != "linux":
        return ()
    lacking = []
    if landlock.version() < 1:
        lacking.append("Landlock (Linux 5.13, in the kernel's list of security modules)")
    if not seccomp.is_available():
        lacking.append("seccomp filters (on x86-64 and 64-bit ARM)")
    return tuple(lacking)


def confine(*, writable: list[Path], readable: list[Path]) -> bool:
    """Restrict this process to these files and folders, without sockets, new processes or signals to others.

    Call it before the first thread starts: Landlock restricts the calling thread and those that it starts later.

    Args:
        writable: folders (or files) in which the process may read, create, write and remove files.
        readable: files and folders that the process may read, and map libraries from.

    Returns:
        Whether everything is enforced: false on other systems than Linux, or if the kernel lacks a feature
            (:func:`missing`).
    """
    global _confined
    if sys.platform != "linux":
        return False
    holds = landlock.limit_files(writable=writable, readable=readable)
    holds = seccomp.deny_calls() and holds
    _confined = True
    return holds


def end_with_parent() -> None:
    """Let the kernel end this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def is_confined() -> bool:
    """Whether this process is confined, so that it can start no child and needs none."""
    return _confined


def program_folders() -> list[Path]:
    """Folders that Python and its libraries read: their own, and the kernel's files on CPU and process."""
    names = {*sys.path, sys.prefix, sys.base_prefix, "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"}
    names |= {f"/proc/{os.getpid()}", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm"}
    names |= {"/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom", "/etc/ld.so.cache"}
    # Other library folders: those in the environment, and those of systems with one folder per package.
    names |= {name for name in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if os.path.isabs(name)}
    names |= {"/nix/store", "/gnu/store"}
    # An entry of sys.path such as "/" or a home folder would expose far more than programs.
    too_wide = {Path("/"), Path.home()}
    return [path for name in sorted(names) if name and (path := Path(name)).exists() and path not in too_wide]
