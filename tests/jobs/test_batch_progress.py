"""Progress of a batch: its share done and the remaining time."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from animevid.cli import main
from animevid.jobs.batch_progress import BatchProgress, frame_count


@pytest.fixture
def clips(make_clip):
    return [make_clip("short.mp4", frames=50), make_clip("long.mp4", frames=150)]


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_time_for_all_videos_follows_from_their_lengths_and_the_rate(clips, make_clip):
    clock, endless = Clock(), make_clip("raw.h264")
    batch = BatchProgress([*clips, endless, Path("nowhere.mp4")], clock=clock)
    assert batch.frames_total == 50 + 150 + 100  # an unknown length counts as the others' mean
    assert batch.seconds_left is None
    batch.begin(clips[0])
    for done, clock.seconds in ((0, 10.0), (20, 12.0)):  # 10 frames a second
        batch.progress(done, 50)
    assert batch.seconds_left == pytest.approx(28)
    clock.seconds = 15.0
    batch.end(clips[0], frames=50)
    assert batch.seconds_left == pytest.approx(25)
    batch.begin(clips[1])
    clock.seconds = 100.0  # opening is not counted
    batch.progress(100, 150)  # kept from an earlier run
    assert batch.seconds_left == pytest.approx(15)
    batch.progress(110, 150)
    clock.seconds = 101.0
    assert batch.seconds_left == pytest.approx(14)
    batch.end(clips[1], frames=150)
    batch.end(endless, frames=0)  # it failed
    assert (batch.frames_done, batch.frames_total) == (200, 200)


def test_a_cut_counts_for_what_it_leaves(clips):
    assert frame_count(clips[0]) == 50
    assert frame_count(clips[1], Fraction(1), Fraction(3)) == 50
    assert frame_count(clips[0], Fraction(1), Fraction(30)) == 25
    assert frame_count(Path("nowhere.mp4")) == 0


def test_the_progress_of_all_videos_is_reported_to_programs(clips, packed_style, tmp_path, capsys):
    words = [*map(str, clips), str(tmp_path / "out"), "--style", str(packed_style), "--threads", "1", "--json"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [(line["all_frames"], line["all_frames_total"]) for line in lines if line["event"] == "done"]
    assert told == [(50, 200), (200, 200)]
    assert [video["state"] for video in lines[-1]["videos"]] == ["done", "done"]
