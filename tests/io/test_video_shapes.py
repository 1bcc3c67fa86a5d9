"""Unusual frames: interlaced, of changing size, cropped by the container."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from animevid.io import open_source
from animevid.io.container_crop import container_crop
from animevid.io.frame_fit import Crop
from animevid.options import SourceOptions
from passing import pass_through, read_frames, times

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes the video")


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def combing(luma: np.ndarray) -> float:
    """The mean difference of adjacent lines, less that of lines two apart."""
    lines = luma.astype(float)
    return float(np.abs(lines[1:-1] - lines[2:]).mean() / (np.abs(lines[:-2] - lines[2:]).mean() + 1))


def interlaced(path: Path, *, extra: tuple[str, ...] = ()) -> Path:
    """A bar that moves 16 px per field, 25 frames of two fields, top field first."""
    bar = "color=white:s=24x96:r=50:d=1[bar];color=gray:s=160x96:r=50:d=1[ground]"
    moving = f"{bar};[ground][bar]overlay=x='mod(n*16,160)'"
    fields = f"{moving},interlace=scan=tff:lowpass=off"
    ffmpeg("-f", "lavfi", "-i", fields, *extra, "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2", path)
    return path


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mov"])
def test_interlaced_videos_are_deinterlaced_and_it_is_reported(tmp_path: Path, suffix: str) -> None:
    video = interlaced(tmp_path / f"tv{suffix}")
    with open_source(video) as source:
        frames = list(source)
        said = (*source.info.notices, *source.notices_so_far)
    with open_source(video, SourceOptions(deinterlace=False)) as source:
        plain = list(source)
        assert any("fields are treated as one frame" in line for line in source.info.notices)
    assert any("bwdif" in line for line in said)
    assert len(frames) == len(plain) == 25
    assert [frame.pts_seconds for frame in frames] == [frame.pts_seconds for frame in plain]
    assert combing(plain[7].planes.y) > 2 * combing(frames[7].planes.y)


@needs_ffmpeg
def test_a_progressive_video_is_left_as_it_is(tmp_path: Path) -> None:
    video = tmp_path / "video.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x64:d=0.4", "-c:v", "ffv1", "-pix_fmt", "yuv420p", video)
    with open_source(video, SourceOptions(deinterlace=False)) as plain, open_source(video) as source:
        for one, other in zip(plain, source, strict=True):
            assert (one.planes.y == other.planes.y).all()
        assert source.notices_so_far == ()


def of_changing_size(path: Path) -> Path:
    """10 frames of 160x96, 10 of 96x96, 10 of 320x192, as in a broadcast or a live stream."""
    parts = []
    for number, size in enumerate(("160x96", "96x96", "320x192")):
        parts.append(path.with_name(f"{number}.ts"))
        clip = f"color=red:s={size}:r=25:d=0.4"
        ffmpeg(
            "-f",
            "lavfi",
            "-i",
            clip,
            "-c:v",
            "libx264",
            "-bf",
            "0",
            "-output_ts_offset",
            f"{0.4 * number + 1}",
            parts[-1],
        )
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@needs_ffmpeg
def test_a_frame_of_another_size_is_fitted_into_the_first_ones_with_bars(tmp_path: Path) -> None:
    video = of_changing_size(tmp_path / "live.ts")
    report = pass_through(video, tmp_path / "o.mp4")
    assert report.frames_written == 30
    with open_source(video) as source:
        frames = list(source)
        assert [line for line in source.notices_so_far if "96x96, 320x192" in line and "160x96" in line]
    assert {(frame.planes.width, frame.planes.height) for frame in frames} == {(160, 96)}
    square, large = frames[15].planes, frames[25].planes
    assert (square.y[:, :30] < 20).all()
    assert (square.y[:, 130:] < 20).all()
    assert (square.v[:, 20:60] > 200).all()  # red, not stretched
    assert (large.v > 200).all()  # the same shape: no bars
    assert times(tmp_path / "o.mp4")[:2] == [0, Fraction(1, 25)]


def with_clean_aperture(video: Path, *, width: int, height: int, x: int) -> None:
    """Write a "clap" box into the sample entry of an MP4's only track."""
    data = bytearray(video.read_bytes())
    numbers = (width, 1, height, 1, x, 1, 0, 1)
    clap = (40).to_bytes(4, "big") + b"clap" + b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    at = data.find(b"avcC") - 4
    data[at:at] = clap
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        start = data.find(kind) - 4
        data[start : start + 4] = (int.from_bytes(data[start : start + 4], "big") + 40).to_bytes(4, "big")
    video.write_bytes(data)


@needs_ffmpeg
def test_edges_that_the_container_leaves_out_are_cut(tmp_path: Path) -> None:
    video = tmp_path / "wide.mp4"
    drawn = "color=blue:s=160x96:d=0.2,drawbox=x=0:y=0:w=24:h=96:color=white:t=fill"
    ffmpeg("-f", "lavfi", "-i", drawn, "-pix_fmt", "yuv420p", "-crf", "5", video)
    assert container_crop(video, format_name="mov,mp4", stream_index=0, width=160, height=96) is None
    with_clean_aperture(video, width=128, height=96, x=8)  # 24 px left, 8 right
    with open_source(video) as source:
        assert (source.info.display_width, source.info.width) == (128, 160)
        assert any("is applied (24 left, 0 top, 8 right, 0 bottom)" in line for line in source.info.notices)
        planes = next(iter(source)).planes
    assert planes.y.max() < 60  # none of the white edge


def test_matroskas_crop_is_read(tmp_path: Path) -> None:
    def element(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) | 0x4000).to_bytes(2, "big") + body

    entry = element(b"\xe0", element(b"\x54\xaa", b"\x02") + element(b"\x54\xcc", b"\x00\x08"))
    tracks = element(b"\x16\x54\xae\x6b", element(b"\xae", b"") + element(b"\xae", entry))
    video = tmp_path / "a.mkv"
    video.write_bytes(b"\x1a\x45\xdf\xa3\x80" + tracks)
    facts = {"format_name": "matroska,webm", "width": 64, "height": 48}
    assert container_crop(video, stream_index=1, **facts) == Crop(left=8, bottom=2)
    assert container_crop(video, stream_index=0, **facts) is None
    video.write_bytes(video.read_bytes()[:-9])  # truncated: no crop can be read
    assert container_crop(video, stream_index=1, **facts) is None


@needs_ffmpeg
def test_hdrs_mastering_data_does_not_outlive_the_tone_mapping(tmp_path: Path) -> None:
    video = tmp_path / "hdr.mkv"
    master = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x64:d=0.2", "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params",
           f"log-level=none:colorprim=9:transfer=16:colormatrix=9:hdr10=1:{master}", video)  # fmt: skip
    pass_through(video, tmp_path / "o.mkv")
    (frame, *_) = read_frames(tmp_path / "o.mkv")
    assert (frame.planes.colour.primaries, frame.planes.colour.transfer) == (1, 1)
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-show_frames", "-show_streams", str(tmp_path / "o.mkv")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Mastering" not in probed
    assert "Content light" not in probed
