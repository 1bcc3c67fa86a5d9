"""A stream from the network that breaks off, comes back, and in the end stays away: real sockets, real MPEG-TS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import pytest
from animevid.convert import Conversion, ConversionOptions
from animevid.video import ReconnectingSource, VideoSource
from animevid.video.backoff import Backoff


class BrokenStation:
    """Sends a film to each of the first ``times`` callers and hangs up after it; then it is gone."""

    def __init__(self, film: Path, *, times: int) -> None:
        self._data = film.read_bytes()
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
def film(make_clip: Callable[..., Path]) -> Path:
    return make_clip("station.ts", frames=10, audio_codec="aac")


def test_a_stream_that_comes_back_goes_on_in_the_same_output(film: Path, packed_style: Path, tmp_path: Path):
    station = BrokenStation(film, times=2)
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


def test_the_gap_lasts_as_long_as_it_did_outside(film: Path):
    station = BrokenStation(film, times=2)
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


def test_stopping_ends_the_search_at_once(film: Path):
    station = BrokenStation(film, times=1)
    stop = threading.Event()
    with VideoSource(station.url) as first:
        source = ReconnectingSource(first, lambda: VideoSource(station.url), patience_seconds=600, stop=stop)
        threading.Timer(0.3, stop.set).start()
        assert len(list(source)) == 10
