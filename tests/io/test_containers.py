"""What one container passes on to another is decided before the first frame: kept, changed or reported."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from animevid.io import SinkReport, open_sink, open_source
from animevid.io.containers import container_of
from animevid.io.cues import Cue, Stacked, subtitle_text
from animevid.io.programmes import programmes


def through(clip: Path, target: Path) -> tuple[SinkReport, Sequence[str]]:
    """Write ``clip`` to ``target`` without a style; returns the report and the source's notices."""
    with open_source(clip) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        return sink.finish(), (*source.info.notices, *source.notices_so_far)


def streams(path: Path, kind: str) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams if stream.type == kind]


_ENCODERS = {"opus": "libopus", "vorbis": "libvorbis", "mp3": "libmp3lame", "dts": "dca"}


@pytest.mark.parametrize("muxer", ["mp4", "mov", "webm", "mpegts", "flv"])
def test_what_the_table_names_is_found_again_in_the_container(muxer: str) -> None:
    tried = 0
    for codec in sorted(container_of(muxer).audio):
        encoder = _ENCODERS.get(codec, codec)
        if encoder not in av.codecs_available:
            continue
        file = io.BytesIO()
        try:
            context = av.CodecContext.create(encoder, "w")
            layout = "stereo" if codec not in ("amr_nb",) else "mono"
            context.layout, context.sample_rate, context.format = layout, 48000, context.codec.audio_formats[0]
            context.open(strict=False)
        except (av.FFmpegError, ValueError):
            continue  # a decoder only, or experimental
        options = {"strict": "-2"}
        with av.open(file, "w", format=muxer, options=options) as output:
            stream = output.add_stream(encoder, rate=48000, options=options)
            stream.layout, stream.format = layout, context.format
            for number in range(20):
                sound = av.AudioFrame(format=context.format.name, layout=layout, samples=context.frame_size or 1024)
                for plane in sound.planes:
                    plane.update(bytes(plane.buffer_size))
                sound.sample_rate, sound.pts = 48000, number * sound.samples
                sound.time_base = Fraction(1, 48000)
                output.mux(stream.encode(sound))
            output.mux(stream.encode(None))
        file.seek(0)
        with av.open(file) as container:
            found = [stream.codec_context.codec.canonical_name for stream in container.streams]
        family = {"mp1": "mp3", "mp2": "mp3"}  # one name for the three layers, which share a number in the container
        assert [family.get(name, name) for name in found] == [family.get(codec, codec)]
        tried += 1
    assert tried


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "target", "sound", "said"),
    [
        ("pcm2.avi", "o.mp4", ["aac"], "re-encoded as aac, mp4 does not hold pcm_s16le"),
        ("pcm2.avi", "o.mov", ["pcm_s16le"], "copied"),
        ("pcm2.avi", "o.webm", ["opus"], "re-encoded as libopus"),
        ("flac.mkv", "o.ts", ["aac"], "re-encoded as aac, mpegts does not hold flac"),
        ("flac.mkv", "o.m3u8", ["aac"], "re-encoded as aac"),
        ("flac.mkv", "o.mp4", ["flac"], "copied"),
        ("hostile/ts_silent_audio_pid.ts", "o.mp4", [], "dropped, no sound of it was found"),
        ("hostile/iphone16_apac_audio.mp4", "o.mp4", [], "dropped"),
    ],
)
def test_sound_is_copied_re_encoded_or_dropped_and_reported(
    shared: Path, tmp_path: Path, name: str, target: str, sound: list[str], said: str
) -> None:
    report, _ = through(shared / "faults" / name, tmp_path / target)
    assert streams(tmp_path / target, "audio") == sound
    assert any(said in line for line in report.decisions if line.startswith("audio"))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes the video")
@pytest.mark.parametrize(
    ("layout", "rate", "target", "said"),
    [
        ("7.1", 48000, "o.mp4", "mp4 does not hold pcm_s16le"),
        ("hexadecagonal", 48000, "o.mp4", "becomes 5.1"),
        ("stereo", 192000, "o.ts", "192000 Hz become 96000"),
    ],
)
def test_speakers_and_rates_that_do_not_stay_are_reported(
    tmp_path: Path, layout: str, rate: int, target: str, said: str
) -> None:
    clip, video = tmp_path / "in.mkv", "testsrc=s=64x48:r=25:d=0.2"
    sound = f"sine=d=0.2:r={rate},aformat=channel_layouts={layout}"
    lavfi = ["-f", "lavfi", "-i"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le"]
    subprocess.run(["ffmpeg", "-v", "error", *lavfi, video, *lavfi, sound, *codecs, str(clip)], check=True)
    report, _ = through(clip, tmp_path / target)
    (line,) = report.decisions
    assert line.endswith(said)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes the video")
@pytest.mark.parametrize(("default", "kept"), [("", 1), ("default", 2)])
def test_flv_is_given_the_sound_that_plays_by_default_or_the_first(tmp_path: Path, default: str, kept: int) -> None:
    video, lavfi = tmp_path / "in.mkv", ["-f", "lavfi", "-i"]
    inputs = [*lavfi, "testsrc=s=64x48:r=25:d=0.2", *lavfi, "sine=d=0.2", *lavfi, "sine=f=99:d=0.2"]
    maps = ["-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]
    marks = ["-disposition:a:0", "0", "-disposition:a:1", default or "0"]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, *marks, str(video)], check=True)
    report, _ = through(video, tmp_path / "o.flv")
    copied = [line for line in report.decisions if line.endswith(": copied")]
    assert [line.split()[2] for line in copied] == [str(kept)]
    assert sum("holds one sound" in line for line in report.decisions) == 1


