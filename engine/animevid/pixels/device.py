"""Frames in a GPU's memory, between decoder, network and encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from animevid.errors import UsageError
from animevid.pixels.colour import Colour
from animevid.pixels.planes import Plane, PlanesYUV420


def _no_download() -> PlanesYUV420:
    raise UsageError("this frame cannot be downloaded: make it with device_planes")


@dataclass(frozen=True, slots=True)
class DevicePlanes(PlanesYUV420):
    """A frame on a GPU. ``y``, ``u`` and ``v`` give its size and depth; their samples are meaningless.

    ``surfaces``: two objects with ``__dlpack__``, for Y ``(H, W)`` and interleaved U and V ``(h, w, 2)`` (NV12, or P010
    above 8 bits). They may be read after the default stream's earlier work. ``download`` copies the frame to host
    memory; :func:`on_host` calls it.
    """

    surfaces: tuple[Any, ...] = ()
    download: Callable[[], PlanesYUV420] = _no_download

    def with_planes(self, y: Plane, u: Plane, v: Plane, **changes: Any) -> PlanesYUV420:
        """A frame with the same tags and other pixels, in host memory."""
        return PlanesYUV420(**{"y": y, "u": u, "v": v, "bit_depth": self.bit_depth, "colour": self.colour, **changes})


def device_planes(
    surfaces: tuple[Any, ...],
    *,
    height: int,
    width: int,
    bit_depth: int,
    colour: Colour,
    download: Callable[[], PlanesYUV420],
    owner: Any = None,
) -> DevicePlanes:
    """The frame of ``surfaces``; ``owner`` keeps their memory alive."""
    zero = np.zeros((), np.uint8 if bit_depth == 8 else np.uint16)
    chroma: Plane = np.broadcast_to(zero, ((height + 1) // 2, (width + 1) // 2))
    luma: Plane = np.broadcast_to(zero, (height, width))
    return DevicePlanes(luma, chroma, chroma, bit_depth, colour, None, owner, surfaces, download)


#: FFmpeg's pixel format of frames in CUDA memory.
CUDA = "cuda"


def is_on_device(frame: Any) -> bool:
    """Whether an ``av.VideoFrame`` is in GPU memory."""
    return bool(frame.format.name == CUDA)


def software_format(frame: Any) -> Any:
    """The ``av.VideoFormat`` of a frame's samples, on a GPU or not."""
    return frame.sw_format or frame.format


def downloaded(frame: Any) -> Any:
    """``frame`` (an ``av.VideoFrame``) in host memory."""
    return frame.reformat(format=software_format(frame).name) if is_on_device(frame) else frame


def on_host(planes: PlanesYUV420) -> PlanesYUV420:
    """``planes`` in host memory: downloaded if the frame is on a GPU, else the frame itself."""
    return planes.download() if isinstance(planes, DevicePlanes) else planes
