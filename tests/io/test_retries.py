"""Reconnecting happens only after a lost connection, and the pauses restart from the first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from animevid.errors import OutputError
from animevid.io import ReconnectingSource, VideoSource, open_sink, open_source
from animevid.io.retry import Backoff
from animevid.io.sinks.published import PublishedSink


class Noted(Backoff):
    """Almost no pauses; counts resets."""

    def __init__(self) -> None:
        super().__init__(first_seconds=0.001)
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1
        super().reset()


def test_a_new_viewer_waits_two_seconds_at_most(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    with VideoSource(make_clip("even.mp4")) as template:  # 25 frames a second
        for target in ("udp://127.0.0.1:9", tmp_path / "o.m3u8"):
            with open_sink(target, template=template) as sink:
                assert 25 <= int(sink.encoder.options["g"]) <= 50  # type: ignore[attr-defined]


def test_what_the_encoder_refuses_is_no_lost_server(make_clip: Callable[..., Path]) -> None:
    calls: list[int] = []
    with VideoSource(make_clip("even.mp4")) as template:

        def connect() -> Any:
            calls.append(1)
            return open_sink("udp://127.0.0.1:9", template=template)

        sink = PublishedSink(
            connect(), connect, template=template, patience_seconds=20, drops=False, should_stop=lambda: False
        )
        frames = iter(template)
        sink.write(next(frames))

        def refuse(_: Any) -> None:
            raise OutputError("refused") from ValueError("the encoder does not take this")

        sink._current.write = refuse  # type: ignore[method-assign]
        with pytest.raises(OutputError, match="refused"):
            sink.write(next(frames))
        sink.abort()
    assert len(calls) == 1


def test_each_search_for_a_server_that_was_there_begins_with_the_first_pause(make_clip: Callable[..., Path]) -> None:
    clock, backoff = [100.0], Noted()
    with VideoSource(make_clip("even.mp4")) as template:

        def connect() -> Any:
            return open_sink("udp://127.0.0.1:9", template=template)

        def hang_up(_: Any) -> None:
            sink._current.abort()
            raise OutputError("broken") from OSError(32, "Broken pipe")

        sink = PublishedSink(
            connect(), connect, template=template, patience_seconds=20, drops=False, should_stop=lambda: False,
            backoff=backoff, now=lambda: clock[0],
        )  # fmt: skip
        for number, frame in enumerate(template):
            if number in (1, 2):
                clock[0] += 10  # the connection lasted
                sink._current.write = hang_up  # type: ignore[method-assign]
            sink.write(frame)
        sink.abort()
    assert sink.reconnections == backoff.resets == 2


def test_sound_goes_on_behind_a_break_on_the_videos_clock(
    make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, stop = make_clip("sound.mp4", audio_codec="aac", audio_seconds=Fraction(3, 5)), threading.Event()
    monkeypatch.setattr("animevid.io.sources.reconnecting.scheme_of", lambda spec: "rtsp")
    first, again = open_source(clip), open_source(clip)

    def reopen() -> Any:
        if again.frames_decoded:
            stop.set()
        return again if not stop.is_set() else open_source(clip)

    with ReconnectingSource(first, reopen, patience_seconds=20, stop=stop, backoff=Noted()) as source:
        source.packets.subscribe(frozenset({1}))
        stamps: list[Fraction] = []
        for frame in source:
            stamps += [packet.pts * packet.time_base for packet in source.packets.take()]
            last = frame.pts_seconds
            if frame.index == 19:
                stop.set()
    assert stamps == sorted(set(stamps))  # a muxer's times never go back
    assert abs(stamps[-1] - last) < Fraction(3, 10)  # and in step with the frames


def test_each_search_for_a_station_that_came_back_begins_with_the_first_pause(
    make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, backoff, stop = make_clip("even.mp4"), Noted(), threading.Event()
    monkeypatch.setattr("animevid.io.sources.reconnecting.scheme_of", lambda spec: "rtsp")
    opened = [open_source(clip), open_source(clip)]

    def reopen() -> Any:
        if not opened:
            stop.set()
            return open_source(clip)
        return opened.pop()

    source = ReconnectingSource(open_source(clip), reopen, patience_seconds=20, stop=stop, backoff=backoff)
    with source:
        times = [frame.pts_seconds for frame in source]
    assert backoff.resets == source.reconnections >= 2
    assert times == sorted(set(times))
    assert times[10] - times[9] >= Fraction(1, 25)  # the gap lasts
