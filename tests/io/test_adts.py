"""AAC from MPEG-TS into outputs without seeking: the codec configuration must come first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import pytest


@pytest.mark.parametrize("container", ["matroska", "mp4", "mpegts"])
def test_sound_of_a_transport_stream_passes_a_pipe(container: str, make_clip: Callable[..., Path], packed_style: Path):
    video = make_clip("adts.ts", frames=10, audio_codec="aac")
    command = [sys.executable, "-m", "animevid", str(video), "-", "--format", container, "--style", str(packed_style)]
    done = subprocess.run([*command, "--quiet"], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with av.open(str(video)) as before, av.open(BytesIO(done.stdout)) as after:
        wanted, found = (sum(frame.samples for frame in one.decode(audio=0)) for one in (before, after))
    assert found == wanted > 0
