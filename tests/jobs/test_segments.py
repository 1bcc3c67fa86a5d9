"""A video joined from segments equals one from an uninterrupted conversion."""

from __future__ import annotations

import gc
import random
import weakref
from dataclasses import replace
from fractions import Fraction

import av
import pytest
from animevid.io.encoders import FrameFormat, choose_encoder
from animevid.jobs import open_conversion
from animevid.jobs.cuts import cut_points
from animevid.jobs.join import in_order
from animevid.jobs.packets import read_packets
from animevid.jobs.part import open_part
from animevid.jobs.segment_sink import _SegmentEncoder
from animevid.options import EncodeOptions
from jobs.conftest import look, psnr, same_but_frames
from passing import pass_through, read_frames

_RANDOM = random.Random(18)
_VFR = [0]
for _ in range(119):
    _VFR.append(_VFR[-1] + _RANDOM.choice([1, 7, 512, 1024, 3000]))

AWKWARD = {
    "b-frames": {"options": {"crf": "18", "g": "25", "bf": "3"}},
    "variable rate": {"pts": _VFR, "options": {"crf": "18", "g": "20", "bf": "2"}},
    "10 bit": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "keyint=25:log-level=none"}},
    "edit list": {"pts": [9000 + 512 * n for n in range(120)], "options": {"g": "25", "bf": "2"}},
    "one key frame": {"options": {"g": "1000"}},
    "turned": {"display_rotation": 90, "options": {"g": "25"}},
}


@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_a_joined_video_is_the_unbroken_one(kind, codec, make_clip, options, convert, tmp_path):
    changes = {"frames": 120, "audio_codec": "aac", "audio_seconds": Fraction(5), "subtitles": "mov_text"} | AWKWARD[
        kind
    ]
    chapters = ((Fraction(0), Fraction(2), "one"), (Fraction(2), Fraction(4), "two"))
    clip = make_clip("video.mp4", chapters=chapters, metadata={"title": "a video"}, **changes)
    options = replace(options, encoder=EncodeOptions(codec=codec, threads=1, crf=10 if codec == "h264" else None))
    suffix = ".mkv" if codec == "ffv1" else ".mp4"
    unbroken = look(convert(clip, tmp_path / f"unbroken{suffix}", options))
    joined = look(convert(clip, tmp_path / f"joined{suffix}", options, segment_seconds=Fraction(1)))
    assert len(unbroken.frames) == 120
    assert same_but_frames(joined, unbroken)
    closest = min(map(psnr, joined.frames, unbroken.frames))
    assert closest == 100 if codec == "ffv1" else closest > 45


def test_a_cut_of_a_video_is_cut_alike_in_segments(make_clip, options, convert, tmp_path):
    clip = make_clip(
        "video.mp4", frames=120, options={"g": "10", "bf": "2"}, audio_codec="aac", audio_seconds=Fraction(5)
    )
    options = replace(options, start_seconds=Fraction(3, 10), end_seconds=Fraction(4))
    unbroken = look(convert(clip, tmp_path / "unbroken.mp4", options))
    joined = look(convert(clip, tmp_path / "joined.mp4", options, segment_seconds=Fraction(1)))
    assert len(joined.frames) == 92
    assert same_but_frames(joined, unbroken)


@pytest.mark.shared
def test_captions_inside_the_frames_are_in_the_segments_too(shared, options, convert, tmp_path):
    def captions(path):
        return [(frame.pts_seconds, frame.captions) for frame in read_frames(path) if frame.captions]

    pass_through(shared / "faults" / "cc.ts", tmp_path / "video.mp4")
    joined = convert(tmp_path / "video.mp4", tmp_path / "joined.mp4", options, segment_seconds=Fraction(1, 2))
    assert captions(joined) == captions(tmp_path / "video.mp4") != []


