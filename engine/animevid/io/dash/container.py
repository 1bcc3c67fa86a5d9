"""Reads a DASH presentation like a PyAV container: each period as HLS playlists for FFmpeg, on one clock."""

from __future__ import annotations

import heapq
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import av
from av.stream import Discard

from animevid.errors import InputError, UnsupportedInputError
from animevid.io.clock import ticks_from_seconds
from animevid.io.coding import coding_of
from animevid.io.dash.choice import Choice, choose
from animevid.io.dash.manifest import Manifest, read_manifest
from animevid.io.dash.places import Place
from animevid.io.dash.playlists import write_playlists
from animevid.io.dash.segments import MAX_SEGMENTS, Track, from_seconds, track_of
from animevid.io.pyav import MICROSECOND, time_base_of, to_fraction
from animevid.redaction import redacted

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

    from animevid.io.packets import MediaPacket

#: Clocks of streams that differ by more than this are read one by one: FFmpeg would read one far ahead of the other.
_APART_SECONDS = Fraction(1, 2)
#: Of all periods.
_MAX_SEGMENTS = 2 * MAX_SEGMENTS
_VIDEO = ""
_LONGEST_TITLE = 60


@dataclass(frozen=True, slots=True)
class _Part:
    """A period ready to be opened.

    Args:
        start_seconds, end_seconds: on the presentation's clock, which is that of the first period's video segments.
        tracks: the video under an empty title, then sounds by their titles.
        languages: of the sounds.
        shifts: seconds to add to the times in each track's segments.
        bandwidth: of the video, in bit/s.
        is_measured: whether its segments' times say nothing, so that it is read from its beginning.
    """

    start_seconds: Fraction
    end_seconds: Fraction | None
    tracks: dict[str, Track]
    languages: dict[str, str]
    shifts: dict[str, Fraction]
    bandwidth: int
    is_measured: bool = False

    @property
    def is_aligned(self) -> bool:
        """Whether all tracks have about the same clock."""
        return max(self.shifts.values()) - min(self.shifts.values()) <= _APART_SECONDS

    def later(self, seconds: Fraction) -> _Part:
        """The same on a clock that shows ``seconds`` more."""
        end = None if self.end_seconds is None else self.end_seconds + seconds
        shifts = {title: shift + seconds for title, shift in self.shifts.items()}
        return replace(self, start_seconds=self.start_seconds + seconds, end_seconds=end, shifts=shifts)

    def tracks_from(self, seconds: Fraction | None) -> dict[str, Track]:
        """The tracks from ``seconds`` of the presentation's clock on."""
        if seconds is None or self.is_measured:
            return dict(self.tracks)
        return {title: from_seconds(track, seconds - self.start_seconds) for title, track in self.tracks.items()}


def open_dash(data: bytes, place: Place, *, open_playlist: Callable[[str], InputContainer]) -> DashContainer:
    """The presentation of a manifest.

    Args:
        data: the manifest.
        place: where it was found.
        open_playlist: opens an HLS playlist, by FFmpeg's name of the file.

    Raises:
        InputError, UnsupportedInputError: damaged, live, encrypted, or naming files that may not be read.
        av.FFmpegError, OSError: its segments cannot be read.
    """
    name = redacted(place.manifest)
    try:
        manifest = read_manifest(data)
        if manifest.is_live:
            raise UnsupportedInputError(
                f"path = {name!r} is live DASH, which is not read: give the stream's .m3u8 or RTSP"
            )
        parts, choices = _chosen(manifest, place, name=name)
    except (ValueError, OverflowError) as error:
        raise InputError(f"path = {name!r} is a DASH manifest that cannot be read: {error}") from error
    return DashContainer(parts, notices=tuple(_notices(parts, choices)), open_playlist=open_playlist)


def open_parts(tracks: list[Track], *, open_playlist: Callable[[str], InputContainer]) -> DashContainer:
    """A video in several tracks that follow each other, each with a clock of its own."""
    parts: list[_Part] = []
    now = Fraction(0)
    for track in tracks:
        end = now + track.end_seconds
        parts.append(_Part(now, end, {_VIDEO: track}, {}, {_VIDEO: Fraction(0)}, 1, is_measured=True))
        now = end
    return DashContainer(parts, notices=(), open_playlist=open_playlist)


