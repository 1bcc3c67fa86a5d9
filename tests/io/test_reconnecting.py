"""A network stream that breaks off, returns, and finally stays away; with real sockets and MPEG-TS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from animevid.errors import InputError
from animevid.frame import Frame
from animevid.io import ReconnectingSource, VideoSource
from animevid.io.packets import PacketQueue
from animevid.io.retry import Backoff
from animevid.io.source import Source
from animevid.options import ConversionOptions
from animevid.run.conversion import Conversion


class BrokenStation:
    """Sends a video to each of the first ``times`` clients and disconnects; then it closes."""

    def __init__(self, video: Path, *, times: int) -> None:
        self._data = video.read_bytes()
        self._times = times
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for _ in range(self._times):
            caller, _ = self._listening.accept()
            with caller:
                caller.sendall(self._data)
        self._listening.close()


@pytest.fixture
def video(make_clip: Callable[..., Path]) -> Path:
    return make_clip("station.ts", frames=10, audio_codec="aac")


def test_a_stream_that_comes_back_goes_on_in_the_same_output(video: Path, packed_style: Path, tmp_path: Path):
    station = BrokenStation(video, times=2)
    options = ConversionOptions(style=packed_style, reconnect_seconds=1.2)
    with Conversion(station.url, tmp_path / "out.mp4", options) as conversion:
        report = conversion.run()
    with av.open(str(tmp_path / "out.mp4")) as output:
        times = [frame.time for frame in output.decode(video=0)]
    with av.open(str(tmp_path / "out.mp4")) as output:
        sound = [packet.dts for packet in output.demux(audio=0) if packet.size]
    assert report.frames_out == len(times) == 20
    assert all(later > one for one, later in pairwise(times))
    assert all(later > one for one, later in pairwise(sound))


def test_the_gap_lasts_as_long_as_it_did_outside(video: Path):
    station = BrokenStation(video, times=2)
    with VideoSource(station.url) as first:
        source = ReconnectingSource(
            first,
            lambda: VideoSource(station.url),
            patience_seconds=1.0,
            stop=threading.Event(),
            backoff=Backoff(first_seconds=0.3),
        )
        times = [float(frame.pts_seconds) for frame in source]
    steps = [later - one for one, later in pairwise(times)]
    assert len(times) == 20
    assert max(steps) >= 0.3
    assert steps.index(max(steps)) == 9


def test_stopping_ends_the_search_at_once(video: Path):
    station = BrokenStation(video, times=1)
    stop = threading.Event()
    with VideoSource(station.url) as first:
        source = ReconnectingSource(first, lambda: VideoSource(station.url), patience_seconds=600, stop=stop)
        threading.Timer(0.3, stop.set).start()
        assert len(list(source)) == 10


class Clock:
    """A clock that only waiting and reading advance; also the stop event of a reconnecting source."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        self.seconds += seconds
        return False


class Connection(Source):
    """A live stream whose clock starts at zero; reading a frame takes ``seconds_a_frame``."""

    spec = "tcp://station"
    origin_seconds = Fraction(0)
    read_error = None
    frames_decoded = frames_concealed = 0
    end_seconds = None

    def __init__(self, clock: Clock, frames: list[Frame], *, seconds_a_frame: float, info: object) -> None:
        self._clock, self._frames, self._seconds = clock, frames, seconds_a_frame
        self.info, self.packets = info, PacketQueue()

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            yield frame
            self._clock.wait(self._seconds)

    def close(self) -> None:
        pass


def times_of_a_viewer(video: Path, *, seconds_a_frame: float, away: float) -> list[float]:
    """Frame times for a reader that takes ``seconds_a_frame`` for each of ten 0.04 s frames, then reconnects once."""
    clock = Clock()
    with VideoSource(video) as template:
        frames = [replace(frame, pts_seconds=Fraction(index, 25)) for index, frame in enumerate(template)]
        connections = [Connection(clock, frames, seconds_a_frame=seconds_a_frame, info=template.info) for _ in range(2)]
    again = iter(connections[1:])

    def reopen() -> Source:
        if (found := next(again, None)) is None:
            raise InputError("nobody answers")
        return found

    source = ReconnectingSource(
        connections[0],  # type: ignore[arg-type]
        reopen,
        patience_seconds=away + 0.1,
        stop=clock,  # type: ignore[arg-type]
        backoff=Backoff(first_seconds=away, max_seconds=1000),
        now=clock.now,
    )
    return [float(frame.pts_seconds) for frame in source]


def test_who_keeps_up_sees_the_gap_as_long_as_it_was(video: Path):
    times = times_of_a_viewer(video, seconds_a_frame=0.04, away=3.0)
    assert times[10] - times[0] == pytest.approx(10 * 0.04 + 3.0, abs=0.05)


def test_who_reads_slower_than_the_station_sends_is_on_its_clock_again_after_a_break(video: Path):
    # Ten frames in ten seconds: the station was back long before the last one was read.
    times = times_of_a_viewer(video, seconds_a_frame=1.0, away=0.5)
    assert times[10] - times[0] == pytest.approx(10 * 1.0 + 0.5, abs=0.05)
