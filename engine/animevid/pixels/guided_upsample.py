"""Guided upsampling: full resolution from a network that ran at a smaller size, along the edges of the original.

Let I be the luma that the network read, P the luma that it wrote (both small) and Y the frame's luma (full), all in
[0, 1]. Fit local lines P ~ a I + b in windows of (2 radius + 1)^2 samples with regularization epsilon; the result is
``up(mean a) Y + up(mean b)`` with bilinear ``up`` (He, Sun, Tang, "Guided Image Filtering", 2010; He, Sun, "Fast Guided
Filter", 2015, for the small coefficients). A small epsilon brings the photo's texture back; a large one blurs whatever
the network drew that is not in the photo, since ``mean b`` averages it.

``sharpen`` first steepens P's edges: an unsharp mask, clamped to the extremes of each 3x3 neighbourhood. Chroma is
enlarged bilinearly, since detail in it makes no visible difference.
"""

from __future__ import annotations

import numpy as np

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.codes import code_range_of, to_codes_ref
from animevid.pixels.packed import depth_to_space_ref, empty_planes, pack_yuv420
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Float32, Size, checked_size, chroma_size, resize_float_ref

MAX_RADIUS = 16


def guided_upsample(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    epsilon: float = 1e-4,
    radius: int = 1,
    sharpen: float = 1.0,
) -> PlanesYUV420:
    """``low_out``, the network's frame of ``low_in``, at the size of ``full``; tags, depth and alpha of ``full``.

    Args:
        full (PlanesYUV420): the original frame.
        low_in (PlanesYUV420 | Float32): what the network read: a packed tensor (24, h/4, w/4), or planes.
        low_out (PlanesYUV420 | Float32): what the network wrote, of the same shape.
        size (tuple[int, int] | None): (height, width) of the frame inside the tensors. Default: all.
        epsilon (float): regularization, for luma in [0, 1]. Default: 1e-4.
        radius (int): in samples of the small frame, 1 to 16. Default: 1.
        sharpen (float): strength of the unsharp mask; 0: none. Default: 1.

    Raises:
        UsageError: a parameter out of range, or a small frame that is larger than ``full``.
    """
    low_in, low_out, size = _checked(full, low_in, low_out, size, epsilon, radius, sharpen)
    if native.kernels is None:
        return guided_upsample_ref(full, low_in, low_out, size=size, epsilon=epsilon, radius=radius, sharpen=sharpen)
    codes = code_range_of(full)
    y, u, v = empty_planes(full, (full.height, full.width))
    native.kernels.guided_upsample(
        full.y, np.ascontiguousarray(low_in), np.ascontiguousarray(low_out), y, u, v, *size, epsilon, radius, sharpen,
        codes.black, codes.luma_span, codes.chroma_mid, codes.chroma_span, codes.max_code,
    )  # fmt: skip
    return full.with_planes(y, u, v)


def guided_upsample_ref(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    epsilon: float = 1e-4,
    radius: int = 1,
    sharpen: float = 1.0,
) -> PlanesYUV420:
    """Reference for :func:`guided_upsample`."""
    low_in, low_out, size = _checked(full, low_in, low_out, size, epsilon, radius, sharpen)
    codes = code_range_of(full)
    shape = full.y.shape
    guide, drawn = (_unit_luma_ref(low, size) for low in (low_in, low_out))
    guide_full = (np.asarray(full.y, np.float32) - np.float32(codes.black)) / np.float32(codes.luma_span)
    target = _sharpened_ref(drawn, sharpen) if sharpen > 0 else drawn
    mean_guide, mean_target = _mean_ref(guide, radius), _mean_ref(target, radius)
    variance = _mean_ref(guide * guide, radius) - mean_guide * mean_guide
    covariance = _mean_ref(guide * target, radius) - mean_guide * mean_target
    line = np.asarray(covariance / (variance + np.float32(epsilon)), np.float32)
    offset = mean_target - line * mean_guide
    slope, offset = _mean_ref(line, radius), _mean_ref(offset, radius)
    luma = resize_float_ref(slope, shape) * guide_full + resize_float_ref(offset, shape)
    planes = [luma * np.float32(codes.luma_span) + np.float32(codes.black)]
    rows, columns = chroma_size(size)
    for first in (16, 20):
        chroma = np.ascontiguousarray(depth_to_space_ref(low_out[first : first + 4], 2)[:rows, :columns])
        values = resize_float_ref(chroma, full.u.shape)
        planes.append(values * np.float32(codes.chroma_span / 2) + np.float32(codes.chroma_mid))
    return full.with_planes(*(to_codes_ref(plane, full.y.dtype, codes.max_code) for plane in planes))


def _unit_luma_ref(packed: Float32, size: Size) -> Float32:
    luma = depth_to_space_ref(packed[:16], 4)[: size[0], : size[1]]
    return np.asarray(luma * np.float32(0.5) + np.float32(0.5), np.float32)


def _mean_ref(values: Float32, radius: int) -> Float32:
    import cv2

    window = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.blur(values, window, borderType=cv2.BORDER_REPLICATE), np.float32).reshape(values.shape)


def _sharpened_ref(values: Float32, amount: float) -> Float32:
    mean = _weighted_ref(values, [1 / 4, 2 / 4, 1 / 4])
    return np.asarray(np.clip(values + np.float32(amount) * (values - mean), *_extremes_ref(values)), np.float32)


def _weighted_ref(values: Float32, weights: list[float]) -> Float32:
    import cv2

    kernel = np.array(weights, np.float32)
    mean = cv2.sepFilter2D(values, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mean, np.float32).reshape(values.shape)


def _extremes_ref(values: Float32) -> tuple[Float32, Float32]:
    """The least and the greatest of each 3x3 neighbourhood."""
    import cv2

    square = np.ones((3, 3), np.uint8)
    edge = cv2.BORDER_REPLICATE
    low, high = (np.asarray(f(values, square, borderType=edge), np.float32) for f in (cv2.erode, cv2.dilate))
    return low.reshape(values.shape), high.reshape(values.shape)


def _checked(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    size: Size | None,
    epsilon: float,
    radius: int,
    sharpen: float,
) -> tuple[Float32, Float32, Size]:
    """Both small frames as packed tensors, and the part of them that holds the frame."""
    if not (epsilon > 0 and 1 <= radius <= MAX_RADIUS and sharpen >= 0):
        raise UsageError(
            f"{epsilon = }, {radius = }, {sharpen = } cannot be used; "
            f"epsilon must be above 0, radius 1..{MAX_RADIUS}, sharpen at least 0"
        )
    if size is None and isinstance(low_out, PlanesYUV420):
        size = low_out.height, low_out.width
    low_in, low_out = (pack_yuv420(low) if isinstance(low, PlanesYUV420) else low for low in (low_in, low_out))
    height, width = checked_size(size or (low_out.shape[1] * 4, low_out.shape[2] * 4))
    if low_in.shape != low_out.shape or height > low_out.shape[1] * 4 or width > low_out.shape[2] * 4:
        raise UsageError(
            f"{low_in.shape = }, {low_out.shape = } do not both hold size = {(height, width)}; "
            "give what the network read and wrote: two (24, h/4, w/4) with h, w at least that"
        )
    if height > full.height or width > full.width:
        raise UsageError(
            f"the network's frame of size = {(height, width)} is larger than the full {(full.height, full.width)}; "
            "unpack and resize it instead"
        )
    return low_in, low_out, (height, width)
