"""Converts between FFmpeg's frames and :class:`PlanesYUV420`: input without a copy, output with one copy per plane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from animevid.io.colour import CONVERTED_MATRICES, colour_of, swscale_matrix, write_tags
from animevid.pixels.colour import Colour, ColourRange, Matrix
from animevid.pixels.device import CUDA, downloaded
from animevid.pixels.planes import Plane, PlanesYUV420

if TYPE_CHECKING:
    from av.video.plane import VideoPlane

#: Pixel formats whose buffers are planar 4:2:0 already, with their bit depth.
_VIEWABLE = {
    "yuv420p": 8,
    "yuvj420p": 8,
    "yuva420p": 8,
    "yuv420p10le": 10,
    "yuva420p10le": 10,
}
#: The colour to which R'G'B' is converted: that of video, and that of JPEG (JFIF).
VIDEO_RGB = Colour(Matrix.BT709, ColourRange.LIMITED)
STILL_RGB = Colour(Matrix.BT601, ColourRange.FULL)
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


def planar_format(bit_depth: int, *, has_alpha: bool) -> str:
    """FFmpeg's name of the planar 4:2:0 format that holds ``bit_depth`` bits."""
    name = "yuva420p" if has_alpha else "yuv420p"
    return name if bit_depth == 8 else f"{name}{bit_depth}le"


def format_has_alpha(pixel_format: av.VideoFormat) -> bool:
    """Whether a pixel format stores opacity (``pal8`` may, in its palette)."""
    return pixel_format.name == "pal8" or any(part.is_alpha for part in pixel_format.components)


def format_bit_depth(pixel_format: av.VideoFormat) -> int:
    """The bit depth of planes read from that format: 8, or 10 for anything deeper."""
    if pixel_format.name == "pal8":
        return 8
    return 8 if max(part.bits for part in pixel_format.components) <= 8 else 10


def _view(plane: VideoPlane, *, width: int, height: int, bit_depth: int) -> Plane:
    """The pixels of one of FFmpeg's planes, without a copy; ``(height, width)``, rows padded."""
    dtype: npt.DTypeLike = np.uint8 if bit_depth == 8 else np.uint16
    line_size = plane.line_size
    offset = 0 if line_size >= 0 else -(height - 1) * line_size
    itemsize = 1 if bit_depth == 8 else 2
    return np.ndarray((height, width), dtype, memoryview(plane), offset, (line_size, itemsize))


def _view_frame(frame: av.VideoFrame, *, bit_depth: int, colour: Colour) -> PlanesYUV420:
    width, height = frame.width, frame.height
    chroma_width, chroma_height = (width + 1) // 2, (height + 1) // 2
    planes = frame.planes
    y = _view(planes[0], width=width, height=height, bit_depth=bit_depth)
    u = _view(planes[1], width=chroma_width, height=chroma_height, bit_depth=bit_depth)
    v = _view(planes[2], width=chroma_width, height=chroma_height, bit_depth=bit_depth)
    alpha = _view(planes[3], width=width, height=height, bit_depth=bit_depth) if len(planes) > 3 else None
    return PlanesYUV420(y, u, v, bit_depth, colour, alpha, frame)


