"""In a cut, audio, subtitles and chapters begin and end with the frames."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from animevid.io import open_source
from animevid.options import SourceOptions
from passing import pass_through, times

START, END = Fraction(1, 2), Fraction(3, 2)


def sound_of(path: Path) -> tuple[float, np.ndarray]:
    """The start of the audio in seconds, and its samples at 48 kHz."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return float(frames[0].pts * frames[0].time_base), np.concatenate([f.to_ndarray().reshape(-1) for f in frames])


@pytest.fixture
def clip(make_clip: Callable[..., Path]) -> Callable[[str, str], Path]:
    """Two seconds with audio, chapters of half a second, and tags that another file must not keep."""

    def make(suffix: str, codec: str) -> Path:
        chapters = [(Fraction(n, 2), Fraction(n + 1, 2), f"part {n}") for n in range(4)]
        return make_clip(
            f"long{suffix}",
            frames=50,
            audio_codec=codec,
            audio_seconds=Fraction(2),
            chapters=chapters,
            metadata={"title": "A video", "rotate": "90", "encoder": "another"},
        )

    return make


@pytest.mark.parametrize(
    ("codec", "target"), [("pcm_s16le", ".mp4"), ("flac", ".ts"), ("flac", ".webm"), ("aac", ".mp4"), ("aac", ".mkv")]
)
def test_the_sound_of_a_cut_is_as_long_as_the_cut(
    clip: Callable[[str, str], Path], tmp_path: Path, codec: str, target: str
) -> None:
    pass_through(clip(".mkv", codec), tmp_path / f"o{target}", start_seconds=START, end_seconds=END)
    with av.open(str(tmp_path / f"o{target}")) as container:
        video = container.streams.video[0]
        zero = float(video.start_time * video.time_base) if video.start_time else 0.0
    begin, samples = sound_of(tmp_path / f"o{target}")
    assert abs(begin - zero) < 0.06  # Opus has 6.5 ms before its first sample
    assert abs(len(samples) / 48000 - 1) < 0.05
    loud = np.abs(samples.astype(float)) > np.abs(samples).max() / 4
    assert loud[-4800:].any()  # up to its end


def test_re_encoded_sound_keeps_its_last_moment(clip: Callable[[str, str], Path], tmp_path: Path) -> None:
    source = clip(".mkv", "flac")
    pass_through(source, tmp_path / "o.ts")
    before, after = sound_of(source)[1], sound_of(tmp_path / "o.ts")[1]
    assert len(after) >= len(before)


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_chapters_of_a_cut_lie_within_it(clip: Callable[[str, str], Path], tmp_path: Path, target: str) -> None:
    pass_through(clip(".mkv", "aac"), tmp_path / f"o{target}", start_seconds=Fraction(3, 4), end_seconds=Fraction(5, 4))
    with open_source(tmp_path / f"o{target}") as source:
        chapters = [(c.title, float(c.start_seconds), float(c.end_seconds)) for c in source.info.chapters]
    assert [title for title, *_ in chapters] == ["part 1", "part 2"]
    assert [(start, end) for _, start, end in chapters] == [(0, 0.25), (0.25, 0.5)]


@pytest.mark.parametrize(("source", "kind", "target"), [
    (".mkv", "subrip", ".mkv"), (".mkv", "subrip", ".mp4"), (".mp4", "mov_text", ".mp4"),
])  # fmt: skip
def test_cues_of_a_cut_are_shown_when_they_were(
    make_clip: Callable[..., Path], tmp_path: Path, source: str, kind: str, target: str
) -> None:
    clip = make_clip(f"cues{source}", subtitles=kind)  # 0 to 90 ms and 100 to 190 ms
    cut = Fraction(2, 25)
    pass_through(clip, tmp_path / f"o{target}", start_seconds=cut)
    with av.open(str(tmp_path / f"o{target}")) as container:
        packets = [p for p in container.demux(subtitles=0) if p.size > 2]
        cues = {
            bytes(p).split(b"line ")[-1][:1]: (float(p.pts * p.time_base), float(p.duration * p.time_base))
            for p in packets
        }
        begins = container.streams.video[0].start_time
    assert not begins
    assert cues[b"1"][0] == pytest.approx(0.02, abs=0.005)
    assert cues[b"1"][1] == pytest.approx(0.09, abs=0.005)
    assert cues[b"0"] == (0.0, pytest.approx(0.01, abs=0.005))  # already shown when the cut begins