def _chosen(manifest: Manifest, place: Place, *, name: str) -> tuple[list[_Part], list[Choice]]:
    parts: list[_Part] = []
    choices: list[Choice] = []
    left = _MAX_SEGMENTS
    for period in manifest.periods:
        if not period.representations and len(manifest.periods) > 1:
            continue  # an announcement
        choice = choose(period, name=name)
        titles = {_title(key): each for key, each in choice.sounds.items()}
        taken = {_VIDEO: choice.video, **titles}
        tracks = {title: track_of(each, period, place) for title, each in taken.items()}
        left -= sum(len(track.segments) for track in tracks.values())
        if left < 0:
            raise ValueError(f"it lists more than {_MAX_SEGMENTS} segments")
        choices.append(choice)
        lengths = [period.duration_seconds, max(track.end_seconds for track in tracks.values())]
        length = next((each for each in lengths if each), None)
        parts.append(
            _Part(
                start_seconds=period.start_seconds,
                end_seconds=None if length is None else period.start_seconds + length,
                tracks=tracks,
                languages={title: each.language for title, each in titles.items()},
                shifts={title: period.start_seconds - each.addressing.offset_seconds for title, each in taken.items()},
                bandwidth=choice.video.bandwidth,
            )
        )
    if not parts:
        raise ValueError("it lists no period, so it has nothing to play")
    begin = parts[0].shifts[_VIDEO]
    return [part.later(-begin) for part in parts], choices


def _title(key: tuple[str, ...]) -> str:
    """A name for a sound, the same in all periods."""
    language, label, *roles = key
    title = ", ".join(part for part in (language, label, *(role for role in roles if role != "main")) if part)
    return re.sub(r'[\x00-\x1f"]', " ", title)[:_LONGEST_TITLE].strip() or "sound"


class DashContainer:
    """The part of PyAV's ``InputContainer`` that sources use, over the periods of a presentation.

    Streams are those of the first period; later periods' packets are assigned to them by kind and title, with times on
    the presentation's clock. Where a later stream is coded in another way, ``packet.opaque`` is its
    :class:`~animevid.io.coding.Coding`. Seeking opens the period anew, from the segment that is wanted on.

    Args:
        parts: the periods.
        notices: one-line remarks for users.
        open_playlist: opens an HLS playlist, by FFmpeg's name of the file.
    """

    format = SimpleNamespace(name="dash", long_name="MPEG-DASH")
    size = 0

    def __init__(
        self, parts: list[_Part], *, notices: tuple[str, ...], open_playlist: Callable[[str], InputContainer]
    ) -> None:
        self._parts, self._open_playlist, self.notices = parts, open_playlist, notices
        end = parts[-1].end_seconds
        #: In microseconds, as PyAV has it.
        self.duration = None if end is None else round((end - parts[0].start_seconds) * av.time_base)
        self.metadata: dict[str, str] = {}
        self._begin: Fraction | None = None
        self._extra: list[InputContainer] = []
        self._first = self._open(parts[0])
        self._unread: InputContainer | None = self._first
        self.streams = self._first.streams
        self._slots = _titled(self._first)
        self._codings = {stream.index: coding_of(stream) for stream in (*self.streams.video, *self.streams.audio)}
        for stream in self.streams.audio:
            stream.metadata.pop("comment", None)  # our title

    @property
    def start_seconds(self) -> Fraction:
        """When the first stream begins, on the presentation's clock."""
        starts = []
        for (_, title), index in self._slots.items():
            stream, shifts = self.streams[index], self._parts[0].shifts
            if stream.start_time is not None:
                starts.append(stream.start_time * time_base_of(stream) + shifts.get(title, shifts[_VIDEO]))
        return min(starts, default=Fraction(0))

    def __enter__(self) -> DashContainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def chapters(self) -> list[NoReturn]:
        """None: DASH has no chapters."""
        return []

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        self._close_extra()
        self._first.close()

    def seek(self, offset: int, *, stream: Stream, backward: bool = True) -> None:
        """Let the next :meth:`demux` begin at or before ``offset``, in ticks of ``stream``."""
        self._begin = offset * time_base_of(stream)

    def demux(self, *streams: Stream) -> Iterator[MediaPacket]:
        """All packets, or those of ``streams``, from the position of the last :meth:`seek` on."""
        wanted = {stream.index for stream in streams} or set(self._slots.values())
        begin = self._begin
        first = max(n for n, part in enumerate(self._parts) if not n or (begin and part.start_seconds <= begin))
        for number in range(first, len(self._parts)):
            for packet in self._packets(number, begin if number == first else None):
                if packet.stream_index in wanted:
                    yield packet

    def _packets(self, number: int, begin: Fraction | None) -> Iterator[MediaPacket]:
        """The packets of a period, in the order of their times."""
        part = self._parts[number]
        self._close_extra()
        container = self._unread if number == 0 and begin is None else None
        self._unread = None
        if container is None:
            container = self._open_extra(part, begin)
        if number and (begin is None or part.is_measured):
            part = _anchored(part, container)
        taken = self._slots if container is self._first else _titled(container)
        if part.is_aligned:
            yield from self._placed(container, part, number, taken)
            return
        streams: list[Iterator[MediaPacket]] = []
        for kind_and_title, index in taken.items():
            one = self._open_extra(part, begin) if streams else container
            for other in one.streams:
                other.discard = Discard.default if other.index == index else Discard.all
            streams.append(self._placed(one, part, number, {kind_and_title: index}))
        yield from heapq.merge(*streams, key=_time)

    def _placed(
        self, container: InputContainer, part: _Part, number: int, taken: dict[tuple[str, str], int]
    ) -> Iterator[MediaPacket]:
        """Packets of a period's streams on the presentation's clock, as packets of the first period's streams."""
        end = part.end_seconds if number + 1 < len(self._parts) else None
        plan = {}
        for (kind, title), index in taken.items():
            slot = self._slots.get((kind, title))
            if slot is not None:
                coding = coding_of(container.streams[index])
                shift = part.shifts.get(title, part.shifts[_VIDEO])
                plan[index] = self.streams[slot], shift, None if coding == self._codings[slot] else coding
        for packet in container.demux():
            if not packet.size or packet.stream_index not in plan:
                continue
            stream, shift, changed = plan[packet.stream_index]
            _place(packet, stream, shift)
            if stream.type == "audio" and packet.pts is not None:
                seconds = packet.pts * packet.time_base
                if (number and seconds < part.start_seconds) or (end is not None and seconds >= end):
                    continue  # priming, or what reaches into the next period
            if changed is not None:
                packet.opaque = changed
            yield packet

    def _open(self, part: _Part, begin: Fraction | None = None) -> InputContainer:
        """Open a period's playlists, from ``begin`` on the presentation's clock on."""
        tracks = part.tracks_from(begin)
        with tempfile.TemporaryDirectory(prefix="animevid-dash-") as folder:
            path = write_playlists(
                Path(folder), tracks.pop(_VIDEO), tracks, languages=part.languages, bandwidth=part.bandwidth
            )
            return self._open_playlist(f"file:{path}")  # a finished playlist is read once

    def _open_extra(self, part: _Part, begin: Fraction | None) -> InputContainer:
        container = self._open(part, begin)
        self._extra.append(container)
        return container

    def _close_extra(self) -> None:
        for container in self._extra:
            container.close()
        self._extra.clear()


