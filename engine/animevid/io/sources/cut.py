"""The selected part of a source, on the source's clock."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from animevid.errors import UsageError
from animevid.io.clock import ARBITRARY_CLOCK_FORMATS, ticks_from_seconds
from animevid.io.pyav import MICROSECOND, to_fraction

if TYPE_CHECKING:
    from av.stream import Stream

    from animevid.io.network.protocols import MediaInput
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)


class Cut:
    """From ``start`` to ``end``, in seconds from the source's beginning; ``None``: from its beginning or to its end.

    Raises:
        UsageError: the end is not after the start.
    """

    def __init__(self, start: Fraction | None, end: Fraction | None) -> None:
        if start is not None and end is not None and end <= start:
            raise UsageError(f"end = {float(end)} s must lie after start = {float(start)} s")
        self.start, self.end = start, end
        #: The beginning of the source and of the cut, on the source's clock.
        self.source_start_seconds = self.origin_seconds = Fraction(0)
        self._begins_late = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.start is None and self.end is None

    @property
    def end_seconds(self) -> Fraction | None:
        """The end of the cut on the source's clock."""
        return None if self.end is None else self.end + self.source_start_seconds

    def start_ticks(self, time_base: Fraction) -> int | None:
        """The start of the cut in ticks of ``time_base``; ``None``: from the beginning."""
        return None if self.start is None else ticks_from_seconds(self.start + self.source_start_seconds, time_base)

    def begin_at(self, seconds: Fraction) -> None:
        """Let the source begin at ``seconds`` on its clock; earlier packets are dropped."""
        self._begins_late = True
        self.source_start_seconds = self.origin_seconds = seconds

    def seek(self, container: MediaInput, stream: Stream, *, time_base: Fraction, beside: Sequence[Stream]) -> None:
        """Seek to the key frame of ``stream`` before the start; ``beside`` are streams that may begin earlier.

        Raises:
            UsageError: the start is outside the source.
        """
        if container.format.name.split(",")[0] in ARBITRARY_CLOCK_FORMATS:
            # DASH (io/dash) puts its streams on one clock itself.
            known = [(each.start_time, to_fraction(each.time_base)) for each in (stream, *beside)]
            starts = [start * base for start, base in known if start is not None and base]
            self.source_start_seconds = getattr(container, "start_seconds", min(starts, default=Fraction(0)))
        self.origin_seconds = self.source_start_seconds
        if self.start is None:
            return
        if self.start < 0:
            raise UsageError(f"start = {float(self.start)} s must not be negative")
        if container.duration is not None and self.start >= container.duration * MICROSECOND:
            length = container.duration / 1_000_000
            raise UsageError(f"start = {float(self.start)} s lies after the end of the file ({length:.3f} s)")
        self.origin_seconds = self.start + self.source_start_seconds
        if self.start > 0:
            try:
                container.seek(ticks_from_seconds(self.origin_seconds, time_base), stream=stream, backward=True)
            except av.FFmpegError as error:  # a pipe or a live stream: read up to the start
                log.debug("cannot seek: %s", error)

    def holds(self, packet: MediaPacket, *, lasting: bool) -> bool:
        """Whether a packet of another stream is inside the cut; a ``lasting`` one (a subtitle) may begin before it."""
        if (self.is_whole and not self._begins_late) or packet.pts is None:
            return True
        seconds = packet.pts * packet.time_base
        end = self.end_seconds
        if end is not None and seconds >= end:
            return False
        if (self.start is None and not self._begins_late) or seconds >= self.origin_seconds:
            return True
        length = packet.duration * packet.time_base if lasting and packet.duration else 0
        return bool(length and seconds + length > self.origin_seconds)

    def shorten(self, packet: MediaPacket) -> None:
        """Shorten a lasting packet (a subtitle) in place, so that the output does not outlast its frames."""
        end = self.end_seconds
        if end is not None and packet.pts is not None and packet.duration:
            packet.duration = min(packet.duration, ticks_from_seconds(end, packet.time_base) - packet.pts)
