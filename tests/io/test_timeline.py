"""Clocks that go back, leap or begin in the middle become one that does neither, for frames and packets alike."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from animevid.io import open_sink, open_source
from animevid.io.timeline import Timeline


@dataclass
class Stamp:
    """What a timeline sees of a packet, in milliseconds."""

    stream_index: int
    dts: int | None
    pts: int | None
    duration: int
    time_base: Fraction = Fraction(1, 1000)


def placed(*stamps: tuple[int, int]) -> tuple[list[int | None], Timeline]:
    timeline, results = Timeline({0, 1}), []
    for index, milliseconds in stamps:
        stamp = Stamp(index, milliseconds, milliseconds, 40)
        timeline.place(stamp)
        results.append(stamp.dts)
    return results, timeline


def test_streams_follow_into_a_part_by_the_same_shift_and_in_any_order() -> None:
    first = [(0, t) for t in range(0, 2000, 40)] + [(1, t + 20) for t in range(0, 2000, 40)]
    times, timeline = placed(*first, (1, 20), (0, 0), (1, 60), (0, 40))
    # Sound ended at 2020; video is 20 ms before the sound in the second part as it was in the first.
    assert times[-4:] == [2020, 2000, 2060, 2040]
    assert timeline.jumps_back == 1
    assert "once" in timeline.notices[0]


def test_a_leap_of_all_streams_is_closed_and_a_pause_of_one_is_kept() -> None:
    times, timeline = placed((0, 0), (1, 0), (0, 40), (1, 40), (0, 3_600_000), (1, 3_600_000))
    assert times[-2:] == [80, 80]
    assert timeline.gaps_closed == 1
    steady = [(1, t) for t in range(0, 15_000, 40)]
    times, timeline = placed((0, 0), *steady, (0, 15_000))
    assert times[-1] == 15_000
    assert timeline.notices == ()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("cat.ts", "goes back once"),
        ("ff.flv", "goes back once"),
        ("vv.vob", "goes back once"),
        ("gap.ts", "leaps ahead once"),
    ],
)
def test_both_parts_of_a_joined_recording_are_there_in_step(shared: Path, tmp_path: Path, name: str, note: str) -> None:
    target = tmp_path / "out.mp4"
    with open_source(shared / "faults" / name) as source, open_sink(target, template=source) as sink:
        times = []
        for frame in source:
            times.append(frame.pts_seconds)
            sink.write(frame)
        sink.finish()
        assert any(note in line for line in source.notices_so_far)
    assert len(times) == 50
    steps = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert min(steps) > 0
    assert max(steps) < Fraction(1, 5)
    with av.open(str(target)) as film:
        stamps = [packet.dts * packet.time_base for packet in film.demux(audio=0) if packet.dts is not None]
        assert stamps == sorted(set(stamps))
        assert abs(stamps[-1] - (times[-1] - times[0])) < Fraction(1, 8)


@pytest.mark.shared
def test_a_film_that_begins_between_key_frames_begins_at_the_first_key_frame(shared: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with open_source(shared / "faults" / "midgop.ts") as source, open_sink(target, template=source) as sink:
        assert any("no key frame" in line for line in source.info.notices)
        for frame in source:
            assert not frame.concealed
            sink.write(frame)
        assert sink.finish().frames_written == 75
    with av.open(str(target)) as film:
        starts = [stream.start_time * stream.time_base for stream in film.streams]
    assert starts[0] == 0
    assert abs(starts[1]) < Fraction(1, 20)
