"""What decoders put beside a frame: by name, as bytes."""

from __future__ import annotations

from typing import Any, cast

import av
from av.sidedata.sidedata import Type as SideDataType

#: Decoders that put a name on a frame's ICC profile. PyAV 18 and 19 free that name with the list of a frame's side
#: data, and FFmpeg frees it again with the frame: the process crashes. Their side data is therefore not listed.
CRASH_WHEN_LISTED = frozenset({"png", "apng"})


def side_data_of(frame: av.VideoFrame, *, codec: str) -> dict[str, bytes]:
    """The side data of a decoded frame, by PyAV's names (``"SPHERICAL"``); none where they cannot be told."""
    if codec in CRASH_WHEN_LISTED:
        return {}
    try:
        return {data.type.name: bytes(data) for data in cast(Any, frame.side_data)}
    except (ValueError, TypeError, AttributeError):
        return {}


def captions_of(frame: av.VideoFrame, *, codec: str) -> bytes:
    """The captions (CEA-608/708) that came with a decoded frame; empty where there are none."""
    if codec in CRASH_WHEN_LISTED:
        return b""
    try:
        return bytes(cast(Any, frame.side_data).get(SideDataType.A53_CC) or b"")
    except ValueError:  # PyAV cannot list side data newer than itself
        return b""
