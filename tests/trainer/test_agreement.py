"""Processes with different settings all refuse before the first step."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from animevid.errors import TrainingError
from animevid_trainer import agreement
from animevid_trainer.agreement import Inputs, check_alike, check_resumed, failing_together
from animevid_trainer.distributed import World
from small_runs import images


def write_images(folder: Path, *, count: int = 3) -> Path:
    folder.mkdir()
    for number, image in enumerate(images(count, seed=1)):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def start(rank: int, port: int, photos: Path, art: Path, out: Path) -> subprocess.Popen[str]:
    """Start a process as torchrun does, with its own folders."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    words = ["train", "cyclegan", "--photos", str(photos), "--art", str(art), "--out", str(out), "--steps", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "animevid_trainer", *words], stderr=subprocess.PIPE, text=True, env=environment
    )


def test_two_processes_with_other_images_refuse_in_one_line_each(tmp_path):
    folders = [write_images(tmp_path / name) for name in ("one", "two", "art")]
    (folders[1] / "2.png").write_bytes((folders[1] / "1.png").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runs = [start(rank, port, folders[rank], folders[2], tmp_path / "out") for rank in (0, 1)]
    said = [run.communicate(timeout=120)[1].splitlines() for run in runs]
    assert [run.returncode for run in runs] == [TrainingError.exit_code] * 2
    lines = [[line for line in lines if "error:" in line] for lines in said]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1
    assert "process 1 of 2" in lines[0][0]
    assert "photos: '2.png' is another image" in lines[0][0]
    assert not any("Traceback" in line for line in [*said[0], *said[1]])
    assert not (tmp_path / "out").exists()


@pytest.fixture
def others(monkeypatch):
    """The other process's contribution to this one's gather."""
    queue = []
    monkeypatch.setattr(agreement, "gather", lambda value, world: [value, queue.pop(0)])
    return queue


@pytest.mark.parametrize(
    ("settings", "photos", "difference"),
    [
        ({"seed": "2"}, {"a.png": "1"}, "its settings differ in 'seed'"),
        ({"seed": "1"}, {}, r"photos: 'a.png' is missing \(0 images instead of 1\)"),
        ({"seed": "1"}, {"a.png": "1", "b.png": "2"}, r"photos: 'b.png' is there as well \(2 images instead of 1\)"),
        ({"seed": "1"}, {"a.png": "2"}, "photos: 'a.png' is another image"),
    ],
)
def test_what_differs_is_named(others, settings, photos, difference):
    mine = Inputs("here", {"seed": "1"}, {"photos": {"a.png": "1"}})
    others += [mine, Inputs("there", settings, {"photos": photos})]
    check_alike(mine, World(0, 2))
    with pytest.raises(TrainingError, match=rf"process 1 of 2 \(on there\).*{difference}") as caught:
        check_alike(mine, World(0, 2))
    assert "\n" not in str(caught.value)


def test_what_fails_in_another_process_fails_here(others):
    others.append("its disk is gone")
    with pytest.raises(TrainingError, match="process 1 of 2: its disk is gone"), failing_together(World(0, 2)):
        pass
    others.append("no photos")  # the same everywhere: nothing to add
    with pytest.raises(TrainingError, match=r"^no photos$"), failing_together(World(0, 2)):
        raise TrainingError("no photos")


def test_a_run_folder_that_is_not_shared_is_named_when_it_is_resumed(others):
    others += [500, 0]
    check_resumed(500, Path("run"), World(0, 2))
    with pytest.raises(TrainingError, match="process 1 of 2 finds step 0 in 'run', process 0 step 500: --out must"):
        check_resumed(500, Path("run"), World(0, 2))
