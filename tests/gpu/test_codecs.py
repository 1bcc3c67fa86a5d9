"""Decoder and encoder on the GPU (NVDEC, NVENC), as far as they can be tested without one.

FFmpeg itself opens CUDA on the fake driver, so the frames are real CUDA frames of FFmpeg. Instead of NVDEC, a decoder
on the CPU uploads its frames (asynchronously, on the default stream); instead of NVENC, frames are downloaded and
encoded by FFV1.
"""

from __future__ import annotations

import io
import logging
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from animevid.cli import main
from animevid.gpu import codecs, comparer, slots
from animevid.gpu import pool as pool_module
from animevid.gpu.codecs import DeviceWriter, why_no_cuda
from animevid.gpu.driver import Device, load_driver, open_device
from animevid.gpu.kernels import surface_layout
from animevid.gpu.pool import FramePool
from animevid.io import VideoSource, open_source
from animevid.io.planes_io import PlaneReader
from animevid.io.sinks import container as container_sink
from animevid.pixels import Colour, PlanesYUV420
from animevid.pixels.device import DevicePlanes, on_host
from gpu import fake_tensorrt
from gpu.cpu_kernels import HeldFrame
from gpu.fake_gpu import FakeGpu, in_child
from gpu.test_on_device import CODES, _style
from media import write_clip
from pixels.frames import furthest, noise

pytest.importorskip("cuda.core")


class FakeNvdec:
    """Uploads the frames of FFmpeg's CPU decoder as NVDEC would output them."""

    def __init__(self) -> None:
        self.device: Device | None = None
        self.pool: FramePool | None = None
        self.writer: DeviceWriter | None = None
        self.kept: list[np.ndarray] = []
        self.frames = self.max_at_once = 0
        #: The decoder's options before it was opened; FFmpeg removes the known ones then.
        self.asked: dict[str, str] | None = None

    def upload(self, frame: av.VideoFrame, bit_depth: int) -> av.VideoFrame:
        if self.device is None:
            self.device = open_device()
            layout = surface_layout(frame.height, frame.width, bit_depth=bit_depth, pixel_format="nv12")
            self.pool, self.writer = FramePool(self.device, layout), DeviceWriter(device_index=0)
        self.device.make_current()  # the decoder may run in another thread than last time
        lent = self.pool.take()
        memory = np.zeros(self.pool.layout.total_bytes, np.uint8)
        packed = frame.reformat(format="nv12" if bit_depth == 8 else "p010le")
        for plane, offset, pitch in zip(
            packed.planes, self.pool.layout.offsets, self.pool.layout.pitches, strict=False
        ):
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            width = frame.width * self.pool.layout.sample_bytes
            target = memory[offset : offset + pitch * plane.height].reshape(plane.height, pitch)
            target[:, :width] = rows[:, :width]
        self.kept.append(memory)
        # On the default stream, like NVDEC; the upload is not finished when the frame is returned.
        self.device.call("cuMemcpyHtoDAsync", lent.address, memory.ctypes.data, memory.nbytes, 0)
        made = self.writer.write(lent.planes(Colour()))
        made.pts = frame.pts
        made.colorspace, made.color_range = frame.colorspace, frame.color_range
        self.frames += 1
        return made


class FakeNvenc:
    """A stream whose encoder accepts CUDA frames and downloads them."""

    def __init__(self, stream: Any) -> None:
        object.__setattr__(self, "_stream", stream)
        object.__setattr__(self, "on_device", 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._stream, name, value)

    def encode(self, frame: Any) -> Any:
        if frame is None:
            return self._stream.encode(None)
        assert frame.format.name == "cuda"
        FakeNvenc.encoded += 1
        plain = frame.reformat(format=frame.sw_format.name).reformat(format=self._stream.codec_context.pix_fmt)
        plain.pts, plain.time_base = frame.pts, frame.time_base
        return self._stream.encode(plain)

    encoded = 0


def _install_nvdec(bit_depth: int = 8) -> FakeNvdec:
    fake = FakeNvdec()
    codecs.why_no_cuda = lambda index: None
    codecs.cuda_decoding = lambda index: None
    decode = VideoSource._decode_packet

    def decode_packet(self: VideoSource, packet: Any) -> list[Any]:
        decoder = self._stream.codec_context  # the one that ``_decoder`` starts with
        if not decoder.is_open:
            fake.asked = dict(decoder.options or {})
        frames = decode(self, packet)
        if not self._device_asked:
            return frames
        fake.max_at_once = max(fake.max_at_once, len(frames))
        return [fake.upload(frame, bit_depth) for frame in frames]

    VideoSource._decode_packet = decode_packet
    return fake


def _install_nvenc() -> None:
    container_sink.VideoSink.encodes_on_device = property(lambda self: True)
    add = container_sink.VideoSink._add_video_stream

    def add_stream(self: Any, plan: Any, frame_format: Any, *, device_index: int | None) -> None:
        add(self, plan, frame_format, device_index=None)
        if device_index is not None:
            self._stream = FakeNvenc(self._stream)

    container_sink.VideoSink._add_video_stream = add_stream


