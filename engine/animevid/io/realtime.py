"""Undo the real-time priority that SVT-AV1 takes if permitted: as root, so in most containers.

It sets the thread that opens it and its own threads to ``SCHED_FIFO`` at the highest priority. Child processes
inherit it, and while they compute nothing else runs on the machine, not even a Ctrl-C.
"""

from __future__ import annotations

import os
from contextlib import suppress


def leave_realtime(encoder: str) -> None:
    """Give every thread of this process normal priority again, after ``encoder`` (FFmpeg's name) was opened."""
    if encoder != "libsvtav1" or not hasattr(os, "sched_setscheduler"):
        return
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):  # the thread has ended
                if os.sched_getscheduler(int(thread)) == os.SCHED_FIFO:
                    os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))