class PlaneReader:
    """Converts decoded frames to planar 4:2:0: a view if they already are, else with swscale.

    Holds swscale's context, so one reader serves one thread. ``rgb_colour`` is the matrix and range to which R'G'B'
    is converted (default: BT.709 limited, as in video). ``container_colour`` replaces tags that frames lack. With
    ``keep_alpha`` false, an alpha channel is flattened over black (for sources that do not use theirs).
    """

    def __init__(self, *, rgb_colour: Colour = VIDEO_RGB, container_colour: Colour | None = None) -> None:
        self._reformatter = VideoReformatter()
        self._rgb_colour = rgb_colour
        self._container_colour = container_colour
        self._tags: tuple[object, ...] = ()
        self._colour = Colour()
        self.keep_alpha = True

    def read(self, frame: av.VideoFrame) -> PlanesYUV420:
        """The planes of ``frame``: 8 bits stay 8, more become 10; range and matrix are kept.

        Chroma of 4:2:2 and 4:4:4 is filtered down (bicubic). R'G'B' becomes Y'CbCr as ``rgb_colour`` says.

        Raises:
            UnsupportedInputError: a colour matrix that is not supported.
        """
        planes = self._read(frame)
        return planes if self.keep_alpha or planes.alpha is None else flatten_alpha(planes)

    def _read(self, frame: av.VideoFrame) -> PlanesYUV420:
        name = frame.format.name
        tags = frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc, name
        if tags != self._tags:
            self._colour = colour_of(frame, container=self._container_colour)
            self._tags = tags
        colour = self._colour
        if name == CUDA:
            frame = downloaded(frame)
            name = frame.format.name
        depth = _VIEWABLE.get(name)
        if depth is not None:
            planes = _view_frame(frame, bit_depth=depth, colour=colour)
            _freeze(planes)
            return planes
        if name == "nv12":
            return _split_nv12(frame, colour)
        converted, colour = self._convert(frame, colour)
        planes = _view_frame(converted, bit_depth=_VIEWABLE[converted.format.name], colour=colour)
        _freeze(planes)
        return planes

    def _convert(self, frame: av.VideoFrame, colour: Colour) -> tuple[av.VideoFrame, Colour]:
        target = planar_format(format_bit_depth(frame.format), has_alpha=format_has_alpha(frame.format))
        source = colour.resolved(height=frame.height)
        source_matrix, source_range = swscale_matrix(source.matrix), int(source.range)
        if frame.format.is_rgb or frame.format.name == "pal8" or frame.colorspace == 0:
            colour = replace(colour, matrix=self._rgb_colour.matrix, range=self._rgb_colour.range)
            source_matrix, source_range = swscale_matrix(colour.matrix), int(ColourRange.FULL)
        elif frame.colorspace in CONVERTED_MATRICES:
            colour = replace(colour, matrix=Matrix.BT709, range=ColourRange.LIMITED)
            source_matrix = frame.colorspace
        goal = colour.resolved(height=frame.height)
        converted = self._reformatter.reformat(
            frame,
            format=target,
            src_colorspace=source_matrix,
            dst_colorspace=swscale_matrix(goal.matrix),
            src_color_range=source_range,
            dst_color_range=int(goal.range),
            interpolation=_SCALING,
            threads=1,
        )
        return converted, colour


def _freeze(planes: PlanesYUV420) -> None:
    """Make the planes read-only: a decoder may still use them as reference frames."""
    for plane in (planes.y, planes.u, planes.v, planes.alpha):
        if plane is not None:
            plane.flags.writeable = False


def _split_nv12(frame: av.VideoFrame, colour: Colour) -> PlanesYUV420:
    width, height = frame.width, frame.height
    chroma_width, chroma_height = (width + 1) // 2, (height + 1) // 2
    luma, chroma = frame.planes
    y = _view(luma, width=width, height=height, bit_depth=8)
    y.flags.writeable = False
    uv: npt.NDArray[np.uint8] = np.ndarray(
        (chroma_height, chroma_width, 2), np.uint8, memoryview(chroma), 0, (chroma.line_size, 2, 1)
    )
    u, v = np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1])
    return PlanesYUV420(y, u, v, 8, colour, None, frame)


