"""Full resolution from a network that ran smaller: the picture's own luma leads the network's to full size."""

from __future__ import annotations

import numpy as np

from animevid.errors import UsageError
from animevid.pixels.codes import code_range_of, to_codes_ref
from animevid.pixels.packed import depth_to_space_ref, pack_yuv420
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Float32, Size, checked_size, chroma_size, resize_float_ref

MODES = ("guided", "sharp", "mixed")


def lift(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    mode: str = "guided",
    epsilon: float = 1e-3,
    radius: int = 2,
) -> PlanesYUV420:
    """``low_out``, the network's picture of ``low_in``, at the size of ``full``; tags, depth and alpha of ``full``.

    ``low_in`` and ``low_out`` are what the network read and wrote: packed tensors (24, h/4, w/4), of which ``size``
    (height, width; default: all) holds the picture, or planes.
    """
    return lift_ref(full, low_in, low_out, size=size, mode=mode, epsilon=epsilon, radius=radius)


def lift_ref(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    mode: str = "guided",
    epsilon: float = 1e-3,
    radius: int = 2,
) -> PlanesYUV420:
    """Twin of :func:`lift`."""
    import cv2

    if mode not in MODES:
        raise UsageError(f"{mode = } is no way to lift; give one of {', '.join(MODES)}")
    low_in, low_out = (pack_yuv420(low) if isinstance(low, PlanesYUV420) else low for low in (low_in, low_out))
    size = checked_size(size or (low_out.shape[1] * 4, low_out.shape[2] * 4))
    codes = code_range_of(full)
    guide, target = (
        np.ascontiguousarray(depth_to_space_ref(low[:16], 4)[: size[0], : size[1]] * np.float32(0.5) + np.float32(0.5))
        for low in (low_in, low_out)
    )

    def mean(values: Float32) -> Float32:
        window = (2 * radius + 1, 2 * radius + 1)
        return np.asarray(cv2.blur(values, window, borderType=cv2.BORDER_REPLICATE), np.float32)

    mean_guide, mean_target = mean(guide), mean(target)
    variance = mean(guide * guide) - mean_guide * mean_guide
    covariance = mean(guide * target) - mean_guide * mean_target
    slope = np.asarray(covariance / (variance + np.float32(epsilon)), np.float32)
    slope, offset = mean(slope), mean(mean_target - slope * mean_guide)
    shape = full.y.shape
    guide_full = (np.asarray(full.y, np.float32) - np.float32(codes.black)) / np.float32(codes.luma_span)
    luma = resize_float_ref(slope, shape) * guide_full + resize_float_ref(offset, shape)
    planes = [luma * np.float32(codes.luma_span) + np.float32(codes.black)]
    rows, columns = chroma_size(size)
    for first in (16, 20):
        chroma = depth_to_space_ref(low_out[first : first + 4], 2)[:rows, :columns]
        values = resize_float_ref(np.ascontiguousarray(chroma), full.u.shape)
        planes.append(values * np.float32(codes.chroma_span / 2) + np.float32(codes.chroma_mid))
    return full.with_planes(*(to_codes_ref(plane, full.y.dtype, codes.max_code) for plane in planes))
