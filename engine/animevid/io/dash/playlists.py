"""Writes the tracks of a DASH period as HLS playlists (RFC 8216), by which FFmpeg reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path

from animevid.io.dash.segments import Segment, Track
from animevid.io.mp4_boxes import index_first

_SCHEME = re.compile(r"https?:", re.IGNORECASE)
_LONGEST_LANGUAGE = 35  # BCP 47


def write_playlists(
    folder: Path, video: Track, sounds: Mapping[str, Track], *, languages: Mapping[str, str], bandwidth: int
) -> Path:
    """Write a master playlist and one for each track into ``folder``.

    Args:
        folder: where they are written.
        video: its track.
        sounds: by titles without quotation marks, which become FFmpeg's ``comment``; the first is the main one.
        languages: of the sounds, by the same names.
        bandwidth: of the video, in bit/s.

    Returns:
        The master playlist's path.
    """
    lines = ["#EXTM3U", "#EXT-X-VERSION:7"]
    for number, (name, track) in enumerate(sounds.items()):
        language = re.sub(r"[^\w-]", "", languages.get(name, ""))[:_LONGEST_LANGUAGE]
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="{name}",'
            + (f'LANGUAGE="{language}",' if language else "")
            + f'DEFAULT={"NO" if number else "YES"},URI="sound-{number}.m3u8"'
        )
        _write(folder / f"sound-{number}.m3u8", track)
    group = ',AUDIO="sound"' if sounds else ""
    lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth or 1}{group}", "video.m3u8"]
    _write(folder / "video.m3u8", video)
    master = folder / "master.m3u8"
    master.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return master


def _write(path: Path, track: Track) -> None:
    if track.header is None and track.segments[0].byte_range is None and not _SCHEME.match(track.segments[0].address):
        track = _index_first(track, path.with_suffix(".mp4"))
    path.write_bytes(b"\n".join(os.fsencode(line) for line in _lines(track)) + b"\n")


def _index_first(track: Track, header: Path) -> Track:
    """``track`` with its index in the file ``header``, if it is one MP4 with the index at its end."""
    segment = track.segments[0]
    found = index_first(Path(segment.address))
    if found is None:
        return track
    index, (begin, end) = found
    header.write_bytes(index)
    first = Segment(str(header), None, segment.start_seconds, segment.duration_seconds)
    return replace(track, header=first, segments=(replace(segment, byte_range=(begin, end - 1)),))


def _lines(track: Track) -> Iterator[str]:
    longest = max(1, *(ceil(each.duration_seconds) for each in track.segments))
    yield from ("#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{longest}", "#EXT-X-PLAYLIST-TYPE:VOD")
    if track.header is not None:
        size = f',BYTERANGE="{_byte_range(track.header)}"' if track.header.byte_range else ""
        yield f'#EXT-X-MAP:URI="{_url(track.header.address)}"{size}'
    for each in track.segments:
        yield f"#EXTINF:{float(each.duration_seconds) or 1:.6f},"
        if each.byte_range:
            yield f"#EXT-X-BYTERANGE:{_byte_range(each)}"
        yield _url(each.address)
    yield "#EXT-X-ENDLIST"


def _url(address: str) -> str:
    return address if _SCHEME.match(address) else f"file:{address}"


def _byte_range(segment: Segment) -> str:
    assert segment.byte_range is not None
    first, last = segment.byte_range
    return f"{last - first + 1}@{first}"
