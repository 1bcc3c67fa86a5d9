"""A foreign style is first opened in a child process with limits, which contains its effects on a runtime."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from animevid import Stylizer
from animevid.errors import BackendError, StyleError, UsageError
from animevid.styles import StyleCard, list_styles, load_style, trial, write_card
from onnx import TensorProto, helper, numpy_helper
from small_networks import rgb_network

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no rlimits")


@pytest.fixture(autouse=True)
def few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trial.SECONDS_VARIABLE, "1")


def a_loop(*, only_if_wider_than: int = 0) -> bytes:
    """Copies the image in an endless loop; with a limit, only for wider images."""
    info = helper.make_tensor_value_info
    keep = helper.make_node("Identity", ["going"], ["go_on"])
    body = helper.make_graph(
        [keep, helper.make_node("Identity", ["held"], ["held_on"])],
        "body",
        [info("i", TensorProto.INT64, []), info("going", TensorProto.BOOL, []), info("held", TensorProto.FLOAT, None)],
        [info("go_on", TensorProto.BOOL, []), info("held_on", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Gather", ["shape", "axis"], ["width"]),
        helper.make_node("Greater", ["width", "limit"], ["wide"]),
        helper.make_node("Loop", ["most", "wide", "input"], ["output"], body=body),
    ]
    shape = ["N", 3, "H", "W"]
    constants = {"most": np.int64(2**62), "axis": np.int64(3), "limit": np.int64(only_if_wider_than)}
    graph = helper.make_graph(
        nodes,
        "loop",
        [info("input", TensorProto.FLOAT, shape)],
        [info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return write_card(model.SerializeToString(), StyleCard(name="loop", size_multiple=1))


def far_too_large() -> bytes:
    """A network that needs 3.6 GB for any image."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Tile", ["input", "repeats"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["mean"]),
        helper.make_node("Add", ["input", "mean"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [info("input", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [info("output", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [numpy_helper.from_array(np.array([1, 1, 270, 270], np.int64), "repeats")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return write_card(model.SerializeToString(), StyleCard(name="large", size_multiple=1))


@posix
@pytest.mark.shared
def test_a_network_that_never_ends_is_refused(shared: Path) -> None:
    with pytest.raises(StyleError, match="did not finish one small image in 1 s"):
        load_style(shared / "faults" / "hostile" / "loop_forever.onnx")


@posix
def test_a_card_does_not_spare_a_network_the_trial(tmp_path: Path) -> None:
    (tmp_path / "loop.onnx").write_bytes(a_loop())
    with pytest.raises(StyleError, match="did not finish"):
        load_style(tmp_path / "loop.onnx")


@posix
def test_a_network_that_wants_all_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trial.SECONDS_VARIABLE, "20")
    (tmp_path / "large.onnx").write_bytes(far_too_large())
    with pytest.raises(StyleError, match="more than 3 GiB for one small image"):
        load_style(tmp_path / "large.onnx")


@pytest.mark.shared
def test_a_network_of_one_huge_size_is_refused_at_once(shared: Path) -> None:
    with pytest.raises(StyleError, match=r"\(1, 3, 65536, 65536\) only; allowed are sides up to 16384 px"):
        load_style(shared / "faults" / "hostile" / "fixed_hw_64k.onnx")


def test_what_breaks_the_runtime_breaks_only_the_child() -> None:
    with pytest.raises(StyleError, match=r"breaks the runtime that opens it \(exit -11\)"):
        trial._verdict(b"", -signal.SIGSEGV, "bad", 1)


def test_a_loop_that_waits_for_a_larger_image_ends_as_well(tmp_path: Path) -> None:
    (tmp_path / "sly.onnx").write_bytes(a_loop(only_if_wider_than=100))
    style = load_style(tmp_path / "sly.onnx")
    with Stylizer(style, backend="onnxruntime") as stylizer:
        stylizer(np.zeros((64, 64, 3), np.uint8))
        with pytest.raises(BackendError, match="did not finish one frame in 1 s"):
            stylizer(np.zeros((64, 128, 3), np.uint8))


def test_a_run_that_is_interrupted_ends_at_once_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sly.onnx").write_bytes(a_loop(only_if_wider_than=100))
    monkeypatch.setenv(trial.SECONDS_VARIABLE, "100")
    with Stylizer(tmp_path / "sly.onnx", backend="onnxruntime", concurrency=2) as stylizer:
        threading.Timer(0.5, stylizer.interrupt).start()
        began = time.monotonic()
        with pytest.raises(BackendError):
            stylizer(np.zeros((64, 128, 3), np.uint8))
        assert time.monotonic() - began < 30
        assert stylizer(np.full((64, 64, 3), 9, np.uint8)).mean() == pytest.approx(9, abs=2)


#: The forced exit after Ctrl-C: far too late to matter; and soon, with a runtime that cannot be interrupted.
_INTERRUPTIBLE = "convert._PATIENCE_SECONDS = 100.0"
_REPORTS_TRIAL = """
from animevid.styles import trial
run = trial._run
trial._run = lambda *given: (print("tried", flush=True), run(*given))[1]
"""
_NOT_INTERRUPTIBLE = """
convert._PATIENCE_SECONDS = 1.0
from animevid.backends.onnxruntime import OnnxRuntimeBackend
OnnxRuntimeBackend.interrupt = lambda self: None
"""


@posix
@pytest.mark.parametrize("where", ["trial", "video", "video, not interruptible"])
def test_ctrl_c_is_heard(tmp_path: Path, make_clip, where: str) -> None:
    style = tmp_path / "loop.onnx"
    style.write_bytes(a_loop(only_if_wider_than=0 if where == "trial" else 70))
    clip = make_clip("ctrl_c.mp4", frames=6, width=96, height=64)
    runtime = _NOT_INTERRUPTIBLE if "not" in where else _INTERRUPTIBLE
    runtime += _REPORTS_TRIAL if where == "trial" else ""
    code = f"import sys\nfrom animevid.cli import convert, main\n{runtime}\nsys.exit(main(sys.argv[1:]))"
    arguments = [str(clip), str(tmp_path / "out.mp4"), "--style", str(style), "--json"]
    command = [sys.executable, "-c", code, *arguments]
    environment = {
        **os.environ,
        trial.SECONDS_VARIABLE: "100",
        "PYTHONPATH": os.pathsep.join(os.path.abspath(part) for part in sys.path if part),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()  # the trial begins, or the conversion's progress
        time.sleep(0.5)  # by then, the child of the trial has started
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert list(tmp_path.glob("*out*")) == []


def test_what_was_tried_once_is_not_tried_again(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_remembered", {})  # of earlier tests with another home folder
    (tmp_path / "own.onnx").write_bytes(rgb_network())
    monkeypatch.setattr(trial, "_remembered", {})  # another test may have tried the same file
    first = load_style(tmp_path / "own.onnx").card
    monkeypatch.setattr(trial, "_remembered", {})
    monkeypatch.setattr(trial, "_run", lambda *_: pytest.fail("tried again"))
    assert load_style(tmp_path / "own.onnx").card == first
    shutil.copy(tmp_path / "own.onnx", tmp_path / "other.onnx")
    assert load_style(tmp_path / "other.onnx").card.name == "other"
    assert load_style("aozora").card.name == "aozora"  # ships with the package


def test_what_was_refused_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"\x3a\x00")
    for _ in range(2):
        with pytest.raises(StyleError):
            load_style(tmp_path / "none.onnx")


@pytest.mark.parametrize("text", ["0", "soon", "nan", "1e9"])
def test_seconds_that_are_none_are_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trial.SECONDS_VARIABLE, text)
    with pytest.raises(UsageError, match="number of seconds"):
        trial.seconds_allowed()


@posix
def test_a_runtime_that_does_not_load_in_the_child_is_not_the_styles_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.onnx").write_bytes(rgb_network())
    (tmp_path / "broken").mkdir()
    # Not an onnxruntime.py: with an installed animevid, the folder of the real one comes first.
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Broken:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'onnxruntime':\n"
        "            raise ImportError('libx.so: cannot open shared object file')\n"
        "sys.meta_path.insert(0, Broken)\n"
    )
    monkeypatch.setattr(trial, "_remembered", {})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "broken"), *filter(None, sys.path)]))
    with pytest.raises(StyleError, match=r"cannot be tried here.*libx\.so"):
        load_style(tmp_path / "own.onnx")


@posix
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero"), tmp_path):
        with pytest.raises(StyleError, match="it is not a file"):
            load_style(path)


def test_files_that_cannot_be_looked_at_do_not_break_the_list(user_styles: Path) -> None:
    (user_styles / "good.onnx").write_bytes(rgb_network())
    (user_styles / "empty.onnx").touch()
    (user_styles / "folder.onnx").mkdir()
    (user_styles / "dangling.onnx").symlink_to("nowhere")
    (user_styles / "round.onnx").symlink_to("round.onnx")
    (user_styles / "many.onnx").write_bytes(b"\x08\x01" * 200_000)
    with (user_styles / "large.onnx").open("wb") as file:
        file.truncate(2 << 30)
    (user_styles / os.fsdecode(b"caf\xe9.onnx")).write_bytes(b"\xff")
    assert "good" in {style.card.name for style in list_styles()}


def test_a_child_cannot_reach_out_of_its_process() -> None:
    if sys.platform != "linux":
        pytest.skip("Landlock and seccomp are Linux's")
    code = (
        "from animevid.confinement import *; import socket;"
        "print(missing() or confine(writable=[], readable=program_folders()));"
        "socket.socket()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    if done.stdout.strip() != "True":
        pytest.skip(f"this kernel lacks {done.stdout}")
    assert "Operation not permitted" in done.stderr
