"""Full resolution from a network that ran smaller: the style's own paint, with contours as sharp as the photo's.

With I the luma that the network read, P the luma that it wrote (both small), Y the frame's luma (full), all in
[0, 1], and the local line P ~ a I + b fitted in windows of (2 radius + 1)^2 samples with regularization epsilon
(He, Sun, Tang, "Guided Image Filtering", 2010; He, Sun, "Fast Guided Filter", 2015, for small coefficients):

``"contour"``
    ``v = up(mean c a) Y + up(mean c b + (1 - mean c) P')``. A window votes ``c`` for its line by the share of the
    style's variance that the photo explains (r^2: 0 up to 0.85, 1 from 0.98): along a contour that both have, the
    photo says where it runs; fur that the style painted over and ink that only the style drew come from ``P'``, which
    is P a little softened against stairs. Then v is held between the least and the greatest P of its 3x3 samples, so
    that flat paint stays exactly flat and no edge has a halo, and steepened between the two (smoothstep, twice) as
    far as the enlargement made it soft.
``"detail"``
    ``up(P) + up(mean a) (Y - up(I))``: every sample of the network's stays, and the detail that the small frame
    cannot hold is added, as strongly as the style kept it there (``mean a`` held in [0, 2]). It brings the photo's
    fine texture back into all that is not quite flat. With epsilon infinite it is bilinear enlargement.
``"guided"`` (default)
    the fast guided filter, ``up(mean a) Y + up(mean b)``. A small epsilon brings the photo's texture back, a large one
    blurs whatever the network drew that is not in the photo, for ``mean b`` averages it.

``up`` is bilinear. In the last two modes ``sharpen`` steepens P's edges before all this: an unsharp mask held between
the extremes of each 3x3 neighbourhood. Chroma is enlarged bilinearly: detail in it makes no visible difference.
"""

from __future__ import annotations

import numpy as np

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.codes import code_range_of, to_codes_ref
from animevid.pixels.packed import depth_to_space_ref, empty_planes, pack_yuv420
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Float32, Size, checked_size, chroma_size, resize_float_ref

MODES = ("guided", "detail", "contour")
MAX_RADIUS = 16
LARGEST_SLOPE = 2.0
SOFTEN = 0.1  # weight of each neighbour, per axis
EXPLAINED = (0.85, 0.98)  # of r^2: from here on the photo leads, from there alone
VARIANCE_FLOOR = 1e-4
FAINT_RANGE = 0.08  # below it edges are steepened less: grain is no contour
MIN_RANGE = 1e-4


def guided_upsample(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    mode: str = "guided",
    epsilon: float = 1e-4,
    radius: int = 1,
    sharpen: float = 1.0,
) -> PlanesYUV420:
    """``low_out``, the network's frame of ``low_in``, at the size of ``full``; tags, depth and alpha of ``full``.

    ``low_in`` and ``low_out`` are what the network read and wrote: packed tensors (24, h/4, w/4) of one shape, of which
    ``size`` (height, width; default: all) holds the frame, or planes. ``epsilon`` (on [0, 1] luma), ``radius`` (in
    samples of the small frame) and ``sharpen`` (0: not at all; by contour at most 1 counts) are explained above.

    Raises:
        UsageError: an unknown mode, a parameter out of range, or a small frame that is larger than ``full``.
    """
    low_in, low_out, size = _checked(full, low_in, low_out, size, mode, epsilon, radius, sharpen)
    if native.kernels is None:
        return guided_upsample_ref(
            full, low_in, low_out, size=size, mode=mode, epsilon=epsilon, radius=radius, sharpen=sharpen
        )
    codes = code_range_of(full)
    y, u, v = empty_planes(full, (full.height, full.width))
    native.kernels.lift_yuv420(
        full.y, np.ascontiguousarray(low_in), np.ascontiguousarray(low_out), y, u, v, *size,
        MODES.index(mode), epsilon, radius, sharpen, steepness(size, full.y.shape, sharpen),
        codes.black, codes.luma_span, codes.chroma_mid, codes.chroma_span, codes.max_code,
    )  # fmt: skip
    return full.with_planes(y, u, v)


