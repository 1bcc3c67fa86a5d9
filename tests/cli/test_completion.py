"""Completion scripts: valid in their shells, and offering what the commands take."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from animevid.cli import main


@pytest.fixture
def script(capfd):
    def make(shell: str) -> str:
        assert main(["completion", shell]) == 0
        return capfd.readouterr().out

    return make


def _complete_in_bash(script: str, *words: str) -> list[str]:
    line = " ".join(f"'{word}'" for word in words)
    call = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _animevid; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    program = f"{script}\n{call}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("animevid", "in.mp4", "out.mp4", "--str"), ["--strength", "--stream", "--strict"]),
        (("animevid", "in.mp4", "--codec", ""), ["h264", "hevc", "av1", "vp9", "prores", "ffv1"]),
        (("animevid", "--compare", "s"), ["side", "split"]),
        (("animevid", "compl"), ["completion"]),
        (("animevid", "styles", "--j"), ["--json"]),
    ],
)
def test_bash_offers_options_values_and_commands(script, words, offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sorted(_complete_in_bash(script("bash"), *words)) == sorted(offered)


def test_bash_offers_files_for_names(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday.mp4").touch()
    assert _complete_in_bash(script("bash"), "animevid", "hol") == ["holiday.mp4"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_itself_accepts_the_script(script, shell, tmp_path):
    text = script(shell)
    assert "--strength" in text or "-l strength" in text
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    path = tmp_path / "script"
    path.write_text(text)
    subprocess.run([shell, "-n", str(path)], check=True)


def test_an_unknown_shell_is_refused(capfd):
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in capfd.readouterr().err
