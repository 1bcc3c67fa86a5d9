"""Planes <-> R'G'B': ``uint8`` arrays and float tensors, for networks and callers that want RGB.

Matrix, range and depth follow the frame's tags (``Colour.resolved``). Chroma is assumed to be centred on its four luma
samples: bilinear to RGB, a 2x2 mean back. Both directions make the same assumption, so a round trip does not shift the
chroma.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.codes import code_range_of, to_codes_ref
from animevid.pixels.colour import LUMA_COEFFICIENTS, Colour
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import Float32, Size, checked_size, chroma_size, resize_float_ref, resize_planes

UInt8 = npt.NDArray[np.uint8]
ValueRange = tuple[float, float]


def planes_to_rgb(planes: PlanesYUV420, *, order: str = "RGB") -> UInt8:
    """``uint8`` (H, W, 3), full range, of ``order`` ``"RGB"`` or ``"BGR"``, rounded and clamped."""
    if native.kernels is None:
        return planes_to_rgb_ref(planes, order=order)
    rgb = np.empty((planes.height, planes.width, 3), np.uint8)
    _native_to_rgb(planes, rgb, layout="NHWC", order=order, value_range=(0.0, 255.0))
    return rgb


def planes_to_rgb_ref(planes: PlanesYUV420, *, order: str = "RGB") -> UInt8:
    """Reference for :func:`planes_to_rgb`."""
    rgb = _to_unit_rgb_ref(planes)[..., _channel_order(order)]
    return cast(UInt8, to_codes_ref(rgb * np.float32(255), np.dtype(np.uint8), 255))


def rgb_to_planes(
    rgb: UInt8, *, colour: Colour | None = None, bit_depth: int = 8, order: str = "RGB", alpha: Plane | None = None
) -> PlanesYUV420:
    """``rgb``: ``uint8`` (H, W, 3), full range, as planes with ``colour`` (default: unspecified, hence limited range
    and the matrix that ``Colour.resolved`` guesses) and ``bit_depth``.

    Raises:
        UsageError: not ``uint8`` (H, W, 3).
    """
    _check_rgb(rgb)
    like = _blank(rgb.shape[0], rgb.shape[1], colour or Colour(), bit_depth, alpha)
    if native.kernels is None:
        return _from_unit_rgb_ref(rgb[..., _channel_order(order)].astype(np.float32) / np.float32(255), like)
    return _native_from_rgb(np.ascontiguousarray(rgb), like, layout="NHWC", order=order, value_range=(0.0, 255.0))


def rgb_to_planes_ref(
    rgb: UInt8, *, colour: Colour | None = None, bit_depth: int = 8, order: str = "RGB", alpha: Plane | None = None
) -> PlanesYUV420:
    """Reference for :func:`rgb_to_planes`."""
    _check_rgb(rgb)
    like = _blank(rgb.shape[0], rgb.shape[1], colour or Colour(), bit_depth, alpha)
    return _from_unit_rgb_ref(rgb[..., _channel_order(order)].astype(np.float32) / np.float32(255), like)


def planes_to_tensor(
    planes: PlanesYUV420,
    *,
    layout: str = "NCHW",
    order: str = "RGB",
    value_range: ValueRange = (-1.0, 1.0),
    size: Size | None = None,
    multiple: int = 1,
) -> Float32:
    """One frame of a float32 batch: (3, H, W) for ``layout`` ``"NCHW"``, (H, W, 3) for ``"NHWC"``.

    ``value_range``: the numbers for black and white (values outside are clamped, as in 8-bit RGB).
    The frame is first resized to ``size`` (height, width; default: its own), then padded by reflection at the bottom
    and the right to ``multiple``.
    """
    return _to_tensor(planes, layout, order, value_range, size, multiple, by_reference=native.kernels is None)


def planes_to_tensor_ref(
    planes: PlanesYUV420,
    *,
    layout: str = "NCHW",
    order: str = "RGB",
    value_range: ValueRange = (-1.0, 1.0),
    size: Size | None = None,
    multiple: int = 1,
) -> Float32:
    """Reference for :func:`planes_to_tensor`."""
    return _to_tensor(planes, layout, order, value_range, size, multiple, by_reference=True)


def tensor_to_planes(
    tensor: Float32,
    *,
    like: PlanesYUV420,
    layout: str = "NCHW",
    order: str = "RGB",
    value_range: ValueRange = (-1.0, 1.0),
    size: Size | None = None,
) -> PlanesYUV420:
    """The frame in ``tensor`` (one of a batch, as :func:`planes_to_tensor` gives it) with the tags of ``like``.

    ``size`` (height, width; default: that of ``like``) is cropped from the top left, which removes the padding.

    Raises:
        UsageError: a tensor of another shape or dtype, or smaller than ``size``.
    """
    tensor, like = _cut(tensor, like, layout, size)
    if native.kernels is None:
        return _from_tensor_ref(tensor, like, layout, order, value_range)
    return _native_from_rgb(np.ascontiguousarray(tensor), like, layout=layout, order=order, value_range=value_range)


def tensor_to_planes_ref(
    tensor: Float32,
    *,
    like: PlanesYUV420,
    layout: str = "NCHW",
    order: str = "RGB",
    value_range: ValueRange = (-1.0, 1.0),
    size: Size | None = None,
) -> PlanesYUV420:
    """Reference for :func:`tensor_to_planes`."""
    tensor, like = _cut(tensor, like, layout, size)
    return _from_tensor_ref(tensor, like, layout, order, value_range)


def _to_tensor(
    planes: PlanesYUV420,
    layout: str,
    order: str,
    value_range: ValueRange,
    size: Size | None,
    multiple: int,
    *,
    by_reference: bool,
) -> Float32:
    height, width = checked_size(size or (planes.height, planes.width))
    if multiple < 1:
        raise UsageError(f"{multiple = } is no size multiple; give 1 or more")
    if layout not in ("NCHW", "NHWC"):
        raise UsageError(f"{layout = } is not a layout of RGB tensors; give 'NCHW' or 'NHWC'")
    low, high = value_range
    # An unspecified matrix is guessed from the size of the original frame, not of the network's.
    planes = replace(planes, colour=planes.colour.resolved(height=planes.height), alpha=None)
    resized = resize_planes(planes, (height, width))
    if by_reference:
        unit = np.clip(_to_unit_rgb_ref(resized)[..., _channel_order(order)], 0, 1)
        rgb = unit * np.float32(high - low) + np.float32(low)
        tensor = np.ascontiguousarray(np.moveaxis(rgb, -1, 0) if layout == "NCHW" else rgb)
    else:
        tensor = np.empty((3, height, width) if layout == "NCHW" else (height, width, 3), np.float32)
        _native_to_rgb(resized, tensor, layout=layout, order=order, value_range=value_range)
    bottom, right = -height % multiple, -width % multiple
    if bottom or right:
        spatial, channel = [(0, bottom), (0, right)], [(0, 0)]
        tensor = np.pad(tensor, channel + spatial if layout == "NCHW" else spatial + channel, mode="reflect")
    return tensor


def _from_tensor_ref(
    tensor: Float32, like: PlanesYUV420, layout: str, order: str, value_range: ValueRange
) -> PlanesYUV420:
    low, high = value_range
    rgb = np.moveaxis(tensor, 0, -1) if layout == "NCHW" else tensor
    unit = (rgb[..., _channel_order(order)] - np.float32(low)) / np.float32(high - low)
    return _from_unit_rgb_ref(unit, like)


def _to_unit_rgb_ref(planes: PlanesYUV420) -> Float32:
    """R'G'B' (H, W, 3) with black 0 and white 1, not clamped."""
    codes = code_range_of(planes)
    kr, kb = _coefficients(planes)
    height, width = planes.height, planes.width
    y = (np.asarray(planes.y, np.float32) - np.float32(codes.black)) / np.float32(codes.luma_span)
    whole = planes.u.shape[0] * 2, planes.u.shape[1] * 2
    u, v = (
        (resize_float_ref(plane, whole)[:height, :width] - np.float32(codes.chroma_mid)) / np.float32(codes.chroma_span)
        for plane in (planes.u, planes.v)
    )
    red = y + np.float32(2 * (1 - kr)) * v
    blue = y + np.float32(2 * (1 - kb)) * u
    green = (y - np.float32(kr) * red - np.float32(kb) * blue) / np.float32(1 - kr - kb)
    return np.stack([red, green, blue], axis=-1)


