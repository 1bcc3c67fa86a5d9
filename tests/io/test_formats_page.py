"""``docs/formats.md`` lists what each container keeps, according to ffprobe; this test writes the page.

``ANIMEVID_WRITE_DOCS=1 pytest tests/io/test_formats_page.py`` rewrites it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from animevid import stylize
from animevid.errors import UsageError
from animevid.io import SinkReport, open_source
from animevid.io.containers import MUXERS, container_of
from animevid.io.encoders import SOFTWARE_ENCODERS, chosen_codec, container_holds
from animevid.options import EncodeOptions, OutputOptions
from passing import pass_through, times

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg and ffprobe are not installed"
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
BEGIN, END = "<!-- written by tests/io/test_formats_page.py: begin -->\n", "<!-- end -->\n"
CONTAINERS = ("mp4", "mov", "mkv", "webm", "ts", "m3u8", "avi", "flv")
#: Codec -> FFmpeg's encoder.
SOUNDS = {
    "aac": "aac",
    "mp3": "libmp3lame",
    "mp2": "mp2",
    "ac3": "ac3",
    "eac3": "eac3",
    "dts": "dca",
    "truehd": "truehd",
    "flac": "flac",
    "alac": "alac",
    "pcm_s16le": "pcm_s16le",
    "opus": "libopus",
    "vorbis": "libvorbis",
}
SUBTITLES = ("subrip", "ass", "webvtt")
#: Names that stand for different things in two containers.
_SAME = {"mp2": {"mp3"}}


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def probe(path: Path) -> dict[str, Any]:
    entries = ["-show_streams", "-show_chapters", "-show_format", "-show_packets"]
    command = ["ffprobe", "-v", "error", *entries, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with all audio and subtitle codecs of the tables, attachment, cover, chapters, languages and title."""
    folder = tmp_path_factory.mktemp("formats")
    (folder / "s.srt").write_text("1\n00:00:00,050 --> 00:00:00,300\nHello\n")
    for suffix in ("ass", "vtt"):
        ffmpeg("-i", folder / "s.srt", folder / f"s.{suffix}")
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={n}\nEND={n + 200}\ntitle=C{n}\n" for n in (0, 200))
    (folder / "tags").write_text(f";FFMETADATA1\ntitle=Video\n{chapters}")
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", folder / "cover.png")
    inputs = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=0.4", "-f", "lavfi"]
    inputs += ["-i", "sine=d=0.4:r=48000,aformat=channel_layouts=stereo"]
    for name in ("s.srt", "s.ass", "s.vtt"):
        inputs += ["-i", str(folder / name)]
    outputs = ["-f", "ffmetadata", "-i", str(folder / "tags"), "-map", "0"]
    for number, encoder in enumerate(SOUNDS.values()):
        outputs += ["-map", "1", f"-c:a:{number}", encoder]
    outputs += ["-map", "2", "-map", "3", "-map", "4", "-c:s", "copy", "-c:v", "libx264", "-preset", "ultrafast"]
    outputs += ["-vf", "setsar=4/3,setpts='if(gt(N,5),PTS+2,PTS)'", "-vsync", "passthrough", "-strict", "-2"]
    outputs += ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"]
    outputs += ["-metadata:s:v:0", "language=jpn", "-metadata:s:a", "language=eng", "-metadata:s:s", "language=ger"]
    outputs += ["-map_metadata", "5", "-map_chapters", "5"]
    for name, kind in (("cover.png", "image/png"), ("s.srt", "text/plain")):
        outputs += ["-attach", str(folder / name), f"-metadata:s:t:{int(kind[0] == 't')}", f"mimetype={kind}"]
    ffmpeg(*inputs, *outputs, folder / "everything.mkv")
    return folder / "everything.mkv"