@pytest.mark.parametrize("target", [".mkv", ".mp4"])
def test_a_cue_ends_with_the_cut(make_clip: Callable[..., Path], tmp_path: Path, target: str) -> None:
    """A longer cue would extend the video without frames."""
    clip = make_clip("cues.mkv", subtitles="subrip")  # 0 to 90 ms and 100 to 190 ms
    pass_through(clip, tmp_path / f"o{target}", end_seconds=Fraction(3, 25))
    with av.open(str(tmp_path / f"o{target}")) as container:
        ends = [(p.pts + p.duration) * p.time_base for p in container.demux(subtitles=0) if p.size > 2]
    assert [float(end) for end in ends] == pytest.approx([0.09, 0.12])


@pytest.mark.parametrize("target", [".mp4", ".mkv", ".mov"])
def test_tags_stay_but_for_what_only_the_old_file_was(
    clip: Callable[[str, str], Path], tmp_path: Path, target: str
) -> None:
    pass_through(clip(".mkv", "aac"), tmp_path / f"o{target}")
    with av.open(str(tmp_path / f"o{target}")) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        own = {key.lower() for key in container.streams.video[0].metadata}
    assert tags["title"] == "A video"
    assert "rotate" not in tags.keys() | own
    assert tags.get("encoder") != "another"


def test_brands_of_an_mp4_are_no_tags_of_a_matroska(clip: Callable[[str, str], Path], tmp_path: Path) -> None:
    pass_through(clip(".mp4", "aac"), tmp_path / "o.mkv")
    with av.open(str(tmp_path / "o.mkv")) as container:
        assert not {"major_brand", "minor_version", "compatible_brands"} & {key.lower() for key in container.metadata}


def test_frames_of_a_cut_are_those_of_the_span(clip: Callable[[str, str], Path], tmp_path: Path) -> None:
    source = clip(".mkv", "aac")
    on_frames = Fraction(2, 5), Fraction(4, 5)
    with open_source(source, SourceOptions(start_seconds=on_frames[0], end_seconds=on_frames[1])) as cut:
        assert [frame.pts_seconds for frame in cut] == [Fraction(n, 25) for n in range(10, 20)]
    wanted = [time for time in times(source) if START <= time < END]
    with open_source(source, SourceOptions(start_seconds=START, end_seconds=END)) as cut:
        frames = list(cut)
    assert [frame.pts_seconds for frame in frames] == wanted
    pass_through(source, tmp_path / "o.mkv", start_seconds=START, end_seconds=END)
    with av.open(str(tmp_path / "o.mkv")) as container:
        durations = {float(p.duration * p.time_base) for p in container.demux(video=0) if p.size}
    assert durations == {0.04}


def test_a_range_that_only_the_container_declares_is_honoured(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    """FFV1 does not store the range; Matroska does."""
    full = make_clip("full.mkv", codec="ffv1", colour_range=2, matrix=1, options={})
    with open_source(full) as source:
        (frame, *_) = source
        assert int(frame.planes.colour.range) == 2
    pass_through(full, tmp_path / "%02d.png")
    pass_through(make_clip("limited.mkv", codec="ffv1", colour_range=1, matrix=1, options={}), tmp_path / "l%02d.png")
    levels = []
    for name in ("01.png", "l01.png"):
        with open_source(tmp_path / name) as opened:
            levels.append(float(next(iter(opened)).planes.y.mean()))
    assert levels[0] == pytest.approx(levels[1], abs=2)  # the same test card
