"""Which streams belong to the video: those of its programme in a broadcast, of its variant in an adaptive stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.stream import Stream
    from av.video.stream import VideoStream

#: A little more than FFmpeg looks at for streams.
_SEARCHED_BYTES = 6 << 20
_PACKET_BYTES = 188
_SYNC = 0x47
#: Bare packets, with a time stamp before each, with a checksum after each.
_STRIDES = (_PACKET_BYTES, 192, 204)
#: Demuxers that open all variants of a video at once.
_ADAPTIVE = frozenset({"hls"})


def has_variants(format_name: str) -> bool:
    """Whether a container of this kind lists a video in several variants."""
    return format_name.split(",")[0] in _ADAPTIVE


def best_variant(videos: Sequence[VideoStream]) -> VideoStream:
    """The largest of several variants; among equals the one with the highest frame rate."""
    return max(videos, key=lambda stream: ((stream.width or 0) * (stream.height or 0), _rate(stream), -stream.index))


def unrelated_streams(
    streams: Sequence[Stream], video: VideoStream, *, format_name: str, path: Path | None
) -> dict[int, str]:
    """Stream index -> reason, for streams that do not belong to ``video``.

    Args:
        streams: the container's ``av`` streams.
        video: the stream whose frames are decoded.
        format_name: FFmpeg's demuxer.
        path: the local file, if there is one; programmes are read from it.
    """
    if has_variants(format_name):
        return dict(_other_variants(streams, video))
    if format_name == "mpegts" and path is not None:
        own = [pids for pids in programmes(path) if video.id in pids]
        if own:
            everything = set[int]().union(*programmes(path))
            mine = set[int]().union(*own)
            return {
                stream.index: "it belongs to another programme"
                for stream in streams
                if stream.id in everything and stream.id not in mine
            }
    # An AVIF or HEIC image sequence has a still image for viewers without video: an item, not a track.
    reason = "it is the still image of the video"
    others = (stream for stream in streams if stream.type == "video" and stream.index != video.index)
    is_mov = format_name.startswith("mov,") and video.duration is not None
    return {each.index: reason for each in others if is_mov and each.duration is None and each.frames == 1}


def _other_variants(streams: Sequence[Stream], video: VideoStream) -> Iterator[tuple[int, str]]:
    reason = "it belongs to another variant of the video"
    own = video.metadata.get("variant_bitrate"), _group(streams, video)
    taken: dict[tuple[str | None, str | None], Stream] = {}
    for stream in streams:
        if stream.index == video.index:
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


def _group(streams: Sequence[Stream], stream: Stream) -> int:
    """The video stream at or before ``stream``: variants are listed one after the other."""
    before = [other.index for other in streams if other.type == "video" and other.index <= stream.index]
    return before[-1] if before else -1


def _rate(stream: Stream) -> int:
    text = stream.metadata.get("variant_bitrate", "")
    return int(text) if text.isdigit() else int(stream.codec_context.bit_rate or 0) if stream.codec_context else 0


def programmes(path: Path) -> list[set[int]]:
    """The PIDs of each programme of an MPEG transport stream (ISO/IEC 13818-1, 2.4.4), from its beginning."""
    found: dict[int, set[int]] = {}
    for number, pids in _programme_maps(_beginning(path)):
        found.setdefault(number, set()).update(pids)
    return list(found.values())


def successors(streams: Iterable[Stream], video: VideoStream, *, path: Path) -> dict[int, int]:
    """Index -> index of the stream that it continues, where recordings with different PIDs were joined.

    A joined recording's programme map appears when that of ``video`` has appeared for the last time. Its first video
    stream continues ``video``; its audio streams continue those of ``video``'s programme, in order.

    Args:
        streams: the container's ``av`` streams.
        video: the stream whose frames are decoded.
        path: an MPEG transport stream; its beginning and end are read.
    """
    maps = [*_programme_maps(_beginning(path)), *_programme_maps(_end(path))]
    own = [at for at, (_, pids) in enumerate(maps) if video.id in pids]
    if not own:
        return {}
    number, pids = maps[own[-1]]
    before = {pid for _, listed in maps[: own[-1] + 1] for pid in listed}
    kinds = {stream.id: (stream.index, stream.type) for stream in streams}

    def of_kind(listed: Sequence[int], kind: str) -> list[int]:
        return [kinds[pid][0] for pid in listed if pid in kinds and kinds[pid][1] == kind]

    found: dict[int, int] = {}
    for later, listed in maps[own[-1] + 1 :]:
        if before.isdisjoint(listed) and (later == number or len(own) > 1):
            found.update(zip(of_kind(listed, "video")[:1], (video.index,), strict=False))
            found.update(zip(of_kind(listed, "audio"), of_kind(pids, "audio"), strict=False))
    return found


def late_streams(streams: Iterable[Stream], *, path: Path) -> set[int]:
    """The PIDs of a programme in an MPEG transport stream that its first map does not list, nor FFmpeg found."""
    first: dict[int, list[int]] = {}
    listed: set[int] = set()
    for number, pids in (*_programme_maps(_beginning(path)), *_programme_maps(_end(path))):
        first.setdefault(number, pids)
        listed.update(pids)
    return listed.difference((stream.id for stream in streams), *first.values())


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SEARCHED_BYTES)


def _end(path: Path) -> bytes:
    """What comes after :func:`_beginning`, or as much of it from the end, from the start of a packet on."""
    with path.open("rb") as file:
        start = max(_SEARCHED_BYTES, file.seek(0, os.SEEK_END) - _SEARCHED_BYTES)
        file.seek(start)
        data = file.read(_SEARCHED_BYTES)
    starts = (at for at in range(max(_STRIDES)) if any(_is_synchronous(data[at : at + 1024], n) for n in _STRIDES))
    return data[next(starts, 0) :]


def _programme_maps(data: bytes) -> Iterator[tuple[int, list[int]]]:
    """Each programme map table, in order: the programme's number and its PIDs."""
    maps: set[int] = set()
    for pid, section in _sections(data):
        if pid == 0 and section[0] == 0:
            entries = section[8 : 3 + (int.from_bytes(section[1:3], "big") & 0xFFF) - 4]
            for at in range(0, len(entries) - 3, 4):
                if int.from_bytes(entries[at : at + 2], "big"):
                    maps.add(int.from_bytes(entries[at + 2 : at + 4], "big") & 0x1FFF)
        elif pid in maps and section[0] == 2:
            end = 3 + (int.from_bytes(section[1:3], "big") & 0xFFF) - 4
            at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
            pids = []
            while at + 5 <= min(end, len(section)):
                pids.append(int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF)
                at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF)
            yield int.from_bytes(section[3:5], "big"), pids


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """PID and bytes of table sections that fit into one packet, as programme tables do."""
    stride = next((size for size in _STRIDES if _is_synchronous(data, size)), None)
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