class Written:
    """A video in one container: what ffprobe finds, and the decisions that were reported."""

    def __init__(self, source: Path, container: str, folder: Path) -> None:
        self.container = container
        target = folder / f"o.{container}"
        self.report: SinkReport = pass_through(source, target)
        found = probe(target)
        seen: dict[int, dict[str, Any]] = {stream["index"]: stream for stream in found["streams"]}
        self.streams = list(seen.values())
        self.chapters = [chapter.get("tags", {}).get("title") for chapter in found["chapters"]]
        self.title = found["format"].get("tags", {}).get("title")
        self.of_kind = {
            kind: [s for s in self.streams if s["codec_type"] == kind and not s["disposition"]["attached_pic"]]
            for kind in ("video", "audio", "subtitle", "attachment")
        }
        video = self.of_kind["video"][0]
        self.video = video
        packets = [p for p in found["packets"] if p["stream_index"] == video["index"]]
        times = [Fraction(p.get("pts_time", 0)) for p in packets]  # AVI has none: only a rate
        self.times = sorted(time - min(times) for time in times)

    def said(self, codec: str) -> str:
        """The decision about the stream of ``codec``."""
        (line,) = (line for line in self.report.decisions if f"({codec}" in line)
        return line.partition(": ")[2]

    def outcomes(self, kind: str, codecs: list[str]) -> list[str]:
        """The table's cell for each of the source's streams of ``kind``; checks that ffprobe confirms the decisions."""
        cells, left = [], list(self.of_kind[kind])
        for codec in codecs:
            said = self.said(codec)
            if "holds one sound" in said:  # the default
                kind_of = container_of(MUXERS[f".{self.container}"])
                kept_alone = kind_of.holds(kind, codec)
                cells.append("kept (one)" if kept_alone else f"→ {kind_of.audio_fallback} (one)")
                continue
            if said.startswith("dropped"):
                cells.append("dropped")
                continue
            found = left.pop(0)
            name = found["codec_name"]
            if said == "copied":
                assert name == codec or name in _SAME.get(codec, ()), (self.container, codec, name)
                cells.append("kept")
            else:
                assert said.startswith("re-encoded as"), said
                assert name in said.replace("libopus", "opus"), (self.container, codec, name, said)
                cells.append(f"→ {name}")
            if kind == "audio":
                assert found["channels"] == 2, (self.container, codec)
        assert left == [], (self.container, [stream["codec_name"] for stream in left])
        return cells


def row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def heading(name: str) -> list[str]:
    return [row(name, [f"`.{container}`" for container in CONTAINERS]), row("---", ["---"] * len(CONTAINERS))]


def kept(condition: bool) -> str:
    return "kept" if condition else "lost"


def tables(written: dict[str, Written]) -> str:
    """The page's tables."""
    all_of = list(written.values())
    sounds = {name: video.outcomes("audio", list(SOUNDS)) for name, video in written.items()}
    cues = {name: video.outcomes("subtitle", list(SUBTITLES)) for name, video in written.items()}
    lines = ["### Video", "", *heading("encoder")]
    muxers = ["mpegts" if name == "m3u8" else MUXERS[f".{name}"] for name in CONTAINERS]
    for codec, encoder in SOFTWARE_ENCODERS.items():
        lines.append(row(codec, ["yes" if container_holds(muxer, encoder) else "no" for muxer in muxers]))
    first, *_ = all_of
    wanted = written["mkv"].times
    near = [max(abs(a - b) for a, b in zip(video.times, wanted, strict=True)) < Fraction(1, 400) for video in all_of]
    lines += ["", "### What belongs to the video", "", *heading("")]
    lines.append(row("frame times (variable rate)", [kept(same) for same in near]))
    shapes = [f.video.get("sample_aspect_ratio") == "4:3" for f in all_of]
    assert shapes == [chosen_codec(EncodeOptions(), container=m) not in container_of(m).square_only for m in muxers]
    lines.append(row("shape of pixels", ["kept" if shape else "made square" for shape in shapes]))
    tags = [(f.video.get("color_space"), f.video.get("color_primaries"), f.video.get("color_range")) for f in all_of]
    lines.append(row("colour tags", [kept(tag == ("bt709", "bt709", "tv")) for tag in tags]))
    lines += ["", "### Sound", "", *heading("from")]
    lines += [row(codec, [sounds[name][n] for name in CONTAINERS]) for n, codec in enumerate(SOUNDS)]
    lines += ["", "### Subtitles", "", *heading("from")]
    lines += [row(codec, [cues[name][n] for name in CONTAINERS]) for n, codec in enumerate(SUBTITLES)]
    lines += ["", "### Beside the streams", "", *heading("")]
    covers = [any(s["disposition"]["attached_pic"] for s in f.streams) for f in all_of]
    notes = [
        any(s["codec_type"] == "attachment" and s.get("tags", {}).get("filename") == "s.srt" for s in f.streams)
        for f in all_of
    ]
    languages = [all(s.get("tags", {}).get("language") == "eng" for s in f.of_kind["audio"]) for f in all_of]
    lines.append(row("attachments", [kept(note) for note in notes]))
    lines.append(row("cover", [kept(cover) for cover in covers]))
    lines.append(row("chapters", [kept(video.chapters == ["C0", "C200"]) for video in all_of]))
    lines.append(row("title", [kept(video.title == "Video") for video in all_of]))
    of_video = [f.video.get("tags", {}).get("language") == "jpn" for f in all_of]
    lines.append(row("language of the video", [kept(language) for language in of_video]))
    lines.append(row("languages of sound", [kept(language) for language in languages]))
    assert first.container == "mp4"
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("suffix", [".ts", ".mov", ".avi", ".flv", ".webm", ".mp4"])
def test_video_is_found_again_in_each_container_that_is_said_to_hold_them(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "in.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=0.08", "-c:v", "ffv1", "-pix_fmt", "yuv420p", source)
    for codec, encoder in SOFTWARE_ENCODERS.items():
        settings = OutputOptions(encoder=EncodeOptions(codec=codec))
        target = tmp_path / f"{codec}{suffix}"
        if container_holds(MUXERS[suffix], encoder):
            pass_through(source, target, settings=settings)
            with av.open(str(target)) as container:
                assert container.streams.video[0].codec_context.codec.canonical_name == codec
                assert sum(1 for _ in container.decode(video=0)) == 2
                if codec == "hevc" and suffix in (".mp4", ".mov"):
                    assert container.streams.video[0].codec_tag == "hvc1"  # Apple's players take no other
        else:
            with pytest.raises(UsageError, match="cannot hold"):
                pass_through(source, target, settings=settings)


