"""Streams and side data that crashed PyAV or have no name: reported, without ending the conversion."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from animevid.io import open_sink, open_source

pytestmark = pytest.mark.shared


def test_an_image_with_an_icc_profile_does_not_crash_the_process(shared: Path) -> None:
    program = "from animevid.io import open_source; s = open_source({!r}); next(iter(s)); s.close(); print('alive')"
    code = program.format(str(shared / "faults" / "srgb_icc_small.png"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.stderr
    gc.collect()


def test_a_stream_without_even_a_name_is_dropped_and_reported(shared: Path, tmp_path: Path) -> None:
    video = shared / "faults" / "unknown_es.ts"
    with open_source(video) as source, open_sink(tmp_path / "out.mp4", template=source) as sink:
        for frame in source:
            sink.write(frame)
        report = sink.finish()
    assert [line for line in report.decisions if line.startswith("unknown stream 2 (unknown): dropped")]
    assert report.frames_written == 50
