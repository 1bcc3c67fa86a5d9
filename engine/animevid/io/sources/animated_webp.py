"""Reads animated WebP, for which FFmpeg before 8.2 has no decoder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

from animevid.errors import InputError, UsageError
from animevid.frame import Frame
from animevid.io.network.protocols import Spec, input_error, local_path
from animevid.io.packets import PacketQueue
from animevid.io.pillow import TimedFrame, animation_times, read_animation
from animevid.io.source import Source, SourceInfo
from animevid.options import SourceOptions


class AnimatedWebpSource(Source):
    """The frames of an animated WebP, each with the duration from the file.

    Args:
        spec: a file name.
        start_seconds, end_seconds: yield the frames that begin in ``[start, end)``.
        data: the file's content, if it has been read already.

    Raises:
        InputError: it cannot be read or is damaged.
        UsageError: the cut holds no frame.
    """

    def __init__(
        self,
        spec: Spec,
        options: SourceOptions | None = None,
        *,
        data: bytes | None = None,
    ) -> None:
        options = options or SourceOptions()
        self.spec = spec
        self.packets = PacketQueue()
        self.packets.subscribe(frozenset())
        self.frames_decoded = self.frames_concealed = 0
        self.read_error: str | None = None
        self.origin_seconds = options.start or Fraction(0)
        self._end = options.end
        if self.origin_seconds < 0:
            raise UsageError(f"start = {float(self.origin_seconds)} s must not be negative")
        try:
            data = local_path(spec).read_bytes() if data is None else data
        except OSError as error:
            raise input_error(spec, error) from error
        name = os.fspath(spec)
        count, duration = animation_times(data, name=name)
        frames = read_animation(data, name=name)
        self._frames: Iterator[TimedFrame] = (f for f in frames if f.start_seconds >= self.origin_seconds)
        first = next(self._frames, None)
        if first is None:
            raise UsageError(f"start = {float(self.origin_seconds)} s lies after the last frame of {name!r}")
        self._frames = chain((first,), self._frames)
        planes = first.planes
        cut = min(duration, self._end or duration) - self.origin_seconds
        self.info = SourceInfo(
            width=planes.width,
            height=planes.height,
            display_width=planes.width,
            display_height=planes.height,
            rotation_degrees=0,
            sample_aspect_ratio=Fraction(1),
            average_rate=(count / duration).limit_denominator(1000),
            is_variable_rate=True,
            time_base=Fraction(1, 1000),
            duration_seconds=cut,
            frame_count=max(1, round(count * cut / duration)),
            colour=planes.colour,
            bit_depth=planes.bit_depth,
            pixel_format="rgba",
            has_alpha=planes.alpha is not None,
            codec="webp",
            container="webp",
        )

    @property
    def end_seconds(self) -> Fraction | None:
        return self._end

    def __iter__(self) -> Iterator[Frame]:
        try:
            for index, timed in enumerate(self._frames):
                if self._end is not None and timed.start_seconds >= self._end:
                    return
                self.frames_decoded = index + 1
                yield Frame(timed.planes, index, timed.start_seconds, timed.duration_seconds)
        except InputError as error:  # truncated: keep the frames before
            self.read_error = str(error)

    def close(self) -> None:
        self._frames = iter(())
