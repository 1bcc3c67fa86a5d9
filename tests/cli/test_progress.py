"""The progress line fits the terminal and shows what is known."""

from __future__ import annotations

import pytest
from animevid.cli.progress import bar_line
from animevid.run import PipelineStatistics, StageStatistics
from animevid.run.report import Progress
from hypothesis import given
from hypothesis import strategies as st


def _progress(done: int, total: int | None, *, elapsed: float = 10.0) -> Progress:
    stages = (
        StageStatistics("decode", done, 1.0),
        StageStatistics("infer", done, 9.5),
        StageStatistics("postprocess", done, 0.5),
        StageStatistics("encode", done, 6.0),
    )
    return Progress(done, total, PipelineStatistics(elapsed, stages))


@given(
    done=st.integers(0, 10**7),
    total=st.none() | st.integers(1, 10**7),
    fps=st.floats(0, 5000),
    columns=st.integers(10, 200),
)
def test_the_line_never_wraps(done, total, fps, columns):
    line = bar_line(_progress(done, total), fps=fps, columns=columns, colour=False)
    assert len(line) <= columns
    assert "\n" not in line


def test_it_says_share_frames_rate_time_left_and_the_busiest_stages():
    line = bar_line(_progress(250, 1000), fps=50, columns=120, colour=False)
    assert line.startswith(" 25% ")
    assert "250/1000" in line
    assert "50.0 fps" in line
    assert "ETA 0:15" in line
    assert line.endswith("infer 95% encode 60% decode 10%")


def test_without_a_known_end_it_counts_frames_and_time():
    line = bar_line(_progress(250, None, elapsed=3671), fps=50, columns=120, colour=False)
    assert "250 frames" in line
    assert "1:01:11" in line
    assert "%" not in line.partition("fps")[0]
    assert "ETA" not in line


def test_more_frames_than_were_estimated_stay_at_100_percent():
    assert bar_line(_progress(1010, 1000), fps=50, columns=120, colour=False).startswith("100%")


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_loses_the_loads_first(columns):
    line = bar_line(_progress(250, 1000), fps=50, columns=columns, colour=False)
    assert "250/1000" in line
    assert "infer" not in line
