"""Unusual file names, and outputs that exist already: links, permissions, FIFOs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from animevid.errors import OutputError, UsageError
from animevid.options import OutputOptions
from passing import pass_through, read_frames

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX names, links and FIFOs")
OVERWRITE = OutputOptions(overwrite=True)
LONG = "漢" * 82  # 246 bytes


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png", ".m3u8"])
def test_a_name_may_have_as_many_bytes_as_the_file_system_takes(
    make_clip: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    name = LONG[:78] if suffix == ".m3u8" else LONG  # its segments add ten bytes
    source = make_clip("even.mp4")
    target = tmp_path / ("%02d" + name[2:] + suffix if suffix == ".png" else name + suffix)
    pass_through(source, target)
    assert any(path.suffix == suffix for path in tmp_path.iterdir())
    with pytest.raises(OutputError, match="255 are allowed"):
        pass_through(source, tmp_path / f"{LONG}漢漢漢.mp4")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_names_that_are_no_utf8_are_read_and_written(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    source = folder / os.fsdecode(b"in\xff.mp4")
    source.write_bytes(make_clip("even.mp4").read_bytes())
    for name in (b"out\xfe.mp4", b"out\xfe.gif", b"\xfe%02d.jpg"):
        pass_through(source, folder / os.fsdecode(name))
    with pytest.raises(UsageError, match="UTF-8"):
        pass_through(source, folder / "o.m3u8")
    assert len(read_frames(folder / os.fsdecode(b"out\xfe.mp4"))) == 10
    assert len(read_frames(folder / os.fsdecode(b"\xfe01.jpg"))) == 1
    done = subprocess.run(
        [sys.executable, "-m", "animevid", source, folder / os.fsdecode(b"x\xff.mp4"), "--dry-run"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


def test_a_link_stays_a_link_and_what_it_points_to_is_written(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "video.mp4", tmp_path / "link.mp4"
    real.parent.mkdir()
    link.symlink_to(Path("real") / "video.mp4")
    pass_through(make_clip("even.mp4"), link)  # dangling: nothing is replaced
    assert link.is_symlink()
    first = real.stat().st_ino
    with pytest.raises(OutputError, match="exists"):
        pass_through(make_clip("even.mp4"), link)
    pass_through(make_clip("even.mp4"), link, settings=OVERWRITE)
    assert link.is_symlink()
    assert real.stat().st_ino != first
    assert len(read_frames(link)) == 10
    nowhere = tmp_path / "nowhere.mp4"
    nowhere.symlink_to(tmp_path / "gone" / "video.mp4")
    with pytest.raises(OutputError, match="folder does not exist"):
        pass_through(make_clip("even.mp4"), nowhere)


@pytest.mark.parametrize("name", ["video.mp4", "video.gif"])
def test_what_is_replaced_hands_on_its_permissions(make_clip: Callable[..., Path], tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.write_bytes(b"")
    target.chmod(0o640)
    pass_through(make_clip("even.mp4"), target, settings=OVERWRITE)
    assert target.stat().st_mode & 0o777 == 0o640


def test_videos_and_images_go_into_and_come_from_a_fifo(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    clip = make_clip("even.mp4")

    def passed_on(name: str) -> bytes:
        fifo = tmp_path / name
        os.mkfifo(fifo)
        held: list[bytes] = []
        reader = threading.Thread(target=lambda: held.append(fifo.read_bytes()), daemon=True)
        reader.start()
        pass_through(clip, fifo)
        reader.join(timeout=20)
        assert fifo.is_fifo()
        return held[0]

    for name in ("a.mkv", "a.mp4", "a.gif"):
        plain = tmp_path / f"plain-{name}"
        plain.write_bytes(passed_on(name))
        with av.open(str(plain)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 10, name
    fifo = tmp_path / "in.mkv"
    os.mkfifo(fifo)
    pass_through(clip, tmp_path / "video.mkv")
    data = (tmp_path / "video.mkv").read_bytes()
    threading.Thread(target=lambda: fifo.write_bytes(data), daemon=True).start()
    assert len(read_frames(fifo)) == 10
