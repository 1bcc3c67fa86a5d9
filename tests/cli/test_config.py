"""Defaults from ``animevid.toml``: which file is used, which value wins, and errors for invalid values."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest
from animevid.cli import convert, main
from animevid.cli.app import build_parser
from animevid.cli.config import read_defaults
from animevid.cli.options import read_options
from animevid.errors import UsageError
from animevid.options import ConversionOptions
from media import write_clip


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings file; the current folder is empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    (tmp_path / "settings" / "animevid").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "settings" / "animevid" / "animevid.toml"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[ConversionOptions]:
    """The options with which a conversion would have run."""
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
    for command, arguments in (("webcam", ("--size=320x180", "--mirror")), ("convert", ("--crf=24",))):
        defaults = read_defaults(command, build_parser(command))
        assert defaults is not None
        assert defaults.arguments == arguments
    assert read_defaults("styles", build_parser("styles")) is None


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
def test_nonsense_is_reported_in_one_line(
    settings: Path, ran: list[ConversionOptions], capfd: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    Path("animevid.toml").write_text(text)
    assert main(["in.mp4", "out.mp4"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("animevid: error: animevid.toml")
    assert told in line
    assert not ran
    assert main(["--version"]) == 0


def test_what_the_file_decided_is_reported_once_and_in_a_plan(
    settings: Path, clip: Path, packed_style: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("animevid.toml").write_text(f'style = "{packed_style}"\ncrf = 24\nno-copy = true\n')
    words = [str(clip), "out.mp4", "--crf", "30"]
    told = f"animevid.toml: style = {packed_style}, no-copy = true"
    assert main(words) == 0
    assert capfd.readouterr().err.splitlines().count(f"defaults from {told}") == 1
    assert main([*words, "-y", "--quiet"]) == 0
    assert "animevid.toml" not in capfd.readouterr().err
    assert main([*words, "-y", "--dry-run"]) == 0
    out, err = capfd.readouterr()
    assert f"default: {told}" in out.splitlines()
    assert "animevid.toml" not in err


@pytest.mark.parametrize("command", ["webcam", "serve", "farm"])
def test_live_commands_and_the_farm_tell_too(
    settings: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise UsageError("seen enough")

    monkeypatch.setattr(f"animevid.cli.{command}.read_options", stop)
    Path("animevid.toml").write_text("threads = 2\n[webcam]\nthreads = 2\n[serve]\nthreads = 2\n")
    assert main([command, "in.mp4", "out.mp4"] if command == "farm" else [command]) == 2
    told, error = capfd.readouterr().err.splitlines()
    assert told == "defaults from animevid.toml: threads = 2"
    assert error == "animevid: error: seen enough"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", frames=12)
