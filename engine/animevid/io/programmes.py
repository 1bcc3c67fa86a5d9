"""Which streams belong to the video: those of its programme in a broadcast, of its variant in an adaptive stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_SEARCHED_BYTES = 4 << 20
_PACKET_BYTES = 188
_SYNC = 0x47
#: Demuxers that open all variants of a video at once.
_ADAPTIVE = frozenset({"hls", "dash"})


def has_variants(format_name: str) -> bool:
    """Whether a container of this kind lists a video in several variants."""
    return format_name.split(",")[0] in _ADAPTIVE


def best_variant(films: Sequence[Any]) -> Any:
    """The largest of several variants; among equals the one with the highest frame rate."""
    return max(films, key=lambda stream: ((stream.width or 0) * (stream.height or 0), _rate(stream), -stream.index))


def strangers(streams: Sequence[Any], film: Any, *, format_name: str, path: Path | None) -> dict[int, str]:
    """Stream index -> reason, for streams that do not belong to ``film``.

    Args:
        streams: the container's ``av`` streams.
        film: the stream whose frames are taken.
        format_name: FFmpeg's demuxer.
        path: the local file, if there is one; programmes are read from it.
    """
    if has_variants(format_name):
        return dict(_other_variants(streams, film))
    if format_name == "mpegts" and path is not None:
        own = [pids for pids in programmes(path) if film.id in pids]
        if own:
            everything = set[int]().union(*programmes(path))
            mine = set[int]().union(*own)
            return {
                stream.index: "it belongs to another programme"
                for stream in streams
                if stream.id in everything and stream.id not in mine
            }
    # An AVIF or HEIC image sequence has a still image for viewers without video: an item, not a track.
    reason = "it is the still image of the film"
    others = (stream for stream in streams if stream.type == "video" and stream.index != film.index)
    is_mov = format_name.startswith("mov,") and film.duration is not None
    return {each.index: reason for each in others if is_mov and each.duration is None and each.frames == 1}


def _other_variants(streams: Sequence[Any], film: Any) -> Iterator[tuple[int, str]]:
    reason = "it belongs to another variant of the film"
    own = film.metadata.get("variant_bitrate"), _group(streams, film)
    taken: dict[tuple[str | None, str | None], Any] = {}
    for stream in streams:
        if stream.index == film.index:
            continue
        if stream.type == "video":
            yield stream.index, reason
        elif stream.type == "audio":
            key = stream.metadata.get("language"), stream.metadata.get("comment")
            best = taken.get(key)
            if best is None:
                taken[key] = stream
                continue
            better = (_group(streams, stream) == own[1], _rate(stream)) > (_group(streams, best) == own[1], _rate(best))
            yield (best if better else stream).index, reason
            if better:
                taken[key] = stream


def _group(streams: Sequence[Any], stream: Any) -> int:
    """The video stream at or before ``stream``: variants are listed one after the other."""
    before = [other.index for other in streams if other.type == "video" and other.index <= stream.index]
    return before[-1] if before else -1


def _rate(stream: Any) -> int:
    text = stream.metadata.get("variant_bitrate", "")
    return int(text) if text.isdigit() else int(stream.codec_context.bit_rate or 0) if stream.codec_context else 0


def programmes(path: Path) -> list[set[int]]:
    """The PIDs of each programme of an MPEG transport stream (ISO/IEC 13818-1, 2.4.4), from its beginning."""
    with path.open("rb") as file:
        data = file.read(_SEARCHED_BYTES)
    tables: dict[int, bytes] = {}
    maps: set[int] = set()
    found: dict[int, set[int]] = {}
    for pid, section in _sections(data):
        if pid == 0 and section[0] == 0 and not tables.get(0):
            tables[0] = section
            entries = section[8 : 3 + (int.from_bytes(section[1:3], "big") & 0xFFF) - 4]
            for at in range(0, len(entries) - 3, 4):
                if int.from_bytes(entries[at : at + 2], "big"):
                    maps.add(int.from_bytes(entries[at + 2 : at + 4], "big") & 0x1FFF)
        elif pid in maps and section[0] == 2:
            end = 3 + (int.from_bytes(section[1:3], "big") & 0xFFF) - 4
            at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
            pids = found.setdefault(int.from_bytes(section[3:5], "big"), set())
            while at + 5 <= min(end, len(section)):
                pids.add(int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF)
                at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF)
    return list(found.values())


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """PID and bytes of table sections that fit into one packet, as programme tables do."""
    stride = next((size for size in (188, 192, 204) if _is_synchronous(data, size)), None)
    if stride is None:
        return
    start = 4 if stride == 192 else 0
    for at in range(start, len(data) - _PACKET_BYTES + 1, stride):
        packet = data[at : at + _PACKET_BYTES]
        if packet[0] != _SYNC or not packet[1] & 0x40 or not packet[3] & 0x10:
            continue
        body = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if body < _PACKET_BYTES:
            section = packet[body + 1 + packet[body] :]
            if len(section) > 12:
                yield int.from_bytes(packet[1:3], "big") & 0x1FFF, section


def _is_synchronous(data: bytes, stride: int) -> bool:
    start = 4 if stride == 192 else 0
    return len(data) > start + 3 * stride and all(data[start + n * stride] == _SYNC for n in range(3))