def _start(fake_driver: Path, folder: Path, *, seed: int = 1) -> FakeGpu:
    gpu = FakeGpu(fake_driver)
    gpu.seed(seed)
    fake_tensorrt.install()
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    return gpu


def _run(*arguments: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def _convert(clip: Path, target: Path, style: Path, *options: object) -> tuple[int, str, str]:
    return _run(clip, target, "--style", style, "--codec", "ffv1", "--no-deflicker", *options)


def _apart(one: Path, other: Path) -> int:
    with open_source(one) as first, open_source(other) as second:
        pairs = [(a.planes, b.planes) for a, b in zip(first, second, strict=True)]
    assert pairs
    return max(furthest(replace(a, colour=b.colour), b) for a, b in pairs)


@pytest.mark.parametrize("encoder", ["cpu", "nvenc"])
@pytest.mark.parametrize("decoder", ["cpu", "nvdec"])
@pytest.mark.parametrize("style", ["packed", "rgb"])
@in_child
def test_frames_stay_on_the_device_from_decoder_to_encoder_where_those_are_there(
    fake_driver, tmp_path, decoder, encoder, style
):
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=30), _style(tmp_path, style)
    assert _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime", "--every-frame")[0] == 0
    nvdec = _install_nvdec() if decoder == "nvdec" else None
    if encoder == "nvenc":
        _install_nvenc()
    for seed in range(3):
        gpu.seed(seed)
        options = ("--backend", "tensorrt", "--hardware", "auto", "--overwrite")
        code, out, err = _convert(clip, tmp_path / "gpu.mkv", file, *options)
        assert code == 0, err
        assert "30 frames in, 30 out" in out
        assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES
    assert FakeNvenc.encoded == (90 if encoder == "nvenc" else 0)
    if nvdec is not None:
        assert nvdec.frames >= 90
    else:
        assert "frames go through the host's memory" in out + err


def _reused(out: str) -> int:
    found = re.search(r"(\d+) unchanged and reused", out)
    return int(found.group(1)) if found else 0


