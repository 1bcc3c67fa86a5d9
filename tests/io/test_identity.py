"""Every real clip passes from source to sink with the same streams, times and shape."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from animevid.io import VideoSource, open_sink, open_source
from animevid.options import SourceOptions
from passing import pass_through

CLIPS = [
    "av1.mkv",
    "bbb_480p_30s_aac.mp4",
    "broken_audio.mp4",
    "bt709_full_range.mp4",
    "cockatoo_720p_yuv444_mp3.mp4",
    "hevc_10bit.mp4",
    "nasa_2video_2audio_2subs.mp4",
    "no_duration.webm",
    "person_ccby.mp4",
    "phone_vfr_rotated180_aac.mp4",
    "portrait_540x960_aac.mp4",
    "signer_ccby.mkv",
    "transparent_vp9.webm",
]
SLICE_SECONDS = Fraction(1)

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def passed(clips, tmp_path_factory):
    """The first second of each clip, converted once for all tests."""
    folder = tmp_path_factory.mktemp("passed")
    done = {}

    def run(name):
        if name not in done:
            target = folder / name
            done[name] = (clips / name, target, pass_through(clips / name, target, end_seconds=SLICE_SECONDS))
        return done[name]

    return run


def _packets(path, stream_index, *, end):
    with av.open(str(path)) as container:
        stream = container.streams[stream_index]
        found = [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size
        ]
    return sorted(item for item in found if end is None or item[0] < end)


@pytest.mark.parametrize("name", CLIPS)
def test_frames_keep_their_exact_times(passed, name):
    source, target, report = passed(name)
    with VideoSource(source, SourceOptions(end_seconds=SLICE_SECONDS)) as before, VideoSource(target) as after:
        expected = [(frame.pts_seconds, frame.duration_seconds) for frame in before]
        written = [(frame.pts_seconds, frame.duration_seconds) for frame in after]
    assert [time for time, _ in written] == [time for time, _ in expected]
    assert report.frames_written == len(expected)
    if expected[-1][1] is not None:
        assert written[-1][1] == expected[-1][1]


@pytest.mark.parametrize("name", CLIPS)
def test_every_other_stream_is_there_packet_for_packet(passed, name):
    source, target, report = passed(name)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        languages = [(stream.metadata.get("language"), stream.disposition) for stream in before.streams]
        assert [(stream.metadata.get("language"), stream.disposition) for stream in after.streams] == languages
        video = before.streams.best("video").index
        others = [stream.index for stream in before.streams if stream.index != video]
    assert all(line.endswith("copied") for line in report.decisions)
    for index in others:
        assert _packets(target, index, end=None) == _packets(source, index, end=SLICE_SECONDS)


@pytest.mark.parametrize("name", CLIPS)
def test_shape_and_colour_tags_are_carried(passed, name):
    source, target, _ = passed(name)
    with VideoSource(source) as before, VideoSource(target) as after:
        one, other = before.info, after.info
    assert (other.width, other.height) == (one.display_width, one.display_height)
    assert other.rotation_degrees == 0
    assert other.sample_aspect_ratio == one.sample_aspect_ratio
    assert other.bit_depth == one.bit_depth
    assert other.has_alpha == one.has_alpha
    assert (other.colour.matrix, other.colour.primaries, other.colour.transfer) == (
        one.colour.matrix,
        one.colour.primaries,
        one.colour.transfer,
    )
    assert other.colour.resolved(height=1).range == one.colour.resolved(height=1).range


@pytest.mark.parametrize("name", CLIPS)
def test_the_frame_itself_passes_nearly_unchanged(passed, name):
    source, target, _ = passed(name)
    with VideoSource(source) as before, VideoSource(target) as after:
        for one, other in itertools.islice(zip(before, after, strict=False), 5):
            scale = 1 << (one.planes.bit_depth - 8)
            for plane in ("y", "u", "v"):
                a, b = getattr(one.planes, plane), getattr(other.planes, plane)
                assert np.mean(np.abs(a.astype(float) - b.astype(float))) / scale < 3


@pytest.mark.parametrize("name", CLIPS)
def test_ffprobe_reads_the_same_times_and_streams(passed, probe, name):
    source, target, _ = passed(name)
    before, after = probe(source), probe(target)
    opened = VideoSource(target)
    with opened:
        index = opened.info.stream_index
    assert [stream["codec_type"] for stream in after["streams"]] == [
        stream["codec_type"] for stream in before["streams"]
    ]
    for stream in before["streams"]:
        stamps = {
            key: sorted(
                float(packet["pts_time"]) for packet in probed["packets"] if packet["stream_index"] == stream["index"]
            )
            for key, probed in (("before", before), ("after", after))
        }
        kept = [time for time in stamps["before"] if time < float(SLICE_SECONDS)]
        assert stamps["after"] == pytest.approx(kept, abs=1e-6), stream["codec_type"]
    duration = after["streams"][index].get("duration")
    if duration is not None:
        with open_source(source, SourceOptions(end_seconds=SLICE_SECONDS)) as frames:
            *_, last = frames
        assert float(duration) == pytest.approx(float(last.pts_seconds + last.duration_seconds), abs=2e-3)


def test_a_cut_in_the_middle_starts_at_zero_for_all_streams(clips, tmp_path):
    source, target = clips / "portrait_540x960_aac.mp4", tmp_path / "cut.mp4"
    start, end = Fraction(2), Fraction(3)
    pass_through(source, target, start_seconds=start, end_seconds=end)
    with VideoSource(source) as whole:
        expected = [frame.pts_seconds - start for frame in whole if start <= frame.pts_seconds < end]
    with VideoSource(target) as cut:
        assert [frame.pts_seconds for frame in cut] == expected
    audio = [time for time, _ in _packets(target, 1, end=None)]
    assert 0 <= audio[0] < Fraction(1, 20)
    assert 1 - Fraction(1, 20) < audio[-1] < 1


def test_the_cut_shows_the_same_frames(clips):
    path, start = clips / "bbb_480p_30s_aac.mp4", Fraction(5)
    with VideoSource(path) as whole:
        expected = next(frame for frame in whole if frame.pts_seconds >= start)
    with VideoSource(path, SourceOptions(start_seconds=start)) as cut:
        first = next(iter(cut))
        assert cut.info.duration_seconds == 25
    assert first.pts_seconds == expected.pts_seconds
    np.testing.assert_array_equal(first.planes.y, expected.planes.y)


@pytest.mark.parametrize("chosen", [0, 3])
def test_either_of_two_video_streams_can_be_chosen(clips, tmp_path, chosen):
    source, target = clips / "nasa_2video_2audio_2subs.mp4", tmp_path / "out.mp4"
    with open_source(source, SourceOptions(stream_index=chosen, end_seconds=Fraction(1, 2))) as frames:
        size = frames.info.width, frames.info.height
        with open_sink(target, template=frames) as sink:
            for frame in frames:
                sink.write(frame)
            sink.finish()
    assert size == {0: (320, 180), 3: (480, 270)}[chosen]
    with av.open(str(target)) as output:
        assert [(s.codec_context.width, s.codec_context.height) for s in output.streams.video] == [
            (320, 180),
            (480, 270),
        ]


def test_the_best_video_stream_is_taken_by_default(clips):
    with VideoSource(clips / "nasa_2video_2audio_2subs.mp4") as source:
        assert source.info.stream_index == 3
        assert [stream.kind for stream in source.info.other_streams] == [
            "video",
            "audio",
            "subtitle",
            "audio",
            "subtitle",
        ]
