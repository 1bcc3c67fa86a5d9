"""Makes small media files for tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def moving_frame(index: int, *, height: int = 96, width: int = 160) -> np.ndarray:
    """uint8 RGB ``(H, W, 3)``: a gradient with a bright bar that moves four pixels a frame."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // width, y * 255 // height, 255 - x * 128 // width], axis=-1).astype(np.uint8)
    start = index * 4 % (width - 16)
    image[height // 3 : height // 2, start : start + 16] = (255, 240, 200)
    return image


def write_clip(
    path: Path,
    *,
    frames: int = 24,
    rate: int = 24,
    height: int = 96,
    width: int = 160,
    audio: bool = True,
    codec: str = "libx264",
    still: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of ``moving_frame`` with a tone of the same length."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "crf": "18"}
        sound = container.add_stream("aac", rate=44100, layout="mono") if audio else None
        for index in range(frames):
            image = moving_frame(0 if still else index, height=height, width=width)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            tone = np.sin(np.arange(44100 * frames // rate) * 2 * np.pi * 440 / 44100).astype(np.float32) * 0.1
            for start in range(0, len(tone), 1024):
                frame = av.AudioFrame.from_ndarray(tone[np.newaxis, start : start + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def loop_clip(clip: Path, path: Path, *, times: int) -> Path:
    """``clip`` played ``times`` times, without re-encoding (its video stream only; no B-frames)."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as container:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        packets = [(packet.pts, bytes(packet), packet.is_keyframe) for packet in source.demux(stream) if packet.size]
        step = packets[1][0] - packets[0][0]
        for index in range(times * len(packets)):
            _, payload, is_keyframe = packets[index % len(packets)]
            packet = av.Packet(payload)
            packet.stream, packet.time_base = copy, stream.time_base
            packet.pts = packet.dts = index * step
            packet.duration = step
            packet.is_keyframe = is_keyframe
            container.mux(packet)
    return path


def frame_times(path: Path) -> list[Fraction]:
    """The exact time of each frame, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * frame.time_base for frame in container.decode(stream)]


def audio_packets(path: Path) -> list[bytes]:
    """The payloads of the first audio stream's packets."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]