@pytest.mark.parametrize(("still", "encoder"), [(True, "nvenc"), (False, "cpu")], ids=["still", "moving"])
@in_child
def test_a_video_that_nvdec_decodes_settles_and_skips_what_did_not_change_as_on_the_cpu(
    fake_driver, tmp_path, still, encoder
):
    gpu = _start(fake_driver, tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", frames=9, audio=False, still=still)
    asked = ("--style", _style(tmp_path, "packed"), "--codec", "ffv1", "--overwrite")
    code, out, err = _run(clip, tmp_path / "cpu.mkv", *asked, "--backend", "onnxruntime")
    assert (code, _reused(out)) == (0, 8 if still else 0), err
    nvdec = _install_nvdec()
    if encoder == "nvenc":
        _install_nvenc()
    for seed in range(2):
        gpu.seed(seed)
        options = ("--backend", "tensorrt", "--hardware", "auto")
        code, out, err = _run(clip, tmp_path / "gpu.mkv", *asked, *options)
        assert (code, _reused(out)) == (0, 8 if still else 0), err
        assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES
    assert nvdec.frames >= 18
    assert FakeNvenc.encoded == (18 if encoder == "nvenc" else 0)
    assert (gpu.memory_used > 0) == (nvdec.pool is not None)  # only that of the fake decoder remains


@in_child
def test_frames_that_are_compared_before_they_are_decoded_are_told_apart_wrongly(fake_driver, tmp_path):
    """Shows that the test above can fail."""
    gpu = _start(fake_driver, tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", frames=9, audio=False, still=True)
    _install_nvdec()
    call = Device.call
    unordered = lambda self, name, *args: None if name == "cuStreamWaitEvent" else call(self, name, *args)  # noqa: E731
    comparer.FrameComparer.has_changed = _with(comparer.FrameComparer.has_changed, unordered)
    options = ("--backend", "tensorrt", "--hardware", "auto", "--overwrite", "--codec", "ffv1")

    def reused(seed: int) -> int:
        gpu.seed(seed)
        return _reused(_run(clip, tmp_path / "gpu.mkv", "--style", _style(tmp_path, "packed"), *options)[1])

    assert any(reused(seed) != 8 for seed in range(20))


def _with(function: Any, call: Any) -> Any:
    """``function``, with ``Device.call`` replaced during the call."""

    def run(*args: Any, **options: Any) -> Any:
        before, Device.call = Device.call, call
        try:
            return function(*args, **options)
        finally:
            Device.call = before

    return run


@in_child
def test_without_waiting_for_the_decoders_stream_a_frame_is_wrong(fake_driver, tmp_path):
    """Shows that the test above can fail."""
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=11), _style(tmp_path, "packed")
    _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime", "--every-frame")
    _install_nvdec()
    slots.Slot.order_after = lambda self, device, stream: None
    # The comparison of frames would wait for the decoder.
    options = ("--backend", "tensorrt", "--hardware", "auto", "--overwrite", "--every-frame")

    def is_wrong(seed: int) -> bool:
        gpu.seed(seed)
        assert _convert(clip, tmp_path / "gpu.mkv", file, *options)[0] == 0
        return _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") > CODES

    assert any(map(is_wrong, range(20)))


@in_child
def test_keeping_every_frame_takes_no_surface_from_the_decoder(fake_driver, tmp_path):
    FakeGpu(fake_driver)
    clip = write_clip(tmp_path / "clip.mp4", frames=20)
    nvdec = _install_nvdec()
    with VideoSource(clip, device_index=0) as opened, open_source(clip) as plain:
        assert nvdec.asked is not None
        assert "extra_hw_frames" not in nvdec.asked
        kept = [frame.planes for frame in opened]
        assert all(isinstance(planes, DevicePlanes) for planes in kept)
        for planes, frame in zip(kept, plain, strict=True):
            assert furthest(replace(on_host(planes), colour=frame.planes.colour), frame.planes) == 0


@pytest.mark.parametrize("bit_depth", [8, 10])
@in_child
def test_ffmpeg_reads_lent_memory_where_it_is_and_gives_it_back(fake_driver, bit_depth):
    FakeGpu(fake_driver)
    original = noise(22, 38, bit_depth=bit_depth)
    with open_device() as device:
        pool = FramePool(device, surface_layout(22, 38, bit_depth=bit_depth, pixel_format="nv12"))
        held = HeldFrame.holding(original, pixel_format="nv12", pitch_multiple=256)
        lent = pool.take()
        source_address = held.memory.ctypes.data + HeldFrame.GUARD
        device.call("cuMemcpyHtoDAsync", lent.address, source_address, pool.layout.total_bytes, 0)
        device.call("cuStreamSynchronize", 0)
        planes = lent.planes(original.colour)
        assert isinstance(planes, DevicePlanes)
        assert furthest(on_host(planes), original) == 0
        frame = DeviceWriter(device_index=0).write(planes)
        plain = frame.reformat(format=frame.sw_format.name)
        luma = np.frombuffer(plain.planes[0], np.uint8 if bit_depth == 8 else np.uint16)
        luma = luma.reshape(22, -1)[:, :38] >> (0 if bit_depth == 8 else 6)  # P010: in the high bits
        assert (luma == original.y).all()
        assert furthest(replace(PlaneReader().read(frame), colour=original.colour), original) == 0
        address = lent.address
        del lent, planes
        assert pool.take().address != address  # FFmpeg still has a reference
        assert pool_module._HELD
        del frame, plain
        assert not pool_module._HELD
        assert address in (pool.take().address, pool.take().address)
        pool.close()


@in_child
def test_a_stream_that_nvdec_does_not_decode_goes_through_the_host_and_one_line_says_why(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mkv", frames=3, codec="ffv1"), _style(tmp_path, "packed")
    _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime", "--every-frame")
    code, out, err = _convert(clip, tmp_path / "gpu.mkv", file, "--backend", "tensorrt", "--hardware", "auto")
    assert code == 0, err
    (line,) = (line for line in (out + err).splitlines() if "through the host" in line)
    assert "NVDEC does not decode this stream" in line
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_without_a_gpu_a_source_that_is_asked_to_decode_on_one_decodes_here_and_says_why(tmp_path, caplog):
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    with caplog.at_level(logging.WARNING), VideoSource(clip, device_index=0) as opened:
        assert not opened.is_on_device
        (notice,) = opened.info.notices
        read = [frame.planes for frame in opened]
    assert "FFmpeg opens no CUDA device" in notice
    assert "\n" not in notice
    assert len(read) == 3
    assert not any(isinstance(planes, DevicePlanes) for planes in read)
    with open_source(clip) as plain:
        for planes, frame in zip(read, plain, strict=True):
            assert furthest(planes, frame.planes) == 0


@pytest.mark.parametrize("torch_was_first", [True, False])
@in_child
def test_ffmpeg_takes_the_primary_context_opened_by_any_library(fake_driver, torch_was_first):
    """FFmpeg refuses a primary context with other flags ("incompatible flags") if it requests flags itself."""
    FakeGpu(fake_driver)
    driver = load_driver()
    if torch_was_first:  # it requests no flags
        driver.cuDevicePrimaryCtxRetain(driver.cuDeviceGet(0)[1])
    assert why_no_cuda(0) is None
    primary = int(codecs._devices[0].context)
    original = noise(22, 38)
    with open_device() as device:
        assert int(device.context) == primary
        pool = FramePool(device, surface_layout(22, 38, bit_depth=8, pixel_format="nv12"))
        frame = DeviceWriter(device_index=0).write(pool.take().planes(original.colour))
        assert frame.reformat(format=frame.sw_format.name).format.name == "nv12"
        del frame
        pool.close()
    assert why_no_cuda(0) is None  # FFmpeg did not change the context


def test_planes_of_another_frame_are_of_the_host():
    frame = noise(8, 8)
    on_device = DevicePlanes(frame.y, frame.u, frame.v, 8, frame.colour, None, None, (), lambda: frame)
    assert on_host(on_device) is frame
    assert on_host(frame) is frame
    other = on_device.with_planes(frame.y, frame.u, frame.v)
    assert type(other) is PlanesYUV420
