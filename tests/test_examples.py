from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

_EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run_example(name: str, *arguments: object) -> str:
    import animevid

    paths = [str(Path(animevid.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(_EXAMPLES / name), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test():
    tested = {
        "camera.py",
        "file.py",
        "gpu_arrays.py",
        "images.py",
        "own_onnx.py",
        "own_sink.py",
    }  # GPU: gpu/test_pycuda.py
    assert {path.name for path in _EXAMPLES.glob("*.py")} == tested


def test_a_file_is_stylized(make_clip: Callable[..., Path], tmp_path: Path):
    said = run_example("file.py", make_clip("in.mp4", frames=4), tmp_path / "out.mp4")
    assert said.startswith("4 frames")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == 4


def test_a_folder_of_images_is_stylized(tmp_path: Path):
    import cv2

    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), 90, np.uint8))
    run_example("images.py", folder, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def test_an_array_is_stylized_by_an_own_onnx_file(nchw_style: Path):
    assert "(180, 320, 3) uint8" in run_example("own_onnx.py", nchw_style)


def test_a_camera_is_stylized():
    assert run_example("camera.py", "testpattern", 2).count("ms after capture") == 2


def test_frames_go_to_an_own_sink(make_clip: Callable[..., Path], tmp_path: Path):
    clip = make_clip("raw.mp4", width=64, height=48, frames=3)
    assert run_example("own_sink.py", clip, tmp_path / "out.rgb") == "3 frames\n"
    assert (tmp_path / "out.rgb").stat().st_size == 3 * 48 * 64 * 3
