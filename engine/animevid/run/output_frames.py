"""The size, shape and colour of a conversion's frames, before the network and in the output."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from animevid.frame import Frame
from animevid.io import FrameFormat, Source, frame_format_of
from animevid.io.encoders import SHAPE_TOLERANCE
from animevid.options import ConversionOptions
from animevid.pixels import Colour, PlanesYUV420, compare_side_by_side, compare_split, resize_planes


class OutputFrames:
    """What ``options`` ask of the frames of ``source``.

    Args:
        options (ConversionOptions): size and comparison.
        source (Source): an open source.
        square_pixels (bool): whether pixels must become square, since the output cannot store their shape.
    """

    def __init__(self, options: ConversionOptions, source: Source, *, square_pixels: bool) -> None:
        info = source.info
        self._options, self._source = options, source
        self._pixel_shape = info.sample_aspect_ratio if square_pixels else Fraction(1)
        #: (height, width) in pixels at which frames are stylized; for separate images, that of the first.
        self.size = self._size_for(info.display_height, info.display_width)

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the output's frames, with the comparison."""
        height, width = self.size
        return height, width // 2 * 4 if self._options.compare == "side" else width

    @property
    def frame_format(self) -> FrameFormat:
        """The format of the output's frames."""
        kind = frame_format_of(self._source)
        height, width = self.output_size
        # Keep the display aspect ratio: the sample aspect ratio compensates the new size.
        shape = Fraction(kind.width, kind.height) / Fraction(self.size[1], self.size[0])
        ratio = kind.sample_aspect_ratio
        if abs(shape - 1) > SHAPE_TOLERANCE:
            ratio = (ratio * shape).limit_denominator(255)
        colour = _lasting_colour(kind.colour, height=kind.height, new_height=height)
        return replace(kind, colour=colour, width=width, height=height, sample_aspect_ratio=ratio)

    @property
    def notices(self) -> tuple[str, ...]:
        """One-line remarks for people."""
        if self._pixel_shape == 1 or self._options.size is not None:
            return ()
        height, width = self.size
        return (f"pixels are made square ({width}x{height}): the output cannot say their shape",)

    def fit(self, planes: PlanesYUV420) -> PlanesYUV420:
        """A frame of a video, at the size of all."""
        return _resized(planes, self.size)

    def fit_each(self, planes: PlanesYUV420) -> PlanesYUV420:
        """A separate image, at the size that is asked for it: images may differ."""
        return _resized(planes, self._size_for(planes.height, planes.width))

    def compared(self, frame: Frame, planes: PlanesYUV420) -> Frame:
        """``frame`` with the stylized ``planes``, beside the original or split with it, as the options say."""
        if self._options.compare == "side":
            planes = compare_side_by_side(frame.planes, planes)
        elif self._options.compare == "split":
            planes = compare_split(frame.planes, planes, position=self._options.split_position)
        return frame.with_planes(planes)

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        size = self._options.size
        if size is None:
            shape = self._pixel_shape
            return height, max(2, round(width * shape / 2) * 2) if shape != 1 else width
        assert not isinstance(size, str)  # ConversionOptions has read it
        return (*size(height, width),) if callable(size) else size


def _resized(planes: PlanesYUV420, size: tuple[int, int]) -> PlanesYUV420:
    if size == planes.y.shape:
        return planes
    colour = _lasting_colour(planes.colour, height=planes.height, new_height=size[0])
    return replace(resize_planes(planes, size), colour=colour)


def _lasting_colour(colour: Colour, *, height: int, new_height: int) -> Colour:
    """Tags with the same meaning at ``new_height`` as ``colour`` at ``height``: players guess untagged ones by size."""
    meant = colour.resolved(height=height).matrix
    return colour if colour.resolved(height=new_height).matrix is meant else replace(colour, matrix=meant)
