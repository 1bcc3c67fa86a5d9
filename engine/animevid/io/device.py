"""Pictures that FFmpeg keeps in a GPU's memory: what NVDEC decoded, what NVENC is to encode."""

from __future__ import annotations

import logging
import threading
from typing import Any

import av
from av.codec.hwaccel import HWAccel

from animevid.pixels.colour import Colour
from animevid.pixels.device import DevicePlanes, device_planes

log = logging.getLogger(__name__)

#: FFmpeg's name of frames in CUDA's memory, and what lies in them that our kernels read: bits a sample.
CUDA = "cuda"
_BIT_DEPTHS = {"nv12": 8, "p010le": 10}
#: Room for pictures that are with us, beside those that the decoder keeps for itself. NVDEC has room for 32 in all;
#: H.264 refers back to 16, and FFmpeg adds 2.
_ROOM = 14
#: How many of them may be lent at a time (a pipeline of four stages has no more under way before they are drawn); what
#: comes beyond that is downloaded at once, so that a decoder never runs dry, whoever keeps its pictures.
MOST_LENT = 12


def cuda_decoding(device_index: int) -> HWAccel:
    """For ``av.open``: decode with NVDEC into memory of the device's primary context, and leave it there."""
    return HWAccel(CUDA, device=str(device_index), is_hw_owned=True)


def cuda_encoding(device_index: int) -> HWAccel:
    """For ``add_stream``: an encoder that is fed from memory of the device's primary context."""
    return HWAccel(CUDA, device=str(device_index), options={"primary_ctx": "1"})


def why_no_cuda(device_index: int) -> str | None:
    """Why FFmpeg cannot open the device, in a few words; ``None`` if it can."""
    try:
        cuda_decoding(device_index).create(av.Codec("h264", "r"))
    except (av.FFmpegError, NotImplementedError, OSError, ValueError) as error:
        return f"FFmpeg opens no CUDA device: {getattr(error, 'strerror', None) or error}"
    return None


def ask_for_pictures(decoder: Any) -> None:
    """Give an unopened hardware decoder room for the pictures that are under way behind it."""
    decoder.options = {**dict(decoder.options or {}), "extra_hw_frames": str(_ROOM)}


def is_on_device(frame: av.VideoFrame) -> bool:
    return frame.format.name == CUDA


def software_format(frame: av.VideoFrame) -> av.VideoFormat:
    """The format of a frame's samples, wherever they lie."""
    return frame.sw_format or frame.format


def downloaded(frame: av.VideoFrame) -> av.VideoFrame:
    """``frame`` in the host's memory."""
    return frame.reformat(format=software_format(frame).name) if is_on_device(frame) else frame


def why_not_on_device(frame: av.VideoFrame) -> str | None:
    """Why the kernels cannot read ``frame`` where it lies; ``None`` if they can."""
    if not is_on_device(frame):
        return "NVDEC does not decode this stream"
    if software_format(frame).name not in _BIT_DEPTHS:
        return f"pictures are {software_format(frame).name} in the GPU's memory"
    if frame.width % 2 or frame.height % 2:
        return f"a picture of {frame.width}x{frame.height} is odd"
    return None


class Lending:
    """How many pictures of one decoder are lent. From any thread."""

    def __init__(self) -> None:
        self.count = 0
        # Taken again by the same thread when the collector ends a lease in the middle of it.
        self._lock = threading.RLock()

    @property
    def has_room(self) -> bool:
        return self.count < MOST_LENT

    def add(self, change: int) -> None:
        with self._lock:
            self.count += change


class _Lease:
    """Keeps a frame for as long as its picture lives."""

    def __init__(self, frame: av.VideoFrame, lending: Lending) -> None:
        self._frame, self._lending = frame, lending
        lending.add(1)

    def __del__(self) -> None:
        self._lending.add(-1)


def planes_on_device(frame: av.VideoFrame, lending: Lending, *, colour: Colour, download: Any) -> DevicePlanes:
    """The picture of a CUDA ``frame`` where it lies; ``download(frame)`` gives it as planes of the host."""
    return device_planes(
        tuple(frame.planes), height=frame.height, width=frame.width, colour=colour,
        owner=_Lease(frame, lending),
        bit_depth=_BIT_DEPTHS[software_format(frame).name], download=lambda: download(frame),
    )  # fmt: skip


class DeviceWriter:
    """Pictures on a GPU as frames for an encoder that reads them there."""

    def __init__(self, *, device_index: int) -> None:
        from av.video.frame import CudaContext

        self._context = CudaContext(device_id=device_index, primary_ctx=True)

    def write(self, planes: DevicePlanes) -> av.VideoFrame:
        """A frame over the memory of ``planes``, which the encoder keeps for as long as it reads it."""
        return av.VideoFrame.from_dlpack(
            planes.surfaces, format=encoder_format(planes.bit_depth), width=planes.width, height=planes.height,
            cuda_context=self._context,
        )  # fmt: skip


def encoder_format(bit_depth: int) -> str:
    """FFmpeg's name of what lies in the memory of a picture on a GPU."""
    return "nv12" if bit_depth == 8 else "p010le"


def device_index_of(planes: DevicePlanes) -> int:
    """Which CUDA device a picture lies on."""
    return int(planes.surfaces[0].__dlpack_device__()[1])
