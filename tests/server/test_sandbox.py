"""The child process that decodes uploads: forbidden actions are tried in a real child."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from animevid.confinement import missing
from animevid.errors import InputError
from animevid.server import converter
from animevid.server.converter import copy_style
from animevid.server.sandbox import SandboxLimits, SandboxRequest, check_upload
from animevid.styles import Style, load_style

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Landlock (Linux)")


def convert(source: Path, style: Path, **limits: Any) -> dict[str, Any]:
    """The child's last message about ``source``."""
    request = SandboxRequest(
        source=str(source),
        target=str(source.with_name("result.mp4")),
        style=str(shutil.copy(style, source.with_name("style.onnx"))),
        options={"threads": 1},
        may_be_unconfined=bool(missing()),
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
    """The output of ``code`` in the sandbox."""
    program = f"""
import os, signal, socket, threading
from pathlib import Path
from animevid.server.sandbox import SandboxLimits, confine_to
print(confine_to(Path({str(folder)!r}), SandboxLimits(output_bytes=1_000_000)))
try:
    {code}
    print("allowed")
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=folder)
    enforced, *rest = done.stdout.split()
    if enforced != "True":
        pytest.skip(f"this kernel lacks {missing()}")
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
        may_be_unconfined=bool(missing()),
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
@pytest.mark.parametrize(
    "deed",
    [
        "socket.create_connection(('127.0.0.1', 9), timeout=2)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_NETLINK)",
        "socket.socketpair()",
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.kill(0, 0)",
        "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)",
        "Path(f'/proc/{os.getppid()}/cmdline').read_bytes()",
        "Path(f'/proc/{os.getppid()}/environ').read_bytes()",
        "list(Path('/proc').iterdir())",
        "os.chmod('.', 0o777)",
        "os.utime('.')",
        "os.memfd_create('x')",
        "os.symlink('/etc/passwd', 'before.jpg')",
        "os.link('/etc/passwd', 'before.jpg')",
        "os.mkfifo('x')",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "os.sched_setaffinity(os.getppid(), {0})",
        "os.sched_setparam(os.getppid(), os.sched_param(0))",
        "os.truncate('x', 0)",
    ],
)
def test_it_reaches_nothing_outside(tmp_path: Path, deed: str):
    # For a link into another folder, Landlock's error is that of another device (EXDEV).
    # For another user's file, the kernel refuses the link itself (fs.protected_hardlinks).
    assert in_sandbox(tmp_path, deed) in (("OSError", "PermissionError") if "os.link" in deed else ("PermissionError",))


@linux
def test_it_cannot_outlive_its_parent(tmp_path: Path):
    """It cannot reset PR_SET_PDEATHSIG, which ends it with its parent."""
    assert in_sandbox(tmp_path, "['taken back'][__import__('ctypes').CDLL(None).prctl(1, 0, 0, 0, 0) + 1]") == "allowed"


@linux
@pytest.mark.parametrize(
    "deed",
    [
        "threading.Thread(target=print).start()",
        "os.kill(os.getpid(), 0)",
        "Path('/proc/self/status').read_text()",
        "Path('/proc/cpuinfo').read_text()",
    ],
)
def test_it_does_what_a_conversion_needs(tmp_path: Path, deed: str):
    assert in_sandbox(tmp_path, deed) == "allowed"


@linux
def test_it_reads_libraries_where_the_environment_says_that_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("own", "libraries"):
        (tmp_path / name).mkdir()
    library = tmp_path / "libraries" / "lib.so"
    library.touch()
    assert in_sandbox(tmp_path / "own", f"Path({str(library)!r}).read_bytes()") == "PermissionError"
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{library.parent}:relative:")
    assert in_sandbox(tmp_path / "own", f"Path({str(library)!r}).read_bytes()") == "allowed"


@linux
def test_threads_do_not_get_around_it(tmp_path: Path):
    deed = "from concurrent.futures import ThreadPoolExecutor as T; T().submit(socket.socket).result()"
    assert in_sandbox(tmp_path, deed) == "PermissionError"


@linux
def test_the_style_is_a_copy_and_its_folder_stays_closed(
    packed_style: Path, make_clip: Callable[..., Path], tmp_path: Path
):
    style = Style(load_style(packed_style).card, packed_style)
    (tmp_path / "upload").mkdir()
    copy = copy_style(style, tmp_path / "upload")
    assert copy.model == style.model
    assert in_sandbox(tmp_path / "upload", f"Path({str(packed_style)!r}).read_bytes()") == "PermissionError"
    assert in_sandbox(tmp_path / "upload", f"Path({str(copy.path)!r}).read_bytes()") == "allowed"


@linux
def test_where_the_kernel_cannot_confine_it_nothing_is_converted(packed_style: Path, tmp_path: Path):
    program = (
        # What counts is the actual result, whatever the kernel reported.
        "import sys; from animevid.server import sandbox; sandbox.confine = lambda **_: False;"
        "sandbox.main(sys.argv[1:])"
    )
    (tmp_path / "upload").write_bytes(b"no video")
    said = []
    for anyway in (False, True):
        request = SandboxRequest(str(tmp_path / "upload"), "x", str(packed_style), may_be_unconfined=anyway)
        command = [sys.executable, "-c", program, request.to_json()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        said.append(json.loads(done.stdout)["error"])
    assert "cannot confine" in said[0]
    assert "not a video" in said[1]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads open files from /proc")
@pytest.mark.parametrize("removes", [False, True])
def test_all_files_together_have_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removes: bool):
    monkeypatch.setattr(converter, "_SLACK_BYTES", 0)
    monkeypatch.setattr(converter, "_WATCH_SECONDS", 0.05)
    remove = "os.remove(str(number))" if removes else "pass"
    writer = f"""
import os
kept = []
for number in range(400):
    kept.append(open(str(number), "wb", 0))
    kept[-1].write(bytes(10**6))
    {remove}
input()
"""

    async def watch() -> converter.Quota:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", writer, cwd=tmp_path, stdin=asyncio.subprocess.PIPE
        )
        quota = converter.Quota(tmp_path, child.pid, 20_000_000)
        async with asyncio.timeout(60):
            await quota.hold(child.kill)
        await child.wait()
        return quota

    assert asyncio.run(watch()).is_broken


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
    program = "from animevid.confinement import *\nlimit_resources(ResourceLimits(cpu_seconds=1))\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode < 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "a concatenation"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "a local playlist"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n", "a playlist into the network"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n", "a session"),
        (b"no video at all", "text"),
        (b"\x00" * 5000, "zeros"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_videos_of_allowed_formats_reach_a_decoder(content: bytes, why: str, packed_style: Path, tmp_path: Path):
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


def test_a_video_that_breaks_off_does_not_break_the_child(
    packed_style: Path, make_clip: Callable[..., Path], tmp_path: Path
):
    source = tmp_path / "upload"
    data = make_clip("broken.mkv", frames=30).read_bytes()
    source.write_bytes(data[: len(data) // 2])
    answer = convert(source, packed_style)
    assert answer.get("done") or "error" in answer
