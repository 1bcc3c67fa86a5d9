"""The default number of threads of a network."""

from __future__ import annotations

import os

#: With more threads, the slices of a network that takes a few milliseconds become too small to gain speed.
_MAX_THREADS = 16


def default_threads() -> int:
    """The cores that this process may run on (affinity and cgroup cpusets count), at most 16."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _MAX_THREADS))
