"""Batches: videos are found, named and converted one by one; a bad one does not stop the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest
from animevid.cli import main
from animevid.errors import Cancelled, InputError, UsageError
from animevid.jobs.batch import VideoFile, check_names, convert_videos, find_videos, output_name
from animevid.jobs.watch import new_videos


@pytest.fixture
def videos(make_clip, tmp_path) -> Path:
    folder = tmp_path / "videos"
    (folder / "inner").mkdir(parents=True)
    clip = make_clip("video.mp4", frames=5)
    for name in ("a.mp4", "c.mkv", "inner/d.mp4"):
        shutil.copy(clip, folder / name)
    (folder / "b.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("no video either")
    return folder


def run(videos: Path, out: Path, style: Path, *words: str) -> int:
    return main([str(videos), str(out), "--style", str(style), "--threads", "1", *words])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_bad_video_does_not_stop_the_others(videos, packed_style, tmp_path, capsys):
    out, report = tmp_path / "out", tmp_path / "report.json"
    code = run(videos, out, packed_style, "--keep-going", "--recursive", "--report", str(report))
    assert code == InputError.exit_code
    assert names(out) == ["a-test-packed.mp4", "c-test-packed.mkv", "inner/d-test-packed.mp4"]
    states = {Path(video["input"]).name: video["state"] for video in json.loads(report.read_text())["videos"]}
    assert states == {"a.mp4": "done", "b.mp4": "failed", "c.mkv": "done", "d.mp4": "done"}
    told = capsys.readouterr()
    assert "3 done, 0 skipped, 1 failed" in told.out
    assert "[2/4]" in told.err


def test_a_batch_that_is_killed_twice_ends_with_every_video_whole(make_clip, packed_style, tmp_path):
    videos, out, report = tmp_path / "videos", tmp_path / "out", tmp_path / "report.json"
    videos.mkdir()
    clip = make_clip(
        "video.mp4", frames=300, rate=Fraction(2), options={"g": "10"}, audio_codec="aac", audio_seconds=Fraction(150)
    )
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(clip, videos / name)
    words = ["--style", str(packed_style), "--threads", "1", "--encoder-threads", "1", "--every-frame", "--resume"]
    words += ["--no-deflicker", "--keep-going"]
    whole = tmp_path / "whole.mp4"
    assert main([str(clip), str(whole), *words[:-1]]) == 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "animevid", str(videos), str(out), *words, "--report", str(report)]
    for name in ("a", "b"):
        job = out / f".{name}-test-packed.mp4.job"
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (job / "000001.pkts").exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
        assert job.exists(), "it was killed too late"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "resumes where it stopped" in done.stderr
    assert names(out) == ["a-test-packed.mp4", "b-test-packed.mp4", "c-test-packed.mp4"]
    assert {path.read_bytes() for path in out.iterdir()} == {whole.read_bytes()}
    assert [video["state"] for video in json.loads(report.read_text())["videos"]] == ["skipped", "done", "done"]


def test_without_keep_going_the_first_bad_video_is_the_last(videos, packed_style, tmp_path):
    assert run(videos, tmp_path / "out", packed_style) == InputError.exit_code
    assert names(tmp_path / "out") == ["a-test-packed.mp4"]


def test_what_exists_is_skipped(videos, packed_style, tmp_path, capsys):
    (videos / "b.mp4").unlink()
    out = tmp_path / "out"
    assert run(videos, out, packed_style, "--name", "{stem}.mp4") == 0
    before = (out / "a.mp4").stat().st_mtime_ns
    (out / "c.mp4").unlink()
    capsys.readouterr()
    assert run(videos, out, packed_style, "--name", "{stem}.mp4", "--skip-existing", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [video["state"] for video in lines[-1]["videos"]] == ["skipped", "done"]
    assert [(line["video"], line["videos"]) for line in lines if line["event"] == "done"] == [(2, 2)]
    assert [(line["film"], line["films"]) for line in lines if line["event"] == "done"] == [(2, 2)]  # earlier names
    assert lines[-1]["films"] == lines[-1]["videos"]
    assert (out / "a.mp4").stat().st_mtime_ns == before


def test_videos_are_found_by_folder_pattern_and_name_once(videos):
    def found(*specs, **how):
        return [str(video.path.relative_to(videos)) for video in find_videos([str(videos / s) for s in specs], **how)]

    assert found("") == ["a.mp4", "b.mp4", "c.mkv"]
    assert found("", recursive=True)[-1] == "inner/d.mp4"
    assert found("*.mkv", "a.mp4", "") == ["c.mkv", "a.mp4", "b.mp4"]
    (videos / "empty").mkdir()
    with pytest.raises(InputError, match="contains no video"):
        found("empty")


@pytest.mark.parametrize("template", ["{stem}/x.mp4", "{number}.mp4", "{stem", "", "{0}.mp4"])
def test_bad_templates_are_one_line(template):
    with pytest.raises(UsageError, match="--name"):
        output_name(VideoFile(Path("a.mp4")), Path("out"), template=template or "/", style="cel")


def test_two_videos_of_one_name_are_refused():
    pairs = [(VideoFile(Path("a.mp4")), Path("out/a.mp4")), (VideoFile(Path("a.mkv")), Path("out/a.mp4"))]
    with pytest.raises(UsageError, match="would both be written"):
        check_names(pairs)


def test_an_error_of_our_own_does_not_stop_the_videos_but_ctrl_c_does(tmp_path):
    def convert(video, dst):
        if video.path.name == "stop":
            raise Cancelled("stopped")
        raise ValueError("a slip\nof ours")

    pairs = [(VideoFile(Path(name)), tmp_path / name) for name in ("one", "two", "stop", "three")]
    outcomes = convert_videos(pairs, convert, keep_going=True)
    assert [next(outcomes).reason for _ in range(2)] == ["unexpected ValueError: a slip of ours"] * 2
    with pytest.raises(Cancelled):
        next(outcomes)


def test_a_video_that_comes_into_a_watched_folder_is_handed_over_when_it_is_whole(tmp_path):
    pytest.importorskip("watchfiles")
    stop, wrote = threading.Event(), []

    def write_slowly():
        time.sleep(0.3)
        with (tmp_path / "video.mp4").open("wb") as file:
            for _ in range(6):
                file.write(b"x" * 1000)
                file.flush()
                time.sleep(0.1)
        wrote.append(True)

    threading.Thread(target=write_slowly).start()
    threading.Timer(10, stop.set).start()
    video = next(new_videos(tmp_path, stop=stop, settled_seconds=0.4))
    assert wrote
    assert video == VideoFile(tmp_path / "video.mp4", Path())
