"""HLS playlists of fragmented MP4 whose ``EXT-X-MAP`` changes (ad breaks): FFmpeg would read the first one only."""

from __future__ import annotations

import re
from fractions import Fraction

from animevid.errors import InputError
from animevid.io.dash.places import Place
from animevid.io.dash.segments import MAX_SEGMENTS, Segment, Track

_MAP = re.compile(r'#EXT-X-MAP:.*?URI="([^"]*)"(?:.*BYTERANGE="([0-9]{1,15})@([0-9]{1,15})")?')
_LENGTH = re.compile(r"#EXTINF:\s*([0-9]{1,9}(?:\.[0-9]{1,12})?)")
#: What needs FFmpeg's own reader.
_OTHERS = re.compile(r"#EXT-X-(KEY:(?!METHOD=NONE)|BYTERANGE|STREAM-INF|MEDIA:|I-FRAMES-ONLY)")


def parts_of(text: str, place: Place) -> list[Track]:
    """One track for each ``EXT-X-MAP`` of a finished media playlist, in order; fewer than two: FFmpeg reads it itself.

    Args:
        text: the playlist.
        place: of the playlist; segments that it may not name are FFmpeg's to refuse.
    """
    if not text.startswith("#EXTM3U") or "#EXT-X-ENDLIST" not in text or _OTHERS.search(text):
        return []
    parts: list[tuple[Segment, list[Segment]]] = []
    length, now, count = Fraction(0), Fraction(0), 0
    try:
        for line in map(str.strip, text.splitlines()):
            if found := _MAP.match(line):
                first = None if found[2] is None else int(found[3])
                size = None if first is None else (first, first + int(found[2]) - 1)
                header = Segment(place.at(found[1]).address, size, Fraction(0), Fraction(0))
                if not parts or parts[-1][0] != header:
                    parts.append((header, []))
                    now = Fraction(0)
            elif found := _LENGTH.match(line):
                length = Fraction(found[1])
            elif line and not line.startswith("#"):
                count += 1
                if not parts or count > MAX_SEGMENTS:
                    return []
                parts[-1][1].append(Segment(place.at(line).address, None, now, length))
                now += length
    except InputError:
        return []
    return [Track(header, tuple(segments)) for header, segments in parts if segments]
