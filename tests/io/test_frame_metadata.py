"""Metadata of frames: spherical and stereoscopic layout, and captions."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from animevid import stylize
from animevid.io import open_source
from animevid.io.captions import _escaped
from animevid.io.immersive import Immersive, Sphere, Stereo, immersive_of
from animevid.io.mp4_boxes import add_boxes
from animevid.io.side_data import captions_of, side_data_of
from animevid.options import EncodeOptions, OutputOptions
from passing import pass_through, times

WHOLE = Immersive(Stereo(side_by_side=False), Sphere(yaw=0, pitch=0, roll=0))


def immersive(path: Path) -> Immersive | None:
    """The immersive metadata that FFmpeg finds in a file."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return immersive_of(side_data_of(frame, codec="h264"))


def captions(path: Path) -> list[tuple[Fraction, bytes]]:
    """For each frame with captions, its time after the first frame and the captions."""
    with open_source(path) as source:
        found = [(frame.pts_seconds - source.origin_seconds, frame.captions) for frame in source]
    return [(round(seconds, 3), data) for seconds, data in found if data]


def sounds(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_frames_are_freed_when_they_are_done_with(make_clip: Callable[..., Path]) -> None:
    """Not only at Python's next garbage collection, until which hundreds would be kept."""
    clip = make_clip("video.mp4", frames=60)
    gc.collect()
    gc.freeze()  # the objects of earlier tests: counting them, too, takes seconds
    gc.disable()
    try:
        with open_source(clip) as source:
            alive = [sum(isinstance(each, av.VideoFrame) for each in gc.get_objects()) for _ in source]
    finally:
        gc.enable()
    assert len(alive) == 60
    assert max(alive) < 10


@pytest.mark.parametrize(
    "said",
    [
        Immersive(Stereo(side_by_side=True)),
        Immersive(Stereo(side_by_side=False), Sphere()),
        Immersive(None, Sphere(yaw=90 << 16, pitch=-(45 << 16), roll=1)),
        Immersive(Stereo(side_by_side=True), Sphere(bounds=(1 << 30, 0, 1 << 30, 7))),
        Immersive(None, Sphere(is_cube=True, padding=8)),
    ],
    ids=["side by side", "top and bottom, whole", "turned", "half", "cube map"],
)
def test_boxes_are_found_again_by_ffmpeg_and_nothing_else_moves(
    make_clip: Callable[..., Path], tmp_path: Path, said: Immersive
) -> None:
    for name, options in (("first", {"movflags": "faststart"}), ("last", {})):
        clip = make_clip(f"{name}.mp4", audio_codec="aac", container_options=options)
        video = Path(shutil.copy(clip, tmp_path))
        assert add_boxes(video, video_track=0, into_entry=said.entry_boxes, into_track=said.track_boxes)
        assert immersive(video) == said
        assert (times(video), sounds(video)) == (times(clip), sounds(clip))
        with av.open(str(video)) as one, av.open(str(clip)) as other:
            assert [bytes(p) for p in one.demux(video=0)] == [bytes(p) for p in other.demux(video=0)]


def test_the_older_box_alone_says_the_same(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    video = Path(shutil.copy(make_clip("v1.mp4"), tmp_path))
    assert add_boxes(video, video_track=0, into_entry=b"", into_track=WHOLE.track_boxes)
    assert immersive(video) == WHOLE


def test_what_is_no_mp4_or_in_fragments_is_left_as_it_is(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    fragments = make_clip("parts.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})
    for clip in (make_clip("a.mkv"), fragments):
        video = Path(shutil.copy(clip, tmp_path))
        assert not add_boxes(video, video_track=0, into_entry=WHOLE.entry_boxes, into_track=b"")
        assert video.read_bytes() == clip.read_bytes()
    assert not add_boxes(
        Path(shutil.copy(make_clip("b.mp4"), tmp_path)), video_track=1, into_entry=b"x", into_track=b""
    )


@pytest.mark.shared
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_spherical_video_stays_one(shared: Path, tmp_path: Path, suffix: str) -> None:
    source = shared / "faults" / "sph.mp4"
    report = pass_through(source, tmp_path / f"o{suffix}")
    found = immersive(source)
    assert found is not None
    assert found.kinds == ("spherical (360°)", "stereoscopic (3D)")
    assert immersive(tmp_path / f"o{suffix}") == found
    assert not any("spherical" in line for line in report.notices)
    assert times(tmp_path / f"o{suffix}") == times(source)


@pytest.mark.shared
def test_what_matroska_and_other_shapes_do_not_hold_is_reported(
    shared: Path, packed_style: Path, tmp_path: Path
) -> None:
    source = shared / "faults" / "sph.mp4"
    (line,) = pass_through(source, tmp_path / "o.mkv").notices
    assert line.startswith("the source is spherical (360°): this metadata is lost (only MP4")
    kept = immersive(tmp_path / "o.mkv")
    assert kept is not None
    assert kept.kinds == ("stereoscopic (3D)",)
    report = stylize(source, tmp_path / "o.mp4", style=packed_style, compare="side")
    assert any("spherical (360°) and stereoscopic (3D): this metadata is lost" in line for line in report.notices)
    assert immersive(tmp_path / "o.mp4") is None


@pytest.mark.shared
@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("h264", ".ts"), ("hevc", ".mkv")])
def test_captions_inside_the_frames_stay_with_them(shared: Path, tmp_path: Path, codec: str, suffix: str) -> None:
    source, target = shared / "faults" / "cc.ts", tmp_path / f"o{suffix}"
    pass_through(source, target, settings=OutputOptions(encoder=EncodeOptions(codec=codec)))
    wanted = captions(source)
    assert len(wanted) > 20
    assert captions(target) == wanted


@pytest.mark.shared
def test_captions_that_a_codec_does_not_hold_are_said_to_be_lost(
    shared: Path, packed_style: Path, tmp_path: Path
) -> None:
    for name, is_said in (("o.webm", True), ("o.gif", True), ("o.mp4", False)):
        report = stylize(shared / "faults" / "cc.ts", tmp_path / name, style=packed_style, end_seconds=0.5)
        assert any("CEA-608" in line for line in report.notices) == is_said


def test_what_looks_like_a_beginning_of_a_unit_is_escaped() -> None:
    for plain, escaped in (
        (b"\0\0\0\0\0", b"\0\0\3\0\0\3\0"),
        (b"\0\0\1", b"\0\0\3\1"),
        (b"\0\0\3", b"\0\0\3\3"),
        (b"\0\0\4\0", b"\0\0\4\0"),
    ):
        assert _escaped(plain) == escaped


@pytest.mark.shared
def test_pngs_with_a_profile_are_not_asked(shared: Path) -> None:
    with av.open(str(shared / "faults" / "srgb_icc_small.png")) as frame:
        frame = next(frame.decode(video=0))
        assert side_data_of(frame, codec="png") == {}
        assert captions_of(frame, codec="png") == b""
