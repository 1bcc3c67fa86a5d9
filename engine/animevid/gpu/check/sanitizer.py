"""compute-sanitizer over the kernels: memcheck over all, racecheck over norms and temporal filter (shared memory)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from animevid.gpu.check.findings import CheckOptions, Finding, Skipped
from animevid.gpu.check.kernels import compare_filters, compare_norms, compare_pixels
from animevid.gpu.check.queue import GpuQueue
from animevid.gpu.driver import open_device
from animevid.pixels.resize import Size

_USUAL_PLACE = "/usr/local/cuda/bin"
_FOUND_SOMETHING = 9
#: Its message for an unsupported GPU, for example in some virtual machines.
_NOT_SUPPORTED = "Device not supported"
#: Launches are slow under the sanitizer: a few odd sizes.
_SIZES: tuple[Size, ...] = ((9, 31), (33, 65))
_NORM_SHAPES = ((2, 3, 5, 7), (2, 4, 91, 93))
#: tool -> the part that it checks, and its share of the section's time.
_TOOLS = {"memcheck": ("kernels", 0.6), "racecheck": ("norms and the filter", 0.8)}


def section(options: CheckOptions) -> Iterator[Finding]:
    """One finding per tool: the checked part equals the references, and the tool reports nothing."""
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=_USUAL_PLACE)
    if sanitizer is None:
        raise Skipped("compute-sanitizer is not installed; it comes with the CUDA toolkit")
    until = time.monotonic() + options.limit_seconds
    for tool, (what, share) in _TOOLS.items():
        command = [sanitizer, "--tool", tool, "--error-exitcode", str(_FOUND_SOMETHING)]
        command += [sys.executable, "-m", "animevid.gpu.check", "--sanitized", what]
        seconds = share * (until - time.monotonic())
        begun = time.monotonic()
        code, said = _run(command, seconds)
        if code is None:
            yield Finding(f"{tool} over the {what}: no end after {seconds:.0f} s", agrees=False)
        elif _NOT_SUPPORTED in said:
            raise Skipped(f"{tool}: {said}")
        elif code == 0:
            yield Finding(f"{tool} over the {what}: finds nothing, {time.monotonic() - begun:.0f} s", agrees=True)
        else:
            yield Finding(f"{tool} over the {what}: exit code {code}: {said}", agrees=False)


def run_sanitized(what: str) -> int:
    """The program that runs under a tool; returns 1 if a kernel differs from its reference."""
    with open_device() as device:
        gpu = GpuQueue(device)
        rows = [
            row
            for half in (False, True)
            for row in (
                *compare_norms(gpu, half=half, shapes=_NORM_SHAPES),
                *compare_filters(gpu, half=half, sizes=_SIZES[:1]),
                *(compare_pixels(gpu, half=half, sizes=_SIZES) if what == "kernels" else []),
            )
        ]
    return 0 if rows and all(row.agrees for row in rows) else 1


def _run(command: Sequence[str | Path], seconds: float) -> tuple[int | None, str]:
    """The exit code (``None``: it timed out) and the most informative line."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("=========") and len(line) > 10]
    return process.returncode, " ".join((telling[1:3] or lines[-1:]) or ["nothing said"])[:300]
