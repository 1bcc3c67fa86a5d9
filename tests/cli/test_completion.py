"""Completion scripts: valid in their shells, with the commands' values."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

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
        (("animevid", "in.mp4", "--style", "ao"), ["aozora"]),
        (("animevid", "in.mp4", "--style", "=", "ao"), ["aozora"]),
        (("animevid", "in.mp4", "--codec", "="), ["h264", "hevc", "av1", "vp9", "prores", "ffv1"]),
        (("animevid", "webcam", "--style", "ce"), ["cel"]),
        (("animevid", "in.mp4", "--backend", "o"), ["onnxruntime", "openvino"]),
        (("animevid", "in.mp4", "--preset", "very"), ["veryfast", "veryslow"]),
        (("animevid", "styles", "eh"), ["ehon"]),
        (("animevid", "train", "animegan2-nano+vgg"), ["animegan2-nano+vgg16"]),
        (("animevid", "train", "--photos", "animegan2-n"), []),
        (("animevid", "completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_bash_offers_options_values_and_commands(script, words, offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sorted(_complete_in_bash(script("bash"), *words)) == sorted(offered)


def test_bash_offers_files_for_names(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday.mp4").touch()
    assert _complete_in_bash(script("bash"), "animevid", "hol") == ["holiday.mp4"]


def test_bash_offers_files_beside_names_of_styles(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "celadon mine.onnx").touch()
    text = script("bash")
    call = "COMP_WORDS=(animevid --style cel); COMP_CWORD=2; _animevid; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(["bash", "-c", f"{text}\n{call}"], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["cel", "celadon mine.onnx"]


def _complete_in_zsh(script: str, folder: Path, line: str) -> str:
    """``line`` after Tab in zsh's line editor, on a pseudo-terminal."""
    (folder / "_animevid").write_text(script)
    # compinit finds the script where a user would put it; Enter prints the completed line.
    start = (
        f'PS1=; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; animevid() {{ print -r -- "<$*>" }}\n'
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        os.write(terminal, f"{start}print ready$((1))\n".encode())
        _read_until(terminal, "ready1")
        os.write(terminal, f"{line}\t\n".encode())
        return re.findall(r"<(.*?)>", _read_until(terminal, ">\r\n"))[-1]
    finally:
        os.close(terminal)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _read_until(terminal: int, mark: str, *, seconds: float = 30) -> str:
    seen, deadline = "", time.monotonic() + seconds
    while mark not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"zsh printed nothing after {seen[-400:]!r}"
        seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("animevid in.mp4 --style ao", "in.mp4 --style aozora"),
        ("animevid in.mp4 --codec pro", "in.mp4 --codec prores"),
        ("animevid --backend onnxr", "--backend onnxruntime"),
        ("animevid --preset plac", "--preset placebo"),
        ("animevid train cyclegan+e", "train cyclegan+edge"),
        ("animevid styles eh", "styles ehon"),
    ],
)
def test_zsh_completes_values(script, tmp_path, line, completed):
    assert _complete_in_zsh(script("zsh"), tmp_path, line) == completed


def test_commands_whose_extra_is_not_installed_are_left_out():
    program = "import sys; sys.modules['pydantic'] = None; from animevid.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    offered = _complete_in_bash(done.stdout, "animevid", "")
    assert "webcam" in offered
    assert "train" not in offered


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
