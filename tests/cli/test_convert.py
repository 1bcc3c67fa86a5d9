"""``animevid INPUT OUTPUT``: what is printed where, what the options do, and what an interrupt does."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from animevid.cli import main
from animevid.io import open_source
from animevid.options import ConversionOptions
from animevid.run.conversion import Conversion
from animevid.run.sample import estimate
from media import frame_times, loop_clip, write_clip
from small_networks import rgb_network

ANIMEVID = [sys.executable, "-m", "animevid"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("cli") / "clip.mp4", frames=30)


@pytest.fixture(scope="module")
def long_clip(clip):
    """Two minutes: long enough to be interrupted."""
    big = write_clip(clip.with_name("big.mp4"), frames=60, height=240, width=320, audio=False)
    return loop_clip(big, clip.with_name("long.mp4"), times=50)


def _run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_conversion_prints_one_summary_line_and_nothing_else_in_a_pipe(clip, packed_style, tmp_path, capfd):
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert len(out.splitlines()) == 1
    assert "30 frames in, 30 out" in out
    assert "fps" in out
    assert "infer" in out


def test_quiet_says_nothing_at_all(clip, packed_style, tmp_path, capfd):
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style, "-q") == 0
    assert capfd.readouterr() == ("", "")


def test_json_is_one_object_a_line(clip, packed_style, tmp_path, capfd):
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style, "--json") == 0
    out, err = capfd.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert events[-1]["event"] == "done"
    assert events[-1]["frames_in"] == events[-1]["frames_out"] == 30
    assert {stage["name"] for stage in events[-1]["stages"]} >= {"decode", "infer", "encode"}


def test_json_progress_goes_by_while_frames_do(long_clip, packed_style, tmp_path, capfd):
    assert _run(long_clip, tmp_path / "out.mp4", "--style", packed_style, "--progress", "json", "--end", "40") == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    assert progress
    assert [event["frames"] for event in progress] == sorted(event["frames"] for event in progress)
    assert all(event["frames_total"] == 960 for event in progress)
    assert all(0 <= load <= 1 for event in progress for load in event["load"].values())


def test_an_error_is_one_json_object_too(packed_style, tmp_path, capfd):
    assert _run(tmp_path / "no.mp4", tmp_path / "out.mp4", "--style", packed_style, "--json") == 3
    out, err = capfd.readouterr()
    event = json.loads(out)
    assert (event["event"], event["exit_code"]) == ("error", 3)
    assert "does not exist" in event["message"]
    assert err.startswith("animevid: error: ")


@pytest.mark.parametrize(("moment", "index"), [("7", 7), ("0:00.2", 5), ("0", 0)])
def test_a_preview_is_the_frame_that_was_asked_for(clip, packed_style, tmp_path, capfd, moment, index):
    style = ["--style", packed_style, "--size", "50%"]
    assert _run(clip, tmp_path / "out.mp4", *style, "--preview", moment) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'out.png'}\n"
    assert os.listdir(tmp_path) == ["out.png"]
    (tmp_path / "all").mkdir()
    assert _run(clip, tmp_path / "all" / "f%03d.png", *style, "--no-deflicker", "--every-frame", "-q") == 0
    frame = (tmp_path / "all" / f"f{index + 1:03}.png").read_bytes()
    assert (tmp_path / "out.png").read_bytes() == frame


def test_a_preview_after_the_end_is_refused_and_an_image_is_not_replaced(clip, packed_style, tmp_path, capfd):
    (tmp_path / "out.png").write_bytes(b"mine")
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style, "--preview", "3") == 4
    assert "(-y)" in capfd.readouterr().err
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert _run(clip, tmp_path / "new.mp4", "--style", packed_style, "--preview", "9999") == 2
    assert "give an earlier --preview" in capfd.readouterr().err
    assert not (tmp_path / "new.png").exists()


def test_a_dry_run_estimates_time_and_size_from_ten_frames(packed_style, tmp_path, capfd):
    video = write_clip(tmp_path / "video.mp4", frames=100, audio=False)
    assert _run(video, tmp_path / "out.mp4", "--style", packed_style, "--dry-run") == 0
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("about:")]
    assert os.listdir(tmp_path) == ["video.mp4"]
    with Conversion(video, tmp_path / "out.mp4", ConversionOptions(packed_style)) as conversion:
        found = estimate(video, tmp_path / "out.mp4", conversion)
        size = conversion.run() and (tmp_path / "out.mp4").stat().st_size
    assert re.fullmatch(r"about:   \d+:\d\d of work, \d+\.\d MB \(from ten frames\)", line)
    assert size * 0.7 < found.size_bytes < size * 1.4
    assert 0 < found.work_seconds < 60


def test_the_plan_of_an_image_names_the_larger_variant(tmp_path, capfd):
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((64, 96, 3), np.uint8))
    assert _run(tmp_path / "in.png", tmp_path / "out.png", "--dry-run") == 0
    assert _run(tmp_path / "in.png", tmp_path / "out.png", "--dry-run", "--quality", "fast") == 0
    said = capfd.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("style:")] == ["style:   aozora, high", "style:   aozora"]


def test_a_dry_run_tells_the_plan_and_writes_nothing(clip, packed_style, tmp_path, capfd):
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style, "--dry-run", "--size", "200%") == 0
    out = capfd.readouterr().out
    assert "h264 160x96" in out
    assert "320x192" in out
    assert "libx264" in out
    assert "audio stream 1 (aac): copied" in out
    assert os.listdir(tmp_path) == []


def test_verbose_tells_the_plan_before_it_converts(clip, packed_style, tmp_path, capfd):
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style, "-v") == 0
    assert "network:" in capfd.readouterr().err


def test_a_stream_that_cannot_be_copied_is_named(clip, packed_style, tmp_path, capfd):
    assert _run(clip, tmp_path / "out.webm", "--style", packed_style, "--end", "0.2") == 0
    assert "re-encoded as libopus" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "codec", "size"),
    [
        (["--codec", "hevc"], "hevc", (160, 96)),
        (["--crf", "30", "--preset", "ultrafast"], "h264", (160, 96)),
        (["--bitrate", "200k"], "h264", (160, 96)),
        (["--size", "48p"], "h264", (80, 48)),
        (["--compare", "side"], "h264", (320, 96)),
        (["--compare", "split:0.3"], "h264", (160, 96)),
        (["--strength", "40%"], "h264", (160, 96)),
        (["--net-size", "64x64"], "h264", (160, 96)),
        (["--net-size", "full", "--every-frame", "--threads", "1"], "h264", (160, 96)),
        (["--encoder-threads", "1", "--no-copy"], "h264", (160, 96)),
        (["--hardware", "auto"], "h264", (160, 96)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_options_do_what_they_say(clip, packed_style, tmp_path, options, codec, size):
    target = tmp_path / "out.mp4"
    assert _run(clip, target, "--style", packed_style, "--end", "0.3", *options) == 0
    with open_source(target) as output:
        assert output.info.codec == codec
        assert (output.info.display_width, output.info.display_height) == size
        assert bool(output.info.other_streams) is ("--no-copy" not in options)


def test_an_image_becomes_an_image(clip, packed_style, tmp_path):
    _image(tmp_path / "in.png")
    assert _run(tmp_path / "in.png", tmp_path / "out.png", "--style", packed_style) == 0
    with open_source(tmp_path / "out.png") as output:
        assert (output.info.display_width, output.info.display_height) == (160, 96)


def test_a_folder_of_images_of_several_sizes_becomes_a_folder_of_the_same(packed_style, tmp_path):
    (tmp_path / "in").mkdir()
    _image(tmp_path / "in" / "a.png", width=160)
    _image(tmp_path / "in" / "b.png", width=120)
    assert _run(tmp_path / "in", tmp_path / "out", "--style", packed_style) == 0
    sizes = []
    for path in sorted((tmp_path / "out").iterdir()):
        with open_source(path) as output:
            sizes.append(output.info.display_width)
    assert sizes == [160, 120]


def test_a_glob_becomes_a_gif(packed_style, tmp_path):
    for index in range(3):
        _image(tmp_path / f"in{index}.png", index=index)
    assert _run(str(tmp_path / "in*.png"), tmp_path / "out.gif", "--style", packed_style) == 0
    assert len(frame_times(tmp_path / "out.gif")) == 3


def test_standard_input_and_output(clip, packed_style, tmp_path):
    stream = clip.with_name("clip.mkv")
    with av.open(str(clip)) as source, av.open(str(stream), "w") as container:
        copy = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    with stream.open("rb") as piped:
        command = [*ANIMEVID, "-", "-", "--style", packed_style, "--format", "matroska"]
        done = subprocess.run(command, stdin=piped, capture_output=True, check=True)
    (tmp_path / "out.mkv").write_bytes(done.stdout)
    assert len(frame_times(tmp_path / "out.mkv")) == 30
    assert b"30 frames in" in done.stderr


def test_the_clip_that_is_shipped_converts(packed_style, tmp_path):
    assert _run("--demo", tmp_path / "demo.mp4", "--style", packed_style, "--end", "0.5") == 0
    with open_source(tmp_path / "demo.mp4") as output:
        assert (output.info.display_width, output.info.display_height) == (640, 360)
        assert [stream.kind for stream in output.info.other_streams] == ["audio"]


def test_options_tell_what_a_style_without_a_card_expects(clip, tmp_path, capfd):
    proto = onnx.load_from_string(rgb_network())
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[1].ClearField("dim_value")
    style = tmp_path / "free.onnx"
    style.write_bytes(proto.SerializeToString())
    assert _run(clip, tmp_path / "a.mp4", "--style", style) == 5
    assert "layout" in capfd.readouterr().err
    hints = ["--layout", "NCHW", "--colour-order", "BGR", "--input-range", "0:1", "--size-multiple", "16"]
    assert _run(clip, tmp_path / "b.mp4", "--style", style, *hints) == 0
    assert len(frame_times(tmp_path / "b.mp4")) == 30


#: The muxer buffers the first 256 KiB of a file; with these options they fill in half a second instead of six.
LARGE = ("--preset", "ultrafast", "--crf", "4")


def _until_it_writes(folder: Path, process: subprocess.Popen) -> None:
    """Wait until the hidden file beside the target grows: the conversion is running."""
    while not any(path.stat().st_size > 1000 for path in folder.glob(".*.part*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_ctrl_c_ends_cleanly_and_keeps_the_earlier_output(long_clip, packed_style, tmp_path):
    target = tmp_path / "out.mkv"
    target.write_bytes(b"earlier")
    command = [*ANIMEVID, long_clip, target, "--style", packed_style, "--overwrite", "--no-resume", *LARGE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _until_it_writes(tmp_path, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == [f"animevid: error: stopped before the end: '{target}' is not written"]
    assert target.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["out.mkv"]


def test_a_killed_process_leaves_input_and_earlier_output_alone(long_clip, packed_style, tmp_path):
    target = tmp_path / "out.mkv"
    target.write_bytes(b"earlier")
    before = long_clip.read_bytes()
    command = [*ANIMEVID, long_clip, target, "--style", packed_style, "--overwrite", "--no-resume", *LARGE]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _until_it_writes(tmp_path, process)
    process.kill()
    process.wait(timeout=300)
    assert target.read_bytes() == b"earlier"
    assert long_clip.read_bytes() == before


def test_ctrl_c_on_a_live_stream_finishes_the_file(long_clip, packed_style, tmp_path):
    """A source without an end is stopped, not cancelled: the frames so far make a complete file."""
    stream, target = tmp_path / "live.mkv", tmp_path / "out.mkv"
    with av.open(str(long_clip)) as source, av.open(str(stream), "w", options={"live": "1"}) as container:
        copy = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    command = [*ANIMEVID, "-", target, "--style", packed_style, *LARGE]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sent = False
    for start in range(0, stream.stat().st_size, 2048):
        try:
            process.stdin.write(stream.read_bytes()[start : start + 2048])
        except BrokenPipeError:
            break  # it has read enough
        if not sent and any(path.stat().st_size > 1000 for path in tmp_path.glob(".out*.part*")):
            process.send_signal(signal.SIGINT)
            sent = True
        time.sleep(0.002)
    out, err = process.communicate(timeout=300)
    assert sent
    assert (process.returncode, err) == (0, b"")
    frames = int(out.decode().partition(": ")[2].split()[0])
    assert 0 < frames < 3000
    assert len(frame_times(target)) == frames


def test_a_terminal_shows_a_bar_and_leaves_no_trace_of_it(long_clip, packed_style, tmp_path):
    """In a real pseudo-terminal: frames, fps, ETA and stage load on one line, which is erased at the end."""
    parent, child = pty.openpty()
    command = [*ANIMEVID, long_clip, tmp_path / "out.mp4", "--style", packed_style, "--end", "30"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child, env=environment, text=True)
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        shown += piece
    out, _ = process.communicate(timeout=300)
    os.close(parent)
    text = shown.decode()
    assert process.returncode == 0
    assert "/720" in text
    assert "fps" in text
    assert "ETA" in text
    assert "%" in text
    assert text.endswith("\r\x1b[K")
    assert "\n" not in text
    assert "720 frames in, 720 out" in out


def test_help_is_complete_and_loads_no_codec():
    code = (
        "import sys\n"
        "from animevid.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'numpy', 'av', 'onnxruntime', 'cv2', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for word in ("--style", "--list-styles", "--size", "--start", "--end", "--compare", "--strength", "--threads"):
        assert word in done.stdout
    assert "exit codes" in done.stdout
    assert "animevid webcam" in done.stdout


def test_nothing_at_all_prints_how_to_begin(capfd):
    assert main([]) == 2
    assert "animevid INPUT OUTPUT" in capfd.readouterr().err


def test_the_version(capfd):
    import animevid

    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"animevid {animevid.__version__}\n"


def test_styles_are_listed(capfd):
    assert main(["--list-styles"]) == 0
    assert capfd.readouterr().out


def test_the_card_of_a_style_is_shown(packed_style, capfd):
    assert main(["styles", str(packed_style)]) == 0
    out = capfd.readouterr().out
    assert "test-packed" in out
    assert "packed_yuv420" in out
    assert main(["styles", str(packed_style), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["name"] == "test-packed"


def test_a_reader_that_goes_away_is_no_error(clip):
    """``animevid --help | head -1``"""
    command = f"{sys.executable} -m animevid --help | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def _image(path: Path, *, index: int = 0, width: int = 160) -> None:
    import cv2
    from media import moving_frame

    cv2.imwrite(str(path), moving_frame(index, width=width)[..., ::-1])