def _from_unit_rgb_ref(rgb: Float32, like: PlanesYUV420) -> PlanesYUV420:
    """Planes with the tags of ``like`` from R'G'B' (H, W, 3) with black 0 and white 1."""
    codes = code_range_of(like)
    kr, kb = _coefficients(like)
    # NaN becomes black; values are clamped to the range of 8-bit RGB, so that overshoots do not tint neighbouring
    # chroma.
    rgb = np.clip(np.nan_to_num(rgb, nan=0.0), 0, 1)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    y = np.float32(kr) * red + np.float32(1 - kr - kb) * green + np.float32(kb) * blue
    u = (blue - y) / np.float32(2 * (1 - kb))
    v = (red - y) / np.float32(2 * (1 - kr))
    planes = [y * np.float32(codes.luma_span) + np.float32(codes.black)]
    planes += [_mean_2x2_ref(c) * np.float32(codes.chroma_span) + np.float32(codes.chroma_mid) for c in (u, v)]
    return like.with_planes(*(to_codes_ref(plane, like.y.dtype, codes.max_code) for plane in planes))


def _mean_2x2_ref(plane: Float32) -> Float32:
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    rows, columns = chroma_size((height, width))
    return np.asarray(even.reshape(rows, 2, columns, 2).mean(axis=(1, 3)), np.float32)


