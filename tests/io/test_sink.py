"""An output appears only when complete; until then, an earlier file stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from animevid.errors import OutputError, UsageError
from animevid.io import Frame, FrameFormat, VideoSink, VideoSource, open_sink
from animevid.options import EncodeOptions, OutputOptions
from animevid.pixels.planes import PlanesYUV420
from passing import pass_through, times


def _frame(index, *, width=64, height=48):
    random = np.random.default_rng(index)
    chroma = (height + 1) // 2, (width + 1) // 2
    planes = PlanesYUV420(
        random.integers(16, 236, (height, width), dtype=np.uint8),
        random.integers(16, 241, chroma, dtype=np.uint8),
        random.integers(16, 241, chroma, dtype=np.uint8),
    )
    return Frame(planes, index, Fraction(index, 25), Fraction(1, 25))


FRAME_FORMAT = FrameFormat(64, 48, rate=Fraction(25), time_base=Fraction(1, 12800))


def _write_all(sink, frames):
    with sink:
        for frame in frames:
            sink.write(frame)
        return sink.finish()


def _no_leftovers(folder):
    return [path.name for path in folder.iterdir() if ".part" in path.name] == []


def test_frames_without_a_source_make_a_video(tmp_path):
    target = tmp_path / "out.mp4"
    with VideoSink(target, frame_format=FRAME_FORMAT) as sink:
        for index in range(5):
            sink.write(_frame(index))
        report = sink.finish()
    assert report.frames_written == 5
    assert report.duration_seconds == Fraction(1, 5)
    assert report.bytes_written == target.stat().st_size
    assert times(target) == [Fraction(i, 25) for i in range(5)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mkv", "h264"), ("a.mov", "hevc"), ("a.mkv", "hevc"), ("a.mp4", "av1"), ("a.mkv", "av1")],
)
def test_a_last_frame_that_lasts_longer_is_shown_that_long(tmp_path, name, codec):
    """HEVC's last packet is not of the last frame, and AV1's encoder forgets durations."""
    target = tmp_path / name
    frames = [*map(_frame, range(4)), replace(_frame(4), duration_seconds=Fraction(1))]
    settings = OutputOptions(encoder=EncodeOptions(codec=codec))
    _write_all(VideoSink(target, frame_format=FRAME_FORMAT, settings=settings), frames)
    with av.open(str(target)) as container:
        assert container.duration == (4 / 25 + 1) * av.time_base


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif"])
def test_the_name_is_free_until_the_output_is_whole(make_clip, tmp_path, suffix):
    target = tmp_path / f"out{suffix}"
    with VideoSource(make_clip("even.mp4")) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
            assert not target.exists()
        sink.finish()
    assert target.exists()
    assert _no_leftovers(tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".apng"])
def test_an_error_on_the_way_leaves_nothing_and_keeps_the_old_file(make_clip, tmp_path, suffix):
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"precious")
    settings = OutputOptions(overwrite=True)

    def stop_half_way():
        with (
            VideoSource(make_clip("even.mp4")) as source,
            open_sink(target, template=source, settings=settings) as sink,
        ):
            for frame in source:
                sink.write(frame)
                if frame.index == 5:
                    raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        stop_half_way()
    assert target.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name]


def test_an_existing_file_needs_leave_to_be_replaced(make_clip, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        pass_through(make_clip("even.mp4"), target)
    assert target.read_bytes() == b"precious"
    pass_through(make_clip("even.mp4"), target, settings=OutputOptions(overwrite=True))
    assert len(times(target)) == 10


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "out.mp4"
    with VideoSink(target, frame_format=FRAME_FORMAT) as sink:
        sink.write(_frame(0))
        target.write_bytes(b"somebody else's")
        with pytest.raises(OutputError, match="meanwhile"):
            sink.finish()
    assert target.read_bytes() == b"somebody else's"
    assert _no_leftovers(tmp_path)


def test_the_input_is_never_the_output_even_with_leave(make_clip, tmp_path):
    clip = tmp_path / "same.mp4"
    shutil.copy(make_clip("even.mp4"), clip)
    before = clip.read_bytes()
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    for target in (clip, link):
        with pytest.raises(OutputError, match="input itself"):
            pass_through(clip, target, settings=OutputOptions(overwrite=True))
    assert clip.read_bytes() == before


@pytest.mark.parametrize("name", ["missing/out.mp4", "missing/out.gif", "missing/out.png"])
def test_a_missing_folder_is_reported_before_any_work(make_clip, tmp_path, name):
    with pytest.raises(OutputError, match="folder"), VideoSource(make_clip("one.mp4", frames=1)) as source:
        open_sink(tmp_path / name, template=None if name.endswith("png") else source, frame_format=FRAME_FORMAT)


def test_a_folder_that_may_not_be_written_is_reported_before_any_work(make_clip, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("this user (root?) may write everywhere")
    with pytest.raises(OutputError, match="permissions"):
        pass_through(make_clip("even.mp4"), folder / "out.mp4")


@pytest.mark.parametrize("name", ["out.txt", "out.doc"])
def test_a_name_that_says_no_container_is_refused(make_clip, tmp_path, name):
    with pytest.raises(UsageError, match="suffix"):
        pass_through(make_clip("even.mp4"), tmp_path / name)


def test_without_a_frame_there_is_no_file(tmp_path):
    target = tmp_path / "out.mp4"
    with VideoSink(target, frame_format=FRAME_FORMAT) as sink, pytest.raises(OutputError, match="no frame"):
        sink.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_refused(tmp_path):
    with VideoSink(tmp_path / "out.mp4", frame_format=FRAME_FORMAT) as sink:
        sink.write(_frame(0))
        with pytest.raises(UsageError, match="size"):
            sink.write(_frame(1, width=32))
    assert list(tmp_path.iterdir()) == []


def test_the_first_frame_decides_the_size(tmp_path):
    target = tmp_path / "out.mp4"
    with VideoSink(target, frame_format=FRAME_FORMAT) as sink:
        sink.write(_frame(0, width=128, height=96))
        sink.finish()
    with VideoSource(target) as source:
        assert (source.info.width, source.info.height) == (128, 96)


def test_a_finished_sink_takes_no_more(tmp_path):
    with VideoSink(tmp_path / "out.mp4", frame_format=FRAME_FORMAT) as sink:
        sink.write(_frame(0))
        sink.finish()
        with pytest.raises(UsageError, match="finished"):
            sink.write(_frame(1))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif"])
def test_a_full_disk_is_reported_in_one_line_and_leaves_nothing(small_disk, suffix):
    target = small_disk / f"out{suffix}"
    kind = FrameFormat(320, 240, rate=Fraction(25), time_base=Fraction(1, 12800))
    with pytest.raises(OutputError, match="disk is full") as caught:
        _write_all(open_sink(target, frame_format=kind), [_frame(index, width=320, height=240) for index in range(200)])
    assert "\n" not in str(caught.value)
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_at_the_very_end_leaves_nothing(small_disk):
    """Faststart rewrites the whole file and needs space for that, too."""
    (small_disk / "ballast").write_bytes(bytes(1020 * 1024))
    with pytest.raises(OutputError, match="disk is full"):
        _write_all(VideoSink(small_disk / "out.mp4", frame_format=FRAME_FORMAT), [_frame(index) for index in range(10)])
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_full_disk_stops_a_folder_of_images(small_disk):
    with pytest.raises(OutputError, match="disk is full"):
        _write_all(open_sink(small_disk / "frames"), [_frame(index, width=320, height=240) for index in range(100)])
    assert list(small_disk.iterdir()) == []


def test_a_killed_process_leaves_the_earlier_output_as_it_was(make_clip, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    script = (
        "import sys, time\n"
        "from animevid.io import *\n"
        "with VideoSource(sys.argv[1]) as s, VideoSink(sys.argv[2], template=s,"
        " settings=OutputOptions(overwrite=True)) as k:\n"
        "    for f in s:\n"
        "        k.write(f); print(f.index, flush=True); time.sleep(0.2)\n"
        "    k.finish()\n"
    )
    paths = [str(Path(entry).resolve()) for entry in sys.path if entry]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(make_clip("even.mp4")), str(target)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert target.read_bytes() == b"precious"


def test_a_url_with_a_password_is_not_repeated_in_messages():
    from animevid.redaction import redacted

    assert redacted("rtsp://me:secret@camera/1") == "rtsp://me:***@camera/1"
