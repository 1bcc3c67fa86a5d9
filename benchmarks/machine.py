"""The machine that a benchmark ran on, in words."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    return text.partition("model name")[2].partition(":")[2].partition("\n")[0].strip() or platform.machine()
