"""Runs the first inputs of ``make fuzz-ci``, and every input that failed before."""

from __future__ import annotations

import sys
from pathlib import Path

import fuzz
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it counts by /proc")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")
    folder = tmp_path_factory.mktemp("seeds")
    fuzz.write_seeds(folder)
    return folder


def test_what_failed_once_fails_no_more(seeds: Path) -> None:
    found = fuzz.run(fuzz.corpus(), seeds)
    assert found.wrong == []
    assert sum(found.counts.values()) == len(list(fuzz.corpus()))


def test_mutated_inputs_of_each_kind_do_no_harm(seeds: Path) -> None:
    found = fuzz.run(fuzz.in_turn(fuzz.KINDS, count=20), seeds)
    assert found.wrong == []
    assert found.counts == dict.fromkeys(fuzz.KINDS, 20)


@pytest.mark.parametrize("harm", ["raise", "exit", "hang", "left"])
def test_harm_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    """Workers report inputs that raise, end the process, hang or leave a file behind."""
    monkeypatch.setattr(fuzz, "MAX_SECONDS", 0.3)
    code = {
        "raise": "raise KeyError('x')",
        "exit": "import os; os._exit(9)",
        "hang": "\nwhile True: pass",
        "left": "return 'left'",
    }[harm]
    program = tmp_path / "worker.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(fuzz.TESTS)!r}); import fuzz; from pathlib import Path\n"
        f"def card(self, folder, name, data):\n    {code.strip()}\n"
        "fuzz.Worker._card = card\nfuzz.work(Path(sys.argv[2]))\n"
    )
    for kind in fuzz.KINDS:
        (tmp_path / "seeds" / kind).mkdir(parents=True)
    (tmp_path / "seeds" / "card" / "a.json").write_text("{}")
    monkeypatch.setattr(fuzz, "__file__", str(program))
    found = fuzz.run(fuzz.in_turn(("card",), count=1), tmp_path / "seeds")
    assert len(found.wrong) == 1
    assert {"raise": "KeyError", "exit": "ended (9)", "hang": "no end after", "left": "left"}[harm] in found.wrong[0][2]