def guided_upsample_ref(
    full: PlanesYUV420,
    low_in: PlanesYUV420 | Float32,
    low_out: PlanesYUV420 | Float32,
    *,
    size: Size | None = None,
    mode: str = "guided",
    epsilon: float = 1e-4,
    radius: int = 1,
    sharpen: float = 1.0,
) -> PlanesYUV420:
    """Reference for :func:`guided_upsample`."""
    low_in, low_out, size = _checked(full, low_in, low_out, size, mode, epsilon, radius, sharpen)
    codes = code_range_of(full)
    shape = full.y.shape
    guide, drawn = (_unit_luma_ref(low, size) for low in (low_in, low_out))
    guide_full = (np.asarray(full.y, np.float32) - np.float32(codes.black)) / np.float32(codes.luma_span)
    if mode == "contour":
        target = _softened_ref(drawn)
    else:
        target = _sharpened_ref(drawn, sharpen) if sharpen > 0 else drawn
    mean_guide, mean_target = _mean_ref(guide, radius), _mean_ref(target, radius)
    variance = _mean_ref(guide * guide, radius) - mean_guide * mean_guide
    covariance = _mean_ref(guide * target, radius) - mean_guide * mean_target
    line = np.asarray(covariance / (variance + np.float32(epsilon)), np.float32)
    offset = mean_target - line * mean_guide
    if mode == "contour":
        variance_drawn = _mean_ref(target * target, radius) - mean_target * mean_target
        floor = np.float32(VARIANCE_FLOOR)
        explained = covariance * covariance / ((variance + floor) * (variance_drawn + floor))
        vote = _smoothstep_ref(np.clip((explained - EXPLAINED[0]) / np.float32(EXPLAINED[1] - EXPLAINED[0]), 0, 1))
        slope = _mean_ref(vote * line, radius)
        offset = _mean_ref(vote * offset, radius) + (1 - _mean_ref(vote, radius)) * target
    elif mode == "detail":
        slope = np.clip(_mean_ref(line, radius), 0, np.float32(LARGEST_SLOPE))
        offset = target - slope * guide
    else:
        slope, offset = _mean_ref(line, radius), _mean_ref(offset, radius)
    luma = resize_float_ref(slope, shape) * guide_full + resize_float_ref(offset, shape)
    if mode == "contour":
        low, high = (resize_float_ref(extreme, shape) for extreme in _extremes_ref(drawn))
        luma = _steepened_ref(luma, low, high, steepness(size, shape, sharpen))
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


def _softened_ref(values: Float32) -> Float32:
    return _weighted_ref(values, [SOFTEN, 1 - 2 * SOFTEN, SOFTEN])


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


def _steepened_ref(values: Float32, low: Float32, high: Float32, amount: float) -> Float32:
    span = high - low
    t = np.clip((values - low) / np.maximum(span, np.float32(MIN_RANGE)), 0, 1)
    amounts = np.float32(amount) * np.minimum(span / np.float32(FAINT_RANGE), 1)
    return np.asarray(low + span * (t + amounts * (_smoothstep_ref(_smoothstep_ref(t)) - t)), np.float32)


def _smoothstep_ref(t: Float32) -> Float32:
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def steepness(low: Size, full: Size, sharpen: float) -> float:
    """How far ``contour`` steepens, 0 to 1: enlarging by two or more softens so much, by less it softens less."""
    scale = min(full[0] / low[0], full[1] / low[1])
    return min(max(scale - 1.0, 0.0), 1.0) * min(sharpen, 1.0)


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
    """Both small frames as packed tensors, and the part of them that holds the frame."""
    if mode not in MODES:
        raise UsageError(f"{mode = } is no mode of upsampling; give one of {', '.join(MODES)}")
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
