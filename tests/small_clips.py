"""Makes small clips with PyAV, each with a chosen property that no real clip has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

_SUBTITLE_PACKETS = {"subrip": lambda text: text.encode(), "mov_text": lambda text: _counted(text.encode())}


def _counted(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


@dataclass(frozen=True)
class ClipSpec:
    """Description of a clip. ``pts`` are ticks of ``time_base``; without them ``frames`` follow at ``rate``."""

    width: int = 64
    height: int = 48
    frames: int = 10
    rate: Fraction = Fraction(25)
    time_base: Fraction = Fraction(1, 12800)
    pts: Sequence[int] | None = None
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"crf": "10", "preset": "ultrafast"})
    matrix: int = 2
    colour_range: int = 1
    primaries: int = 2
    transfer: int = 2
    sample_aspect_ratio: Fraction = Fraction(1)
    display_rotation: int = 0  # counter-clockwise, as in FFmpeg's display matrix
    hflip: bool = False
    audio_codec: str | None = None
    audio_seconds: Fraction = Fraction(2, 5)
    audio_start_seconds: Fraction = Fraction(0)
    subtitles: str | None = None
    attachment: bytes | None = None
    chapters: Sequence[tuple[Fraction, Fraction, str]] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)


def test_card(width: int, height: int, number: int) -> np.ndarray:
    """RGB ``(H, W, 3)``: red top left, green top right, blue bottom left, grey bottom right, a bar that moves.

    The corners distinguish a rotation from a mirroring; the bar distinguishes the frames.
    """
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (200, 30, 30)
    image[: height // 2, width // 2 :] = (30, 180, 30)
    image[height // 2 :, : width // 2] = (40, 40, 200)
    image[height // 2 :, width // 2 :] = (128, 128, 128)
    column = (3 * number) % max(1, width - 2)
    image[height // 2 - 2 : height // 2 + 2, column : column + 2] = 255
    return image


test_card.__test__ = False  # type: ignore[attr-defined]


def write_clip(path: Path, spec: ClipSpec) -> Path:
    """Write the clip that ``spec`` describes; the suffix of ``path`` chooses the container."""
    with av.open(str(path), "w", container_options=spec.container_options) as output:
        output.metadata.update(spec.metadata)
        video = _add_video(output, spec)
        audio: Any = output.add_stream(spec.audio_codec, rate=48000, layout="mono") if spec.audio_codec else None
        subtitles: Any = None
        if spec.subtitles:
            subtitles = output.add_mux_stream(spec.subtitles)
            subtitles.time_base = Fraction(1, 1000)
            subtitles.metadata["language"] = "ger"
        if spec.attachment is not None:
            output.add_attachment("note.ttf", "application/x-truetype-font", spec.attachment)
        output.set_chapters(
            [
                {
                    "id": number,
                    "start": round(start * 1000),
                    "end": round(end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for number, (start, end, title) in enumerate(spec.chapters)
            ]
        )
        if subtitles is not None:
            for number in range(2):
                packet = av.Packet(_SUBTITLE_PACKETS[spec.subtitles](f"line {number}"))
                packet.time_base = Fraction(1, 1000)
                packet.pts = packet.dts = 100 * number
                packet.duration = 90
                packet.stream = subtitles
                output.mux(packet)
        for frame in video_frames(spec):
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None:
            _write_audio(output, audio, spec)
    return path


def _add_video(output: Any, spec: ClipSpec) -> Any:
    stream = output.add_stream(spec.codec, rate=spec.rate)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pix_fmt
    context.time_base = stream.time_base = spec.time_base
    context.options = dict(spec.options)
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    context.colorspace, context.color_range = spec.matrix, spec.colour_range
    context.color_primaries, context.color_trc = spec.primaries, spec.transfer
    if spec.display_rotation or spec.hflip:
        stream.set_display_rotation(spec.display_rotation, hflip=spec.hflip)
    return stream


def video_frames(spec: ClipSpec) -> list[av.VideoFrame]:
    """The frames of ``write_clip`` before encoding."""
    step = round(1 / spec.rate / spec.time_base)
    stamps = spec.pts if spec.pts is not None else range(0, spec.frames * step, step)
    frames = []
    for number, pts in enumerate(stamps):
        rgb = av.VideoFrame.from_ndarray(test_card(spec.width, spec.height, number), "rgb24")
        frame = rgb.reformat(
            format=spec.pix_fmt,
            src_color_range=2,
            dst_color_range=spec.colour_range,
            dst_colorspace=spec.matrix if spec.matrix in (1, 9) else 5,
        )
        frame.pts, frame.time_base = pts, spec.time_base
        frames.append(frame)
    return frames


def _write_audio(output: Any, stream: Any, spec: ClipSpec) -> None:
    count = round(spec.audio_seconds * 48000)
    tone = (0.3 * np.sin(np.arange(count) * 2 * np.pi * 440 / 48000)).astype(np.float32)
    resampler = av.AudioResampler(
        format=stream.codec_context.format,
        layout="mono",
        rate=48000,
        frame_size=stream.codec_context.frame_size or 1024,
    )
    frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 48000, round(spec.audio_start_seconds * 48000)
    frame.time_base = Fraction(1, 48000)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        output.mux(stream.encode(part))
    output.mux(stream.encode(None))
