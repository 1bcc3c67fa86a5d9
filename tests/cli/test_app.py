"""Commands are found; one that cannot run says why."""

from __future__ import annotations

import re
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("in.mp4 out.mp4 --codec h265", "invalid choice: 'h265' .*; did you mean hevc?"),
        ("in.mp4 out.mp4 --codec hevcc", "invalid choice: 'hevcc' .*; did you mean hevc?"),
        ("in.mp4 out.mp4 --stile aozora", "--stile is no option; did you mean --style?"),
        ("in.mp4 out.mp4 --stile=aozora", "--stile is no option; did you mean --style?"),
        ("webcm", "'webcm' is no command and no file; did you mean animevid webcam?"),
        ("styls --json", "'styls' is no command and no file; did you mean animevid styles?"),
        ("in.mp4 out.mp4 --xyzzy", "unrecognized arguments: --xyzzy; see"),
    ],
)
def test_a_typing_error_is_reported_with_a_suggestion(words, told, capfd):
    assert main(words.split()) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(re.escape(told).replace(r"\.\*", ".*"), line), line


def test_a_file_that_is_named_almost_like_a_command_is_a_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "webcm").mkdir()
    assert main(["webcm", "out"]) != 0
    assert "is no command" not in capfd.readouterr().err
