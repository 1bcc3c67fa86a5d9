"""Finding commands, and what is said when one cannot run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from animevid.cli import app, main


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_a_help_or_says_that_it_is_not_installed(name, capfd):
    code = main([name, "--help"])
    out, err = capfd.readouterr()
    if code == 0:
        assert out.startswith("usage: animevid")
    else:
        assert code == 2
        assert "not" in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("module", "extra"), [("torch", "train"), ("aiortc", "live")])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(module, extra, monkeypatch, capfd):
    def run(_) -> int:
        raise ModuleNotFoundError(f"No module named '{module}'", name=f"{module}.nn")

    monkeypatch.setattr("animevid.cli.styles.run", run)
    assert main(["styles"]) == 2
    err = capfd.readouterr().err
    assert f'pip install "animevid[{extra}]"' in err
    assert len(err.splitlines()) == 1


def test_a_bug_is_one_line_too_and_verbose_shows_its_trace(monkeypatch, capfd):
    def run(_) -> int:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("animevid.cli.styles.run", run)
    assert main(["styles"]) == 1
    assert capfd.readouterr().err.splitlines() == [
        "animevid: error: unexpected ZeroDivisionError: oh no (run again with -v for the trace, and report it)"
    ]
    assert main(["styles", "-v"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_ctrl_c_outside_a_conversion_is_130(monkeypatch, capfd):
    def run(_) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("animevid.cli.styles.run", run)
    assert main(["styles"]) == 130


def test_python_m_animevid_is_the_command():
    done = subprocess.run([sys.executable, "-m", "animevid", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("animevid ")


def test_every_command_of_the_trainer_is_one_of_animevid():
    trainer = pytest.importorskip("animevid_trainer.cli")
    assert set(trainer.COMMANDS) <= set(app.COMMANDS)
