"""The segments of a representation: addresses, byte ranges and times, from its template, list or single file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import TypeVar

from animevid.io.dash.manifest import Addressing, Period, Representation, whole_number
from animevid.io.dash.places import Place

#: For one representation in one period: 28 hours of two seconds.
MAX_SEGMENTS = 50_000
_MAY_FOLLOW = 2
_T = TypeVar("_T")
_FIELD = re.compile(r"\$(?:(RepresentationID|Number|Time|Bandwidth)(?:%0?([0-9]{1,2})d)?)?\$")
_RANGE = re.compile(r"\s*([0-9]{1,18})-([0-9]{1,18})\s*")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file, or a part of one, from the first to the last byte; times are in seconds from the period's beginning."""

    address: str
    byte_range: tuple[int, int] | None
    start_seconds: Fraction
    duration_seconds: Fraction


@dataclass(frozen=True, slots=True)
class Track:
    """The segments of one representation, after ``header`` (the initialization segment) if there is one.

    ``missing`` counts files that a local manifest lists and its folder lacks, other than at the end.
    """

    header: Segment | None
    segments: tuple[Segment, ...]
    missing: int = 0

    @property
    def end_seconds(self) -> Fraction:
        """When the last segment ends."""
        return self.segments[-1].start_seconds + self.segments[-1].duration_seconds


def track_of(representation: Representation, period: Period, place: Place) -> Track:
    """The track of ``representation``; in a local folder without the files that are not there.

    Raises:
        ValueError: its addresses are not usable, or there are too many; the message says what is wrong.
        InputError: an address that may not be read, or no file of it is there.
    """
    addressing = representation.addressing
    for base in addressing.base:
        place = place.at(base)
    if addressing.kind == "SegmentTemplate":
        header, segments = _of_template(representation, period, place)
    elif addressing.kind == "SegmentList":
        header, segments = _of_list(representation, period, place)
    else:
        whole = Segment(place.address, None, Fraction(0), period.duration_seconds or Fraction(0))
        header, segments = None, iter((whole,))
    if header is not None:
        place.require(header.address)
    listed = list(segments)
    if not listed:
        raise ValueError(f"representation {representation.name[:40]!r} has no segments")
    there = [segment for segment in listed if place.has(segment.address)]
    if not there:
        place.require(listed[0].address)
    missing = listed.index(there[-1]) + 1 - len(there)
    return Track(header, tuple(there), missing)


def _of_template(
    representation: Representation, period: Period, place: Place
) -> tuple[Segment | None, Iterator[Segment]]:
    addressing = representation.addressing
    given = addressing.attributes
    media = given.get("media")
    if media is None:
        raise ValueError("a SegmentTemplate has no media")
    header = None
    if "initialization" in given:
        name = _filled(given["initialization"], representation, number=0, time=0)
        header = Segment(place.at(name).address, None, Fraction(0), Fraction(0))
    elif "Initialization" in addressing.elements:
        header = _header(addressing, place)
    first = addressing.number("startNumber", 1)

    def segments() -> Iterator[Segment]:
        for number, (time, start, length, is_sure) in enumerate(_bounded(_times(addressing, period)), first):
            name = _filled(media, representation, number=number, time=time)
            address = place.at(name).address
            if not is_sure and not place.is_local:
                if period.duration_seconds is None:
                    raise ValueError("it does not say how long it is")
                return
            if not is_sure and not place.has(address):
                return
            yield Segment(address, None, start, length)

    last = addressing.number("endNumber", -1)
    found = segments()
    return header, found if last < 0 else islice(found, max(0, last - first + 1))


def _of_list(representation: Representation, period: Period, place: Place) -> tuple[Segment | None, Iterator[Segment]]:
    addressing = representation.addressing
    urls = addressing.elements.get("SegmentURL", [])
    header = _header(addressing, place)

    def segments() -> Iterator[Segment]:
        start, step = Fraction(0), Fraction(addressing.number("duration", 0), addressing.timescale)
        if not step and "SegmentTimeline" not in addressing.elements and period.duration_seconds and urls:
            step = period.duration_seconds / len(urls)
        times = _timeline(addressing, period) if "SegmentTimeline" in addressing.elements else iter(())
        for url in _bounded(iter(urls)):
            _, start, length = next(times, (0, start, step))
            given = url.attributes
            address = place.at(given["media"]).address if "media" in given else place.address
            yield Segment(address, _byte_range(given.get("mediaRange")), start, length)
            start += length

    return header, segments()


