"""Animations keep their loop count and durations; a stream of JPEGs is a video."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from animevid.io import open_sink, open_source
from animevid.io.sinks.animation import AnimationSink, how_often_played
from PIL import Image

pytestmark = pytest.mark.shared


def delays(path: Path) -> list[int]:
    """Each image's delay in hundredths of a second, parsed from the file."""
    found = re.findall(rb"\x21\xf9\x04.(..).\x00\x2c", path.read_bytes(), re.DOTALL)
    return [int.from_bytes(delay, "little") for delay in found]


def through(clip: Path, target: Path) -> int:
    with open_source(clip) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        return sink.finish().frames_written


@pytest.mark.parametrize(
    ("name", "plays", "hundredths"),
    [
        ("once.gif", 1, [10] * 5),
        ("loop3.gif", 4, [10] * 5),
        ("fast.gif", 0, [1, 1, 2, 3, 3, 3, 10, 200]),
    ],
)
def test_a_gif_keeps_its_loops_and_every_duration(
    shared: Path, tmp_path: Path, name: str, plays: int, hundredths: list[int]
) -> None:
    through(shared / "faults" / name, tmp_path / "o.gif")
    assert how_often_played(shared / "faults" / name) == how_often_played(tmp_path / "o.gif") == plays
    assert delays(tmp_path / "o.gif") == hundredths


@pytest.mark.parametrize("suffix", [".apng", ".webp"])
def test_other_animations_play_as_often(shared: Path, tmp_path: Path, suffix: str) -> None:
    through(shared / "faults" / "loop3.gif", tmp_path / f"o{suffix}")
    assert how_often_played(tmp_path / f"o{suffix}") == 4


def test_a_row_of_jpegs_is_a_video_and_a_photo_is_not(shared: Path, tmp_path: Path) -> None:
    assert through(shared / "faults" / "b.mjpeg", tmp_path / "o.mp4") == 50
    with open_source(shared / "faults" / "a98.jpg") as source:
        assert source.info.is_still


def gradient(hue: int) -> np.ndarray:
    """RGB ``(H, W, 3)``: two hundred shades of one colour."""
    tones = np.tile(np.linspace(20, 250, 200), (60, 1))
    image = np.full((60, 200, 3), 20.0)
    image[..., hue] = tones
    return image.astype(np.uint8)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A folder of three images, each in shades of another colour."""
    folder = tmp_path / "tones"
    folder.mkdir()
    for hue in range(3):
        Image.fromarray(gradient(hue)).save(folder / f"{hue}.png")
    return folder


def test_each_image_of_a_gif_has_colours_of_its_own(tones: Path, tmp_path: Path) -> None:
    through(tones, tmp_path / "o.gif")
    with Image.open(tmp_path / "o.gif") as gif:
        for hue in range(3):
            gif.seek(hue)
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown - gradient(hue)).mean() < 5, hue


def test_the_quality_of_an_animated_webp_is_that_which_is_asked_for(tones: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (10, 50, 95):
        target = tmp_path / f"{quality}.webp"
        with open_source(tones) as source, AnimationSink(target, template=source, quality=quality) as sink:
            for frame in source:
                sink.write(frame)
            sink.finish()
        sizes.append(target.stat().st_size)
    assert sizes == sorted(set(sizes))
