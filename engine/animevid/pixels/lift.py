"""Full resolution from a network that ran smaller: the picture's own luma leads the network's to full size.

With I the luma that the network read, P the luma that it wrote (both small), Y the picture's luma (full), all in
[0, 1], and the local line P ~ a I + b fitted in windows of (2 radius + 1)^2 samples with regularization epsilon
(He, Sun, Tang, "Guided Image Filtering", 2010; He, Sun, "Fast Guided Filter", 2015, for small coefficients):

``"guided"``
    the fast guided filter, ``up(mean a) Y + up(mean b)``. A small epsilon brings the photo's texture back, a large one
    blurs whatever the network drew that is not in the photo, for ``mean b`` averages it.
``"detail"`` (default)
    ``up(P) + up(mean a) (Y - up(I))``: every sample of the network's stays, and only the detail that the small picture
    cannot hold is added, as strongly as the style kept it there (``mean a`` held in [0, 2]). Flat paint stays flat,
    drawn lines stay, edges gain the full resolution. With epsilon infinite it is bilinear enlargement.

``up`` is bilinear. ``sharpen`` steepens P's edges before all this: an unsharp mask held between the extremes of each
3x3 neighbourhood, hence without halos. Chroma is enlarged bilinearly: adding detail to it makes no visible difference.
"""

from __future__ import annotations

import numpy as np

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.codes import code_range_of, to_codes_ref
from animevid.pixels.packed import depth_to_space_ref, empty_planes, pack_yuv420
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Float32, Size, checked_size, chroma_size, resize_float_ref

MODES = ("detail", "guided")
MAX_RADIUS = 16
LARGEST_SLOPE = 2.0


def lift(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    mode: str = "detail",
    epsilon: float = 1e-2,
    radius: int = 2,
    sharpen: float = 0.5,
) -> PlanesYUV420:
    """``low_out``, the network's picture of ``low_in``, at the size of ``full``; tags, depth and alpha of ``full``.

    ``low_in`` and ``low_out`` are what the network read and wrote: packed tensors (24, h/4, w/4) of one shape, of which
    ``size`` (height, width; default: all) holds the picture, or planes. ``epsilon`` (on [0, 1] luma), ``radius`` (in
    samples of the small picture) and ``sharpen`` (0: not at all) are explained above.

    Raises:
        UsageError: an unknown mode, a parameter out of range, or a small picture that is larger than ``full``.
    """
    low_in, low_out, size = _checked(full, low_in, low_out, size, mode, epsilon, radius, sharpen)
    if native.kernels is None:
        return lift_ref(full, low_in, low_out, size=size, mode=mode, epsilon=epsilon, radius=radius, sharpen=sharpen)
    codes = code_range_of(full)
    y, u, v = empty_planes(full, (full.height, full.width))
    native.kernels.lift_yuv420(
        full.y, np.ascontiguousarray(low_in), np.ascontiguousarray(low_out), y, u, v, *size,
        mode == "detail", epsilon, radius, sharpen,
        codes.black, codes.luma_span, codes.chroma_mid, codes.chroma_span, codes.max_code,
    )  # fmt: skip
    return full.with_planes(y, u, v)


def lift_ref(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    mode: str = "detail",
    epsilon: float = 1e-2,
    radius: int = 2,
    sharpen: float = 0.5,
) -> PlanesYUV420:
    """Twin of :func:`lift`."""
    low_in, low_out, size = _checked(full, low_in, low_out, size, mode, epsilon, radius, sharpen)
    codes = code_range_of(full)
    shape = full.y.shape
    guide, target = (_unit_luma_ref(low, size) for low in (low_in, low_out))
    if sharpen > 0:
        target = _sharpened_ref(target, sharpen)
    mean_guide, mean_target = _mean_ref(guide, radius), _mean_ref(target, radius)
    variance = _mean_ref(guide * guide, radius) - mean_guide * mean_guide
    covariance = _mean_ref(guide * target, radius) - mean_guide * mean_target
    line = np.asarray(covariance / (variance + np.float32(epsilon)), np.float32)
    slope = _mean_ref(line, radius)
    if mode == "detail":
        slope = np.clip(slope, 0, np.float32(LARGEST_SLOPE))
        offset = target - slope * guide
    else:
        offset = _mean_ref(mean_target - line * mean_guide, radius)
    guide_full = (np.asarray(full.y, np.float32) - np.float32(codes.black)) / np.float32(codes.luma_span)
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
    import cv2

    kernel = np.array([1, 2, 1], np.float32) / 4
    edge = cv2.BORDER_REPLICATE
    mean = cv2.sepFilter2D(values, cv2.CV_32F, kernel, kernel, borderType=edge).reshape(values.shape)
    square = np.ones((3, 3), np.uint8)
    low, high = (f(values, square, borderType=edge).reshape(values.shape) for f in (cv2.erode, cv2.dilate))
    return np.asarray(np.clip(values + np.float32(amount) * (values - mean), low, high), np.float32)


def _checked(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    size: Size | None,
    mode: str,
    epsilon: float,
    radius: int,
    sharpen: float,
) -> tuple[Float32, Float32, Size]:
    """Both small pictures as packed tensors, and the part of them that holds the picture."""
    if mode not in MODES:
        raise UsageError(f"{mode = } is no way to lift; give one of {', '.join(MODES)}")
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
            f"the network's picture of size = {(height, width)} is larger than the full {(full.height, full.width)}; "
            "unpack and resize it instead"
        )
    return low_in, low_out, (height, width)
