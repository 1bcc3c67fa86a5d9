"""Planes <-> the packed tensor that networks of layout ``packed_yuv420`` read and write.

A frame of H by W pixels is one float32 tensor ``(C = 24, H / 4, W / 4)``:

==========  ==========================================================================
channels    content
==========  ==========================================================================
0 .. 15     luma, space-to-depth by 4: channel ``4 * dy + dx`` is ``Y[4 * i + dy, 4 * j + dx]``
16 .. 19    U, space-to-depth by 2: channel ``16 + 2 * dy + dx`` is ``U[2 * i + dy, 2 * j + dx]``
20 .. 23    V, likewise
==========  ==========================================================================

Luma is ``2 * y01 - 1`` (black -1, white 1 of the tagged range), chroma ``2 * c`` with ``c`` in [-0.5, 0.5]
(``animevid.pixels.codes``): all roughly within [-1, 1]. The codec's own samples are used; nothing is converted to RGB.
"""

from __future__ import annotations

import numpy as np

from animevid.errors import UsageError
from animevid.pixels import native
from animevid.pixels.codes import CodeRange, code_range, to_codes_ref
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import Float32, Size, checked_size, chroma_size, resize_float_ref

CHANNELS = 24


def padded_size(size: Size, *, multiple: int = 8) -> Size:
    """``size`` (height, width) rounded up to ``multiple``, which must itself be a multiple of 4.

    Raises:
        UsageError: a multiple that does not fit the packed layout.
    """
    if multiple < 4 or multiple % 4:
        raise UsageError(f"{multiple = } does not fit the packed layout; give a multiple of 4")
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def pack_yuv420(
    planes: PlanesYUV420, *, size: Size | None = None, multiple: int = 8, out: Float32 | None = None
) -> Float32:
    """The packed tensor (24, H/4, W/4) of ``planes``.

    The frame is first resized to ``size`` (height, width; area average down, bilinear up; default: its own), then
    padded by reflection at the bottom and the right to ``multiple``. ``out``, if given, is written and returned:
    float32, C-contiguous, of the result's shape (a slot of a batch, for instance).

    Raises:
        UsageError: ``size``, ``multiple`` or ``out`` does not fit.
    """
    size = checked_size(size) if size is not None else planes.y.shape
    out = checked_out(out, padded_size(size, multiple=multiple))
    if native.kernels is None:
        return pack_yuv420_ref(planes, size=size, multiple=multiple, out=out)
    codes = code_range(planes.bit_depth, planes.colour.range)
    native.kernels.pack_yuv420(planes.y, planes.u, planes.v, out, *size, *_forward(codes))
    return out


def pack_yuv420_ref(
    planes: PlanesYUV420, *, size: Size | None = None, multiple: int = 8, out: Float32 | None = None
) -> Float32:
    """Reference for :func:`pack_yuv420`."""
    size = checked_size(size or (planes.height, planes.width))
    padded = padded_size(size, multiple=multiple)
    out = checked_out(out, padded)
    luma_scale, luma_offset, chroma_scale, chroma_offset = _forward(code_range(planes.bit_depth, planes.colour.range))
    for plane, target, whole, factor, scale, offset, channel in (
        (planes.y, size, padded, 4, luma_scale, luma_offset, 0),
        (planes.u, chroma_size(size), chroma_size(padded), 2, chroma_scale, chroma_offset, 16),
        (planes.v, chroma_size(size), chroma_size(padded), 2, chroma_scale, chroma_offset, 20),
    ):
        values = resize_float_ref(plane, target) * np.float32(scale) + np.float32(offset)
        values = np.pad(values, ((0, whole[0] - target[0]), (0, whole[1] - target[1])), mode="reflect")
        out[channel : channel + factor * factor] = space_to_depth_ref(values, factor)
    return out


def unpack_yuv420(tensor: Float32, *, like: PlanesYUV420, size: Size | None = None) -> PlanesYUV420:
    """The frame in ``tensor`` (24, H/4, W/4), rounded and clamped to codes, with the tags and bit depth of ``like``.

    ``size`` (height, width; default: that of ``like``) is cropped from the top left, which removes the padding. NaN
    becomes the lowest code. Alpha is kept if the size is that of ``like``.

    Raises:
        UsageError: a tensor of another shape or dtype, or smaller than ``size``.
    """
    size = checked_size(size) if size is not None else like.y.shape
    _check_packed(tensor, size)
    if native.kernels is None:
        return unpack_yuv420_ref(tensor, like=like, size=size)
    codes = code_range(like.bit_depth, like.colour.range)
    y, u, v = empty_planes(like, size)
    native.kernels.unpack_yuv420(np.ascontiguousarray(tensor), y, u, v, *_backward(codes), codes.max_code)
    return _tagged(like, y, u, v)