@pytest.mark.parametrize("name", ["o.webm", "o.png", "o.mp4"])
def test_a_circle_stays_round_where_the_output_cannot_say_the_shape_of_pixels(
    make_clip: Callable[..., Path], packed_style: Path, tmp_path: Path, name: str
) -> None:
    clip = make_clip("wide.mp4", width=72, height=48, sample_aspect_ratio=Fraction(4, 3))
    target = tmp_path / ("%02d.png" if name == "o.png" else name)
    report = stylize(clip, target, style=packed_style)
    with open_source(tmp_path / "01.png" if name == "o.png" else target) as source:
        info = source.info
        shape = Fraction(info.display_width, info.display_height) * info.sample_aspect_ratio
        assert shape == Fraction(72, 48) * Fraction(4, 3)
        assert (info.display_width == 96) == (name != "o.mp4")
    assert any("made square" in line for line in report.notices) == (name != "o.mp4")


def test_a_bit_rate_that_is_asked_for_is_kept_to(tmp_path: Path) -> None:
    source, sizes = tmp_path / "in.mkv", []
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=2,noise=alls=20:allf=t", "-c:v", "ffv1", source)
    for rate in (200_000, 1_000_000):
        settings = OutputOptions(encoder=EncodeOptions(bitrate_bps=rate))
        target = tmp_path / f"{rate}.mp4"
        pass_through(source, target, settings=settings)
        sizes.append(target.stat().st_size * 8 / 2)
    assert 0.5 < sizes[0] / 200_000 < 2
    assert 0.5 < sizes[1] / 1_000_000 < 2


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_videos_are_written_by_every_encoder(
    make_clip: Callable[..., Path], tmp_path: Path, frames: int
) -> None:
    clip = make_clip("short.mp4", frames=frames)
    for attempt, codec in enumerate(("hevc", "hevc", "hevc", "h264", "av1", "vp9")):
        target = tmp_path / f"{attempt}.mp4"
        pass_through(clip, target, settings=OutputOptions(encoder=EncodeOptions(codec=codec)))
        assert times(target) == times(clip)


def test_the_page_of_formats_says_what_ffprobe_finds(everything: Path, tmp_path: Path) -> None:
    made = tables({container: Written(everything, container, tmp_path) for container in CONTAINERS})
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition(BEGIN)
    assert found, "the page has no markers for the tables"
    _, end, after = rest.partition(END)
    assert end
    wanted = before + BEGIN + made + END + after
    if os.environ.get("ANIMEVID_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    else:
        assert page == wanted, "the page is stale: see the top of this file"
