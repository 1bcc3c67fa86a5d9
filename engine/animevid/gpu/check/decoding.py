"""NVDEC against FFmpeg's own decoders: H.264 in NV12 and HEVC in P010, code for code."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av

from animevid.gpu.check.findings import CheckOptions, Finding, Skipped, distance, worst
from animevid.gpu.check.frames import DEMO_CLIP
from animevid.io import VideoSource, open_source
from animevid.pixels.device import on_host

_FRAMES = 60


def section(options: CheckOptions) -> Iterator[Finding]:
    """The demo clip, and its first frames encoded here as HEVC with 10 bits."""
    with tempfile.TemporaryDirectory(prefix="animevid-check-") as folder:
        clips = [("H.264, 8 bit", DEMO_CLIP)]
        try:
            clips.append(("HEVC, 10 bit", _ten_bit_clip(Path(folder) / "ten-bit.mp4")))
        except (av.FFmpegError, ValueError) as error:
            yield Finding(f"HEVC, 10 bit: this FFmpeg does not encode it ({error})")
        found = [_compared(*clip) for clip in clips]
    if all(finding.agrees is None for finding in found):
        raise Skipped("; ".join(finding.text for finding in found))
    yield from found


def _compared(name: str, clip: Path) -> Finding:
    with open_source(clip) as plain, VideoSource(clip, device_index=0) as decoded:
        if not decoded.is_on_device:
            return Finding(f"{name}: {'; '.join(decoded.info.notices) or 'decoded on the CPU'}")
        apart = []
        for one, other in zip(decoded, plain, strict=True):
            apart.append(distance(replace(on_host(one.planes), colour=other.planes.colour), other.planes))
    # The standards define the exact output of decoders.
    return Finding(f"{name}: {len(apart)} frames, {worst(apart)}", agrees=worst(apart).largest == 0)


def _ten_bit_clip(path: Path) -> Path:
    with av.open(str(DEMO_CLIP)) as source, av.open(str(path), "w") as target:
        first = source.streams.video[0]
        stream = target.add_stream("libx265", rate=first.average_rate or 25)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p10le"
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        for index, frame in enumerate(source.decode(first)):
            if index == _FRAMES:
                break
            target.mux(stream.encode(frame.reformat(format="yuv420p10le")))
        target.mux(stream.encode(None))
    return path
