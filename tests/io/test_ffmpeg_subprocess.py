"""The ffmpeg subprocess: a peer that does not accept the stream is an error, not an endless wait."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from animevid.errors import InputError
from animevid.io.network import ffmpeg_subprocess
from animevid.io.network.protocols import open_input

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs select on pipes")


def test_a_stream_without_a_receiver_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_subprocess, "_TAKEN_WITHIN_SECONDS", 0.2)
    monkeypatch.setattr(ffmpeg_subprocess, "_PATIENCE_SECONDS", 0.1)
    idle = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    pipe = ffmpeg_subprocess._Writing(idle)
    with pytest.raises(OSError, match=r"no peer has accepted the stream for 0\.2 s"):
        pipe.write(bytes(4 << 20))
    pipe.close()
    assert idle.wait(5) is not None


def test_what_is_taken_arrives_whole() -> None:
    count = subprocess.Popen(
        ["wc", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    pipe = ffmpeg_subprocess._Writing(count)
    assert pipe.write(bytes(1_000_000)) == 1_000_000
    pipe.close()
    assert count.stdout is not None
    with count.stdout:
        assert int(count.stdout.read()) == 1_000_000


@pytest.fixture
def recording_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake ``ffmpeg`` that supports SRT and records its arguments; returns the record's file."""
    told = tmp_path / "told"
    script = tmp_path / "bin" / "ffmpeg"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *-protocols*) echo srt;; *) printf "%s\\n" "$@" > {told};; esac\n', encoding="utf-8"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    return told


@pytest.mark.skipif(ffmpeg_subprocess.has_protocol("srt"), reason="PyAV's own FFmpeg supports SRT here")
def test_options_of_the_connection_reach_the_command_and_others_the_container(
    recording_command: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, str]] = []

    def look(*_: object, container_options: dict[str, str], **__: object) -> None:
        opened.append(container_options)
        raise OSError("that was all")

    monkeypatch.setattr("av.open", look)
    options = {"passphrase": "0123456789", "latency": "200000", "probesize": "5000000", "fflags": "nobuffer"}
    with pytest.raises(InputError, match="that was all"):
        open_input("srt://127.0.0.1:9", options=options)
    told = recording_command.read_text(encoding="utf-8").splitlines()
    assert told[told.index("-i") - 4 : told.index("-i")] == ["-passphrase", "0123456789", "-latency", "200000"]
    assert opened == [{"probesize": "5000000", "fflags": "nobuffer"}]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg command: apt-get install ffmpeg")
@pytest.mark.parametrize("way", ["in", "out"])
def test_the_command_does_not_outlive_a_process_that_is_killed(way: str, packed_style: Path, make_clip, tmp_path: Path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        url = f"srt://127.0.0.1:{free.getsockname()[1]}?mode=listener"
    ends = [url, tmp_path / "out.mp4"] if way == "in" else [make_clip("video.mp4", frames=25), url]
    command = [sys.executable, "-m", "animevid", *map(str, ends), "--style", str(packed_style), "--quiet"]
    process = subprocess.Popen(command)
    try:
        while not (commands := _running(url)):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # it is listening, and nobody connects
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    try:
        while left := _running(url):
            assert time.monotonic() < deadline, f"{left} are still running"
            time.sleep(0.05)
    finally:
        for command_id in commands:
            with suppress(OSError):
                os.kill(command_id, signal.SIGKILL)


def _running(url: str) -> list[int]:
    """The process ids of ``ffmpeg`` commands with that address."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode().split("\0")
            if words[0].endswith("ffmpeg") and url in words:
                found.append(int(path.parent.name))
    return found
