"""Hours of video, wrapping clocks, files beyond 4 GB, many frames: times stay exact and memory constant.

Each test has a short form and a full one, which takes minutes: ``ANIMEVID_LONG=1``.
"""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from animevid.jobs import Job, open_conversion
from animevid.jobs.packets import PacketWriter, read_frame_format, read_packets
from jobs.conftest import look
from media import loop_clip

LONG = (
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("ANIMEVID_LONG"), reason="takes minutes: ANIMEVID_LONG=1"),
)
#: FFmpeg keeps the index of an MP4 file in memory until the end: about 70 bytes per frame.
GROWTH_BYTES = 48 << 20


class Memory:
    """Samples of this process's memory."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def __call__(self, progress: object = None) -> None:
        self.bytes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    @property
    def growth_bytes(self) -> int:
        """The peak of the last three quarters minus the peak of the first quarter."""
        first = len(self.bytes) // 4 + 1
        return max(self.bytes) - max(self.bytes[:first])


def convert(src, dst, options, **how) -> Memory:
    memory = Memory()
    with open_conversion(src, dst, options, **how) as conversion:
        conversion.run(on_progress=memory)
    memory()
    print(f"{len(memory.bytes)} looks, {max(memory.bytes) / 1e6:.0f} MB, grown by {memory.growth_bytes / 1e6:.1f} MB")
    return memory


def frame_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(packet.pts * packet.time_base for packet in container.demux(stream) if packet.size)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize(
    ("rate", "minutes"), [(Fraction(5000, 1001), 3), pytest.param(Fraction(30000, 1001), 120, marks=LONG)]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_of_hours_keeps_its_times_and_its_memory(rate, minutes, suffix, make_clip, options, tmp_path):
    ticks, count = Fraction(1, rate.numerator), 100
    clip = make_clip(
        "tiny.mp4", width=32, height=32, frames=count, rate=rate, time_base=ticks, options={"g": "50", "bf": "0"}
    )
    times = int(minutes * 60 * rate / count)
    video = loop_clip(clip, tmp_path / "video.mp4", times=times)
    dst = tmp_path / f"out{suffix}"
    memory = convert(video, dst, options, resumable=True)
    ends = Fraction(1, 1000) / 2 if suffix == ".mkv" else 0  # Matroska counts milliseconds
    found = frame_times(dst)
    assert len(found) == times * count
    assert max(abs(seconds - number / rate) for number, seconds in enumerate(found)) <= ends
    assert memory.growth_bytes < GROWTH_BYTES


def test_a_clock_of_33_bits_that_wraps_goes_on(make_clip, options, tmp_path):
    """MPEG-TS time stamps wrap every 26.5 hours: here after 3.7 s."""
    how = {"frames": 200, "options": {"g": "25", "bf": "2"}, "audio_codec": "aac", "audio_seconds": Fraction(8)}
    plain = make_clip("video.ts", **how)
    wraps = make_clip("video.ts", **how, container_options={"output_ts_offset": "95440"})
    with av.open(str(wraps), options={"correct_ts_overflow": "0"}) as container:
        stamps = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
        assert min(stamps) < 2**32 < max(stamps), "the clip does not wrap"
    videos = []
    for src in (plain, wraps):
        convert(src, tmp_path / f"{len(videos)}.mp4", options)
        videos.append(look(tmp_path / f"{len(videos)}.mp4"))
    assert videos[0].shown == videos[1].shown == [videos[0].shown[0] + 3600 * number for number in range(200)]
    assert videos[0].packets == videos[1].packets


def test_a_video_beyond_4_gb_is_the_same_video(make_clip, options, tmp_path):
    how = {"frames": 200, "options": {"g": "10", "bf": "2"}, "audio_codec": "aac", "audio_seconds": Fraction(8)}
    clip, video = make_clip("video.mp4", **how), tmp_path / "video.mp4"
    write_beyond_4_gb(clip, video)
    assert video.stat().st_size > 5 << 30
    for src, dst in ((clip, "small.mp4"), (video, "large.mp4")):
        convert(src, tmp_path / dst, options, resumable=True, segment_seconds=Fraction(1))
    assert (tmp_path / "small.mp4").read_bytes() == (tmp_path / "large.mp4").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=LONG)])
def test_frames_without_end_go_from_a_gif_to_pngs_and_back(count, options, tmp_path):
    gif, folder, back = tmp_path / "in.gif", tmp_path / "pngs", tmp_path / "out.gif"
    times = write_gif(gif, count)
    assert frame_times(gif) == times
    assert convert(gif, folder, options).growth_bytes < GROWTH_BYTES
    assert len(list(folder.iterdir())) == count
    assert convert(folder, back, options).growth_bytes < GROWTH_BYTES
    assert len(frame_times(back)) == count
    video = tmp_path / "out.mp4"
    assert convert(gif, video, options).growth_bytes < GROWTH_BYTES
    assert frame_times(video) == times


@pytest.mark.parametrize("gigabytes", [pytest.param(5, marks=LONG)])
def test_an_output_beyond_4_gb_is_whole(gigabytes, make_clip, options, tmp_path):
    """Its frames cannot be compressed."""
    rate = Fraction(4)
    clip = make_clip("busy.mp4", width=64, height=48, frames=480, rate=rate, options={"g": "20", "bf": "0"})
    dst = tmp_path / "out.mp4"
    with open_conversion(clip, dst, options, resumable=True) as job:
        assert isinstance(job, Job)
        add = job.add

        def pad(segment):
            """Add a filler NAL unit, which decoders skip, to each frame."""
            path, packets = job.path_of(segment.index), []
            packets = list(read_packets(path))
            filler = gigabytes * 10**9 // 480
            with PacketWriter(path, frame_format=read_frame_format(path)) as writer:
                for coded in packets:
                    nal = b"\x0c" + b"\xff" * filler + b"\x80"
                    packet = av.Packet(coded.payload + struct.pack(">I", len(nal)) + nal)
                    packet.pts, packet.dts, packet.duration = coded.pts, coded.dts, coded.duration
                    packet.is_keyframe = coded.is_key_frame
                    writer.write(packet)
                digest = writer.publish()
            add(replace(segment, bytes=writer.bytes, checksum=digest))

        job.add = pad
        job.run()
    assert dst.stat().st_size > 4 << 30
    assert frame_times(dst) == [number / rate for number in range(480)]
    with av.open(str(dst)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 480


def write_beyond_4_gb(clip: Path, path: Path) -> None:
    """``clip`` with its media data after a sparse hole of 5 GB, which takes no disk space: all offsets need 64 bits."""
    data, hole = clip.read_bytes(), 5 << 30
    boxes = {kind: (start, end) for kind, start, end in boxes_of(data, 0, len(data))}
    media, index = boxes[b"mdat"], boxes[b"moov"]
    before = data[: media[0]]
    with path.open("wb") as file:
        file.write(before + struct.pack(">I4sQ", 1, b"free", hole))
        file.seek(len(before) + hole)
        file.write(data[media[0] : media[1]])
        file.write(with_long_offsets(data[index[0] : index[1]], shift=hole))


def boxes_of(data: bytes, start: int, end: int):
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, start + size
        start += size


def with_long_offsets(box: bytes, *, shift: int) -> bytes:
    """A box of an MP4 file's index with 64-bit offsets, increased by ``shift``."""
    kind = box[4:8]
    if kind == b"stco":
        count = struct.unpack_from(">I", box, 12)[0]
        offsets = struct.unpack_from(f">{count}I", box, 16)
        body = box[8:16] + struct.pack(f">{count}Q", *(offset + shift for offset in offsets))
        kind = b"co64"
    elif kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        parts = (box[start:end] for _, start, end in boxes_of(box, 8, len(box)))
        body = b"".join(with_long_offsets(part, shift=shift) for part in parts)
    else:
        return box
    return struct.pack(">I4s", len(body) + 8, kind) + body


def write_gif(path: Path, count: int) -> list[Fraction]:
    """Write ``count`` small frames of 20 to 40 ms each; returns their times."""
    ticks, times = 0, []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=100)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb8"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        for number in range(count):
            image = np.full((16, 16, 3), number * 37 % 256, np.uint8)
            image[number % 16] = 255 - image[0, 0]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="rgb8")
            frame.pts, frame.time_base = ticks, Fraction(1, 100)
            times.append(Fraction(ticks, 100))
            ticks += 2 + number % 3
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return times