def _titled(container: InputContainer) -> dict[tuple[str, str], int]:
    """Kind and title of an open period's video and sounds, and their indices; a sound in the video has a number."""
    found: dict[tuple[str, str], int] = {}
    if container.streams.video:
        found["video", _VIDEO] = container.streams.video[0].index
    for number, stream in enumerate(container.streams.audio):
        if stream.codec_context is not None:
            found["audio", stream.metadata.get("comment", str(number))] = stream.index
    return found


def _anchored(part: _Part, container: InputContainer) -> _Part:
    """``part``, begun where its manifest says even if its segments' times say something else."""
    starts = []
    for (_, title), index in _titled(container).items():
        stream = container.streams[index]
        if stream.start_time is not None:
            starts.append(stream.start_time * time_base_of(stream) + part.shifts.get(title, part.shifts[_VIDEO]))
    off = part.start_seconds - min(starts, default=part.start_seconds)
    if abs(off) <= _APART_SECONDS:
        return part
    return replace(part, shifts={title: shift + off for title, shift in part.shifts.items()})


def _place(packet: MediaPacket, stream: Stream, shift: Fraction) -> None:
    """Put ``packet`` on the clock of ``stream``, ``shift`` seconds later."""
    base, own = to_fraction(packet.time_base) or time_base_of(stream), time_base_of(stream)
    if shift or base != own:
        if packet.pts is not None:
            packet.pts = ticks_from_seconds(packet.pts * base + shift, own)
        if packet.dts is not None:
            packet.dts = ticks_from_seconds(packet.dts * base + shift, own)
        if packet.duration:
            packet.duration = ticks_from_seconds(packet.duration * base, own)
        packet.time_base = own
    packet.stream = stream


def _time(packet: MediaPacket) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if ticks is None else ticks * (to_fraction(packet.time_base) or MICROSECOND)


def _notices(parts: list[_Part], choices: list[Choice]) -> Iterator[str]:
    video, others = choices[0].video, choices[0].others
    if others:
        size = f"{video.width}x{video.height}" if video.width else f"{video.bandwidth} bit/s"
        yield f"the best of {others + 1} variants is taken ({size})"
    if any(choice.subtitles for choice in choices):
        yield "subtitles of DASH are left out"
    late = sorted({title for part in parts for title in part.tracks} - set(parts[0].tracks))
    if late:
        yield f"sound that the first period lacks is left out: {', '.join(late)}"
    missing = sum(track.missing for part in parts for track in part.tracks.values())
    if missing:
        yield f"{missing} of the listed files are not in the folder"
