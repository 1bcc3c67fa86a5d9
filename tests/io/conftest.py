"""Fixtures of these tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def probe() -> Callable[[Path], dict[str, Any]]:
    """FFmpeg's own reader as a second opinion: streams, packets, chapters and format of a file."""
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed (Debian: apt-get install ffmpeg)")

    def read(path: Path) -> dict[str, Any]:
        command = ["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-show_chapters", "-show_format"]
        done = subprocess.run([*command, "-of", "json", str(path)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return read