def unpack_yuv420_ref(tensor: Float32, *, like: PlanesYUV420, size: Size | None = None) -> PlanesYUV420:
    """Reference for :func:`unpack_yuv420`."""
    size = checked_size(size or (like.height, like.width))
    _check_packed(tensor, size)
    codes = code_range(like.bit_depth, like.colour.range)
    luma_scale, luma_offset, chroma_scale, chroma_offset = _backward(codes)
    planes = []
    for first, factor, target, scale, offset in (
        (0, 4, size, luma_scale, luma_offset),
        (16, 2, chroma_size(size), chroma_scale, chroma_offset),
        (20, 2, chroma_size(size), chroma_scale, chroma_offset),
    ):
        values = depth_to_space_ref(tensor[first : first + factor * factor], factor)[: target[0], : target[1]]
        values = values * np.float32(scale) + np.float32(offset)
        planes.append(to_codes_ref(values, like.y.dtype, codes.max_code))
    return _tagged(like, *planes)


def space_to_depth_ref(plane: Float32, factor: int) -> Float32:
    """(H, W) -> (factor**2, H / factor, W / factor), channel ``factor * dy + dx``."""
    height, width = plane.shape
    blocks = plane.reshape(height // factor, factor, width // factor, factor)
    return blocks.transpose(1, 3, 0, 2).reshape(factor * factor, height // factor, width // factor)


def depth_to_space_ref(channels: Float32, factor: int) -> Float32:
    """The inverse of :func:`space_to_depth_ref`."""
    _, height, width = channels.shape
    blocks = channels.reshape(factor, factor, height, width)
    return blocks.transpose(2, 0, 3, 1).reshape(height * factor, width * factor)


def empty_planes(like: PlanesYUV420, size: Size) -> tuple[Plane, Plane, Plane]:
    """Uninitialized y, u, v of ``size`` (height, width) in the dtype of ``like``."""
    chroma = chroma_size(size)
    dtype = like.y.dtype
    return np.empty(size, dtype), np.empty(chroma, dtype), np.empty(chroma, dtype)


def _tagged(like: PlanesYUV420, y: Plane, u: Plane, v: Plane) -> PlanesYUV420:
    same_size = y.shape == like.y.shape
    return like.with_planes(y, u, v, alpha=like.alpha if same_size else None)


def _forward(codes: CodeRange) -> tuple[float, float, float, float]:
    """(luma scale, luma offset, chroma scale, chroma offset) from codes to [-1, 1]."""
    luma, chroma = 2.0 / codes.luma_span, 2.0 / codes.chroma_span
    return luma, -1.0 - codes.black * luma, chroma, -codes.chroma_mid * chroma


def _backward(codes: CodeRange) -> tuple[float, float, float, float]:
    """(luma scale, luma offset, chroma scale, chroma offset) from [-1, 1] to codes."""
    return codes.luma_span / 2, codes.black + codes.luma_span / 2, codes.chroma_span / 2, codes.chroma_mid


def checked_out(out: Float32 | None, padded: Size) -> Float32:
    """``out``, or a new packed tensor for a frame of ``padded`` pixels (height, width).

    Raises:
        UsageError: ``out`` is no such tensor.
    """
    shape = (CHANNELS, padded[0] // 4, padded[1] // 4)
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise UsageError(f"{out.shape = }, {out.dtype = } cannot take the frame; give C-contiguous float32 {shape}")
    return out


def _check_packed(tensor: Float32, size: Size) -> None:
    if (
        tensor.ndim != 3
        or tensor.shape[0] != CHANNELS
        or tensor.dtype != np.float32
        or tensor.shape[1] * 4 < size[0]
        or tensor.shape[2] * 4 < size[1]
    ):
        raise UsageError(
            f"{tensor.shape = }, {tensor.dtype = } does not hold a frame of {size = }; "
            f"give float32 ({CHANNELS}, H/4, W/4) with H, W at least that"
        )