def test_videos_are_cut_at_key_frames(make_clip):
    clip = make_clip("video.mp4", frames=200, options={"g": "30", "bf": "2", "sc_threshold": "0"})
    cuts = cut_points(
        clip,
        stream_index=0,
        file_start=Fraction(0),
        start=Fraction(0),
        end=Fraction(8),
        segment_seconds=Fraction(2),
    )
    assert cuts == [Fraction(30 * n, 25) for n in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("skip_static", [False, True])
def test_a_part_that_is_made_alone_is_that_of_the_whole(skip_static, make_clip, options, convert, tmp_path):
    """With lead-in: the temporal filter has converged."""
    clip = make_clip("video.mp4", frames=150, options={"crf": "18", "g": "25", "bf": "2"})
    options = replace(options, skip_static=skip_static, encoder=EncodeOptions(codec="ffv1"))
    whole = look(convert(clip, tmp_path / "whole.mkv", options))
    with open_conversion(clip, tmp_path / "x.mkv", options, resumable=True, segment_seconds=Fraction(1)) as job:
        for segment in reversed(job.description.segments):
            part = open_part(
                clip, tmp_path / "x.mkv", options, [segment], job.description, path_of=job.path_of, add=job.add
            )
            with part:
                part.run()
        assert len(job.description.segments) > 3
        job.run()
    alone = look(tmp_path / "x.mkv")
    assert same_but_frames(alone, whole)
    assert min(map(psnr, alone.frames, whole.frames)) > 45


@pytest.mark.parametrize("kind", ["whole", "segment"])
def test_a_conversion_that_is_closed_is_freed_with_its_decoder(kind, make_clip, options, tmp_path):
    """Not only at the next garbage collection: a worker or a batch would keep several."""
    clip = make_clip("video.mp4", frames=60, options={"g": "20", "bf": "2"})
    gc.collect()
    gc.disable()
    try:
        with open_conversion(clip, tmp_path / "x.mp4", options, resumable=True, segment_seconds=Fraction(1)) as job:
            segment, how = job.description.segments[0], {"path_of": job.path_of, "add": job.add}
            part = open_part(clip, tmp_path / "x.mp4", options, [segment], job.description, **how)
            with part if kind == "segment" else open_conversion(clip, tmp_path / "y.mp4", options) as conversion:
                conversion.run()
            left = [weakref.ref(part) for part in (conversion, conversion.source, conversion.sink)]
            part.close()
            del part, conversion
            assert [reference() for reference in left] == [None] * 3
    finally:
        gc.enable()


def test_decoding_times_run_on_over_a_seam(monkeypatch):
    from animevid.jobs import join

    # Two encoders that each start two frames early: 0 1 2 3 in steps of 10, then in steps of 1.
    first = [(0, -20), (30, -10), (10, 0), (20, 10)]
    second = [(40, 38), (43, 39), (41, 40), (42, 41)]
    stamps = {"a": first, "b": second}
    monkeypatch.setattr(join, "read_stamps", stamps.__getitem__)
    coded = lambda path: [join.CodedPacket(pts, dts, 0, False, b"") for pts, dts in stamps[path]]  # noqa: E731
    monkeypatch.setattr(join, "read_packets", coded)
    dts = [packet.dts for packet in in_order(["a", "b"])]
    assert dts == [-20, -10, 0, 10, 20, 30, 40, 41]


def test_packets_on_another_clock_are_put_on_that_of_the_segment(tmp_path):
    frame_format = FrameFormat(64, 64, rate=Fraction(25), time_base=Fraction(1, 90_000))
    plan = choose_encoder(EncodeOptions(codec="ffv1"), frame_format, container="matroska")
    encoder = _SegmentEncoder(0, tmp_path / "segment", plan, frame_format, container="matroska")
    packet = av.Packet(b"coded")
    packet.pts, packet.dts, packet.duration, packet.time_base = 80, 80, 40, Fraction(1, 1000)
    encoder._put([packet])
    (found,) = read_packets(encoder.finish().path)
    assert (found.pts, found.dts, found.duration) == (7200, 7200, 3600)
