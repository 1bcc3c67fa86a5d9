"""Clocks that go back, jump or start in the middle become one continuous clock for frames and packets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from animevid.io import open_sink, open_source
from animevid.io.stream_muxers import Copier
from animevid.io.timeline import Timeline
from media import write_clip


@dataclass
class Stamp:
    """The attributes of a packet that a timeline uses, in milliseconds."""

    stream_index: int
    dts: int | None
    pts: int | None
    duration: int
    time_base: Fraction = Fraction(1, 1000)


def bare_packet(ticks: int | None, duration: int, time_base: Fraction) -> SimpleNamespace:
    """The attributes of a packet that a copier uses."""
    return SimpleNamespace(
        pts=ticks, dts=ticks, duration=duration, time_base=time_base, opaque=None, has_sidedata=lambda _: False
    )


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
    # The audio ended at 2020; in both parts the video is 20 ms ahead of it.
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


def test_sound_that_lies_under_the_end_of_the_part_before_is_left_out() -> None:
    timeline = Timeline({0, 1}, sound={1})
    for index, moment in [(0, 0), (1, 0), (0, 40), (1, 40), (0, 80), (1, 80)]:
        assert timeline.place(Stamp(index, moment + 1000, moment + 1000, 40))
    video = Stamp(0, 100, 100, 40)
    assert timeline.place(video)
    assert video.dts == 1120
    assert not timeline.place(Stamp(1, 40, 40, 40))
    following = Stamp(1, 120, 120, 40)
    assert timeline.place(following)
    assert following.dts == 1140


def test_a_new_stream_waits_for_a_known_one_only_where_a_part_may_begin_with_it() -> None:
    _, timeline = placed((7, 0), (7, 5000))  # a time code may last as long as the video
    assert not timeline.begins_in_the_past(Stamp(0, 0, 0, 40))
    _, timeline = placed((0, 0), (0, 5000))
    assert timeline.begins_in_the_past(Stamp(1, 0, 0, 40))
    assert not timeline.begins_in_the_past(Stamp(1, 4800, 4800, 40))
    assert not timeline.begins_in_the_past(Stamp(0, 0, 0, 40))
    reliable = Timeline({0, 1}, closes_gaps=False)
    reliable.place(Stamp(0, 5000, 5000, 40))
    assert not reliable.begins_in_the_past(Stamp(1, 0, 0, 40))


def test_where_the_clock_is_meant_a_long_pause_is_kept_and_reported_and_a_join_is_closed() -> None:
    meant = Timeline({0, 1}, sound={1}, closes_gaps=False)
    stamps = [Stamp(index, t, t, 40) for t in (0, 40, 30_000, 4_000_000, 4_000_040, 40, 80) for index in (0, 1)]
    assert all(meant.place(stamp) for stamp in stamps)
    assert [stamp.dts for stamp in stamps[::2]] == [0, 40, 30_000, 4_000_000, 4_000_040, 4_000_080, 4_000_120]
    assert ["leaps ahead once by a minute" in line for line in meant.notices] == [False, True]
    slow = Timeline({0}, closes_gaps=False)  # three seconds per frame, with decoding times that FFmpeg guesses late
    stamps = [Stamp(0, dts, pts, 3000) for dts, pts in ((None, 0), (None, 12_000), (0, 6000), (3000, 3000))]
    for stamp in stamps:
        slow.place(stamp)
    assert [stamp.pts for stamp in stamps] == [0, 12_000, 6000, 3000]


def test_packets_at_one_moment_follow_each_other_on_the_clock_of_the_output() -> None:
    """The output's clock may be coarser: a tick of the source would be 0 ticks there, which the muxer refuses."""
    stream = SimpleNamespace(type="audio", time_base=Fraction(1, 90_000))
    copier = Copier(SimpleNamespace(time_base=Fraction(1, 1000)), source=stream, origin_seconds=Fraction(0))
    moments = []
    for ticks in (9000, 9000, 9001, 9300, 9350):
        packet = bare_packet(ticks, 90, stream.time_base)
        moments += [round(float(each.dts * stream.time_base), 3) for each in copier.remux(packet)]
    assert moments == [0.1, 0.101, 0.102, 0.103, 0.104]


def test_a_packet_without_a_time_follows_the_one_before() -> None:
    base = Fraction(1, 1000)
    stream = SimpleNamespace(type="audio", time_base=base)
    copier = Copier(SimpleNamespace(time_base=base), source=stream, origin_seconds=Fraction(0))
    moments = []
    for ticks in (None, 10, None, 50):
        moments += [each.pts for each in copier.remux(bare_packet(ticks, 20, base))]
    assert moments == [10, 30, 50]
    assert copier.packets_lost == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_of_joined_recordings_goes_on_packet_after_packet(tmp_path: Path, suffix: str) -> None:
    clip, joined = write_clip(tmp_path / "part.mkv"), tmp_path / "joined.mkv"
    joined.write_bytes(2 * clip.read_bytes())
    target = tmp_path / f"out{suffix}"
    with open_source(joined) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        sink.finish()
    with av.open(str(target)) as container:
        stamps = [packet.dts * packet.time_base for packet in container.demux(audio=0) if packet.dts is not None]
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    assert 0.02 < min(steps) <= max(steps) < 0.06
    assert stamps[-1] > 1.9


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
    with av.open(str(target)) as container:
        stamps = [packet.dts * packet.time_base for packet in container.demux(audio=0) if packet.dts is not None]
        assert stamps == sorted(set(stamps))
        assert abs(stamps[-1] - (times[-1] - times[0])) < Fraction(1, 8)


@pytest.mark.shared
def test_a_video_that_begins_between_key_frames_begins_at_the_first_key_frame(shared: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with open_source(shared / "faults" / "midgop.ts") as source, open_sink(target, template=source) as sink:
        assert any("no key frame" in line for line in source.info.notices)
        for frame in source:
            assert not frame.concealed
            sink.write(frame)
        assert sink.finish().frames_written == 75
    with av.open(str(target)) as container:
        starts = [stream.start_time * stream.time_base for stream in container.streams]
    assert starts[0] == 0
    assert abs(starts[1]) < Fraction(1, 20)


@pytest.mark.shared
def test_sound_that_comes_late_in_a_recording_cut_out_of_a_dvd_begins_with_its_first_frame(
    shared: Path, tmp_path: Path
) -> None:
    """On a DVD, audio is stored half a second after its video."""
    cut, target = tmp_path / "cut.vob", tmp_path / "out.mp4"
    cut.write_bytes((shared / "faults" / "vv.vob").read_bytes()[10 * 2048 :])
    with open_source(cut) as source, open_sink(target, template=source) as sink:
        assert any("no key frame" in line for line in source.info.notices)
        for frame in source:
            sink.write(frame)
        sink.finish()
    with av.open(str(target)) as container:
        first = min(packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.pts is not None)
    assert 0 <= first < Fraction(1, 20)