def _native_to_rgb(
    planes: PlanesYUV420, out: npt.NDArray[np.uint8] | Float32, *, layout: str, order: str, value_range: ValueRange
) -> None:
    codes = code_range_of(planes)
    low, high = value_range
    assert native.kernels is not None
    native.kernels.yuv420_to_rgb(
        planes.y, planes.u, planes.v, out, layout == "NCHW", _channel_order(order)[0] == 2, *_coefficients(planes),
        codes.black, codes.luma_span, codes.chroma_mid, codes.chroma_span, high - low, low,
    )  # fmt: skip


def _native_from_rgb(
    rgb: npt.NDArray[np.uint8] | Float32, like: PlanesYUV420, *, layout: str, order: str, value_range: ValueRange
) -> PlanesYUV420:
    codes = code_range_of(like)
    low, high = value_range
    y, u, v = (np.empty(plane.shape, like.y.dtype) for plane in (like.y, like.u, like.v))
    assert native.kernels is not None
    native.kernels.rgb_to_yuv420(
        rgb, y, u, v, layout == "NCHW", _channel_order(order)[0] == 2, *_coefficients(like),
        codes.black, codes.luma_span, codes.chroma_mid, codes.chroma_span, high - low, low, codes.max_code,
    )  # fmt: skip
    return like.with_planes(y, u, v)


def _coefficients(planes: PlanesYUV420) -> tuple[float, float]:
    return LUMA_COEFFICIENTS[planes.colour.resolved(height=planes.height).matrix]


def _channel_order(order: str) -> list[int]:
    if order not in ("RGB", "BGR"):
        raise UsageError(f"{order = } is not a colour order of RGB; give 'RGB' or 'BGR'")
    return [0, 1, 2] if order == "RGB" else [2, 1, 0]


def _check_rgb(rgb: UInt8) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise UsageError(f"{rgb.shape = }, {rgb.dtype = } is not an RGB image; give uint8 (H, W, 3)")


def _blank(height: int, width: int, colour: Colour, bit_depth: int, alpha: Plane | None) -> PlanesYUV420:
    """A frame with only tags and shapes; its planes have no memory."""
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    zero = np.zeros((), dtype)
    chroma = np.broadcast_to(zero, chroma_size((height, width)))
    return PlanesYUV420(np.broadcast_to(zero, (height, width)), chroma, chroma, bit_depth, colour, alpha)


def _cut(tensor: Float32, like: PlanesYUV420, layout: str, size: Size | None) -> tuple[Float32, PlanesYUV420]:
    """The part of ``tensor`` that holds the frame, and the frame's tags and shape."""
    height, width = checked_size(size or (like.height, like.width))
    shape = tensor.shape[1:] if layout == "NCHW" else tensor.shape[:-1]
    channels = tensor.shape[0] if layout == "NCHW" else tensor.shape[-1]
    if layout not in ("NCHW", "NHWC") or tensor.ndim != 3 or channels != 3 or tensor.dtype != np.float32 or (
        shape[0] < height or shape[1] < width
    ):  # fmt: skip
        raise UsageError(
            f"{tensor.shape = }, {tensor.dtype = } does not hold a frame of size = {(height, width)} as {layout = }; "
            "give float32 (3, H, W) for 'NCHW' or (H, W, 3) for 'NHWC' with H, W at least that"
        )
    same_size = (height, width) == (like.height, like.width)
    # The matrix is guessed from the size of the source, as in planes_to_tensor.
    resolved = like.colour.resolved(height=like.height)
    shell = _blank(height, width, resolved, like.bit_depth, like.alpha if same_size else None)
    tensor = tensor[:, :height, :width] if layout == "NCHW" else tensor[:height, :width]
    return tensor, shell
