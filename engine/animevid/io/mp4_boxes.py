"""Finds boxes of MP4 and MOV (ISO/IEC 14496-12), inserts boxes into a track of a finished file, moves its index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_HEADER = 8
#: Number of bytes before the boxes of a sample description (12.3.2 there) and of a visual sample entry (12.1.3).
_DESCRIPTION, _ENTRY = 8, 78
_CHUNK_BYTES = 4 << 20
_MAX_INDEX_BYTES = 64 << 20

#: Start and end of a box, including its header.
Span = tuple[int, int]


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of consecutive boxes in ``data``; the last one may be truncated."""
    for kind, (begin, end) in spans(data, (0, len(data))):
        yield kind, data[begin + _HEADER : end]


def spans(data: bytes | bytearray, within: Span) -> Iterator[tuple[bytes, Span]]:
    """Kind and span of consecutive boxes in a part of ``data``."""
    at, end = within
    while at + _HEADER <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        if length < _HEADER:
            return
        yield bytes(data[at + 4 : at + 8]), (at, at + length)
        at += length


def find_moov(file: BinaryIO) -> Span | None:
    """The span of a file's "moov"."""
    at, size = 0, os.fstat(file.fileno()).st_size
    while at + _HEADER <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if length == 1 else length or size - at
        if head[4:8] == b"moov":
            return at, at + length
        if length < _HEADER:
            return None
        at += length
    return None


def index_first(path: Path) -> tuple[bytes, Span] | None:
    """What a file whose "moov" is at its end has to begin with, to be read without seeking; ``None`` for others.

    Returns:
        The first box and the "moov", with offsets as if it came second; and the span of the file that follows them.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
        first = int.from_bytes(head[:4], "big")
        place = find_moov(file) if head[4:] == b"ftyp" else None
        if place is None or not _HEADER <= first < place[0] <= place[1] - _HEADER:
            return None
        if first > _MAX_INDEX_BYTES or place[1] - place[0] > _MAX_INDEX_BYTES:
            return None
        file.seek(0)
        begin = file.read(first)
        file.seek(place[0])
        moov = bytearray(file.read(place[1] - place[0]))
    return (begin + moov, (first, place[0])) if _move_chunks(moov, behind=0, by=len(moov)) else None


def add_boxes(path: Path, *, video_track: int, into_entry: bytes, into_track: bytes) -> bool:
    """Insert boxes into a finished file on disk.

    Args:
        path: an MP4 or MOV that is not fragmented.
        video_track: index among the video tracks, from 0.
        into_entry: appended to the boxes of the track's sample entry.
        into_track: appended to the boxes of the track.

    Returns:
        Whether that was possible; if not, the file is unchanged.
    """
    with path.open("r+b") as file:
        place = find_moov(file)
        if place is None:
            return False
        file.seek(place[0])
        moov = bytearray(file.read(place[1] - place[0]))
        track = _video_track(moov, video_track)
        if track is None:
            return False
        # The later position first: the earlier one does not move.
        _insert(moov, into_track, at=track[1][1], around=track[:2])
        _insert(moov, into_entry, at=track[-1][1], around=track)
        grown = len(into_entry) + len(into_track)
        if not _move_chunks(moov, behind=place[0], by=grown):
            return False
        _make_room(file, place[1], grown)
        file.seek(place[0])
        file.write(moov)
    return True


def _insert(moov: bytearray, new: bytes, *, at: int, around: list[Span]) -> None:
    moov[at:at] = new
    for begin, _ in around:
        length = int.from_bytes(moov[begin : begin + 4], "big") + len(new)
        moov[begin : begin + 4] = length.to_bytes(4, "big")


def _video_track(moov: bytes | bytearray, number: int) -> list[Span] | None:
    """The spans from "moov" down through the track to its first sample entry, the last one."""
    whole = (0, len(moov))
    inside = (_HEADER, len(moov))
    if _child(moov, inside, b"mvex") is not None:
        return None  # fragments have their own offsets
    found = 0
    for kind, track in spans(moov, inside):
        if kind != b"trak":
            continue
        media = _child(moov, _inside(track), b"mdia")
        handler = media and _child(moov, _inside(media), b"hdlr")
        if media is None or handler is None or moov[handler[0] + 16 : handler[0] + 20] != b"vide":
            continue
        if found == number:
            way: list[Span] = [whole, track, media]
            for wanted in (b"minf", b"stbl", b"stsd"):
                next_box = _child(moov, _inside(way[-1]), wanted)
                if next_box is None:
                    return None
                way.append(next_box)
            begin, end = way[-1]
            entry = next(spans(moov, (begin + _HEADER + _DESCRIPTION, end)), None)
            return None if entry is None else [*way, entry[1]]
        found += 1
    return None


def _move_chunks(moov: bytearray, *, behind: int, by: int) -> bool:
    """Add ``by`` to the offsets of chunks after position ``behind`` in the file; false if an offset would overflow."""
    for kind, track in spans(moov, (_HEADER, len(moov))):
        table: Span | None = track if kind == b"trak" else None
        for wanted in (b"mdia", b"minf", b"stbl"):
            table = table and _child(moov, _inside(table), wanted)
        if table is None:
            continue
        for kind, (begin, end) in spans(moov, _inside(table)):
            size = {b"stco": 4, b"co64": 8}.get(kind)
            if size is None:
                continue
            count = min(int.from_bytes(moov[begin + 12 : begin + 16], "big"), (end - begin - 16) // size)
            for at in range(begin + 16, begin + 16 + count * size, size):
                place = int.from_bytes(moov[at : at + size], "big")
                if place > behind:
                    if place + by >= 1 << 8 * size:
                        return False
                    moov[at : at + size] = (place + by).to_bytes(size, "big")
    return True


def _make_room(file: BinaryIO, at: int, count: int) -> None:
    """Move everything from ``at`` on by ``count`` bytes, starting at the end."""
    end = file.seek(0, os.SEEK_END)
    while end > at:
        begin = max(at, end - _CHUNK_BYTES)
        file.seek(begin)
        data = file.read(end - begin)
        file.seek(begin + count)
        file.write(data)
        end = begin


def _child(data: bytes | bytearray, within: Span, wanted: bytes) -> Span | None:
    return next((span for kind, span in spans(data, within) if kind == wanted), None)


def _inside(box: Span) -> Span:
    return box[0] + _HEADER, box[1]
