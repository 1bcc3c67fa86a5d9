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


def recording(
    path: Path, *, video: str = "libx264", audio: str | None = "aac", options: dict[str, str] | None = None
) -> bytes:
    """Two seconds of a transport stream."""
    with av.open(str(path), "w", format="mpegts", options=options or {}) as container:
        video_stream = container.add_stream(video, rate=25)
        video_stream.width, video_stream.height, video_stream.pix_fmt = 160, 96, "yuv420p"
        video_stream.codec_context.gop_size, video_stream.codec_context.max_b_frames = 25, 0
        audio_stream = container.add_stream(audio, rate=48000, layout="mono") if audio else None
        for number in range(_FRAMES):
            frame = av.VideoFrame.from_ndarray(moving_frame(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video_stream.encode(frame))
            if audio_stream is not None:
                kind = "s16p" if audio == "mp2" else "fltp"
                tone = np.zeros((1, 1920), np.int16 if kind == "s16p" else np.float32)
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
def test_a_part_in_another_codec_is_decoded_and_its_sound_kept_out_of_the_first_codecs_track(
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
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
        assert 80 < len(packets) < 100
        container.seek(0)
        assert sum(frame.samples for frame in container.decode(audio=0)) > 95_000


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


def test_streams_that_begin_after_ffmpeg_has_looked_for_them_are_said(tmp_path: Path) -> None:
    silent = recording(tmp_path / "a.ts", audio=None)
    joined = tmp_path / "joined.ts"
    late = recording(tmp_path / "b.ts", options={"pat_period": "20"})
    padding = (b"\x47\x1f\xff\x10" + bytes(184)) * 30_000
    joined.write_bytes(silent + padding + late + padding[: 188 * 4_000] + silent)
    with open_source(joined) as source:
        assert len(list(source.passing_packets())) > _FRAMES
        assert any("PID 257, which its beginning does not list" in line for line in source.notices_so_far)
