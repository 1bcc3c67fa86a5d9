"""Coded packets: a queue from the thread that reads the source to the one that writes the output, in order."""

from __future__ import annotations

import threading
from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

    #: A coded packet of any stream.
    MediaPacket: TypeAlias = Packet[Stream]


class CodedFrame(Protocol):
    """An encoded frame; times are ticks of the output's ``frame_format.time_base``."""

    @property
    def pts(self) -> int: ...
    @property
    def dts(self) -> int: ...
    @property
    def duration(self) -> int: ...
    @property
    def is_key_frame(self) -> bool: ...
    @property
    def payload(self) -> bytes: ...


class PacketQueue:
    """Passes undecoded packets (audio, subtitles, further video, data) from a source to one sink.

    The source ``put``s packets as it reads for frames, and the sink ``take``s them before each frame that it writes.
    So the queue holds the packets between the two positions in the file: the pipeline's queues bound it, whatever the
    length of the clip.
    Packets of streams without a subscriber are dropped. Safe between two threads.
    """

    def __init__(self) -> None:
        self._packets: deque[MediaPacket] = deque()
        self._lock = threading.Lock()
        self._last_dts: dict[int, tuple[int, Fraction]] = {}
        self._wanted: frozenset[int] | None = None  # None: a sink may still subscribe, keep everything

    def subscribe(self, stream_indices: frozenset[int]) -> None:
        """Keep only packets of these streams, among new and waiting ones."""
        with self._lock:
            self._wanted = stream_indices
            self._packets = deque(packet for packet in self._packets if packet.stream_index in stream_indices)

    def drop_before(self, seconds: Fraction) -> None:
        """Drop waiting packets from before ``seconds`` of the source's clock."""
        with self._lock:
            self._packets = deque(
                packet
                for packet in self._packets
                if packet.pts is None or not packet.time_base or packet.pts * packet.time_base >= seconds
            )

    def first(self, stream_index: int) -> MediaPacket | None:
        """The oldest waiting packet of a stream, which stays in the queue; ``None`` without one."""
        with self._lock:
            return next((packet for packet in self._packets if packet.stream_index == stream_index), None)

    def close_if_unclaimed(self) -> None:
        """Keep nothing from now on if no sink has subscribed; called at the first frame."""
        if self._wanted is None:
            self.subscribe(frozenset())

    @property
    def wanted(self) -> frozenset[int] | None:
        return self._wanted

    def put(self, packet: MediaPacket) -> None:
        with self._lock:
            if self._wanted is None or packet.stream_index in self._wanted:
                self._packets.append(packet)
                if packet.dts is not None:
                    self._last_dts[packet.stream_index] = packet.dts, packet.time_base

    def last_dts_seconds(self, stream_index: int) -> Fraction | None:
        """When the last packet of a stream is to be decoded, on the clock of ``put``; ``None`` before the first."""
        with self._lock:
            if stream_index not in self._last_dts:
                return None
            ticks, time_base = self._last_dts[stream_index]
        return ticks * time_base

    def take(self) -> list[MediaPacket]:
        """All waiting packets, oldest first."""
        with self._lock:
            if not self._packets:
                return []
            taken = list(self._packets)
            self._packets.clear()
            return taken
