"""Frames that FFmpeg keeps in GPU memory: decoded by NVDEC, or to be encoded by NVENC.

NVDEC has 32 surfaces, and FFmpeg allocates as many as a stream's reference frames need and a few more. The frames that
it returns are copies in device memory (``AV_HWACCEL_FLAG_UNSAFE_OUTPUT`` is never set), so keeping them does not occupy
the decoder's surfaces: no ``extra_hw_frames`` are needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import av
from av.codec.hwaccel import HWAccel

from animevid.errors import AnimevidError
from animevid.gpu.driver import Device, open_device
from animevid.pixels.colour import Colour
from animevid.pixels.device import CUDA, DevicePlanes, device_planes, is_on_device, software_format
from animevid.pixels.planes import PlanesYUV420

#: The software formats of CUDA frames that our kernels read, with their bits per sample.
_BIT_DEPTHS = {"nv12": 8, "p010le": 10}
#: FFmpeg refuses to open a primary context with other flags than its own ("incompatible flags"), such as torch's if it
#: was created first, but accepts the current context as it is.
_CURRENT_CONTEXT: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}

#: FFmpeg does not retain the context that it finds current, so it stays until the process ends.
_devices: dict[int, Device] = {}
_opening = threading.Lock()


def cuda_decoding(device_index: int) -> HWAccel:
    """For ``av.open`` in this thread: decode with NVDEC in the device's primary context, and leave frames there.

    Args:
        device_index: which CUDA device, counted from 0.

    Raises:
        BackendError, DeviceError: the device cannot be opened.
    """
    _enter_primary_context(device_index)
    return HWAccel(CUDA, device=str(device_index), is_hw_owned=True, options=_CURRENT_CONTEXT)


def cuda_encoding(device_index: int) -> HWAccel:
    """For ``add_stream`` in this thread: an encoder that reads frames in the device's primary context.

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
    """Why the kernels cannot read ``frame`` in device memory; ``None`` if they can."""
    if not is_on_device(frame):
        return "NVDEC does not decode this stream"
    if software_format(frame).name not in _BIT_DEPTHS:
        return f"frames are {software_format(frame).name} in the GPU's memory"
    if frame.width % 2 or frame.height % 2:
        return f"a frame of {frame.width}x{frame.height} is odd"
    return None


def planes_on_device(
    frame: av.VideoFrame, *, colour: Colour, download: Callable[[av.VideoFrame], PlanesYUV420]
) -> DevicePlanes:
    """A CUDA ``frame`` as planes, without a copy; ``download(frame)`` returns planes in host memory."""
    return device_planes(
        tuple(frame.planes), height=frame.height, width=frame.width, colour=colour, owner=frame,
        bit_depth=_BIT_DEPTHS[software_format(frame).name], download=lambda: download(frame),
    )  # fmt: skip


class DeviceWriter:
    """Wraps frames on a GPU for an encoder that reads them there."""

    def __init__(self, *, device_index: int) -> None:
        from av.video.frame import CudaContext

        self._index = device_index
        self._context = CudaContext(device_id=device_index, primary_ctx=False, current_ctx=True)

    def write(self, planes: DevicePlanes) -> av.VideoFrame:
        """A frame that shares the memory of ``planes``, which the encoder keeps alive while it reads it."""
        _enter_primary_context(self._index)
        return av.VideoFrame.from_dlpack(
            planes.surfaces, format=encoder_format(planes.bit_depth), width=planes.width, height=planes.height,
            cuda_context=self._context,
        )  # fmt: skip


def encoder_format(bit_depth: int) -> str:
    """FFmpeg's software pixel format of a frame on a GPU."""
    return "nv12" if bit_depth == 8 else "p010le"


def device_index_of(planes: DevicePlanes) -> int:
    """The index of the CUDA device that holds a frame."""
    return int(planes.surfaces[0].__dlpack_device__()[1])


def _enter_primary_context(device_index: int) -> None:
    """Make the device's primary context current in this thread, and keep it."""
    with _opening:
        if device_index not in _devices:
            _devices[device_index] = open_device(device_index)
    _devices[device_index].make_current()
