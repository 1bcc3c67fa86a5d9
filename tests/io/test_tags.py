"""Tags are translated to the names of the output's container."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest
from animevid.io import open_sink, open_source
from animevid.io.tags import with_known_language
from passing import pass_through


@pytest.mark.parametrize(
    ("muxer", "language", "written"),
    [
        ("mp4", "de", "deu"),
        ("mov", "pt-BR", "por"),
        ("mpegts", "zh_Hant", "zho"),
        ("mp4", "yue-HK", "yue"),
        ("mp4", "ger", "ger"),
        ("mp4", "x-klingon", "x-klingon"),
        ("matroska", "pt-BR", "pt-BR"),
    ],
)
def test_a_language_is_written_in_three_letters_where_only_they_are_known(
    muxer: str, language: str, written: str
) -> None:
    assert with_known_language({"language": language, "title": "x"}, muxer=muxer) == {"language": written, "title": "x"}


def test_a_language_of_two_letters_survives_mp4(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    video = tmp_path / "video.mkv"
    video.write_bytes(make_clip("german.mkv", subtitles="subrip").read_bytes().replace(b"ger", b"de\0"))
    pass_through(video, tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as output:
        assert output.streams.subtitles[0].metadata["language"] == "deu"


def test_a_camera_of_a_mov_is_known_in_mp4_too(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    pass_through(make_clip("canon.mov", metadata={"make": "Canon", "model": "R5"}), tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as output:
        assert (output.metadata["make"], output.metadata["model"]) == ("Canon", "R5")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_tags_that_a_container_cannot_hold_are_named_and_no_others(
    make_clip: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    names = ["TITLE", "ARTIST", "COMPOSER", "COMMENT", "GENRE", "DIRECTOR", "MY_TAG", "PUBLISHER", "SYNOPSIS"]
    clip, target = make_clip("even.mkv", metadata=dict.fromkeys(names, "1")), tmp_path / f"out{suffix}"
    with open_source(clip) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        lines = [line for line in sink.finish().notices if "cannot hold" in line]
    with av.open(str(target)) as container:
        kept = {key.upper() for key in container.metadata}
    lost = sorted(name for name in names if name not in kept)
    assert bool(lines) == bool(lost) == (suffix != ".mkv")
    assert all(f"lost: {', '.join(lost)} (" in line for line in lines)
