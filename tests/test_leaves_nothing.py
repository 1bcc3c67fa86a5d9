"""Nothing leaves the machine: no DNS lookup, no connection, and only requested files are written.

strace records all relevant system calls, in all processes and native libraries.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

_CALLS = "connect,sendto,sendmsg,sendmmsg,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat"
_LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"|AF_NETLINK')
_NETWORK = re.compile(r"AF_INET|nscd(?!.*ENOENT)|resolv")  # asked about users, too, where there is none
_MADE = re.compile(r'"([^"]+)", [^"]*O_CREAT|(?:creat|mkdir|mkdirat)\([^"]*"([^"]+)"|(?:rename|link)\w*\(.*"([^"]+)"')


def _strace() -> str:
    found = shutil.which("strace")
    tried = (found, "-f", "--seccomp-bpf", "-o", os.devnull, "true")
    if found is None or subprocess.run(tried, capture_output=True).returncode:
        pytest.skip("strace (5.3 or newer) is missing or may not trace here: apt-get install strace")
    return found


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def _own_addresses() -> list[str]:
    """This machine's own addresses: WebRTC sends packets to them as to loopback."""
    try:
        from aioice.ice import get_host_addresses
    except ImportError:
        return []
    return [str(address) for address in get_host_addresses(use_ipv4=True, use_ipv6=True)]


class Watched:
    """What a program did: network ``calls``, and ``files`` that it created outside the folder ``allowed``."""

    def __init__(self, trace: Path, allowed: Path, home: Path) -> None:
        self.calls: list[str] = []
        self.files: list[str] = []
        here = _own_addresses()
        cache = os.fspath(home / ".cache" / "animevid")
        for line in trace.read_text(errors="replace").splitlines():
            is_here = _LOOPBACK.search(line) or any(
                f'("{address}")' in line or f'"{address}"' in line for address in here
            )
            if _NETWORK.search(line) and not is_here and "openat" not in line:
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
    """Run ``python -m ARGUMENTS`` under strace with its own home; with ``until``, Ctrl-C once that file exists."""

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
        flags = ("-f", "--seccomp-bpf", "-qq", "-s", "300", "-e", f"trace={_CALLS}", "-o", os.fspath(trace))
        command = [strace, *flags, *program]
        log = tmp_path / "log"
        with log.open("w") as file, ExitStack() as stack:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=out)
            stack.callback(lambda: [os.kill(child, signal.SIGKILL) for child in _children(process.pid)])
            if until is not None:
                for _ in range(1200):
                    if process.poll() is not None or until(log.read_text()):
                        break
                    time.sleep(0.05)
                for child in _children(process.pid):
                    os.kill(child, signal.SIGINT)
            process.wait(120)
        assert process.returncode == 0, log.read_text()
        watched = Watched(trace, out, home)
        left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
        watched.files = [path for path in watched.files if not path.startswith(os.fspath(tmp_path / "tmp"))]
        watched.files += [os.fspath(path) for path in left]
        return watched

    return run


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "mnn"])
def test_a_conversion_makes_no_connections_and_writes_only_its_output(
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


def test_a_webcam_session_and_a_server_make_no_connections(
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


async def _watch_and_send(address: str) -> None:
    """A viewer by WebRTC: sends images, and returns when a stylized one has come."""
    import aiohttp
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
    from aiortc.mediastreams import VideoStreamTrack

    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    came: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    @peer.on("track")
    async def _(track: object) -> None:
        frame = await track.recv()  # type: ignore[attr-defined]
        if not came.done():
            came.set_result(frame)

    peer.addTrack(VideoStreamTrack())
    peer.createDataChannel("figures")
    await peer.setLocalDescription(await peer.createOffer())
    async with aiohttp.ClientSession() as client:
        answer = await (await client.post(f"{address}api/peers", json={"sdp": peer.localDescription.sdp})).json()
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        async with asyncio.timeout(60):
            await came
        await client.delete(f"{address}api/peers/{answer['id']}")
    await peer.close()


def _upload(address: str, video: bytes) -> None:
    request = urllib.request.Request(f"{address}api/jobs?name=video.mp4", data=video, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        job = json.load(answer)
    for _ in range(600):
        with urllib.request.urlopen(f"{address}api/jobs/{job['id']}", timeout=60) as answer:
            job = json.load(answer)
        if job["state"] in ("done", "failed"):
            break
        time.sleep(0.1)
    assert job["state"] == "done", job
    with urllib.request.urlopen(f"{address}api/jobs/{job['id']}/result", timeout=60) as answer:
        assert answer.read(12)[4:8] == b"ftyp"


def test_a_viewer_and_an_upload_cause_no_connections_of_the_server(
    watch: Callable[..., Watched], packed_style: Path, make_clip: Callable[..., Path]
) -> None:
    pytest.importorskip("aiortc")
    video = make_clip("upload.mp4", frames=4).read_bytes()

    def visited(log: str) -> bool:
        found = re.search(r"http://[\d.:]+/", log)
        if found is None:
            return False
        _upload(found[0], video)
        asyncio.run(_watch_and_send(found[0]))
        return True

    server = watch("animevid", "serve", "--style", str(packed_style), "--port", "0", until=visited)
    assert (server.calls, server.files) == ([], [])


def test_a_training_run_makes_no_connections(watch: Callable[..., Watched], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    cv2 = pytest.importorskip("cv2")
    noise = np.random.default_rng(3)
    for name, count in (("photos", 12), ("art", 3)):
        (tmp_path / name).mkdir()
        for index in range(count):
            image = cv2.resize(noise.integers(0, 256, (6, 6, 3), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), image)
    changes = ("losses.perceptual=0", "generator_options.width=8", "generator_options.deep_width=8")
    sets = [part for change in (*changes, "data.crop_px=32", "data.batch=1") for part in ("--set", change)]
    command = [
        "train", "distill", "--teacher", "bilateral", "--steps", "1", *sets,
        "--photos", str(tmp_path / "photos"), "--art", str(tmp_path / "art"), "--out", "run",
    ]  # fmt: skip
    others = "import animevid_trainer.export, animevid_trainer.importers, animevid_trainer.quantize"
    watched = watch(code=f"{others}; from animevid.cli import main; raise SystemExit(main({command!r}))")
    assert (watched.calls, watched.files) == ([], [])
