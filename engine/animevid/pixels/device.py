"""Frames in a GPU's memory, between decoder, network and encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from animevid.errors import UsageError
from animevid.pixels.colour import Colour
from animevid.pixels.planes import Plane, PlanesYUV420

if TYPE_CHECKING:
    import av


def _no_download() -> PlanesYUV420:
    raise UsageError("this frame cannot be downloaded: make it with device_planes")


class DLPackArray(Protocol):
    """An array that other libraries can use without a copy (https://dmlc.github.io/dlpack)."""

    def __dlpack_device__(self) -> tuple[int, int]: ...

    def __dlpack__(self) -> object: ...


@dataclass(frozen=True, slots=True)
class DevicePlanes(PlanesYUV420):
    """A frame on a GPU. ``y``, ``u`` and ``v`` give its size and depth; their samples are meaningless.

    ``surfaces``: two objects with ``__dlpack__``, for Y ``(H, W)`` and interleaved U and V ``(h, w, 2)`` (NV12, or P010
    above 8 bits). They may be read after the default stream's earlier work. ``download`` copies the frame to host
    memory; :func:`on_host` calls it.
    """

    surfaces: tuple[DLPackArray, ...] = ()
    download: Callable[[], PlanesYUV420] = _no_download

    def with_planes(
        self,
        y: Plane,
        u: Plane,
        v: Plane,
        *,
        alpha: Plane | EllipsisType | None = ...,
        colour: Colour | None = None,
    ) -> PlanesYUV420:
        """A frame with the same tags and other pixels, in host memory."""
        if isinstance(alpha, EllipsisType):
            alpha = None
        return PlanesYUV420(y, u, v, self.bit_depth, colour or self.colour, alpha)


def device_planes(
    surfaces: tuple[DLPackArray, ...],
    *,
    height: int,
    width: int,
    bit_depth: int,
    colour: Colour,
    download: Callable[[], PlanesYUV420],
    owner: object = None,
) -> DevicePlanes:
    """The frame of ``surfaces``; ``owner`` keeps their memory alive."""
    zero = np.zeros((), np.uint8 if bit_depth == 8 else np.uint16)
    chroma: Plane = np.broadcast_to(zero, ((height + 1) // 2, (width + 1) // 2))
    luma: Plane = np.broadcast_to(zero, (height, width))
    return DevicePlanes(luma, chroma, chroma, bit_depth, colour, None, owner, surfaces, download)


#: FFmpeg's pixel format of frames in CUDA memory.
CUDA = "cuda"


def is_on_device(frame: av.VideoFrame) -> bool:
    """Whether an ``av.VideoFrame`` is in GPU memory."""
    return frame.format.name == CUDA


def software_format(frame: av.VideoFrame) -> av.VideoFormat:
    """The ``av.VideoFormat`` of a frame's samples, on a GPU or not."""
    return frame.sw_format or frame.format


def downloaded(frame: av.VideoFrame) -> av.VideoFrame:
    """``frame`` (an ``av.VideoFrame``) in host memory."""
    return frame.reformat(format=software_format(frame).name) if is_on_device(frame) else frame


def on_host(planes: PlanesYUV420) -> PlanesYUV420:
    """``planes`` in host memory: downloaded if the frame is on a GPU, else the frame itself."""
    return planes.download() if isinstance(planes, DevicePlanes) else planes
