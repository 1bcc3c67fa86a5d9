"""The soak in twenty seconds: each part breaks off once and comes back, and nothing is found wrong."""

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
    """``benchmarks/soak.py``, which lies beside the tests and not on their path."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as POSIX's signal")
def test_webcam_stream_and_server_last_through_a_break_of_each(soaking: Any, packed_style: Path, tmp_path: Path):
    reports = soaking.soak(16.0, tmp_path, style=str(packed_style))
    assert [fault for report in reports for fault in report.faults] == []
    assert [report.name for report in reports] == ["webcam", "stream", "server"]


def test_sound_that_drifts_is_found_out(soaking: Any):
    fps, drift = soaking.FPS, soaking.drift
    pictures = [(index / fps, 100 + index) for index in range(20 * fps)]
    together = [second + 20 / fps for second in range(1, 18)]
    assert max(map(abs, drift(pictures, together))) < 1e-6
    apart = [heard * 1.005 for heard in together]
    assert drift(pictures, apart)[-1] - drift(pictures, apart)[0] == pytest.approx(0.08, abs=1e-6)