@pytest.mark.shared
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".ts"])
def test_surround_sound_stays_surround_sound(shared: Path, tmp_path: Path, suffix: str) -> None:
    through(shared / "faults" / "wv51.mkv", tmp_path / f"o{suffix}")
    with av.open(str(tmp_path / f"o{suffix}")) as container:
        assert container.streams.audio[0].codec_context.layout.nb_channels == 6


@pytest.mark.shared
def test_the_best_variant_of_an_adaptive_stream_is_taken_with_its_own_sound(shared: Path, tmp_path: Path) -> None:
    report, _ = through(shared / "faults" / "master" / "master.m3u8", tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert [stream.type for stream in container.streams] in (["video", "audio"], ["audio", "video"])
        assert container.streams.video[0].width == 320
    assert sum("another variant" in line for line in report.decisions) == 4


def test_another_programme_of_a_broadcast_stays_outside(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed: it writes the broadcast")
    video = tmp_path / "two.ts"
    source = ["-f", "lavfi", "-i"]
    command = [
        "ffmpeg", "-v", "error", *source, "testsrc=s=160x90:d=1", *source, "testsrc2=s=96x64:d=1",
        *source, "sine=d=1", *source, "sine=f=99:d=1", "-map", "0", "-map", "1", "-map", "2", "-map", "3",
        "-c:v", "mpeg2video", "-c:a", "mp2", "-program", "title=a:st=0:st=2", "-program", "title=b:st=1:st=3",
        str(video),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    assert sorted(len(pids) for pids in programmes(video)) == [2, 2]
    report, _ = through(video, tmp_path / "o.mp4")
    assert [line.partition(": ")[2] for line in report.decisions].count("dropped, it belongs to another programme") == 2
    assert len(streams(tmp_path / "o.mp4", "audio")) == 1


@pytest.mark.shared
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_covers_stay_covers(shared: Path, tmp_path: Path, suffix: str) -> None:
    through(shared / "faults" / "cover.mkv", tmp_path / f"o{suffix}")
    with open_source(tmp_path / f"o{suffix}") as source:
        others = source.info.other_streams
        assert [(stream.codec, stream.is_cover) for stream in others if stream.kind == "video"] == [
            ("mjpeg", True),
            ("png", True),
        ]


@pytest.mark.shared
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_phone_videos_make_model_date_and_place_stay(shared: Path, tmp_path: Path, suffix: str) -> None:
    through(shared / "faults" / "iphone.mov", tmp_path / f"o{suffix}")
    with av.open(str(shared / "faults" / "iphone.mov")) as before, av.open(str(tmp_path / f"o{suffix}")) as after:
        kept = {key: value for key, value in before.metadata.items() if key.startswith("com.apple")}
        assert len(kept) == 4
        assert kept.items() <= dict(after.metadata).items()
        assert after.metadata["creation_time"][:19] == "2024-05-01T03:00:00"


@pytest.mark.shared
def test_nothing_is_reported_if_all_is_kept(shared: Path, tmp_path: Path) -> None:
    _, said = through(shared / "faults" / "srt.mkv", tmp_path / "srt.mp4")
    assert said == ()


def cues_of(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        texts = [(packet, bytes(packet)) for packet in container.demux(subtitles=0) if packet.size > 2]
        return [
            (float(packet.pts * packet.time_base), float(packet.duration * packet.time_base), data[2:].decode())
            for packet, data in texts
        ]


@pytest.mark.shared
def test_overlapping_cues_are_each_shown_at_their_own_time(shared: Path, tmp_path: Path) -> None:
    source = shared / "faults" / "overlap.mkv"
    through(source, tmp_path / "o.mp4")
    with av.open(str(source)) as container:
        wanted = [
            (float(packet.pts * packet.time_base), float((packet.pts + packet.duration) * packet.time_base),
             subtitle_text(bytes(packet), codec="ass"))
            for packet in container.demux(subtitles=0) if packet.size
        ]  # fmt: skip
    shown = cues_of(tmp_path / "o.mp4")
    for start, end, text in wanted:
        times = [(at, at + length) for at, length, said in shown if text in said.split("\n")]
        assert times, (text, shown[:6])
        assert abs(min(times)[0] - start) < 0.01, text
        assert abs(max(times)[1] - end) < 0.01, text


@pytest.mark.shared
def test_markup_and_entities_are_no_text(shared: Path, tmp_path: Path) -> None:
    through(shared / "faults" / "srt.mkv", tmp_path / "o.mp4")
    texts = "\n".join(text for _, _, text in cues_of(tmp_path / "o.mp4"))
    assert texts
    assert not any(sign in texts for sign in ("<i>", "<b>", "</", "&amp;", "&lt;", "{\\"))


def test_two_cues_of_one_start_are_one_that_says_both() -> None:
    stacked = Stacked()
    given = [*stacked.add(Cue(10, 20, "a")), *stacked.add(Cue(10, 30, "b")), *stacked.flush()]
    assert [(cue.start, cue.end, cue.text) for cue in given] == [(10, 20, "a\nb"), (20, 30, "b")]
