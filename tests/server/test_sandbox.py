"""The child that decodes uploads: what it may not do is tried, in a real child."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from animevid.errors import InputError
from animevid.server.sandbox import SandboxLimits, SandboxRequest, check_upload

linux = pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")


def convert(source: Path, style: Path, **limits: Any) -> dict[str, Any]:
    """The child's last word about ``source``."""
    request = SandboxRequest(
        source=str(source),
        target=str(source.with_name("result.mp4")),
        style=str(style),
        options={"threads": 1},
        limits=replace(SandboxLimits(), **limits),
    )
    done = subprocess.run(
        [sys.executable, "-m", "animevid.server.sandbox", request.to_json()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"code": done.returncode}


def in_sandbox(folder: Path, code: str) -> str:
    """What ``code`` prints inside the walls."""
    program = f"""
import socket
from pathlib import Path
from animevid.server.sandbox import SandboxLimits, _program_folders, limit_files, limit_resources
limit_resources(SandboxLimits(output_bytes=1_000_000))
print(limit_files(writable=[Path({str(folder)!r})], readable=_program_folders()))
try:
    {code}
    print("allowed")
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=folder)
    enforced, *rest = done.stdout.split()
    if enforced != "True":
        pytest.skip("this kernel has no Landlock")
    return rest[0]


def test_the_int8_file_of_a_style_is_within_its_reach(make_clip: Callable[..., Path], tmp_path: Path):
    from animevid.styles import load_style

    source = tmp_path / "upload"
    source.write_bytes(make_clip("int8.mp4", frames=3).read_bytes())
    request = SandboxRequest(
        source=str(source),
        target=str(source.with_name("result.mp4")),
        style=str(load_style("aozora").path),
        allow_int8=True,
    )
    done = subprocess.run(
        [sys.executable, "-m", "animevid.server.sandbox", request.to_json()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"done": True}
    assert "left out" not in done.stderr


@linux
def test_it_writes_in_its_own_folder(tmp_path: Path):
    assert in_sandbox(tmp_path, "Path('x').write_text('y'); Path('x').unlink()") == "allowed"


@linux
@pytest.mark.parametrize("deed", ["Path('/etc/passwd').read_text()", "list(Path('/etc').iterdir())"])
def test_it_reads_no_other_file(tmp_path: Path, deed: str):
    assert in_sandbox(tmp_path, deed) == "PermissionError"


@linux
def test_it_writes_nowhere_else(tmp_path: Path):
    (tmp_path / "own").mkdir()
    assert in_sandbox(tmp_path / "own", f"Path({str(tmp_path / 'other')!r}).write_text('x')") == "PermissionError"


@linux
def test_it_reaches_no_network(tmp_path: Path):
    assert in_sandbox(tmp_path, "socket.create_connection(('127.0.0.1', 9), timeout=2)") == "PermissionError"


def test_it_writes_no_file_beyond_its_limit(tmp_path: Path):
    assert in_sandbox(tmp_path, "Path('x').write_bytes(bytes(2_000_000))") == "OSError"


def test_memory_beyond_the_limit_is_an_error_and_no_more(
    packed_style: Path, make_clip: Callable[..., Path], tmp_path: Path
):
    source = tmp_path / "upload"
    source.write_bytes(make_clip("memory.mp4", frames=3).read_bytes())
    answer = convert(source, packed_style, memory_bytes=200 << 20)
    assert "done" not in answer
    assert not (tmp_path / "result.mp4").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no rlimits")
def test_cpu_time_beyond_the_limit_ends_it():
    program = "from animevid.server.sandbox import *\nlimit_resources(SandboxLimits(cpu_seconds=1))\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode < 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "a concatenation"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "a local playlist"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n", "a playlist into the network"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n", "a session"),
        (b"no film at all", "text"),
        (b"\x00" * 5000, "zeros"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_films_of_allowed_formats_reach_a_decoder(content: bytes, why: str, packed_style: Path, tmp_path: Path):
    source = tmp_path / "upload"
    source.write_bytes(content)
    answer = convert(source, packed_style)
    assert "not a video or photo" in answer["error"], why


def test_a_photo_beyond_the_limit_is_refused_before_it_is_decoded(packed_style: Path, tmp_path: Path):
    import cv2
    import numpy as np

    source = tmp_path / "upload"
    source.write_bytes(cv2.imencode(".png", np.zeros((1000, 1100, 3), np.uint8))[1].tobytes())
    assert "megapixels is too large here: at most 1 " in convert(source, packed_style, photo_pixels=1_000_000)["error"]


@pytest.mark.parametrize("suffix", [".jp2", ".webp", ".gif"])
def test_photos_of_rarer_kinds_are_held_to_the_same_limit(tmp_path: Path, suffix: str):
    from PIL import Image

    source = tmp_path / f"photo{suffix}"
    Image.new("RGB", (640, 480), (90, 120, 60)).save(source)
    assert check_upload(source, SandboxLimits())
    with pytest.raises(InputError, match="megapixels is too large"):
        check_upload(source, SandboxLimits(photo_pixels=100_000))


def test_a_film_that_breaks_off_does_not_break_the_child(
    packed_style: Path, make_clip: Callable[..., Path], tmp_path: Path
):
    source = tmp_path / "upload"
    data = make_clip("broken.mkv", frames=30).read_bytes()
    source.write_bytes(data[: len(data) // 2])
    answer = convert(source, packed_style)
    assert answer.get("done") or "error" in answer
