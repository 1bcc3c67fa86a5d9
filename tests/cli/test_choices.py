"""Command-line options that change the output, checked in the output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from animevid.cli import main
from animevid.io import open_source
from passing import read_frames
from small_styles import PACKED, save_style


@pytest.fixture(scope="module")
def negative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_style(tmp_path_factory.mktemp("styles") / "negative.onnx", PACKED, effect="negative")


def test_a_split_at_0_3_shows_the_original_on_three_tenths(
    make_clip: Callable[..., Path], negative: Path, tmp_path: Path
) -> None:
    clip = make_clip("even.mp4", width=200, height=100)
    target = tmp_path / "o.mkv"
    words = ["--style", str(negative), "--compare", "split:0.3", "--codec", "ffv1", "--quiet"]
    assert main([str(clip), str(target), *words]) == 0
    before, after = read_frames(clip)[4].planes.y.astype(int), read_frames(target)[4].planes.y.astype(int)
    changed = np.abs(before - after).mean(axis=0) > 8
    assert not changed[:56].any()
    assert changed[64:].mean() > 0.8


@pytest.mark.parametrize("words", [["--progress", "json"], ["--json"]], ids=" ".join)
def test_json_does_not_go_into_the_video(
    make_clip: Callable[..., Path], packed_style: Path, tmp_path: Path, words: list[str]
) -> None:
    clip = make_clip("even.mp4")
    command = [sys.executable, "-m", "animevid", clip, "-", "--style", packed_style, "--format", "matroska", *words]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    video = tmp_path / "o.mkv"
    video.write_bytes(done.stdout)
    assert done.stdout.startswith(b"\x1a\x45\xdf\xa3")
    assert len(read_frames(video)) == 10
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events[-1]["frames_out"] == 10


def test_reading_that_stopped_early_is_reported(
    make_clip: Callable[..., Path], packed_style: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = make_clip("long.mp4", frames=100, container_options={"movflags": "+faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert main([str(cut), str(tmp_path / "o.mp4"), "--style", str(packed_style)]) == 0
    said = "".join(capfd.readouterr())
    assert "reading stopped early" in said
    assert 10 < len(read_frames(tmp_path / "o.mp4")) < 100


@pytest.mark.parametrize(("size", "shape"), [("64x64", Fraction(2)), ("128x64", Fraction(2))])
def test_the_shape_on_the_screen_stays_whatever_the_size(
    make_clip: Callable[..., Path], packed_style: Path, tmp_path: Path, size: str, shape: Fraction
) -> None:
    clip, target = make_clip("wide.mp4", width=128, height=64), tmp_path / "o.mp4"
    assert main([str(clip), str(target), "--style", str(packed_style), "--size", size, "--quiet"]) == 0
    with open_source(target) as source:
        info = source.info
        assert f"{info.display_width}x{info.display_height}" == size
        assert Fraction(info.display_width, info.display_height) * info.sample_aspect_ratio == shape


def test_a_video_to_webp_names_is_images(make_clip: Callable[..., Path], packed_style: Path, tmp_path: Path) -> None:
    clip = make_clip("even.mp4")
    assert main([str(clip), str(tmp_path / "%03d.webp"), "--style", str(packed_style), "--quiet"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n:03d}.webp" for n in range(1, 11)]
    with open_source(tmp_path / "003.webp") as source:
        assert source.info.is_still


def test_what_stands_still_is_drawn_once_unless_every_frame_is_asked_for(
    packed_style: Path, make_clip: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    still = make_clip("still.mp4", frames=1)
    images = tmp_path / "in"
    images.mkdir()
    assert main([str(still), str(images / "%02d.png"), "--style", str(packed_style), "--quiet"]) == 0
    for number in range(2, 9):
        (images / f"{number:02d}.png").write_bytes((images / "01.png").read_bytes())
    capfd.readouterr()

    def drawn(*words: str) -> int:
        target = tmp_path / f"o{len(words)}.mp4"
        assert main([str(images), str(target), "--style", str(packed_style), "--json", *words]) == 0
        events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        return int(events[-1]["frames_out"]) - int(events[-1]["frames_reused"])

    assert drawn() == 1
    assert drawn("--every-frame") == 8
