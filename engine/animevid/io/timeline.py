"""Gives files with discontinuous time stamps one monotonic clock: joined recordings, DVDs, ad breaks, wrap-around."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from animevid.io.clock import ticks_from_seconds

if TYPE_CHECKING:
    from animevid.io.packets import MediaPacket

#: A clock that goes back by more than this has restarted (B-frames and muxing never cause that in decoding times).
_BACK_SECONDS = Fraction(1, 2)
#: A clock that leaps ahead by more than this in every stream has jumped: nothing was recorded in between.
_LEAP_SECONDS = Fraction(10)
#: The same for containers with reliable clocks, where a pause may be intended (a static screen recording).
_MEANT_LEAP_SECONDS = Fraction(60)
#: Their decoding times are sometimes guessed from reordered frames and may go back by this many frames.
_FRAMES_OUT_OF_ORDER = 17


@dataclass(slots=True)
class _Track:
    """The position of one stream: its part, and the end of its last packet on the output clock."""

    part: int
    end: Fraction
    step: Fraction


class Timeline:
    """Puts the packets of a file on one clock; one thread uses it.

    A *part* is a section of the file with its own clock. The first audio or video packet after a jump starts one, at
    the latest end of all streams; the other streams join it with the same shift, so audio and video stay in sync.
    Sparse streams (subtitles, data) never start a part.

    Args:
        leading: indices of the streams whose jumps count (the video and its audio).
        sound: indices of audio streams; their packets that overlap the end of the previous part are dropped.
        closes_gaps: close leaps ahead. If false (containers with reliable clocks), they are kept and reported.
    """

    def __init__(self, leading: Collection[int], *, sound: Collection[int] = (), closes_gaps: bool = True) -> None:
        self._leading, self._sound = frozenset(leading), frozenset(sound)
        self._closes_gaps = closes_gaps
        self._shifts: list[Fraction] = [Fraction(0)]
        self._tracks: dict[int, _Track] = {}
        self.jumps_back = 0
        self.gaps_closed = 0
        self.gaps_kept = 0

    @property
    def parts(self) -> int:
        """How many parts there are so far."""
        return len(self._shifts)

    @property
    def notices(self) -> tuple[str, ...]:
        """One line for each kind of jump found so far."""
        lines = []
        if self.jumps_back:
            times = _times(self.jumps_back)
            lines.append(f"the clock goes back {times} (recordings joined?): the parts follow each other")
        if self.gaps_closed:
            lines.append(f"the clock leaps ahead {_times(self.gaps_closed)}: the gap is closed")
        if self.gaps_kept:
            lines.append(f"the clock leaps ahead {_times(self.gaps_kept)} by a minute or more: the pause is kept")
        return tuple(lines)

    def begins_in_the_past(self, packet: MediaPacket) -> bool:
        """Whether a packet is the first one of its stream, and comes well before the end of leading ones.

        Never in containers with reliable clocks.
        """
        stamp = packet.dts if packet.dts is not None else packet.pts
        base = packet.time_base
        if not self._closes_gaps or packet.stream_index in self._tracks or stamp is None or not base:
            return False
        if self._leading.isdisjoint(self._tracks):
            return False
        return stamp * base + self._shifts[-1] < self._end() - _BACK_SECONDS

    def place(self, packet: MediaPacket) -> bool:
        """Move ``packet`` (an ``av.Packet``) to the output clock, in place; false if it should be dropped."""
        is_judged = self._closes_gaps or packet.dts is not None
        stamp = packet.dts if packet.dts is not None else packet.pts
        base = packet.time_base
        if stamp is None or not base:
            return True
        index, raw = packet.stream_index, stamp * base
        length = packet.duration * base if packet.duration else None
        track = self._tracks.get(index)
        part = self._part_of(index, raw, track) if is_judged or track is None else track.part
        seconds = raw + self._shifts[part]
        if track is not None and part != track.part and index in self._sound and seconds < track.end - track.step / 2:
            return False
        if track is None:
            self._tracks[index] = track = _Track(part, seconds, length or Fraction(0))
        elif length is not None:
            track.step = length
        elif part == track.part and 0 < seconds - track.end < 1:
            track.step = seconds - track.end + track.step
        track.part = part
        track.end = max(track.end, seconds + (length or track.step))
        shift = ticks_from_seconds(self._shifts[part], base)
        if shift:
            if packet.pts is not None:
                packet.pts += shift
            if packet.dts is not None:
                packet.dts += shift
        return True

    def _part_of(self, index: int, raw: Fraction, track: _Track | None) -> int:
        newest = len(self._shifts) - 1
        if track is None:
            return newest if index in self._leading or newest else 0
        if self._fits(raw + self._shifts[track.part], track):
            return track.part
        if track.part < newest and self._fits(raw + self._shifts[newest], track, slack=_LEAP_SECONDS / 10):
            return newest
        if index not in self._leading:
            return newest
        if raw + self._shifts[track.part] < track.end:
            self.jumps_back += 1
        elif self._closes_gaps:
            self.gaps_closed += 1
        else:
            self.gaps_kept += 1
            return track.part
        self._shifts.append(self._end() - raw)
        return newest + 1

    def _fits(self, seconds: Fraction, track: _Track, *, slack: Fraction = Fraction(0)) -> bool:
        """Whether a stream may continue at ``seconds``: neither back, nor far ahead of all other streams."""
        back, leap = _BACK_SECONDS, _LEAP_SECONDS
        if not self._closes_gaps:
            back, leap = max(back, _FRAMES_OUT_OF_ORDER * track.step), _MEANT_LEAP_SECONDS
        return -back - slack <= seconds - track.end and seconds - self._end() <= max(leap, 3 * track.step)

    def _end(self) -> Fraction:
        ends = [track.end for index, track in self._tracks.items() if index in self._leading or not self._leading]
        # A leading track may start later than the others; until then any track leads.
        return max(ends or [track.end for track in self._tracks.values()])


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