class PlaneWriter:
    """Puts planes into FFmpeg frames for an encoder of one fixed size and pixel format.

    The frame is recycled: it is reused once the encoder has released it, and replaced otherwise.
    Frames one pixel short of the target are extended by repeating their last column or row.
    """

    def __init__(self, *, width: int, height: int, pixel_format: str, colour: Colour) -> None:
        self.width = width
        self.height = height
        self.pixel_format = pixel_format
        self._colour = colour
        self._recycled: dict[str, av.VideoFrame] = {}
        self._reformatter = VideoReformatter()
        self._target = av.VideoFormat(pixel_format)
        self._target_alpha = format_has_alpha(self._target)

    def write(self, planes: PlanesYUV420) -> av.VideoFrame:
        """A frame in the writer's format with a copy of ``planes``."""
        if planes.alpha is not None and not self._target_alpha:
            planes = flatten_alpha(planes)
        same = _same_code(planes.colour, self._colour, height=self.height)
        frame = self._frame(planar_format(planes.bit_depth, has_alpha=planes.alpha is not None), same_code=same)
        targets = _view_frame(frame, bit_depth=planes.bit_depth, colour=self._colour)
        _copy_extended(targets.y, planes.y)
        _copy_extended(targets.u, planes.u)
        _copy_extended(targets.v, planes.v)
        if planes.alpha is not None and targets.alpha is not None:
            _copy_extended(targets.alpha, planes.alpha)
        if frame.format.name == self.pixel_format and same:
            return frame
        return self._convert(frame, planes.colour)

    def _frame(self, name: str, *, same_code: bool) -> av.VideoFrame:
        # yuvj420p has the layout of yuv420p; a frame with the format name that the encoder expects needs no
        # swscale. A frame of another range must keep its name, since swscale takes yuvj for full range.
        if self.pixel_format == "yuvj420p" and name == "yuv420p" and same_code:
            name = "yuvj420p"
        frame = self._recycled.get(name)
        if frame is None:
            frame = self._recycled[name] = av.VideoFrame(self.width, self.height, name)
            write_tags(frame, self._colour)
        else:
            frame.make_writable()
        return frame

    def _convert(self, frame: av.VideoFrame, colour: Colour) -> av.VideoFrame:
        source = colour.resolved(height=self.height)
        goal = self._colour.resolved(height=self.height)
        to_rgb = self._target.is_rgb
        converted = self._reformatter.reformat(
            frame,
            format=self.pixel_format,
            src_colorspace=swscale_matrix(source.matrix),
            dst_colorspace=swscale_matrix(source.matrix if to_rgb else goal.matrix),
            src_color_range=int(source.range),
            dst_color_range=int(ColourRange.FULL if to_rgb else goal.range),
            # Without full chroma interpolation swscale's fast paths to RGB are off by one or two levels of green.
            interpolation=_SCALING | Interpolation.FULL_CHR_H_INT if to_rgb else _SCALING,
            threads=1,
        )
        if not to_rgb:
            write_tags(converted, self._colour)
        return converted


def _same_code(one: Colour, other: Colour, *, height: int) -> bool:
    """Whether the same code values mean the same colours under both tags."""
    if one is other or one == other:
        return True
    one, other = one.resolved(height=height), other.resolved(height=height)
    return one.range == other.range and swscale_matrix(one.matrix) == swscale_matrix(other.matrix)


def _copy_extended(target: Plane, source: Plane) -> None:
    """Copy ``source`` into the larger or equal ``target``, repeating the last row and column into the margin."""
    height, width = source.shape
    if target.shape == source.shape:
        np.copyto(target, source)
        return
    height, width = min(height, target.shape[0]), min(width, target.shape[1])
    target[:height, :width] = source[:height, :width]
    target[:height, width:] = source[:height, width - 1 : width]
    target[height:] = target[height - 1]


def is_opaque(planes: PlanesYUV420) -> bool:
    """Whether every pixel is opaque."""
    return planes.alpha is None or int(planes.alpha.min()) >= (1 << planes.bit_depth) - 1


def flatten_alpha(planes: PlanesYUV420) -> PlanesYUV420:
    """The frame over black, without alpha: ``Y = a Y + (1 - a) black``, chroma likewise towards neutral."""
    if planes.alpha is None:
        return planes
    top = (1 << planes.bit_depth) - 1
    if is_opaque(planes):
        return replace(planes, alpha=None)
    scale = 1 << (planes.bit_depth - 8)
    black = 0 if planes.colour.range is ColourRange.FULL else 16 * scale
    opacity = planes.alpha.astype(np.float32) / top
    height, width = opacity.shape
    padded = np.pad(opacity, ((0, height % 2), (0, width % 2)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
    chroma_opacity = blocks.mean(axis=(1, 3), dtype=np.float32)

    def mix(plane: Plane, alpha: npt.NDArray[np.floating], floor: int) -> Plane:
        mixed: Plane = np.rint(floor + (plane.astype(np.float32) - floor) * alpha).astype(plane.dtype)
        return mixed

    y = mix(planes.y, opacity, black)
    u = mix(planes.u, chroma_opacity, 128 * scale)
    v = mix(planes.v, chroma_opacity, 128 * scale)
    return planes.with_planes(y, u, v, alpha=None)
