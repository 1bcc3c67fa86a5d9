"""The packets of a container, until it ends, breaks off or is closed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import av

from animevid.io.network.protocols import Spec, input_error, is_local_file
from animevid.io.sources.joins import Joins
from animevid.io.timeline import Timeline
from animevid.redaction import redacted

if TYPE_CHECKING:
    from av.video.stream import VideoStream

    from animevid.io.network.protocols import MediaInput
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)

#: If none of this many first packets is a key frame, the video begins at the first packet.
_PACKETS_WITHOUT_KEY = 300
#: The most packets of new streams that wait for one of another.
_HELD_PACKETS = 200
#: At the end of an FLV file, without any video.
_UNREAD_SHARE = 0.1
#: After so many packets of known streams there is no join: some of them may belong to the part before.
_PASSED_PACKETS = 10


class PacketReader:
    """Reads the packets of all streams of ``container``; a truncated file ends early, and ``read_error`` says so.

    Args:
        container: a PyAV container; ``close`` closes it, from any thread.
        spec (Spec): its name, for messages.
    """

    def __init__(self, container: MediaInput, spec: Spec) -> None:
        self._container, self._spec = container, spec
        self._reading = threading.Lock()
        self.is_closed = False
        self.read_error: str | None = None
        self._has_begun = False

    def packets(self, video: VideoStream, timeline: Timeline, joins: Joins) -> Iterator[MediaPacket]:
        """The packets that ``joins`` takes, with times from ``timeline``; ``video``'s index is checked at the end."""
        for packet in _after_known_streams(self._read(video, joins), timeline):
            if timeline.place(packet) and joins.takes(packet, parts=timeline.parts):
                self._has_begun = True
                yield packet

    def _read(self, video: VideoStream, joins: Joins) -> Iterator[MediaPacket]:
        packets = self._container.demux()
        read_bytes, is_flv = 0, self._container.format.name == "flv" and is_local_file(self._spec)
        while not self.is_closed:
            try:
                with self._reading:
                    packet = None if self.is_closed else next(packets, None)
            except IndexError:  # PyAV's flush at the end, over a stream that it did not know at the beginning
                packet = None
            except (av.FFmpegError, OSError) as error:
                self.read_error = str(input_error(self._spec, error))
                # Before the first packet the error ends the conversion, which reports it.
                log.log(
                    logging.WARNING if self._has_begun else logging.DEBUG, "reading stops early: %s", self.read_error
                )
                return
            if packet is None:
                self._note_cut_off(video)
                joins.note_end()
                if is_flv:
                    self._note_unread(read_bytes, joins)
                return
            if is_flv and packet.pos is not None and packet.stream_index == video.index:
                read_bytes = packet.pos + packet.size
            # PyAV's own flush packets are empty and belong to no stream.
            if packet.size and joins.follow(packet):
                yield packet

    def close(self) -> None:
        """Free the file. Safe to call twice, and from another thread than the one that reads (which then ends)."""
        self.is_closed = True
        with self._reading:  # FFmpeg's structures must not be freed during a read
            self._container.close()

    def _note_unread(self, read_bytes: int, joins: Joins) -> None:
        """Note if much follows the last video packet: PyAV drops the streams that FFmpeg adds for a new codec."""
        with self._reading:
            size = 0 if self.is_closed else self._container.size
        if size - read_bytes > size * _UNREAD_SHARE:
            joins.note_video_end(100 - 100 * read_bytes // size)

    def _note_cut_off(self, video: VideoStream) -> None:
        """Set ``read_error`` if the container's index points beyond the end of the file."""
        with self._reading:
            if self.is_closed or not is_local_file(self._spec) or not len(video.index_entries):
                return
            entries = video.index_entries
            last, size = entries[len(entries) - 1], self._container.size
        if 0 < size < last.pos + last.size:
            self.read_error = f"path = {redacted(self._spec)!r} is cut off: its last frames are missing"
            log.warning("%s", self.read_error)


def _after_known_streams(packets: Iterator[MediaPacket], timeline: Timeline) -> Iterator[MediaPacket]:
    """``packets``; a new stream that seems to begin in the past waits for known streams, which show if it is a join."""
    held: list[MediaPacket] = []
    parts = passed = 0
    for packet in packets:
        if len(held) < _HELD_PACKETS and timeline.begins_in_the_past(packet):
            if not held:
                parts, passed = timeline.parts, 0
            held.append(packet)
            continue
        if any(each.stream_index == packet.stream_index for each in held):
            yield from held
            held = []
        yield packet
        passed += 1
        if held and (timeline.parts > parts or passed == _PASSED_PACKETS):
            yield from held
            held = []
    yield from held


def from_first_key(
    packets: Iterator[MediaPacket], video_index: int, on_skipped: Callable[[int | None], None]
) -> Iterator[MediaPacket]:
    """``packets`` without the video packets before the first key frame, since a recording may begin between two.

    If any were skipped, ``on_skipped`` is called with the time of that key frame, in ticks.
    """
    return chain(_until_first_key(packets, video_index, on_skipped), packets)


def _until_first_key(
    packets: Iterator[MediaPacket], video_index: int, on_skipped: Callable[[int | None], None]
) -> Iterator[MediaPacket]:
    held: list[MediaPacket] = []
    for packet in packets:
        if packet.stream_index != video_index:
            yield packet
        elif packet.is_keyframe:
            if held:
                log.debug("%d packets before the first key frame are left out", len(held))
                on_skipped(packet.pts)
            yield packet
            break
        else:
            held.append(packet)
            if len(held) > _PACKETS_WITHOUT_KEY:
                break
    else:
        yield from held
        return
    if len(held) > _PACKETS_WITHOUT_KEY:
        yield from held
