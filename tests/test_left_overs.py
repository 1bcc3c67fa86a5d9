"""The next run removes files of killed runs but not of living ones; a closed stdout loses no output file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import animevid.io  # noqa: F401  # files.py is imported by it, in that order
import av
import pytest
from animevid import left_overs
from animevid.errors import OutputError
from animevid.files import PendingFile, PendingFolder, PendingPlaylist

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks and signals are POSIX's")


def _aged(path: Path) -> Path:
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path


@pytest.fixture
def left(tmp_path: Path) -> list[Path]:
    """Hidden files and a folder of other outputs, as left by killed runs."""
    folder = tmp_path / ".frames.0123abcd.part"
    folder.mkdir()
    (folder / "0001.png").write_bytes(b"half")
    files = [tmp_path / ".video.deadbeef.part.mp4", tmp_path / ".song.00000000.part.mkv"]
    for path in files:
        path.write_bytes(b"half")
    return [_aged(path) for path in (*files, folder)]


@pytest.mark.parametrize("kind", ["video", "playlist", "folder", "into a folder"])
def test_the_next_run_removes_what_killed_ones_left_whatever_it_writes(tmp_path: Path, left: list[Path], kind: str):
    names = ("notes.part", ".video.part.mp4", ".video.deadbeef.mp4", ".x.deadbee.part.mp4")
    others = [_aged(path) for path in map(tmp_path.joinpath, names) if path.write_bytes(b"x")]
    (tmp_path / ".link.deadbeef.part.mp4").symlink_to(others[0])
    if kind == "video":
        PendingFile(tmp_path / "new.mkv", overwrite=False).discard()
    elif kind == "playlist":
        PendingPlaylist(tmp_path / "new.m3u8", overwrite=False).discard()
    elif kind == "folder":
        PendingFolder(tmp_path / "images", overwrite=False)
    else:
        PendingFolder(tmp_path, overwrite=True)
    assert [path.name for path in left if path.exists()] == []
    assert all(path.exists() for path in others)
    assert (tmp_path / ".link.deadbeef.part.mp4").is_symlink()


def test_what_is_being_written_stays(tmp_path: Path):
    folder = PendingFolder(tmp_path / "images", overwrite=False)
    folder.create()
    video = PendingFile(tmp_path / "video.mp4", overwrite=False)
    playlist = PendingPlaylist(tmp_path / "list.m3u8", overwrite=False)
    for path in (folder.path, video.path, playlist.folder):
        _aged(path)
    code = f"from pathlib import Path; from animevid.left_overs import sweep; print(sweep(Path({str(tmp_path)!r})))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "0\n"
    assert all(path.exists() for path in (folder.path, video.path, playlist.folder))
    for pending in (folder, video, playlist):
        pending.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_just_now_stays(tmp_path: Path):
    (tmp_path / ".video.deadbeef.part.mp4").touch()
    assert left_overs.sweep(tmp_path) == 0


def test_uploads_of_a_killed_server_go_with_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
    from animevid.server.uploads import Jobs

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def serve() -> list[str]:
        async with Jobs() as living:
            killed = tmp_path / "animevid-uploads-a_1b2c3d"
            killed.mkdir()
            for path in (killed, living.folder):
                _aged(path)
            async with Jobs() as second:
                found = sorted(path.name for path in tmp_path.iterdir())
                assert found == sorted([living.folder.name, second.folder.name])
        return [path.name for path in tmp_path.iterdir()]

    assert asyncio.run(serve()) == []


@pytest.mark.parametrize("taken", ["file", "dangling link"])
def test_a_folder_of_images_never_replaces_what_came_meanwhile(tmp_path: Path, taken: str):
    target = tmp_path / "images"
    target.mkdir()
    pending = PendingFolder(target, overwrite=False)
    pending.create()
    for name in ("a.png", "b.png"):
        (pending.path / name).write_bytes(b"new")
    mine = target / "b.png"
    mine.write_bytes(b"mine") if taken == "file" else mine.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="was created meanwhile"):
        pending.publish()
    assert mine.is_symlink() if taken != "file" else mine.read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


def _command(*arguments: str, redirect: str = "") -> list[str]:
    quoted = " ".join(f"'{part}'" for part in (sys.executable, "-m", "animevid", *arguments))
    return ["/bin/sh", "-c", f"exec {quoted} {redirect}"]


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "2>&- >&- <&-"])
def test_no_listener_is_needed(tmp_path: Path, packed_style: Path, make_clip, redirect: str):
    if "full" in redirect and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    clip, out = make_clip("quiet.mp4", frames=4), tmp_path / "out.mp4"
    command = _command(str(clip), str(out), "--style", str(packed_style), "-v", redirect=redirect)
    assert subprocess.run(command, timeout=120).returncode == 0
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
    assert b"animevid:" not in out.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_loses_what_is_printed_and_no_video(tmp_path: Path, packed_style: Path, make_clip):
    clip, out = make_clip("quiet.mp4", frames=4), tmp_path / "out.mp4"
    command = _command(str(clip), str(out), "--style", str(packed_style), redirect=">/dev/full")
    done = subprocess.run(command, timeout=120, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "standard output cannot be written (No space" in done.stderr
    assert out.exists()


@pytest.mark.parametrize(("prefix", "ends"), [("", True), ("nohup ", False)])
def test_a_hang_up_is_a_request_to_end_unless_it_is_ignored(
    tmp_path: Path, packed_style: Path, make_clip, prefix: str, ends: bool
):
    clip = make_clip("hangup.mp4", frames=400, width=320, height=240)
    command = _command(str(clip), str(tmp_path / "out.mp4"), "--style", str(packed_style), "--threads", "1")
    command[-1] = command[-1].replace("exec ", f"exec {prefix}")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.*")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == (130 if ends else 0), said
    assert [path.name for path in tmp_path.iterdir()] == ([] if ends else ["out.mp4"])
