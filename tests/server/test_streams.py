"""``animevid`` from and to the network, on the command line, with local sockets only."""

from __future__ import annotations

import functools
import http.server
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from animevid.cli import main


@pytest.fixture
def video(make_clip: Callable[..., Path]) -> Path:
    return make_clip("stream.ts", frames=10, audio_codec="aac")


@pytest.fixture
def matroska(make_clip: Callable[..., Path]) -> Path:
    """A video with a complete header, so that a reader need not wait for more."""
    return make_clip("stream.mkv", frames=40, audio_codec="aac", container_options={"live": "1"})


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address on a web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    folder = tmp_path / "web"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_hls_is_read(web: tuple[Path, str], video: Path, packed_style: Path, tmp_path: Path):
    folder, address = web
    (folder / "one.ts").write_bytes(video.read_bytes())
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\none.ts\n#EXT-X-ENDLIST\n"
    (folder / "video.m3u8").write_text(playlist)
    out = tmp_path / "out.mp4"
    assert main([f"{address}/video.m3u8", str(out), "--style", str(packed_style), "--quiet"]) == 0
    assert count_frames(out) == 10


def test_a_local_playlist_may_not_reach_the_network(
    web: tuple[Path, str], video: Path, packed_style: Path, tmp_path: Path
):
    folder, address = web
    (folder / "one.ts").write_bytes(video.read_bytes())
    local = tmp_path / "local.m3u8"
    local.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\n{address}/one.ts\n#EXT-X-ENDLIST\n")
    assert main([str(local), str(tmp_path / "out.mp4"), "--style", str(packed_style), "--quiet"]) == 3
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("way", ["file:", "concat:", "subfile,,start,0,end,900000,,:"])
def test_a_playlist_from_the_network_may_not_reach_files(
    web: tuple[Path, str], video: Path, packed_style: Path, tmp_path: Path, way: str
):
    folder, address = web
    (folder / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\n{way}{video}\n#EXT-X-ENDLIST\n")
    assert main([f"{address}/list.m3u8", str(tmp_path / "out.mp4"), "--style", str(packed_style), "--quiet"]) == 3
    assert not (tmp_path / "out.mp4").exists()


def test_a_concatenation_on_disk_may_not_reach_the_network(
    web: tuple[Path, str], video: Path, packed_style: Path, tmp_path: Path
):
    folder, address = web
    (folder / "one.ts").write_bytes(video.read_bytes())
    (tmp_path / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile {address}/one.ts\n")
    code = main([str(tmp_path / "list.ffconcat"), str(tmp_path / "out.mp4"), "--style", str(packed_style), "--quiet"])
    assert code == 3
    assert not (tmp_path / "out.mp4").exists()


def test_a_stream_is_published_and_received(video: Path, packed_style: Path):
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive() -> None:
            caller, _ = server.accept()
            with caller:
                while data := caller.recv(65536):
                    received.extend(data)

        thread = threading.Thread(target=receive)
        thread.start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert main([str(video), url, "--style", str(packed_style), "--quiet"]) == 0
        thread.join(timeout=20)
    with av.open(io.BytesIO(bytes(received))) as container:
        assert container.format.name == "mpegts"
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert sum(1 for _ in container.decode(video=0)) == 10


def test_pipes_on_both_ends(matroska: Path, packed_style: Path):
    command = [sys.executable, "-m", "animevid", "-", "-", "--style", str(packed_style), "--format", "matroska"]
    done = subprocess.run(command, input=matroska.read_bytes(), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with av.open(io.BytesIO(done.stdout)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_a_live_stream_with_a_playable_file(matroska: Path, packed_style: Path, tmp_path: Path):
    out = tmp_path / "out.mp4"
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-m", "animevid", f"tcp://127.0.0.1:{server.getsockname()[1]}", str(out)]
        command += ["--style", str(packed_style), "--progress", "json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        caller, _ = server.accept()
        with caller:
            data = matroska.read_bytes()
            caller.sendall(data[: len(data) * 3 // 4])  # still running, in the middle of the stream
            assert process.stderr is not None
            time.sleep(0.1)
            while not list(tmp_path.glob(".out.*")):
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert count_frames(out) >= 1
