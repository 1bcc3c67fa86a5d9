"""Defaults from ``animevid.toml``: which file holds, what wins, and what is said of what cannot be meant."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest
from animevid.cli import convert, main
from animevid.cli.app import build_parser
from animevid.cli.config import default_arguments
from animevid.cli.options import read_options
from animevid.options import ConversionOptions


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file of settings; the current folder is empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    (tmp_path / "settings" / "animevid").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "settings" / "animevid" / "animevid.toml"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[ConversionOptions]:
    """With what a conversion would have run."""
    found: list[ConversionOptions] = []

    def run(args: argparse.Namespace) -> int:
        found.append(read_options(args, ConversionOptions))
        return 0

    monkeypatch.setattr(convert, "run", run)
    return found


def test_the_file_gives_defaults_and_the_command_line_wins(settings: Path, ran: list[ConversionOptions]) -> None:
    settings.write_text('style = "ehon"\ncrf = 24\ncodec = "hevc"\nno-copy = true\nstrict = false\n')
    assert main(["in.mp4", "out.mp4", "--crf", "18"]) == 0
    (options,) = ran
    assert (options.style, options.encoder.codec, options.encoder.crf) == ("ehon", "hevc", 18)
    assert (options.copy_streams, options.strict) == (False, False)


def test_the_file_of_the_current_folder_holds_instead_of_the_users(
    settings: Path, ran: list[ConversionOptions]
) -> None:
    settings.write_text('style = "ehon"\ncrf = 24\n')
    Path("animevid.toml").write_text('style = "cel"\n')
    assert main(["in.mp4", "out.mp4"]) == 0
    assert (ran[0].style, ran[0].encoder.crf) == ("cel", None)


def test_webcam_and_serve_have_tables_of_their_own(settings: Path) -> None:
    settings.write_text('crf = 24\n[webcam]\nsize = "320x180"\nmirror = true\n')
    assert default_arguments("webcam", build_parser("webcam")) == ["--size=320x180", "--mirror"]
    assert default_arguments("convert", build_parser("convert")) == ["--crf=24"]
    assert default_arguments("styles", build_parser("styles")) == []


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_holds_only_in_that_users_folder(
    settings: Path, ran: list[ConversionOptions], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("animevid.toml").write_text("crf = 24")
    os.chown("animevid.toml", 1234, 1234)
    assert main(["in.mp4", "out.mp4"]) == 2
    assert "animevid.toml belongs to another user" in capfd.readouterr().err
    os.chown(".", 1234, 1234)
    assert main(["in.mp4", "out.mp4"]) == 0
    assert ran[0].encoder.crf == 24


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('stile = "cel"', "'stile' is no option there; did you mean style?"),
        ("overwrite = true", "'overwrite' is no option there"),
        ("crf = [1]", "crf = [1] must be a text or a number"),
        ('no-copy = "yes"', "no-copy = 'yes' must be true or false"),
        ('codec = "mpeg2"', "codec: invalid choice: 'mpeg2'"),
        ('size = "big"', "size: 'big' is not a size; give 1280x720"),
        ("crf = ", "cannot be read: Invalid value"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(
    settings: Path, ran: list[ConversionOptions], capfd: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    Path("animevid.toml").write_text(text)
    assert main(["in.mp4", "out.mp4"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("animevid: error: animevid.toml")
    assert told in line
    assert not ran
    assert main(["--version"]) == 0
