"""Ctrl-C ends live use at once, with a one-line message, despite connected viewers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from animevid.confinement import missing

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")
pytest.importorskip("pygame", reason="pygame-ce is not installed: pip install 'animevid[live]'")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

#: aiohttp's own limit for requests is a minute; the machine may be slow.
_WITHIN_SECONDS = 25
_RECORDS_WITHIN_SECONDS = 90


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, "-m", "animevid", *arguments, "--device", "testpattern"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_server_does_not_wait_for_a_viewer_who_stays(packed_style: Path):
    anyway = ("--unconfined-uploads",) if missing() else ()  # otherwise the first line reports that uploads are refused
    process = start("serve", "--port", "0", "--style", str(packed_style), *anyway)
    assert process.stdout is not None
    address = re.search(r"http://[\d.:]+/", process.stdout.readline())
    assert address is not None
    with urllib.request.urlopen(f"{address[0]}stream.mjpg", timeout=60) as viewer:
        assert viewer.read(10_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=_WITHIN_SECONDS)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_window_closes_with_a_line_of_figures(packed_style: Path, tmp_path: Path):
    # The recording's file shows that frames arrive.
    options = ("--style", str(packed_style), "--microphone", "none")
    process = start("webcam", *options, "--record", "--folder", str(tmp_path))
    wait_for_a_recording(process, tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=_WITHIN_SECONDS)
    assert process.returncode == 0
    assert err == ""
    video, figures = out.splitlines()
    assert Path(video).is_file()
    assert re.match(r"\d+ frames, \d+ dropped, latency \d+ ms", figures)


def wait_for_a_recording(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until ``folder`` has a file with content; if none appears, fail with the process's stacks."""
    end = time.monotonic() + _RECORDS_WITHIN_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if any(entry.stat().st_size for entry in os.scandir(folder)):
            return
        time.sleep(0.05)
    process.send_signal(signal.SIGABRT)  # faulthandler prints the stacks of all threads
    out, err = process.communicate(timeout=_WITHIN_SECONDS)
    pytest.fail(f"nothing was recorded; {process.returncode = }\n{out}\n{err}")
