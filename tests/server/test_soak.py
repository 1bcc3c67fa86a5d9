"""The soak test in ten seconds: each part disconnects once and returns, without findings."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")
pytest.importorskip("pygame", reason="pygame-ce is not installed: pip install 'animevid[live]'")


@pytest.fixture(scope="module")
def soaking() -> Any:
    """``benchmarks/soak.py``, which is not on the tests' path."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # dataclasses need it
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_webcam_stream_and_server_last_through_a_break_of_each(
    soaking: Any, packed_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(soaking, "AWAY_SECONDS", 1.2)  # back for the second attempt
    reports = soaking.soak(7.0, tmp_path, style=str(packed_style))
    assert [fault for report in reports for fault in report.faults] == []
    assert [report.name for report in reports] == ["webcam", "stream", "server"]


def test_memory_that_grows_is_found_out_and_a_start_is_no_growth(soaking: Any):
    minutes = 10 * 60 * soaking.NOTES_A_SECOND
    leaking = [100 + 30 * index / minutes for index in range(minutes)]
    starting = [100 - 50 * 0.97**index for index in range(minutes)]
    assert soaking.growth(leaking)[0] is False
    assert soaking.growth(starting)[0] is True
    seconds = 16 * soaking.NOTES_A_SECOND
    # Seen on a busy machine: the first viewer's file was finished only in the third quarter.
    late = [154.0] * (seconds // 2) + [178.0] * (seconds // 2)
    assert soaking.growth(late) == (True, "memory 154 MiB early, 178 MiB late (+15.6%), at most 178")
    assert soaking.growth([154.0] * (seconds // 2) + [254.0] * (seconds // 2))[0] is False


def test_sound_that_drifts_is_found_out(soaking: Any):
    fps, drift = soaking.FPS, soaking.drift
    frames = [(index / fps, 100 + index) for index in range(20 * fps)]
    together = [second + 20 / fps for second in range(1, 18)]
    assert max(map(abs, drift(frames, together))) < 1e-6
    apart = [heard * 1.005 for heard in together]
    assert drift(frames, apart)[-1] - drift(frames, apart)[0] == pytest.approx(0.08, abs=1e-6)


def test_minutes_that_are_missed_at_a_break_are_no_drift(soaking: Any):
    """Seen on a slow machine: numbers jumped by more than half a turn, which looked like 467 ms."""
    fps, turn = soaking.FPS, soaking.TURN
    missed = 70 * fps  # 70 s of missing frames; sound and frames continue in sync
    frames = [(index / fps, (100 + index + (missed if index >= 10 * fps else 0)) % turn) for index in range(20 * fps)]
    together = [second + 20 / fps for second in range(1, 18)]
    drifts = soaking.drift(frames, together)
    assert len(drifts) == len(together)
    assert max(map(abs, drifts)) < 1e-6


def test_a_drift_that_lasts_is_told_from_a_frame_that_was_late_once(soaking: Any):
    late_once = [0.0] * 30
    late_once[17] = 0.2
    assert soaking.lasting_drift(late_once) == 0
    assert soaking.lasting_drift([0.0] * 15 + [0.06] * 15) == pytest.approx(0.06)
    assert soaking.lasting_drift([0.0, 0.06]) == 0  # too short to decide
