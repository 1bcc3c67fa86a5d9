"""Invalid input gives one line on stderr and the documented exit code, and writes nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from animevid.cli import main
from media import moving_frame, write_clip
from onnx import TensorProto, helper
from small_styles import PACKED, save_style

BROKEN_PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 99
EARLIER = b"the earlier output"


@dataclass
class Desk:
    """A folder with a valid clip, a valid style and an earlier output."""

    folder: Path
    clip: Path
    style: Path
    out: Path = field(init=False)

    def __post_init__(self) -> None:
        self.out = self.folder / "out.mp4"


@pytest.fixture(scope="session")
def good_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=12)


@pytest.fixture
def desk(tmp_path, good_clip, packed_style):
    clip = tmp_path / "in.mp4"
    clip.write_bytes(good_clip.read_bytes())
    return Desk(tmp_path, clip, packed_style)


def _file(desk: Desk, name: str, content: bytes) -> Path:
    path = desk.folder / name
    path.write_bytes(content)
    return path


def _audio_only(desk: Desk) -> Path:
    path = desk.folder / "song.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _no_frames(desk: Desk) -> Path:
    path = desk.folder / "empty.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    return path


def _encrypted(desk: Desk) -> Path:
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    return write_clip(desk.folder / "secret.mp4", frames=12, audio=False, options=options)


def _hdr(desk: Desk) -> Path:
    path = desk.folder / "hdr.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx265", rate=24, options={"x265-params": "log-level=none", "preset": "ultrafast"}
        )
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(moving_frame(index), format="rgb24").reformat(format="yuv420p10le")
            frame.pts, frame.time_base = index, Fraction(1, 24)
            frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range = 9, 16, 9, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _classifier(desk: Desk) -> Path:
    """An ONNX network that takes an image and gives ten numbers."""
    path = desk.folder / "classifier.onnx"
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["scores"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def _card_from_the_future(desk: Desk) -> Path:
    return save_style(desk.folder / "future.onnx", replace(PACKED, card_version=99))


def _playlist(desk: Desk) -> Path:
    return _file(desk, "list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")


def _folder(desk: Desk, name: str) -> Path:
    path = desk.folder / name
    path.mkdir()
    return path


Arguments = Callable[[Desk], list[object]]


def _convert(source: object, target: object, desk: Desk, *more: object) -> list[object]:
    return [source, target, "--style", desk.style, *more]


CASES: dict[str, tuple[int, str, Arguments]] = {
    # the input
    "missing file": (3, "does not exist", lambda d: _convert(d.folder / "no.mp4", d.out, d)),
    "empty name": (3, "", lambda d: _convert("", d.out, d)),
    "folder without images": (3, "", lambda d: _convert(_folder(d, "empty"), d.folder / "images", d)),
    "glob that matches nothing": (3, "", lambda d: _convert(d.folder / "*.png", d.folder / "images", d)),
    "empty file": (3, "", lambda d: _convert(_file(d, "zero.mp4", b""), d.out, d)),
    "text file named .mp4": (3, "not a video", lambda d: _convert(_file(d, "text.mp4", b"hello\n" * 99), d.out, d)),
    "random bytes": (3, "", lambda d: _convert(_file(d, "noise.mkv", np.random.default_rng(0).bytes(9999)), d.out, d)),
    "mp4 cut off in its header": (3, "", lambda d: _convert(_file(d, "c.mp4", d.clip.read_bytes()[:600]), d.out, d)),
    "mp4 without its index": (
        3,
        "",
        lambda d: _convert(_file(d, "half.mp4", d.clip.read_bytes()[: d.clip.stat().st_size // 2]), d.out, d),
    ),
    "broken image": (
        3,
        "",
        lambda d: _convert(_file(d, "bad.png", b"\x89PNG\r\n\x1a\n" + b"x" * 99), d.folder / "o.png", d),
    ),
    "video without frames": (3, "", lambda d: _convert(_no_frames(d), d.out, d)),
    "audio only": (3, "no video stream", lambda d: _convert(_audio_only(d), d.out, d)),
    "encrypted": (3, "encrypted", lambda d: _convert(_encrypted(d), d.out, d)),
    "HDR where tone mapping is forbidden": (3, "HDR", lambda d: _convert(_hdr(d), d.out, d, "--no-tone-map")),
    "local playlist that reaches for the network": (3, "", lambda d: _convert(_playlist(d), d.out, d)),
    "protocol that is not allowed": (2, "scheme", lambda d: _convert("gopher://127.0.0.1/x", d.out, d)),
    # the style
    "unknown style": (5, "no-such-style", lambda d: [d.clip, d.out, "--style", "no-such-style"]),
    "missing style file": (5, "no.onnx", lambda d: [d.clip, d.out, "--style", d.folder / "no.onnx"]),
    "style file that is no ONNX": (5, "", lambda d: [d.clip, d.out, "--style", _file(d, "x.onnx", b"no network")]),
    "empty style file": (5, "", lambda d: [d.clip, d.out, "--style", _file(d, "x.onnx", b"")]),
    "ONNX that is not a stylizer": (5, "", lambda d: [d.clip, d.out, "--style", _classifier(d)]),
    "style card of a newer animevid": (5, "newer", lambda d: [d.clip, d.out, "--style", _card_from_the_future(d)]),
    "folder as a style": (5, "", lambda d: [d.clip, d.out, "--style", _folder(d, "style.onnx")]),
    # the output
    "output is the input": (4, "input", lambda d: _convert(d.clip, d.clip, d, "--overwrite")),
    "output is a link to the input": (4, "input", lambda d: _convert(d.clip, _link(d), d, "--overwrite")),
    "output exists": (4, "exists", lambda d: _convert(d.clip, _file(d, "old.mp4", EARLIER), d)),
    "output folder is missing": (4, "folder", lambda d: _convert(d.clip, d.folder / "no" / "out.mp4", d)),
    "output is a folder": (4, "folder", lambda d: _convert(d.clip, _folder(d, "dir.mp4"), d, "--overwrite")),
    "output below a file": (4, "", lambda d: _convert(d.clip, _file(d, "file", b"x") / "out.mp4", d)),
    "read-only file system": (4, "", lambda d: _convert(d.clip, "/sys/animevid-test.mp4", d)),
    "suffix that is no container": (2, "suffix", lambda d: _convert(d.clip, d.folder / "out.xyz", d)),
    # the options
    "no output": (2, "OUTPUT", lambda d: [d.clip]),
    "unknown option": (2, "--nonsense", lambda d: _convert(d.clip, d.out, d, "--nonsense")),
    "three names": (2, "", lambda d: _convert(d.clip, d.out, d, "third.mp4")),
    "strength above 1": (2, "strength", lambda d: _convert(d.clip, d.out, d, "--strength", "2")),
    "size that is none": (2, "size", lambda d: _convert(d.clip, d.out, d, "--size", "large")),
    "end before start": (2, "start", lambda d: _convert(d.clip, d.out, d, "--start", "0.4", "--end", "0.2")),
    "start after the end of the file": (2, "start", lambda d: _convert(d.clip, d.out, d, "--start", "1:00")),
    "time that is none": (2, "time", lambda d: _convert(d.clip, d.out, d, "--start", "noon")),
    "stream that is not there": (2, "stream", lambda d: _convert(d.clip, d.out, d, "--stream", "7")),
    "stream that is sound": (2, "stream", lambda d: _convert(d.clip, d.out, d, "--stream", "1")),
    "crf out of range": (2, "crf", lambda d: _convert(d.clip, d.out, d, "--crf", "99")),
    "crf and bit rate": (2, "bitrate", lambda d: _convert(d.clip, d.out, d, "--crf", "20", "--bitrate", "1M")),
    "unknown preset": (2, "preset", lambda d: _convert(d.clip, d.out, d, "--preset", "warp")),
    "codec that the container cannot hold": (
        2,
        "codec",
        lambda d: _convert(d.clip, d.folder / "out.webm", d, "--codec", "prores"),
    ),
    "unknown codec": (2, "codec", lambda d: _convert(d.clip, d.out, d, "--codec", "wmv")),
    "unknown comparison": (2, "compare", lambda d: _convert(d.clip, d.out, d, "--compare", "up")),
    "unknown backend": (2, "abacus", lambda d: _convert(d.clip, d.out, d, "--backend", "abacus")),
    "unknown device": (2, "warp", lambda d: _convert(d.clip, d.out, d, "--device", "warp:9")),
    "unknown container": (2, "", lambda d: _convert(d.clip, "-", d, "--format", "nonsense")),
}


def _link(desk: Desk) -> Path:
    path = desk.folder / "link.mp4"
    path.symlink_to(desk.clip)
    return path


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_leaves_nothing(name, desk, capfd):
    exit_code, words, arguments = CASES[name]
    argv = [str(argument) for argument in arguments(desk)]
    before = _contents(desk.folder)

    assert main(argv) == exit_code

    out, err = capfd.readouterr()
    assert len(err.splitlines()) == 1, err
    assert err.startswith("animevid: error: ")
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert _contents(desk.folder) == before


@pytest.mark.parametrize("name", ["missing file", "unknown style", "ONNX that is not a stylizer", "encrypted"])
def test_an_earlier_output_survives_even_with_overwrite(name, desk, capfd):
    exit_code, _, arguments = CASES[name]
    desk.out.write_bytes(EARLIER)
    assert main([*(str(argument) for argument in arguments(desk)), "--overwrite"]) == exit_code
    assert desk.out.read_bytes() == EARLIER


@contextlib.contextmanager
def _small_disk(folder: Path):
    """A file system of 64 KiB, if mounting is permitted."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_earlier_output(desk, capfd):
    big = write_clip(desk.folder / "big.mp4", frames=120, height=240, width=320, audio=False)
    with _small_disk(desk.folder) as disk:
        target = disk / "out.mp4"
        target.write_bytes(EARLIER)
        assert main([str(big), str(target), "--style", str(desk.style), "--overwrite", "--crf", "1"]) == 4
        assert target.read_bytes() == EARLIER
        assert os.listdir(disk) == ["out.mp4"]
    err = capfd.readouterr().err
    assert err.splitlines()[-1].startswith("animevid: error: ")
    assert "disk is full" in err


def test_a_full_disk_leaves_no_part_of_a_playlist(desk, capfd):
    """FFmpeg's playlist muxer ignores failed writes."""
    big = write_clip(desk.folder / "big.mp4", frames=120, height=240, width=320, audio=False)
    with _small_disk(desk.folder) as disk:
        target = disk / "out.m3u8"
        assert main([str(big), str(target), "--style", str(desk.style), "--crf", "1"]) == 4
        assert os.listdir(disk) == []
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("animevid: error: ")
    assert "disk is full" in line


@pytest.mark.parametrize("name", ["out.mp4", "out.m3u8"])
def test_a_file_size_limit_leaves_the_earlier_output(desk, name):
    """The same without mounting: the kernel limits every file to 20 000 bytes."""
    big = write_clip(desk.folder / "big.mp4", frames=60, height=240, width=320, audio=False)
    out = desk.folder / name
    out.write_bytes(EARLIER)
    names = {path.name for path in desk.folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-m", "animevid", big, out, "--style", desk.style, "--overwrite", "--crf", "1"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("animevid: error: ")
    assert out.read_bytes() == EARLIER
    assert {path.name for path in desk.folder.iterdir()} == names
