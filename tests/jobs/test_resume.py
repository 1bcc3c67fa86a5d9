"""A killed job resumes; changes in between are reported."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from animevid.cli import main
from animevid.errors import AnimevidError, Cancelled, InputError, OutputError, UsageError
from animevid.files import PendingFile
from animevid.jobs import job as jobs
from animevid.jobs import open_conversion
from animevid.jobs.locks import FileLock
from animevid.jobs.packets import PacketWriter
from animevid.options import ConversionOptions, EncodeOptions
from jobs.conftest import look, psnr, same_but_frames

#: ``ANIMEVID_KILLS=50`` for a thorough run.
KILLS = int(os.environ.get("ANIMEVID_KILLS", "1"))
SHORT = Fraction(1, 2)

_RUN = """
import sys
from dataclasses import replace
from fractions import Fraction
from animevid.options import ConversionOptions
from animevid.jobs import open_conversion
from animevid.options import EncodeOptions
src, dst, style, steady = sys.argv[1:]
options = ConversionOptions(style=style, threads=1, encoder=EncodeOptions(threads=1, preset="medium"))
if not int(steady):
    options = replace(options, skip_static=False, deflicker=False)
print("opening", flush=True)
with open_conversion(src, dst, options, resumable=True, segment_seconds=Fraction(1, 2)) as job:
    print(len(job._finished), flush=True)
    job.run()
