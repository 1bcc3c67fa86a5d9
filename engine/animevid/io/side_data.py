"""What decoders put beside a frame, as bytes, in both versions of PyAV."""

from __future__ import annotations

from typing import Any, cast

import av
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType

#: Decoders that put a name on a frame's ICC profile. PyAV 18 and 19 free that name with the list of a frame's side
#: data, and FFmpeg frees it again with the frame: the process crashes. Their side data is therefore not listed.
CRASH_WHEN_LISTED = frozenset({"png", "apng"})


def side_data_of(frame: av.VideoFrame, *, codec: str) -> dict[str, bytes]:
    """What a decoded frame says of being spherical or stereoscopic, by PyAV's names; nothing where it cannot tell."""
    found = ((kind, _find(frame, kind, codec)) for kind in (SideDataType.SPHERICAL, SideDataType.STEREO3D))
    return {kind.name: data for kind, data in found if data}


def captions_of(frame: av.VideoFrame, *, codec: str) -> bytes:
    """The captions (CEA-608/708) that came with a decoded frame; empty where there are none."""
    return _find(frame, SideDataType.A53_CC, codec)


def listed(frame: av.VideoFrame) -> Any:
    """What lies beside a frame, by kind. ``frame.side_data`` would keep it, and the two of them each other: frames
    would then wait for Python's garbage collector, hundreds at a time.

    Raises:
        ValueError: PyAV cannot list side data newer than itself.
    """
    return cast(Any, SideDataContainer)(frame)


def _find(frame: av.VideoFrame, kind: SideDataType, codec: str) -> bytes:
    if codec in CRASH_WHEN_LISTED:
        return b""
    try:
        # Asked by kind: iterating gives the data in PyAV 18, the kinds in 19.
        return bytes(listed(frame).get(kind) or b"")
    except ValueError:  # PyAV 18 cannot list side data newer than itself
        return b""
