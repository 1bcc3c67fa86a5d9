"""Publishing to a server that disconnects and returns, with real sockets and a simulated clock."""

from __future__ import annotations

import io
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import av
import pytest
from animevid.cli import main
from animevid.errors import OutputError
from animevid.io import VideoSource, open_sink
from animevid.io.retry import Backoff
from animevid.io.sink import Sink
from animevid.io.sinks.published import PublishedSink
from animevid.options import ConversionOptions, OutputOptions
from animevid.run.conversion import Conversion
from animevid.run.report import ConversionReport

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="there is no ffmpeg command: apt-get install ffmpeg"
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


class Server:
    """Accepts one client after another and disconnects each after the given number of bytes (``None``: never).

    It pauses ``pause_seconds`` between clients and closes after the last one.
    """

    def __init__(self, *hang_up_after: int | None, pause_seconds: float = 0.0) -> None:
        self._limits = hang_up_after
        self._pause = pause_seconds
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self._port}"
        self.received: list[bytes] = []
        self.is_listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.is_listening.wait(10)

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        for index, limit in enumerate(self._limits):
            if index:
                time.sleep(self._pause)
            with socket.create_server(("127.0.0.1", self._port)) as listening:
                self.is_listening.set()
                caller, _ = listening.accept()
            data = bytearray()
            with caller:
                while (limit is None or len(data) < limit) and (part := caller.recv(1 << 14)):
                    data += part
                # Reset the connection, as if the process was killed: unread data is lost.
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.received.append(bytes(data))


def packets_of(data: bytes, kind: str = "video") -> list[tuple[float, bool]]:
    """The decoding time of each complete packet, and whether it is a key frame."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.get({kind: 0})[0]
        return [(float(p.dts * p.time_base), p.is_keyframe) for p in container.demux(stream) if p.dts is not None]


@pytest.fixture
def video(make_clip: Callable[..., Path]) -> Path:
    """Four seconds long: it is sent in real time."""
    audio = {"audio_codec": "aac", "audio_seconds": Fraction(4)}
    return make_clip("published.mp4", frames=200, rate=Fraction(50), width=320, height=240, **audio)


def break_off(sink: Sink) -> NoReturn:
    """What a sink does when its server disconnects."""
    sink.abort()
    raise OutputError("broken") from OSError(32, "Broken pipe")


def to_nobody(template: VideoSource, **how: Any) -> PublishedSink:
    """Publish over UDP, which needs no listener; ``how``: arguments of :class:`PublishedSink`."""

    def connect() -> Any:
        return open_sink("udp://127.0.0.1:9", template=template)

    return PublishedSink(connect(), connect, template=template, patience_seconds=20, **how)


def run(video: Path | str, url: str, style: Path, *, patience: float = 20.0) -> ConversionReport:
    options = ConversionOptions(style=style, reconnect_seconds=patience)
    with Conversion(video, url, options) as conversion:
        return conversion.run()


def test_a_video_goes_on_where_it_broke_off_with_a_key_frame_on_the_same_clock(video: Path, packed_style: Path):
    server = Server(10_000, None, pause_seconds=1.0)
    report = run(video, server.url, packed_style)
    server.join()
    before, after = (packets_of(data) for data in server.received)
    assert report.frames_out == 200
    assert after[0][1]
    # No packet is sent twice; only those in transit are lost: about a second, in the encoder and the system.
    assert before[-1][0] < after[0][0] < before[-1][0] + 3
    assert all(later > one for one, later in pairwise(time for time, _ in after))
    assert packets_of(server.received[1], "audio")
    # It took as long as the video and the break: nothing was sent faster than real time.
    assert report.elapsed_seconds > 4.5


def test_a_server_that_stays_away_is_one_line_and_an_exit_code(
    video: Path, packed_style: Path, capsys: pytest.CaptureFixture[str]
):
    server = Server(8_000)
    code = main([str(video), f"{server.url}?key=S3cret", "--style", str(packed_style), "--quiet", "--reconnect", "1"])
    said = capsys.readouterr().err.splitlines()
    assert code == OutputError.exit_code
    # Other tests' handlers on the root logger may add lines; the command itself prints one.
    assert [line for line in said if line.startswith("animevid: error")] == [said[-1]]
    assert "did not come back in 1 s" in said[-1]
    assert "S3cret" not in "".join(said)


def test_without_patience_the_first_break_is_the_end(video: Path, packed_style: Path):
    server = Server(8_000, None)
    with pytest.raises(OutputError, match="cannot be written"):
        run(video, server.url, packed_style, patience=0)


def test_a_server_that_was_never_there_is_not_looked_for(video: Path, packed_style: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(OutputError, match="refused"):
        run(video, url, packed_style, patience=300)
    assert time.monotonic() - began < 100


@contextmanager
def station(video: Path) -> Iterator[str]:
    """Sends a video in real time to one client, in a loop, like a camera."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = ["ffmpeg", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(video), "-c", "copy"]
        sender = subprocess.Popen([*command, "-f", "mpegts", "pipe:1"], stdout=subprocess.PIPE)

        def send() -> None:
            caller, _ = listening.accept()
            assert sender.stdout is not None
            with caller:
                while data := sender.stdout.read1(1 << 14):
                    try:
                        caller.sendall(data)
                    except OSError:
                        return

        threading.Thread(target=send, daemon=True).start()
        try:
            yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            sender.kill()
            sender.wait()