"""


@pytest.fixture
def video(make_clip):
    return make_clip(
        "video.mp4",
        width=160,
        height=96,
        frames=200,
        options={"g": "10", "bf": "2"},
        audio_codec="aac",
        audio_seconds=Fraction(8),
    )


def stopped(video, dst, options, *, after: int) -> int:
    """Start a job and stop it after some segments; returns their number."""
    with open_conversion(video, dst, options, resumable=True, segment_seconds=SHORT) as job:
        add = job.add

        def add_and_stop(segment):
            add(segment)
            if segment.index + 1 == after:
                job._part._session.cancel()

        job.add = add_and_stop
        with pytest.raises(Cancelled, match="the same command resumes"):
            job.run()
        return len(job.description.segments)


@pytest.mark.timeout(120 + 40 * KILLS)
@pytest.mark.parametrize("steady", [False, True])
def test_a_job_killed_at_any_moment_ends_with_the_same_video(video, packed_style, tmp_path, steady):
    """Byte-identical with the temporal filters off; the filters remember more than the lead-in shows them."""
    words = [sys.executable, "-c", _RUN, str(video)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def start(dst: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*words, str(dst), str(packed_style), str(int(steady))], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout.readline() == "opening\n"
        return process

    whole = tmp_path / "whole.mp4"
    assert start(whole).wait(60) == 0
    expected = look(whole)
    killed, videos, kept_ever, seconds = 0, 0, 0, random.Random(KILLS)
    while killed < KILLS:
        videos += 1  # one may finish before the kill
        dst = tmp_path / f"{videos}.mp4"
        while not dst.exists():  # it may be killed after its last action, before it exits
            process = start(dst)
            try:
                assert process.wait(seconds.uniform(0, 1.5)) == 0
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            kept_ever = max(kept_ever, int(process.stdout.read() or 0))
        video_now = look(dst)
        assert same_but_frames(video_now, expected)
        if steady:
            assert min(map(psnr, video_now.frames, expected.frames)) > 45
        else:
            assert dst.read_bytes() == whole.read_bytes()
        with pytest.raises(OutputError, match="exists already"):
            open_conversion(video, dst, ConversionOptions(style=packed_style))
        assert not jobs.job_folder(dst).exists()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".mp4"] * len(list(tmp_path.iterdir()))
    if KILLS >= 10:
        assert kept_ever > 0


def test_what_is_kept_is_reported_and_not_made_again(video, options, tmp_path):
    dst = tmp_path / "out.mp4"
    number = stopped(video, dst, options, after=10)
    with open_conversion(video, dst, options, segment_seconds=SHORT) as job:
        assert f"10 of {number} segments are kept" in job.plan.notices[-1]
        assert [segment.index for segment in job.missing_runs()[0]] == list(range(10, number))
        kept = sum(segment.frames for segment in job._finished.values())
        report = job.run()
    assert report.frames_out == 200
    assert report.frames_in == 200 - kept + 2 * 25  # what is missing, and two seconds of lead-in
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"strength": 0.5}, "strength: 1.0 -> 0.5"),
        ({"encoder": EncodeOptions(crf=30)}, "encoder's crf: None -> 30"),
        ({"style": None}, r"style: test-packed \(.*\) -> aozora"),
        ({"start_seconds": Fraction(1)}, "start_seconds: None -> 1"),
    ],
)
def test_what_was_asked_otherwise_is_named(video, options, tmp_path, change, named):
    dst = tmp_path / "out.mp4"
    stopped(video, dst, options, after=1)
    with pytest.raises(UsageError, match=f"{named}.*give --restart"):
        open_conversion(video, dst, replace(options, **change))
    with open_conversion(video, dst, options) as job:  # the earlier refusal changed nothing
        assert job.run().frames_out == 200


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_source_that_was_cut_off_meanwhile_loses_nothing(make_clip, options, tmp_path, suffix):
    """A truncated Matroska file still opens, but differs; MP4 without its index does not open."""
    src, dst = tmp_path / f"video{suffix}", tmp_path / "out.mp4"
    video = make_clip(f"video{suffix}", width=160, height=96, frames=200, options={"g": "10", "bf": "2"}).read_bytes()
    src.write_bytes(video)
    stopped(src, dst, options, after=10)
    src.write_bytes(video[: len(video) // 2])
    with pytest.raises(AnimevidError, match=r"source: \d+ bytes.* -> \d+ bytes|cut off") as caught:
        open_conversion(src, dst, options)
    assert "\n" not in str(caught.value)
    src.write_bytes(video)
    with open_conversion(src, dst, options) as job:
        assert "10 of" in job.plan.notices[-1]
        assert job.run().frames_out == 200


def test_a_source_that_changes_while_it_is_converted_is_named(video, options, tmp_path):
    src, dst = tmp_path / "video.mp4", tmp_path / "out.mp4"
    src.write_bytes(video.read_bytes())
    with open_conversion(src, dst, options, resumable=True, segment_seconds=SHORT) as job:
        for segments in job.missing_runs():
            job._make(segments, None)
        with src.open("ab") as file:
            file.write(b"more")
        with pytest.raises(InputError, match="changed while it was converted: give --restart"):
            job.join()
    assert not dst.exists()


def test_another_version_is_named(video, options, tmp_path, monkeypatch):
    dst = tmp_path / "out.mp4"
    stopped(video, dst, options, after=1)
    monkeypatch.setattr("animevid.__version__", "9.9")
    with pytest.raises(UsageError, match=r"version of animevid: .* -> 9\.9"):
        open_conversion(video, dst, options)


def test_restart_starts_over(video, options, tmp_path):
    dst = tmp_path / "out.mp4"
    stopped(video, dst, options, after=2)
    with open_conversion(video, dst, replace(options, strength=0.5), restart=True, segment_seconds=SHORT) as job:
        assert job.missing_runs()[0][0].index == 0
        assert job.run().frames_in == 200


def test_a_second_run_of_the_same_job_is_reported(video, options, tmp_path):
    dst = tmp_path / "out.mp4"
    told = pytest.raises(UsageError, match=rf"made by another animevid \(process {os.getpid()}\)")
    with open_conversion(video, dst, options, resumable=True):
        for how in ({}, {"restart": True}, {"resumable": False}):
            with told:
                open_conversion(video, dst, replace(options, overwrite=True), **how)


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    with FileLock(path, what="x"):
        pass
    FileLock(path, what="x").release()


def test_a_segment_that_rotted_is_made_again(video, options, tmp_path):
    dst = tmp_path / "out.mp4"
    stopped(video, dst, options, after=3)
    segment = jobs.job_folder(dst) / "000001.pkts"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with open_conversion(video, dst, options) as job:
        assert [segment.index for segment in job.missing_runs()[0]] == [1]
        assert job.run().frames_out == 200
    assert len(look(dst).frames) == 200


@pytest.mark.parametrize("damage", ["scribbled", "cut off", "newer"])
def test_a_damaged_journal_is_one_line(video, options, tmp_path, damage):
    dst = tmp_path / "out.mp4"
    stopped(video, dst, options, after=1)
    journal = jobs.job_folder(dst) / "journal.sqlite"
    if damage == "newer":
        with sqlite3.connect(journal) as database:
            database.execute("PRAGMA user_version = 99")
    elif damage == "cut off":
        journal.write_bytes(journal.read_bytes()[:5000])
    else:
        journal.write_bytes(b"scribbled" * 1000)
    with pytest.raises(OutputError, match="--restart") as caught:
        open_conversion(video, dst, options)
    assert "\n" not in str(caught.value)
    with open_conversion(video, dst, options, restart=True) as job:
        assert job.run().frames_out == 200


def test_a_full_disk_is_one_line_and_loses_nothing(video, options, tmp_path, monkeypatch):
    dst = tmp_path / "out.mp4"
    written = 0

    def put(self, data, _put=PacketWriter._put):
        nonlocal written
        written += len(data)
        if written > 20_000:
            raise OSError(28, "No space left on device")
        _put(self, data)

    with monkeypatch.context() as patch:
        patch.setattr("animevid.jobs.packets.PacketWriter._put", put)
        with open_conversion(video, dst, options, resumable=True, segment_seconds=SHORT) as job:
            with pytest.raises(OutputError, match=r"the disk is full.*segments are kept, and the same command resumes"):
                job.run()
            assert len(job._finished) > 0
    with open_conversion(video, dst, options) as job:
        assert "kept" in job.plan.notices[-1]
        assert job.run().frames_out == 200


@pytest.mark.parametrize("limit_bytes", [2000, 20_000])
def test_a_file_that_may_not_grow_is_one_line_and_loses_nothing(video, options, tmp_path, limit_bytes):
    """The kernel limits the file size: of the first segment and the journal, or of the joined video."""
    resource = pytest.importorskip("resource")
    dst = tmp_path / "out.mp4"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        with (
            pytest.raises(OutputError) as caught,
            open_conversion(video, dst, options, resumable=True, segment_seconds=SHORT) as job,
        ):
            job.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert not dst.exists()
    assert not list(tmp_path.rglob("*.part*"))
    with open_conversion(video, dst, options, resumable=True, segment_seconds=SHORT) as job:
        assert len(job._finished) == (0 if limit_bytes == 2000 else len(job.description.segments))
        assert job.run().frames_out == 200


def test_a_read_only_folder_is_one_line(video, options, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    if os.geteuid() == 0:  # root may write anywhere except in a read-only file system
        folder = Path("/proc/self")
    with pytest.raises(OutputError, match=r"may not be written|cannot be written") as caught:
        open_conversion(video, folder / "out.mp4", options, resumable=True)
    assert "\n" not in str(caught.value)


def test_short_videos_are_made_as_ever(video, options, tmp_path):
    with open_conversion(video, tmp_path / "out.mp4", options) as conversion:
        assert not isinstance(conversion, jobs.Job)
    assert not list(tmp_path.iterdir())


def test_long_videos_are_made_in_segments(video, options, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "RESUMABLE_SECONDS", 8)
    with open_conversion(video, tmp_path / "out.mp4", options) as conversion:
        assert isinstance(conversion, jobs.Job)
    with open_conversion(video, tmp_path / "o.mp4", options, resumable=False) as conversion:
        assert not isinstance(conversion, jobs.Job)


@pytest.mark.parametrize("name", ["out.gif", "out.m3u8", "images"])
def test_what_cannot_be_resumed_says_so(video, options, tmp_path, name):
    with pytest.raises(UsageError, match="--resume: only a video in one file"):
        open_conversion(video, tmp_path / name, options, resumable=True)


def test_the_command_goes_on(video, packed_style, options, tmp_path, capsys):
    dst = tmp_path / "out.mp4"
    stopped(video, dst, replace(options, reconnect_seconds=20.0), after=2)
    words = [str(video), str(dst), "--style", str(packed_style), "--threads", "1", "--encoder-threads", "1"]
    assert main([*words, "--json"]) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert done["frames_out"] == 200
    assert any("2 of" in notice and "kept" in notice for notice in done["notices"])


def test_files_that_a_crash_left_are_removed(tmp_path):
    target = tmp_path / "out.mp4"
    left, other = tmp_path / ".earlier.0123abcd.part.mp4", tmp_path / ".a-users-own.part.mp4"
    written = PendingFile(target, overwrite=False)
    for path in (left, other):
        path.touch()
    for path in (left, other, written.path):
        os.utime(path, (time.time() - 3600,) * 2)
    PendingFile(target, overwrite=False).discard()
    assert not left.exists()
    assert other.exists()
    assert written.path.exists()  # its writer is still running
    written.discard()


def test_errors_of_jobs_are_animevids(video, options, tmp_path):
    (tmp_path / ".out.mp4.job").write_text("in the way")
    with pytest.raises(AnimevidError):
        open_conversion(video, tmp_path / "out.mp4", options, resumable=True)
