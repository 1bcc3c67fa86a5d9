"""Between aiortc and the engine: frames from packets, without waiting for the next frame."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")

from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from animevid.frame import Frame
from animevid.io.sources.camera import TEST_PATTERN, open_feed
from animevid.io.sources.counter import read_counter
from animevid.options import CameraOptions, LiveOptions
from animevid.run.live import LiveEngine
from animevid.server.incoming import PromptJitterBuffer
from animevid.server.webrtc import Peer

Packets = list[RtpPacket]


def packets_of(sizes: list[int], *, first: int = 65_530) -> Packets:
    """Frames of the given numbers of packets, 1/30 s apart, with consecutive sequence numbers (modulo 65536)."""
    packets = []
    for index, size in enumerate(sizes):
        for part in range(size):
            packet = RtpPacket(
                sequence_number=(first + len(packets)) % 65_536,
                timestamp=3000 * index,
                marker=int(part == size - 1),
            )
            packet._data = f"{index}.{part} ".encode()
            packets.append(packet)
    return packets


def frames_from(buffer: JitterBuffer, packets: Packets) -> list[bytes]:
    return [frame.data for packet in packets if (frame := buffer.add(packet)[1]) is not None]


def test_a_frame_is_given_away_with_its_last_packet():
    first, second = PromptJitterBuffer(512, is_video=True), packets_of([3])
    assert [first.add(packet)[1] is not None for packet in second] == [False, False, True]
    assert frames_from(JitterBuffer(512, is_video=True), packets_of([3])) == []  # aiortc waits for the next frame


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_the_frames_are_the_ones_that_aiortc_makes(sizes: list[int]):
    # aiortc's buffer needs another packet to complete the last frame.
    wanted = frames_from(JitterBuffer(512, is_video=True), packets_of([*sizes, 1]))
    assert frames_from(PromptJitterBuffer(512, is_video=True), packets_of(sizes)) == wanted


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(2, 6), min_size=2, max_size=8), order=st.randoms(use_true_random=False))
def test_packets_that_arrive_late_are_put_in_order(sizes: list[int], order: object):
    packets = packets_of(sizes)
    head, rest = packets[0], packets[1:]
    # Swap neighbours, like a network with two routes.
    for index in range(0, len(rest) - 1, 2):
        if order.random() < 0.5:  # type: ignore[attr-defined]
            rest[index], rest[index + 1] = rest[index + 1], rest[index]
    tail = packets_of([*sizes, 2, 2, 2])[len(packets) :]
    frames = frames_from(PromptJitterBuffer(512, is_video=True), [head, *rest, *tail])
    everything = b"".join(frames)
    wanted = b"".join(packet._data for packet in [*packets, *tail])
    assert wanted.startswith(everything)
    assert len(frames) >= len(sizes)


def test_packets_that_only_pad_are_no_frame():
    packets = packets_of([2, 1, 2])
    padding = packets[2]
    padding._data, padding.timestamp, padding.marker = b"", packets[1].timestamp, 0  # as in Chromium's bandwidth probes
    assert frames_from(PromptJitterBuffer(512, is_video=True), packets) == [b"0.0 0.1 ", b"2.0 2.1 "]


def test_a_lost_packet_holds_its_frame_back_until_it_comes_again():
    packets = packets_of([2, 2, 2])
    lost = packets.pop(2)
    buffer = PromptJitterBuffer(512, is_video=True)
    assert frames_from(buffer, packets) == [b"0.0 0.1 "]
    assert frames_from(buffer, [lost]) == [b"1.0 1.1 "]


def test_an_error_of_the_viewer_is_still_reported_after_the_next_frame(packed_style: Path):
    def change(session: object, params: object) -> None:
        raise ValueError("strength = 7 must lie between 0 and 1")

    planes = next(iter(open_feed(CameraOptions(TEST_PATTERN, (48, 64)), threading.Event())))
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:

        async def talk() -> None:
            with ThreadPoolExecutor(1) as executor:
                peer = Peer(
                    session,
                    executor,
                    host_camera=None,
                    largest_pixels=10**6,
                    on_close=lambda peer: None,
                    change=change,
                    viewers=lambda: 1,
                )
                peer._on_message('{"strength": 7}')
                session.offer(Frame.captured(planes, 0, time.monotonic()))
                assert session.take(timeout_seconds=10) is not None
                assert session.trouble == "strength = 7 must lie between 0 and 1"
                await peer.close()

        asyncio.run(talk())


@pytest.mark.parametrize("mirror", ["0", "1"])
def test_single_jpegs_are_mirrored_where_that_is_asked_for(served: Callable[..., Any], mirror: str):
    import cv2
    import numpy as np

    async def talk(client: Any) -> bytes:
        async with client.get("/stream.mjpg", params={"mirror": mirror}) as stream:
            part = await stream.content.readuntil(b"\xff\xd9")
            return part[part.index(b"\xff\xd8") :]

    jpeg = served(talk, camera=CameraOptions(TEST_PATTERN, (180, 320)))
    luma = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    seen = [read_counter(luma) is not None, read_counter(np.ascontiguousarray(luma[:, ::-1])) is not None]
    assert seen == [mirror == "0", mirror == "1"]