@needs_ffmpeg
def test_frames_of_a_live_source_are_dropped_meanwhile_and_its_time_goes_on(video: Path, packed_style: Path):
    server = Server(20_000, 20_000, pause_seconds=1.2)
    with station(video) as source, Conversion(source, server.url, ConversionOptions(style=packed_style)) as conversion:
        runner = threading.Thread(target=conversion.run)
        runner.start()
        server.join()
        conversion.stop()
        runner.join(60)
        assert not runner.is_alive()
        notice = conversion.plan.notices[-1]
    before, after = (packets_of(data) for data in server.received)
    assert after[0][1]
    assert after[0][0] > before[-1][0] + 1.0
    assert all(later > one for one, later in pairwise(time for time, _ in after))
    assert "frames were dropped while tcp://127.0.0.1" in notice


@posix
@needs_ffmpeg
@pytest.mark.parametrize(("live", "code"), [(False, 130), (True, 0)], ids=["a video", "a live source"])
def test_ctrl_c_ends_the_search_at_once(video: Path, packed_style: Path, live: bool, code: int):
    server = Server(8_000)
    with station(video) as source:
        command = [sys.executable, "-m", "animevid", source if live else str(video), server.url, "--reconnect", "600"]
        process = subprocess.Popen([*command, "--style", str(packed_style)], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        while "looking for it again" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == code
    assert "Traceback" not in rest
    assert ("stopped before the end" in rest) is not live


def test_a_silent_server_does_not_stop_the_search_nor_what_else_happens_here(packed_style: Path, video: Path):
    """It accepts the connection and sends nothing, like a hanging server: PyAV would wait for ever and hold the GIL."""
    with socket.create_server(("127.0.0.1", 0)) as silent, VideoSource(video) as template:
        over = threading.Event()
        url = f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/video"
        sink = open_sink(url, template=template, settings=OutputOptions(), should_stop=over.is_set)
        threading.Timer(0.5, over.set).start()
        with pytest.raises(OutputError):
            sink.write(next(iter(template)))


def test_pyav_waits_for_a_silent_server_without_end_before_19():
    """Why ``io.network.avio`` exists: PyAV 18 ignores its own timeout when it opens an output."""
    program = (
        "import av, sys\n"
        "output = av.open(sys.argv[1], 'w', format='flv', timeout=(0.5, 0.5))\n"
        "stream = output.add_stream('flv', rate=25)\n"
        "stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'\n"
        "output.start_encoding()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-c", program, f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/video"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            connection, _ = silent.accept()
            with connection:
                waits = int(av.__version__.split(".")[0]) < 19
                try:
                    process.wait(1 if waits else 60)
                except subprocess.TimeoutExpired:
                    assert waits
                else:
                    assert not waits, "PyAV has a timeout now: see avio.py"
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("should_stop", [True, False], ids=["ended by its user", "at the end of the video"])
def test_a_break_in_the_last_packets_is_an_error_unless_the_user_ended_it(video: Path, should_stop: bool):
    with VideoSource(video) as template:
        sink = to_nobody(template, drops=True, should_stop=lambda: should_stop)
        sink.write(next(iter(template)))
        sink._current.finish = lambda: break_off(sink._current)  # type: ignore[method-assign]
        if should_stop:
            report = sink.finish()
            assert report.frames_written == 1
            assert report.bytes_written is None
        else:
            with pytest.raises(OutputError, match="broken"):
                sink.finish()


def test_the_full_patience_returns_only_after_a_connection_that_lasted(video: Path):
    """With a simulated clock: breaks 10 s apart each get the full patience, breaks 1 s apart share it."""
    clock = [100.0]
    with VideoSource(video) as template:
        sink = to_nobody(
            template,
            drops=False,
            should_stop=lambda: False,
            backoff=Backoff(first_seconds=0.01),
            now=lambda: clock[0],
        )
        deadlines = []
        for frame, lasted in zip(template, [0, 10.0, 10.0, 1.0, 1.0], strict=False):
            if lasted:
                clock[0] += lasted
                sink._current.write = lambda _: break_off(sink._current)  # type: ignore[method-assign]
            sink.write(frame)
            deadlines.append(sink._deadline)
        sink.abort()
    assert deadlines == [0.0, 130.0, 140.0, 140.0, 140.0]
    assert sink.reconnections == 4
    assert Fraction(sink.frames_written) == 5


@needs_ffmpeg
def test_an_rtmp_server_that_is_killed_and_started_again_gets_the_rest(video: Path, packed_style: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"rtmp://127.0.0.1:{free.getsockname()[1]}/live/video"

    def start(name: str) -> subprocess.Popen[bytes]:
        command = ["ffmpeg", "-loglevel", "error", "-nostdin", "-y", "-analyzeduration", "500000", "-listen", "1"]
        command += ["-f", "flv", "-i", url]
        return subprocess.Popen([*command, "-c", "copy", "-copyts", "-flush_packets", "1", str(tmp_path / name)])

    first, end = start("one.ts"), time.monotonic() + 60
    frames_sent, reports = [0], []

    def publish() -> None:
        while not reports and time.monotonic() < end:  # until it listens
            with Conversion(video, url, ConversionOptions(style=packed_style)) as conversion, suppress(OutputError):
                reports.append(conversion.run(on_progress=lambda now: frames_sent.append(now.frames_done)))
            time.sleep(0.2)

    publishing = threading.Thread(target=publish)
    publishing.start()
    while frames_sent[-1] < 75:
        assert time.monotonic() < end
        time.sleep(0.05)
    first.kill()
    first.wait()
    time.sleep(0.5)
    second = start("two.ts")
    publishing.join(60)
    assert second.wait(60) == 0
    assert [report.frames_out for report in reports] == [200]
    after = packets_of((tmp_path / "two.ts").read_bytes())
    assert after[0][1]
    assert after[0][0] > 2  # 1.4 s are added by the muxer
    assert len(after) > 25
