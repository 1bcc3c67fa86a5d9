"""RTMP, SRT, RTSP and HLS against FFmpeg's own servers on this machine: published and recorded streams play."""

from __future__ import annotations

import functools
import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
from animevid.cli import main
from animevid.errors import UsageError
from animevid.io.network import ffmpeg_subprocess
from animevid.options import ConversionOptions
from animevid.run.conversion import Conversion
from rtsp_station import RtspStation

FRAMES = 25  # one second


@functools.cache
def _protocols() -> frozenset[str]:
    if shutil.which("ffmpeg") is None:
        return frozenset()
    done = subprocess.run(["ffmpeg", "-hide_banner", "-protocols"], capture_output=True, text=True, check=True)
    return frozenset(done.stdout.split())


def needs(protocol: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        protocol not in _protocols(), reason=f"there is no ffmpeg command with {protocol}: apt-get install ffmpeg"
    )


@pytest.fixture
def video(make_clip: Callable[..., Path]) -> Path:
    return make_clip("video.mp4", frames=FRAMES, audio_codec="aac")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def ffmpeg(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """The ffmpeg command as the peer; it gets time to exit, then is terminated."""
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    process = subprocess.Popen(command)
    try:
        yield process
        process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def animevid(*arguments: object, style: Path) -> int:
    """Run the command, again until the peer listens."""
    end = time.monotonic() + 30
    while True:
        code = main([*map(str, arguments), "--style", str(style), "--quiet", "--overwrite", "--reconnect", "0"])
        if code == 0 or time.monotonic() > end:
            return code
        time.sleep(0.3)


def contents(path: Path) -> tuple[list[str], int]:
    """The kinds of streams, and the number of frames that can be decoded."""
    with av.open(str(path)) as container:
        kinds = [stream.type for stream in container.streams]
        return kinds, sum(1 for _ in container.decode(video=0))


@needs("rtmp")
def test_a_video_is_published_by_rtmp(video: Path, packed_style: Path, tmp_path: Path):
    url, received = f"rtmp://127.0.0.1:{free_port()}/live/video", tmp_path / "received.mkv"
    with ffmpeg("-listen", 1, "-f", "flv", "-i", url, "-c", "copy", received):
        assert animevid(video, url, style=packed_style) == 0
    assert contents(received) == (["video", "audio"], FRAMES)


@needs("rtmp")
def test_a_live_rtmp_stream_is_taken_down(video: Path, packed_style: Path, tmp_path: Path):
    url, out = f"rtmp://127.0.0.1:{free_port()}/live/video", tmp_path / "out.mp4"
    with ffmpeg("-re", "-i", video, "-c", "copy", "-f", "flv", "-listen", 1, url):
        assert animevid(url, out, style=packed_style) == 0
    kinds, frames = contents(out)
    assert kinds == ["video", "audio"]
    assert frames >= FRAMES - 2


@needs("srt")
def test_a_video_is_published_by_srt(video: Path, packed_style: Path, tmp_path: Path):
    port, received = free_port(), tmp_path / "received.ts"
    with ffmpeg("-i", f"srt://127.0.0.1:{port}?mode=listener", "-c", "copy", received):
        assert animevid(video, f"srt://127.0.0.1:{port}", style=packed_style) == 0
    assert contents(received) == (["video", "audio"], FRAMES)


@needs("srt")
def test_a_live_srt_stream_is_taken_down(video: Path, packed_style: Path, tmp_path: Path):
    port, out = free_port(), tmp_path / "out.mp4"
    source = ("-re", "-i", video, "-c", "copy", "-f", "mpegts", "-linger", 5, f"srt://127.0.0.1:{port}?mode=listener")
    with ffmpeg(*source):
        assert animevid(f"srt://127.0.0.1:{port}", out, style=packed_style) == 0
    kinds, frames = contents(out)
    assert kinds == ["video", "audio"]
    assert frames >= FRAMES - 2


def test_without_srt_anywhere_the_error_says_what_to_install(
    packed_style: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    if ffmpeg_subprocess.has_protocol("srt"):
        pytest.skip("PyAV's own FFmpeg speaks SRT here")
    monkeypatch.setenv("PATH", str(tmp_path))
    code = main(["srt://127.0.0.1:9", str(tmp_path / "out.mp4"), "--style", str(packed_style)])
    error = capsys.readouterr().err
    assert code == UsageError("x").exit_code
    assert "install an ffmpeg with SRT" in error


@needs("srt")
def test_an_srt_address_without_a_listener_is_one_line(
    packed_style: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    url = f"srt://127.0.0.1:{free_port()}?connect_timeout=500"
    assert main([url, str(tmp_path / "out.mp4"), "--style", str(packed_style), "--quiet"]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


@needs("rtp")
def test_a_video_is_published_by_rtsp(video: Path, packed_style: Path, tmp_path: Path):
    url, received = f"rtsp://127.0.0.1:{free_port()}/video", tmp_path / "received.mkv"
    with ffmpeg("-rtsp_flags", "listen", "-i", url, "-preset", "ultrafast", received):
        assert animevid(video, url, style=packed_style) == 0
    kinds, frames = contents(received)
    assert kinds == ["video", "audio"]
    assert frames >= FRAMES - 5  # the listener uses the first ones to detect the format


def test_a_camera_is_taken_down_by_rtsp(video: Path, packed_style: Path, tmp_path: Path):
    out = tmp_path / "out.mp4"
    with RtspStation(video) as station:
        assert animevid(station.url, out, style=packed_style) == 0
    kinds, frames = contents(out)
    assert kinds == ["video"]
    assert frames >= FRAMES - 2


@needs("hls")
def test_a_live_hls_playlist_is_followed_to_its_end(
    video: Path, packed_style: Path, tmp_path: Path, make_clip: Callable[..., Path]
):
    folder, out = tmp_path / "web", tmp_path / "out.mp4"
    folder.mkdir()
    long = make_clip("long.mp4", frames=2 * FRAMES, audio_codec="aac")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        segments = ("-c:v", "libx264", "-g", 10, "-bf", 0, "-c:a", "copy", "-f", "hls", "-hls_time", 0.4)
        with ffmpeg("-re", "-i", long, *segments, "-hls_list_size", 0, folder / "live.m3u8"):
            while not (folder / "live.m3u8").exists():
                time.sleep(0.1)
            assert animevid(f"http://127.0.0.1:{server.server_port}/live.m3u8", out, style=packed_style) == 0
        server.shutdown()
    kinds, frames = contents(out)
    assert kinds == ["video", "audio"]
    assert frames >= 1.5 * FRAMES


def test_what_is_published_takes_as_long_as_it_lasts(video: Path, packed_style: Path):
    with _listener() as (url, _), Conversion(video, url, ConversionOptions(style=packed_style)) as conversion:
        report = conversion.run()
    # The last frame may not go before its time, 0.96 s after the first one.
    assert report.elapsed_seconds - report.first_frame_seconds > 0.9


def test_on_request_it_goes_as_fast_as_it_can(make_clip: Callable[..., Path], packed_style: Path):
    minute = make_clip("slow.mkv", frames=40, rate=1)
    with _listener() as (url, moments):
        assert main([str(minute), url, "--style", str(packed_style), "--quiet", "--no-pace"]) == 0
    assert moments[-1] - moments[0] < 30


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_does_not_wait_for_the_next_frame(make_clip: Callable[..., Path], packed_style: Path):
    import signal

    minute = make_clip("slow.mkv", frames=40, rate=1)
    with _listener() as (url, moments):
        command = [sys.executable, "-m", "animevid", str(minute), url, "--style", str(packed_style), "--quiet"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not moments:
            time.sleep(0.1)
        time.sleep(1)  # in a pause between frames
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_does_not_wait_for_the_next_frame_of_a_pipe_either(make_clip: Callable[..., Path], packed_style: Path):
    """A pipe may never end, so Ctrl-C is its normal end: buffered frames are sent at once."""
    import signal

    minute = make_clip("slow.mkv", frames=40, rate=1, container_options={"live": "1"})
    with _listener() as (url, moments):
        command = [sys.executable, "-m", "animevid", "-", url, "--style", str(packed_style), "--quiet"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdin is not None
        process.stdin.write(minute.read_bytes())
        process.stdin.flush()
        while not moments:
            time.sleep(0.1)
        time.sleep(1)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdin.close()
    # About ten frames are between decoder and encoder, a second apart.
    assert time.monotonic() - pressed < 8


@contextmanager
def _listener() -> Iterator[tuple[str, list[float]]]:
    """An address that accepts anything, and the times of the connection and of each chunk."""
    moments: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive() -> None:
            caller, _ = server.accept()
            moments.append(time.monotonic())
            with caller:
                while caller.recv(1 << 16):
                    moments.append(time.monotonic())

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}", moments
        thread.join(timeout=20)
