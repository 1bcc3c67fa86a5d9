"""The side data of decoded frames, as bytes, with both versions of PyAV."""

from __future__ import annotations

from typing import Any, cast

import av
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType

#: Decoders that name a frame's ICC profile. PyAV 18 and 19 free that name with the list of side data, and FFmpeg frees
#: it again with the frame, which crashes the process. So the side data of these decoders is never listed.
CRASH_WHEN_LISTED = frozenset({"png", "apng"})


def side_data_of(frame: av.VideoFrame, *, codec: str) -> dict[str, bytes]:
    """The spherical and stereoscopic side data of a decoded frame, by PyAV's names; empty if it cannot be listed."""
    found = ((kind, _find(frame, kind, codec)) for kind in (SideDataType.SPHERICAL, SideDataType.STEREO3D))
    return {kind.name: data for kind, data in found if data}


def captions_of(frame: av.VideoFrame, *, codec: str) -> bytes:
    """The captions (CEA-608/708) of a decoded frame; empty if there are none."""
    return _find(frame, SideDataType.A53_CC, codec)


def listed(frame: av.VideoFrame) -> SideDataContainer:
    """A frame's side data by kind. ``frame.side_data`` would cache it in a reference cycle: hundreds of frames would
    then wait for Python's garbage collector.

    Raises:
        ValueError: PyAV cannot list side data newer than itself.
    """
    found: SideDataContainer = cast(Any, SideDataContainer)(frame)  # its stub has no __init__
    return found


def _find(frame: av.VideoFrame, kind: SideDataType, codec: str) -> bytes:
    if codec in CRASH_WHEN_LISTED:
        return b""
    try:
        # By kind: iterating yields the data in PyAV 18, the kinds in 19.
        return bytes(listed(frame).get(kind) or b"")
    except ValueError:  # PyAV 18 cannot list side data newer than itself
        return b""