def _header(addressing: Addressing, place: Place) -> Segment | None:
    element = next(iter(addressing.elements.get("Initialization", ())), None)
    if element is None:
        return None
    given = element.attributes
    address = place.at(given["sourceURL"]).address if "sourceURL" in given else place.address
    return Segment(address, _byte_range(given.get("range")), Fraction(0), Fraction(0))


def _times(addressing: Addressing, period: Period) -> Iterator[tuple[int, Fraction, Fraction, bool]]:
    """Time as ``$Time$`` shows it, start in the period and length of each segment, and whether it must be there.

    In the last period more may follow than the length tells: the short rest of a sound, which FFmpeg's muxer writes.
    """
    if "SegmentTimeline" in addressing.elements:
        yield from ((*each, True) for each in _timeline(addressing, period))
        return
    step = addressing.number("duration", 0)
    if not step:
        if period.duration_seconds is None:
            raise ValueError("a SegmentTemplate says neither the length of its segments nor their times")
        yield 0, Fraction(0), period.duration_seconds, True  # one segment for the whole period
        return
    scale, offset = addressing.timescale, addressing.number("presentationTimeOffset", 0)
    length = Fraction(step, scale)
    known = period.duration_seconds
    number = None if known is None else -(-known // length)
    more = MAX_SEGMENTS if number is None else _MAY_FOLLOW
    if period.is_last:
        number = (number or 0) + more
    for at in range(number or 0):
        start = at * length
        yield offset + at * step, start, length, known is not None and start < known


def _timeline(addressing: Addressing, period: Period) -> Iterator[tuple[int, Fraction, Fraction]]:
    scale, offset = addressing.timescale, addressing.number("presentationTimeOffset", 0)
    entries = [entry for line in addressing.elements["SegmentTimeline"] for entry in line.all("S")]
    now = 0
    for at, entry in enumerate(entries):
        given = entry.attributes
        now = whole_number(given.get("t"), now)
        length = whole_number(given.get("d"), 0)
        if not length:
            raise ValueError("a SegmentTimeline has a segment without a length")
        repeated = given.get("r", "0").strip()
        if repeated.startswith("-"):  # up to the next entry, or to the period's end
            following = entries[at + 1].attributes.get("t") if at + 1 < len(entries) else None
            if following is None and period.duration_seconds is None:
                raise ValueError("it does not say how long it is")
            end = (
                Fraction(whole_number(following, 0))
                if following is not None
                else (offset + (period.duration_seconds or 0) * scale)
            )
            number = max(1, -((now - end) // length))
        else:
            number = whole_number(repeated, 0) + 1
        for _ in range(min(number, MAX_SEGMENTS + 1)):
            yield now, Fraction(now - offset, scale), Fraction(length, scale)
            now += length


def _filled(template: str, representation: Representation, *, number: int, time: int) -> str:
    values = {"Number": number, "Time": time, "Bandwidth": representation.bandwidth}

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        if found[1] == "RepresentationID":
            return representation.name
        return f"{values[found[1]]:0{int(found[2] or 1)}d}"

    return _FIELD.sub(value, template)


def _bounded(them: Iterator[_T]) -> Iterator[_T]:
    """All of ``them``, counted before any is looked at.

    Raises:
        ValueError: there are too many.
    """
    counted = list(islice(them, MAX_SEGMENTS + 1))
    if len(counted) > MAX_SEGMENTS:
        raise ValueError(f"a representation has more than {MAX_SEGMENTS} segments")
    return iter(counted)


def _byte_range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2]) < int(found[1]):
        raise ValueError(f"{text[:40]!r} stands where a byte range is expected")
    return int(found[1]), int(found[2])


def from_seconds(track: Track, seconds: Fraction) -> Track:
    """``track`` from the segment before the one that holds ``seconds``, since their lengths may be approximate."""
    at = next((n for n, each in enumerate(track.segments) if each.start_seconds + each.duration_seconds > seconds),
              len(track.segments) - 1)  # fmt: skip
    return replace(track, segments=track.segments[max(0, at - 1) :])
