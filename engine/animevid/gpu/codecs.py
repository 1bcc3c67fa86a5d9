"""Frames that FFmpeg keeps in a GPU's memory: decoded by NVDEC, or to be encoded by NVENC.

NVDEC has room for 32 surfaces, and FFmpeg asks for as many as a stream refers back to and a few more. What it hands out
are copies of its own in device memory (``AV_HWACCEL_FLAG_UNSAFE_OUTPUT`` is never set), so whoever keeps a frame
takes no surface from the decoder: nothing is asked for on top (``extra_hw_frames``), and nothing is counted.
"""

from __future__ import annotations

import threading
from typing import Any

import av
from av.codec.hwaccel import HWAccel

from animevid.errors import AnimevidError
from animevid.gpu.driver import Device, open_device
from animevid.pixels.colour import Colour
from animevid.pixels.device import CUDA, DevicePlanes, device_planes, is_on_device, software_format

#: What lies in CUDA frames that our kernels read: bits a sample.
_BIT_DEPTHS = {"nv12": 8, "p010le": 10}
#: FFmpeg refuses a primary context that waits in another way than its own ("incompatible flags"): torch's, say, that
#: was there first. It takes the context that is current as it is.
_CURRENT_CONTEXT: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}

#: FFmpeg does not retain the context that it finds current, so it stays until the process ends.
_devices: dict[int, Device] = {}
_opening = threading.Lock()


def cuda_decoding(device_index: int) -> HWAccel:
    """For ``av.open`` in this thread: decode with NVDEC into the device's primary context, and leave it there.

    Args:
        device_index: which CUDA device, counted from 0.

    Raises:
        BackendError, DeviceError: the device cannot be opened.
    """
    _enter_primary_context(device_index)
    return HWAccel(CUDA, device=str(device_index), is_hw_owned=True, options=_CURRENT_CONTEXT)


def cuda_encoding(device_index: int) -> HWAccel:
    """For ``add_stream`` in this thread: an encoder that is fed from memory of the device's primary context.

    Args:
        device_index: which CUDA device, counted from 0.

    Raises:
        BackendError, DeviceError: the device cannot be opened.
    """
    _enter_primary_context(device_index)
    return HWAccel(CUDA, device=str(device_index), options=_CURRENT_CONTEXT)


def why_no_cuda(device_index: int) -> str | None:
    """Why FFmpeg cannot open the device, in a few words; ``None`` if it can."""
    try:
        cuda_decoding(device_index).create(av.Codec("h264", "r"))
    except (av.FFmpegError, NotImplementedError, OSError, ValueError, AnimevidError) as error:
        return f"FFmpeg opens no CUDA device: {getattr(error, 'strerror', None) or error}"
    return None


def why_not_on_device(frame: av.VideoFrame) -> str | None:
    """Why the kernels cannot read ``frame`` where it lies; ``None`` if they can."""
    if not is_on_device(frame):
        return "NVDEC does not decode this stream"
    if software_format(frame).name not in _BIT_DEPTHS:
        return f"frames are {software_format(frame).name} in the GPU's memory"
    if frame.width % 2 or frame.height % 2:
        return f"a frame of {frame.width}x{frame.height} is odd"
    return None


def planes_on_device(frame: av.VideoFrame, *, colour: Colour, download: Any) -> DevicePlanes:
    """The frame of a CUDA ``frame`` where it lies; ``download(frame)`` gives it as planes of the host."""
    return device_planes(
        tuple(frame.planes), height=frame.height, width=frame.width, colour=colour, owner=frame,
        bit_depth=_BIT_DEPTHS[software_format(frame).name], download=lambda: download(frame),
    )  # fmt: skip


class DeviceWriter:
    """Frames on a GPU as frames for an encoder that reads them there."""

    def __init__(self, *, device_index: int) -> None:
        from av.video.frame import CudaContext

        self._index = device_index
        self._context = CudaContext(device_id=device_index, primary_ctx=False, current_ctx=True)

    def write(self, planes: DevicePlanes) -> av.VideoFrame:
        """A frame over the memory of ``planes``, which the encoder keeps for as long as it reads it."""
        _enter_primary_context(self._index)
        return av.VideoFrame.from_dlpack(
            planes.surfaces, format=encoder_format(planes.bit_depth), width=planes.width, height=planes.height,
            cuda_context=self._context,
        )  # fmt: skip


def encoder_format(bit_depth: int) -> str:
    """FFmpeg's name of what lies in the memory of a frame on a GPU."""
    return "nv12" if bit_depth == 8 else "p010le"


def device_index_of(planes: DevicePlanes) -> int:
    """Which CUDA device a frame lies on."""
    return int(planes.surfaces[0].__dlpack_device__()[1])


def _enter_primary_context(device_index: int) -> None:
    """Make the device's primary context current in this thread, and keep it."""
    with _opening:
        if device_index not in _devices:
            _devices[device_index] = open_device(device_index)
    _devices[device_index].make_current()
