"""Time stamps are preserved: variable rates, late starts and streams of different lengths."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from animevid.errors import UsageError
from animevid.io import VideoSource, open_sink, open_source
from animevid.options import SourceOptions
from passing import packet_times, pass_through, times

UNEVEN = (0, 512, 1536, 1600, 6400, 6912, 12800)


def _spans(path):
    """(start, end) in seconds of each stream's packets."""
    with av.open(str(path)) as container:
        spans = {}
        for packet in container.demux():
            if packet.pts is not None and packet.size:
                start = packet.pts * packet.time_base
                known = spans.get(packet.stream_index, (start, start))
                end = start + (packet.duration or 0) * packet.time_base
                spans[packet.stream_index] = (min(known[0], start), max(known[1], end))
    return spans


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_uneven_time_stamps_are_kept(make_clip, tmp_path, suffix):
    clip = make_clip("uneven.mp4", pts=UNEVEN)
    expected = [pts * Fraction(1, 12800) for pts in UNEVEN]
    assert times(clip) == expected
    target = tmp_path / f"out{suffix}"
    pass_through(clip, target)
    if suffix == ".mkv":  # Matroska counts milliseconds
        expected = [Fraction(round(time * 1000), 1000) for time in expected]
    assert times(target) == expected


def test_ffprobe_sees_the_uneven_time_stamps(make_clip, probe, tmp_path):
    target = tmp_path / "out.mp4"
    pass_through(make_clip("uneven.mp4", pts=UNEVEN), target)
    assert packet_times(probe(target), 0) == pytest.approx([pts / 12800 for pts in UNEVEN], abs=1e-6)


def test_a_variable_rate_is_noticed(make_clip):
    with VideoSource(make_clip("uneven.mp4", pts=UNEVEN)) as uneven, VideoSource(make_clip("even.mp4")) as even:
        assert uneven.info.is_variable_rate
        assert not even.info.is_variable_rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_first_frame_after_zero_stays_there(make_clip, tmp_path, suffix):
    clip = make_clip(f"late{suffix}", pts=[6400 + 512 * i for i in range(8)], audio_codec="aac")
    expected = times(clip)
    assert expected[0] == Fraction(1, 2)
    target = tmp_path / f"out{suffix}"
    pass_through(clip, target)
    assert times(target) == expected
    assert _spans(target)[1][0] == _spans(clip)[1][0]


def test_a_broadcast_clock_is_set_to_zero_for_all_streams_alike(make_clip, tmp_path):
    clip = make_clip(
        "broadcast.ts",
        time_base=Fraction(1, 90000),
        pts=[900_000 + 3600 * i for i in range(10)],
        audio_codec="aac",
        audio_start_seconds=Fraction(10),
    )
    before = _spans(clip)
    target = tmp_path / "out.mp4"
    pass_through(clip, target)
    after = _spans(target)
    shift = before[0][0] - after[0][0]
    assert min(start for start, _ in after.values()) == 0
    assert shift == pytest.approx(min(start for start, _ in before.values()), abs=1 / 48000)
    assert before[1][0] - after[1][0] == pytest.approx(shift, abs=1 / 48000)


@pytest.mark.parametrize("seconds", [Fraction(1, 5), Fraction(2)], ids=["shorter", "longer"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_audio_shorter_or_longer_than_the_frame_keeps_its_length(make_clip, tmp_path, seconds, suffix):
    clip = make_clip(f"lengths{suffix}", audio_codec="aac", audio_seconds=seconds, frames=20)
    target = tmp_path / f"out{suffix}"
    pass_through(clip, target)
    assert _spans(target)[1] == _spans(clip)[1]
    assert times(target) == times(clip)


def test_a_cut_lies_where_it_was_asked_for(make_clip, tmp_path):
    clip = make_clip("cut.mp4", frames=50, audio_codec="aac", audio_seconds=Fraction(2))
    target = tmp_path / "out.mp4"
    pass_through(clip, target, start_seconds=Fraction(1, 2), end_seconds=Fraction(3, 2))
    start = min(time for time in times(clip) if time >= Fraction(1, 2)) - Fraction(1, 2)
    written = times(target)
    assert written[0] == start
    assert written[-1] < 1
    assert len(written) == 25


def test_a_coarser_container_clock_keeps_every_frame_in_order(make_clip, tmp_path):
    """Ten frames in four milliseconds do not fit whole milliseconds; none may be lost."""
    clip = make_clip("burst.mp4", pts=[*range(0, 60, 6), 12800])
    target = tmp_path / "out.mkv"
    with open_source(clip) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        assert sink.finish().frames_written == 11
    written = times(target)
    assert len(written) == 11
    assert written[-1] == 1


@pytest.mark.parametrize(
    "cut",
    [
        {"start_seconds": Fraction(-1)},
        {"start_seconds": Fraction(99)},
        {"start_seconds": Fraction(1, 4), "end_seconds": Fraction(1, 4)},
    ],
)
def test_an_impossible_cut_is_refused(make_clip, cut):
    with pytest.raises(UsageError, match="start"):
        VideoSource(make_clip("even.mp4"), SourceOptions(**cut))


def test_a_source_is_read_once(make_clip):
    with VideoSource(make_clip("even.mp4")) as source:
        list(source)
        with pytest.raises(UsageError, match="once"):
            iter(source)
