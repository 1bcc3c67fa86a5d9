"""Exact time: ticks of a time base to seconds and back, always as ``Fraction``; never a frame count, never a float."""

from __future__ import annotations

from fractions import Fraction

#: Containers whose clock starts at an arbitrary value (broadcasts, cameras): their first time stamp has no meaning, so
#: the source's start becomes zero for all streams. In other containers a late first frame is intended and kept.
ARBITRARY_CLOCK_FORMATS = frozenset({"mpegts", "mpeg", "hls", "rtsp", "rtp", "sdp", "flv", "live_flv", "dash"})

_MAX_GUESSED_FRAME_SECONDS = Fraction(1, 10)


def ticks_from_seconds(seconds: Fraction, time_base: Fraction) -> int:
    """The nearest tick of ``time_base`` to ``seconds`` (exact where it falls on one; ties to even)."""
    return round(seconds / time_base)


class FrameClock:
    """Gives each decoded frame an exact, strictly increasing time, even where the file lacks time stamps.

    A frame whose time stamp is missing or repeated is placed one frame after its predecessor (the last observed step,
    else the nominal rate, else a tenth of a second); ``repaired`` counts these.
    """

    def __init__(self, *, time_base: Fraction, nominal_rate: Fraction | None) -> None:
        # Whole ticks inside: sums of Fractions for each frame would cost more than everything else here.
        self._time_base = time_base
        step = 1 / nominal_rate if nominal_rate else _MAX_GUESSED_FRAME_SECONDS
        self._step = max(1, ticks_from_seconds(step, time_base))
        self._last: int | None = None
        self.repaired = 0

    def stamp(self, pts: int | None, *, duration: int) -> Fraction:
        """Seconds of a frame whose decoder said ``pts`` and ``duration`` in ticks (``None`` and 0 for unknown)."""
        last = self._last
        if pts is None or (last is not None and pts <= last):
            self.repaired += 1
            pts = 0 if last is None else last + (duration or self._step)
        elif last is not None and pts - last <= 4 * self._step:
            self._step = pts - last
        self._last = pts
        return pts * self._time_base


class OutputClock:
    """Times of an output's frames in whole ticks of ``time_base`` (seconds per tick), strictly increasing.

    On a clock coarser than the source's, frames of one tick keep their order, a tick apart.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._last: int | None = None

    def ticks(self, seconds: Fraction) -> int:
        """The tick of the next frame, at ``seconds``."""
        ticks = ticks_from_seconds(seconds, self._time_base)
        if self._last is not None and ticks <= self._last:
            ticks = self._last + 1
        self._last = ticks
        return ticks


def output_time_base(source: Fraction | None, *, rate: Fraction | None) -> Fraction:
    """Seconds per tick for the encoder: the source's own, so that every time stamp stays exact.

    A source without one (a folder of images) gets one tick per frame at ``rate``. Source ticks finer than a microsecond
    are coarsened to 1/90000 s, since encoders and MP4 count them in 32 bits.
    """
    if source is None or source <= 0:
        return 1 / rate if rate else Fraction(1, 90000)
    return source if source >= Fraction(1, 1_000_000) else Fraction(1, 90000)
