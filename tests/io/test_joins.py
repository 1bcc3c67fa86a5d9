"""Recordings joined in an MPEG transport stream: the parts may differ in codec and PID."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from animevid.io import open_sink, open_source
from media import moving_frame

_FRAMES = 50
#: The frames during which a recording's sound is loud.
_LOUD = 20, 30


def recording(
    path: Path,
    *,
    video: str = "libx264",
    audio: str | None = "aac",
    options: dict[str, str] | None = None,
    gop: int = 25,
    muxer: str = "mpegts",
) -> bytes:
    """Two seconds of a transport stream, or of what ``muxer`` makes."""
    with av.open(str(path), "w", format=muxer, options=options or {}) as container:
        video_stream = container.add_stream(video, rate=25)
        video_stream.width, video_stream.height, video_stream.pix_fmt = 160, 96, "yuv420p"
        video_stream.options = {"x265-params": "log-level=none"} if video == "libx265" else {}
        video_stream.codec_context.gop_size, video_stream.codec_context.max_b_frames = gop, 0
        audio_stream = container.add_stream(audio, rate=48000, layout="mono") if audio else None
        for number in range(_FRAMES):
            frame = av.VideoFrame.from_ndarray(moving_frame(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video_stream.encode(frame))
            if audio_stream is not None:
                kind = "s16p" if audio == "mp2" else "fltp"
                loud = np.sin(np.arange(1920) / 10) * (0.5 if _LOUD[0] <= number < _LOUD[1] else 0)
                tone = (loud * 32767).astype(np.int16)[None] if kind == "s16p" else loud.astype(np.float32)[None]
                piece = av.AudioFrame.from_ndarray(tone, format=kind, layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 48000, number * 1920, Fraction(1, 48000)
                container.mux(audio_stream.encode(piece))
        container.mux(video_stream.encode(None))
        if audio_stream is not None:
            container.mux(audio_stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(
    "options", [{}, {"mpegts_start_pid": "0x200"}, {"mpegts_start_pid": "0x200", "mpegts_service_id": "77"}]
)
def test_a_part_in_another_codec_is_decoded_and_its_sound_goes_on_in_the_first_codecs_track(
    tmp_path: Path, options: dict[str, str]
) -> None:
    joined, target = tmp_path / "joined.ts", tmp_path / "out.mkv"
    second = recording(tmp_path / "b.ts", video="mpeg2video", audio="mp2", options=options)
    joined.write_bytes(recording(tmp_path / "a.ts") + second)
    with open_source(joined) as source, open_sink(target, template=source) as sink:
        shown = []
        for frame in source:
            shown.append(frame.pts_seconds - source.origin_seconds)
            sink.write(frame)
        assert not any("dropped" in line for line in sink.finish().decisions)
        assert sum("mpeg2video in place of h264 from 2.0" in line for line in source.notices_so_far) == 1
        assert (
            sum("the sound of stream 1 is mp2 in place of aac from 2." in line for line in source.notices_so_far) == 1
        )
    assert len(shown) >= 2 * _FRAMES - 2
    assert shown == sorted(shown)
    assert abs(shown[-1] - Fraction(99, 25)) < Fraction(1, 5)
    with av.open(str(target)) as container:
        assert 185 < sum(bool(packet.size) for packet in container.demux(audio=0)) < 191


@pytest.mark.parametrize("codecs", [("libx264", "libx265"), ("libx265", "libx264"), ("libx264", "mpeg2video")])
def test_a_part_in_another_codec_begins_with_its_first_key_frame(tmp_path: Path, codecs: tuple[str, str]) -> None:
    """Its only one: without it nothing of the part can be decoded."""
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(recording(tmp_path / "a.ts", video=codec, gop=250) for codec in codecs))
    with open_source(joined) as source:
        shown = [frame.pts_seconds - source.origin_seconds for frame in source]
    assert len(shown) >= 2 * _FRAMES - 2
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("codecs", "suffix"),
    [
        (("aac", "ac3"), "mp4"),  # the copied packets have ADTS headers, which MP4 does not hold
        (("aac", "ac3", "aac"), "ts"),
        (("mp2", "aac"), "mkv"),
        (("ac3", "mp2", "ac3"), "mov"),
        (("mp2", "aac"), "webm"),  # all of it is re-encoded, and the decoders' sample formats differ
    ],
)
def test_sound_in_another_codec_is_heard_at_its_time(tmp_path: Path, codecs: tuple[str, ...], suffix: str) -> None:
    joined, target = tmp_path / "joined.ts", tmp_path / f"out.{suffix}"
    joined.write_bytes(b"".join(recording(tmp_path / "a.ts", audio=codec) for codec in codecs))
    with open_source(joined) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        assert sink.finish().packets_lost == 0
        assert any("that part of it is re-encoded" in line for line in source.notices_so_far)
    loud, heard = [], []
    with av.open(str(target)) as container:
        assert len(container.streams.audio) == 1
        begin = min(stream.start_time * stream.time_base for stream in container.streams)
        for frame in container.decode(audio=0):
            heard.append(float(frame.time))
            if np.abs(frame.to_ndarray().astype(np.float64)).max() > (3000 if "s16" in frame.format.name else 0.1):
                loud.append(float(frame.time - begin))
    assert np.diff(heard).max() < 1.6 * np.median(np.diff(heard))  # no hole where they meet
    steps = np.diff(loud)
    starts = [loud[0], *(time for time, step in zip(loud[1:], steps, strict=True) if step > 0.5)]
    assert starts == pytest.approx([2 * part + 0.8 for part in range(len(codecs))], abs=0.07)
    assert len(loud) == pytest.approx(0.4 * len(codecs) / float(np.median(steps)), abs=1.5 * len(codecs))


def test_sound_of_another_codec_in_a_program_stream_begins_with_its_part(tmp_path: Path) -> None:
    """There it is a stream of its own, whose first packets come before the part's first frame."""
    joined, target = tmp_path / "joined.vob", tmp_path / "out.mkv"
    parts = [recording(tmp_path / "a.vob", video="mpeg2video", audio=codec, muxer="vob") for codec in ("mp2", "ac3")]
    first = parts[1].index(b"\0\0\1\xbd")  # its sound's first packet comes first
    packs = [parts[1][at : at + 2048] for at in range(0, len(parts[1]), 2048)]
    packs.insert(0, packs.pop(first // 2048))
    joined.write_bytes(b"".join((parts[0], *packs)))
    with open_source(joined) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        sink.finish()
    begins: dict[str, float] = {}
    with av.open(str(target)) as container:
        for packet in container.demux():
            if packet.size:
                begins.setdefault(packet.stream.codec_context.name, float(packet.pts * packet.time_base))
    assert begins["ac3"] == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_joined_flv_becomes_a_video_and_a_sound(tmp_path: Path, suffix: str) -> None:
    joined, target = tmp_path / "joined.flv", tmp_path / f"out.{suffix}"
    part = recording(tmp_path / "a.flv", muxer="flv")
    joined.write_bytes(part + part[13:])  # a header begins a file
    with open_source(joined) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        sink.finish()
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert 185 < sum(bool(packet.size) for packet in container.demux(audio=0)) < 191


def test_a_joined_flv_whose_codecs_change_is_reported_as_read_in_part(tmp_path: Path) -> None:
    joined = tmp_path / "joined.flv"
    parts = [recording(tmp_path / "a.flv", video=codec, muxer="flv") for codec in ("libx264", "flv")]
    joined.write_bytes(parts[0] + parts[1][13:])
    for path, lines in ((joined, 1), (tmp_path / "a.flv", 0)):
        with open_source(path) as source:
            assert len(list(source)) == _FRAMES
            assert (
                sum("% of the file hold no video in its first codec" in line for line in source.notices_so_far) == lines
            )


def test_a_part_with_other_pids_goes_on_the_same_streams(tmp_path: Path) -> None:
    joined, target = tmp_path / "joined.ts", tmp_path / "out.mp4"
    second = recording(tmp_path / "b.ts", options={"mpegts_start_pid": "0x200"})
    joined.write_bytes(recording(tmp_path / "a.ts") + second)
    with open_source(joined) as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        assert sink.finish().decisions == ("audio stream 1 (aac): copied",)
    with av.open(str(target)) as container:
        assert container.streams.video[0].frames >= 2 * _FRAMES - 2
        assert container.streams.audio[0].frames > 170


def test_streams_that_begin_after_ffmpeg_has_looked_for_them_are_reported(tmp_path: Path) -> None:
    silent = recording(tmp_path / "a.ts", audio=None)
    joined = tmp_path / "joined.ts"
    late = recording(tmp_path / "b.ts", options={"pat_period": "20"})
    padding = (b"\x47\x1f\xff\x10" + bytes(184)) * 30_000
    joined.write_bytes(silent + padding + late + padding[: 188 * 4_000] + silent)
    with open_source(joined) as source:
        assert len(list(source.passing_packets())) > _FRAMES
        assert any("PID 257, which its beginning does not list" in line for line in source.notices_so_far)
