"""Every real clip is converted, and ffprobe agrees about the output."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from animevid.cli import main
from animevid.io import open_source
from animevid.options import SourceOptions

CLIPS = {
    "av1.mkv": ".mkv",
    "bbb_480p_30s_aac.mp4": ".mp4",
    "broken_audio.mp4": ".mp4",
    "bt709_full_range.mp4": ".mp4",
    "cockatoo_720p_yuv444_mp3.mp4": ".mp4",
    "hevc_10bit.mp4": ".mp4",
    "nasa_2video_2audio_2subs.mp4": ".mp4",
    "no_duration.webm": ".webm",
    "person_ccby.mp4": ".mp4",
    "phone_vfr_rotated180_aac.mp4": ".mp4",
    "portrait_540x960_aac.mp4": ".mp4",
    "signer_ccby.mkv": ".mkv",
    "transparent_vp9.webm": ".webm",
}

pytestmark = pytest.mark.shared


def test_no_clip_is_forgotten(clips):
    assert {path.name for path in clips.iterdir()} == set(CLIPS)


@pytest.fixture(scope="module", params=CLIPS)
def converted(request, clips, packed_style, tmp_path_factory):
    """(clip, output): the first half second at a small size, converted by the command."""
    clip = clips / request.param
    target = tmp_path_factory.mktemp("real") / f"out{CLIPS[request.param]}"
    command = [str(clip), str(target), "--style", str(packed_style), "--end", "0.5", "--size", "96p", "-q"]
    assert main(command) == 0
    return clip, target


def test_frames_and_their_times_are_kept(converted):
    clip, target = converted
    with open_source(clip, SourceOptions(end_seconds=Fraction(1, 2))) as source:
        wanted = [frame.pts_seconds - source.origin_seconds for frame in source]
        index = source.info.stream_index
    with open_source(target, SourceOptions(stream_index=index)) as output:
        written = [frame.pts_seconds - output.origin_seconds for frame in output]
    assert len(wanted) == len(written) > 0
    for before, after in zip(wanted, written, strict=True):
        assert abs(before - after) <= Fraction(1, 1000)  # Matroska counts in milliseconds


def test_what_the_frames_mean_is_kept(converted):
    clip, target = converted
    with (
        open_source(clip) as source,
        open_source(target, SourceOptions(stream_index=source.info.stream_index)) as output,
    ):
        before, after = source.info, output.info
    assert (after.bit_depth, after.has_alpha) == (before.bit_depth, before.has_alpha)
    # H.264 omits default values: unspecified then means the same.
    assert after.colour.resolved(height=96) == before.colour.resolved(height=before.display_height)
    assert after.rotation_degrees == 0
    shape = Fraction(before.display_width, before.display_height) * before.sample_aspect_ratio
    written = Fraction(after.display_width, after.display_height) * after.sample_aspect_ratio
    assert abs(written / shape - 1) < Fraction(2, 100)


def test_ffprobe_reads_the_same_streams(converted):
    if shutil.which("ffprobe") is None:
        pytest.skip("no ffprobe here")
    clip, target = converted
    assert _kinds(target) == _kinds(clip)


def _kinds(path: Path) -> list[str]:
    command = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sorted(stream["codec_type"] for stream in json.loads(done.stdout)["streams"])
