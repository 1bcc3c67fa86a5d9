"""The ffmpeg command as a bridge: a side that does not take the stream is told, never waited for without end."""

from __future__ import annotations

import os
import subprocess

import pytest
from animevid.video import bridge

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes are waited for by select")


def test_a_stream_that_nobody_takes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_TAKEN_WITHIN_SECONDS", 0.2)
    monkeypatch.setattr(bridge, "_PATIENCE_SECONDS", 0.1)
    idle = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    pipe = bridge._Writing(idle)
    with pytest.raises(OSError, match=r"nobody has taken the stream for 0\.2 s"):
        pipe.write(bytes(4 << 20))
    pipe.close()
    assert idle.poll() is not None


def test_what_is_taken_arrives_whole() -> None:
    count = subprocess.Popen(
        ["wc", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    pipe = bridge._Writing(count)
    assert pipe.write(bytes(1_000_000)) == 1_000_000
    pipe.close()
    assert count.stdout is not None
    with count.stdout:
        assert int(count.stdout.read()) == 1_000_000
