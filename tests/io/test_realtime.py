"""An AV1 encoder leaves the process at normal priority, as root too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import animevid
import cv2
import numpy as np
import pytest
from animevid.options import EncodeOptions


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux real-time priorities")
@pytest.mark.parametrize("name", ["out.mkv", "out.avif"])
def test_no_thread_is_left_at_real_time_priority(make_clip, packed_style: Path, tmp_path: Path, name: str) -> None:
    source = make_clip("in.mp4", frames=3, width=64, height=64)
    if name.endswith("avif"):
        source = tmp_path / "in.png"
        cv2.imwrite(str(source), np.full((64, 64, 3), 99, np.uint8))
    encoder = EncodeOptions() if name.endswith("avif") else EncodeOptions(codec="av1")
    animevid.stylize(source, tmp_path / name, style=packed_style, encoder=encoder)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    threads = [int(thread) for thread in os.listdir("/proc/self/task")]
    assert not [thread for thread in threads if os.sched_getscheduler(thread) == os.SCHED_FIFO]
