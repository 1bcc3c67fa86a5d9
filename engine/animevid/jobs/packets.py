"""The file format of a segment: coded packets with exact times, which a container would round.

Layout, little-endian: ``MAGIC``; the length of a JSON header in 4 bytes, and the header; for each packet ``_RECORD``
and its bytes; at the end ``_RECORD`` with the number of packets as ``pts`` and a size of 0, without which the file is
truncated.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypedDict

from animevid.io import FrameFormat
from animevid.pixels.colour import Colour, ColourRange, Matrix

if TYPE_CHECKING:
    from animevid.io.packets import MediaPacket

MAGIC = b"AVSEGM01"
_LENGTH = struct.Struct("<I")
_RECORD = struct.Struct("<qqqIB")
_KEY_FRAME = 1
_CHUNK_BYTES = 1 << 20


class DamagedSegment(Exception):
    """A segment's file is truncated or missing."""


@dataclass(frozen=True, slots=True)
class CodedPacket:
    """A packet: ``pts``, ``dts`` and ``duration`` in ticks of the file's time base."""

    pts: int
    dts: int
    duration: int
    is_key_frame: bool
    payload: bytes


class PacketWriter:
    """Writes a segment's file; ``publish`` flushes it to disk and renames it. A context manager."""

    def __init__(self, path: Path, *, frame_format: FrameFormat) -> None:
        self.path = path
        self._part = path.with_name(f"{path.name}.{os.getpid()}.part")
        self._file: BinaryIO = self._part.open("wb")
        self._digest = hashlib.blake2b(digest_size=16)
        self.packets = self.bytes = 0
        header = json.dumps(_format_to_json(frame_format)).encode()
        self._put(MAGIC + _LENGTH.pack(len(header)) + header)

    def write(self, packet: MediaPacket) -> None:
        """Append an encoder's packet."""
        payload = bytes(packet)
        dts = packet.pts if packet.dts is None else packet.dts
        flags = _KEY_FRAME if packet.is_keyframe else 0
        self._put(_RECORD.pack(packet.pts, dts, packet.duration or 0, len(payload), flags) + payload)
        self.packets += 1

    def publish(self) -> str:
        """Complete the file and give it its name; returns its checksum (BLAKE2b, hexadecimal)."""
        self._put(_RECORD.pack(self.packets, 0, 0, 0, 0))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self.path)
        sync_folder(self.path.parent)
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Discard the file. Safe to call twice, and after ``publish``."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()


def read_frame_format(path: Path) -> FrameFormat:
    """The format of the frames in a segment's file.

    Raises:
        DamagedSegment: no such file.
    """
    with path.open("rb") as file:
        return _read_header(file, path)


def read_packets(path: Path) -> Iterator[CodedPacket]:
    """The packets of a segment's file, in the order of decoding.

    Raises:
        DamagedSegment: the file is truncated.
    """
    with path.open("rb") as file:
        for pts, dts, duration, size, flags in _records(file, path):
            payload = file.read(size)
            if len(payload) < size:
                raise DamagedSegment(f"{str(path)!r} is cut off")
            yield CodedPacket(pts, dts, duration, bool(flags & _KEY_FRAME), payload)


def read_stamps(path: Path) -> list[tuple[int, int]]:
    """``(pts, dts)`` of each packet of a segment's file, in the order of decoding.

    Raises:
        DamagedSegment: the file is truncated.
    """
    stamps = []
    with path.open("rb") as file:
        for pts, dts, _, size, _ in _records(file, path):
            file.seek(size, os.SEEK_CUR)
            stamps.append((pts, dts))
    return stamps


def _records(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, int, int, int]]:
    """The records of a file. The caller must read or skip each payload."""
    _read_header(file, path)
    number = 0
    while len(record := file.read(_RECORD.size)) == _RECORD.size:
        fields = _RECORD.unpack(record)
        if fields[3] == 0:
            if fields[0] != number:
                break
            return
        number += 1
        yield fields
    raise DamagedSegment(f"{str(path)!r} is cut off")


def checksum(path: Path) -> str | None:
    """The checksum of a file as returned by ``PacketWriter.publish``; ``None`` if it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, if the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems cannot
        pass
    finally:
        os.close(handle)


def _read_header(file: BinaryIO, path: Path) -> FrameFormat:
    start = file.read(len(MAGIC) + _LENGTH.size)
    if len(start) < len(MAGIC) + _LENGTH.size or start[: len(MAGIC)] != MAGIC:
        raise DamagedSegment(f"{str(path)!r} is no segment")
    (length,) = _LENGTH.unpack(start[len(MAGIC) :])
    try:
        return _format_from_json(json.loads(file.read(length)))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSegment(f"{str(path)!r} has no header") from error


class _FormatFields(TypedDict):
    """A ``FrameFormat`` as JSON; ``colour``: matrix, range, primaries and transfer as numbers."""

    width: int
    height: int
    bit_depth: int
    has_alpha: bool
    colour: list[int]
    rate: str | None
    time_base: str
    sample_aspect_ratio: str


def _format_to_json(kind: FrameFormat) -> _FormatFields:
    return {
        "width": kind.width,
        "height": kind.height,
        "bit_depth": kind.bit_depth,
        "has_alpha": kind.has_alpha,
        "colour": [int(kind.colour.matrix), int(kind.colour.range), kind.colour.primaries, kind.colour.transfer],
        "rate": None if kind.rate is None else str(kind.rate),
        "time_base": str(kind.time_base),
        "sample_aspect_ratio": str(kind.sample_aspect_ratio),
    }


def _format_from_json(fields: _FormatFields) -> FrameFormat:
    matrix, colour_range, primaries, transfer = fields["colour"]
    return FrameFormat(
        width=fields["width"],
        height=fields["height"],
        bit_depth=fields["bit_depth"],
        has_alpha=fields["has_alpha"],
        colour=Colour(Matrix(matrix), ColourRange(colour_range), primaries, transfer),
        rate=None if fields["rate"] is None else Fraction(fields["rate"]),
        time_base=Fraction(fields["time_base"]),
        sample_aspect_ratio=Fraction(fields["sample_aspect_ratio"]),
    )
