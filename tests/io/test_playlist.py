"""HLS files: a playlist and its segments are complete or absent."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from animevid.cli import main
from animevid.errors import OutputError, UsageError
from animevid.io import VideoSource, open_sink
from animevid.options import OutputOptions


@pytest.fixture
def video(make_clip: Callable[..., Path]) -> Path:
    return make_clip("video.mp4", frames=200, audio_codec="aac", audio_seconds=Fraction(8))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pass_on(video: Path, target: Path, *, frames: int | None = None, overwrite: bool = False) -> None:
    with (
        VideoSource(video) as source,
        open_sink(target, template=source, settings=OutputOptions(overwrite=overwrite)) as sink,
    ):
        for frame in source:
            if frame.index == frames:
                break
            sink.write(frame)
        assert names(target.parent)[0].startswith(".")  # nothing under its name yet
        sink.finish()


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe command: apt-get install ffmpeg")
def test_a_playlist_plays(video: Path, packed_style: Path, tmp_path: Path):
    out = tmp_path / "a new.m3u8"
    assert main([str(video), str(out), "--style", str(packed_style), "--quiet"]) == 0
    assert names(tmp_path) == ["a new-00000.ts", "a new-00001.ts", "a new.m3u8"]
    playlist = out.read_text()
    assert "#EXT-X-PLAYLIST-TYPE:VOD" in playlist
    assert playlist.rstrip().endswith("#EXT-X-ENDLIST")
    assert str(tmp_path) not in playlist
    command = ["ffprobe", "-v", "error", "-count_frames", "-of", "json", "-show_entries"]
    done = subprocess.run(
        [*command, "stream=codec_name,nb_read_frames", str(out)], capture_output=True, text=True, check=True
    )
    streams = {stream["codec_name"]: int(stream["nb_read_frames"]) for stream in json.loads(done.stdout)["streams"]}
    assert done.stderr == ""
    assert streams["h264"] == 200
    assert streams["aac"] > 370


@pytest.mark.parametrize("name", ["100%.m3u8", "video.mp4"])
def test_names_that_make_no_playlist_are_one_line(video: Path, tmp_path: Path, name: str):
    with VideoSource(video) as source, pytest.raises(UsageError, match="segments"):
        open_sink(tmp_path / name, template=source, settings=OutputOptions(muxer="hls"))


def test_what_is_not_finished_leaves_nothing(video: Path, tmp_path: Path):
    with VideoSource(video) as source, open_sink(tmp_path / "video.m3u8", template=source) as sink:
        for frame in source:
            sink.write(frame)
    assert names(tmp_path) == []


def test_neither_playlist_nor_segments_are_replaced_unless_that_is_allowed(video: Path, tmp_path: Path):
    target = tmp_path / "video.m3u8"
    (tmp_path / "video-00007.ts").write_bytes(b"another's")
    (tmp_path / "videos-00000.ts").write_bytes(b"no segment of it")
    with pytest.raises(OutputError, match=r"video-00007\.ts' exists already"):
        pass_on(video, target)
    pass_on(video, target, overwrite=True)
    assert names(tmp_path) == ["video-00000.ts", "video-00001.ts", "video.m3u8", "videos-00000.ts"]
    with pytest.raises(OutputError, match="exists already"):
        pass_on(video, target)
    pass_on(video, target, frames=20, overwrite=True)
    assert names(tmp_path) == ["video-00000.ts", "video.m3u8", "videos-00000.ts"]
