"""Nothing leaves the machine: no name is looked up, nobody is called, and only what was asked for is written.

Every system call that could is watched with strace, in all processes and native libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_CALLS = "connect,sendto,sendmsg,sendmmsg,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat"
_LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"|AF_NETLINK')
_NETWORK = re.compile(r"AF_INET|nscd|resolv")
_MADE = re.compile(r'"([^"]+)", [^"]*O_CREAT|(?:creat|mkdir|mkdirat)\([^"]*"([^"]+)"|(?:rename|link)\w*\(.*"([^"]+)"')


def _strace() -> str:
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-o", os.devnull, "true"], capture_output=True).returncode:
        pytest.skip("strace is missing or may not trace here: apt-get install strace")
    return found


class Watched:
    """What a program did: ``calls`` abroad, and ``files`` that it made outside the folder ``allowed``."""

    def __init__(self, trace: Path, allowed: Path, home: Path) -> None:
        self.calls: list[str] = []
        self.files: list[str] = []
        cache = os.fspath(home / ".cache" / "animevid")
        for line in trace.read_text(errors="replace").splitlines():
            if _NETWORK.search(line) and not _LOOPBACK.search(line) and "openat" not in line:
                self.calls.append(line)
            if "resolv.conf" in line or "/etc/hosts" in line:
                self.calls.append(line)
            made = _MADE.search(line)
            if made is None or "= -1 " in line:
                continue
            path = next(part for part in made.groups() if part)
            is_allowed = path.startswith((os.fspath(allowed), cache, "/dev/", "/proc/")) or cache.startswith(path + "/")
            if path.startswith("/") and not is_allowed:  # the working folder is the output's
                self.files.append(path)


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., Watched]:
    """Run ``python -m ARGUMENTS`` under strace with a home of its own; ``until`` a file is there, then Ctrl-C."""

    def run(*arguments: str, until: Callable[[str], bool] | None = None, code: str | None = None) -> Watched:
        strace = _strace()
        home, out, trace = tmp_path / "home", tmp_path / "out", tmp_path / "trace"
        for folder in (home, out):
            folder.mkdir(exist_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")},
            "HOME": os.fspath(home),
            "TMPDIR": os.fspath(tmp_path / "tmp"),
            "PYTHONPATH": os.pathsep.join(
                os.path.abspath(part) for part in sys.path if part
            ),  # the working folder differs
            "SDL_VIDEODRIVER": "dummy",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("XDG_CACHE_HOME", None)
        (tmp_path / "tmp").mkdir(exist_ok=True)
        program = [sys.executable, "-c", code] if code else [sys.executable, "-m", *arguments]
        command = [strace, "-f", "-qq", "-s", "300", "-e", f"trace={_CALLS}", "-o", os.fspath(trace), *program]
        log = tmp_path / "log"
        with log.open("w") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=out)
            if until is not None:
                for _ in range(1200):
                    if process.poll() is not None or until(log.read_text()):
                        break
                    time.sleep(0.05)
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                for child in children:
                    os.kill(int(child), signal.SIGINT)
            process.wait(120)
        assert process.returncode == 0, log.read_text()
        watched = Watched(trace, out, home)
        left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
        watched.files = [path for path in watched.files if not path.startswith(os.fspath(tmp_path / "tmp"))]
        watched.files += [os.fspath(path) for path in left]
        return watched

    return run


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "mnn"])
def test_a_conversion_calls_nobody_and_writes_only_its_output(
    watch: Callable[..., Watched], make_clip: Callable[..., Path], nchw_style: Path, backend: str
) -> None:
    pytest.importorskip({"mnn": "_tools"}.get(backend, backend), reason=f"{backend} is not installed")
    clip = make_clip("in.mp4", frames=4)
    watched = watch("animevid", str(clip), "out.mp4", "--style", str(nchw_style), "--backend", backend)
    assert (watched.calls, watched.files) == ([], [])


def test_the_hook_notices_what_onnxruntime_does_by_itself(watch: Callable[..., Watched]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < (1, 29) or sys.platform != "linux":
        pytest.skip("this ONNX Runtime has no telemetry on Linux")
    watched = watch(code="import onnxruntime")
    assert any(".cache" in path for path in watched.files)


def test_the_trainer_imports_without_calling_anybody(watch: Callable[..., Watched]) -> None:
    pytest.importorskip("torch")
    watched = watch(code="import animevid_trainer.export, animevid_trainer.importers, animevid_trainer.quantize")
    assert (watched.calls, watched.files) == ([], [])


def test_a_webcam_session_and_a_server_call_nobody(
    watch: Callable[..., Watched], packed_style: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pygame")
    pytest.importorskip("aiortc")
    options = ("--device", "testpattern", "--style", str(packed_style))
    recording = tmp_path / "out"
    webcam = watch(
        "animevid", "webcam", *options, "--microphone", "none", "--record", "--folder", str(recording),
        until=lambda _: any(path.stat().st_size for path in recording.iterdir()),
    )  # fmt: skip
    assert (webcam.calls, webcam.files) == ([], [])
    server = watch("animevid", "serve", *options, "--port", "0", until=lambda log: "http://" in log)
    assert (server.calls, server.files) == ([], [])
