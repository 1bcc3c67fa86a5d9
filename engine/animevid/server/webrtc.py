"""WebRTC viewers: a peer sends its camera (or watches the host's) and receives the stylized video."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from fractions import Fraction

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from animevid.errors import AnimevidError, LiveError
from animevid.frame import Frame, StylizedFrame
from animevid.io.planes_io import PlaneReader, PlaneWriter
from animevid.pixels import PlanesYUV420, resize_planes
from animevid.run.live import LiveSession
from animevid.server.host_camera import HostCamera
from animevid.server.incoming import check_offer
from animevid.server.results import Results

log = logging.getLogger(__name__)

_CLOCK_HZ = 90_000
_STATUS_SECONDS = 0.5
#: A peer that is not connected within this time is closed.
_CONNECT_SECONDS = 20.0
_MAX_MESSAGE = 4096


class ResultTrack(MediaStreamTrack):
    """One of a result's two frames as a video track. Time stamps are capture times, so the pace is the camera's."""

    kind = "video"

    def __init__(self, results: Results, choose: Callable[[StylizedFrame], PlanesYUV420]) -> None:
        super().__init__()
        self._results = results
        self._choose = choose
        self._seen = 0
        self._start_seconds: float | None = None
        self._last_pts = -1
        self._writer: PlaneWriter | None = None

    async def recv(self) -> av.VideoFrame:
        """The next frame for aiortc's encoder."""
        newest = await self._results.after(self._seen)
        if newest is None or self.readyState != "live":
            self.stop()
            raise MediaStreamError
        self._seen, result = newest
        if self._start_seconds is None:
            self._start_seconds = result.captured_at_seconds
        pts = round((result.captured_at_seconds - self._start_seconds) * _CLOCK_HZ)
        self._last_pts = max(pts, self._last_pts + 1)
        frame = self._write(self._choose(result))
        frame.pts, frame.time_base = self._last_pts, Fraction(1, _CLOCK_HZ)
        return frame

    def _write(self, planes: PlanesYUV420) -> av.VideoFrame:
        size = (planes.height // 2 * 2, planes.width // 2 * 2)
        planes = resize_planes(planes, size)
        writer = self._writer
        if writer is None or (writer.height, writer.width) != size:
            writer = PlaneWriter(width=size[1], height=size[0], pixel_format="yuv420p", colour=planes.colour)
            self._writer = writer
        return writer.write(planes)


class Peer:
    """One viewer's connection. ``close`` ends everything that belongs to it."""

    def __init__(
        self,
        session: LiveSession,
        executor: Executor,
        *,
        host_camera: HostCamera | None,
        largest_pixels: int,
        on_close: Callable[[Peer], None],
        change: Callable[[LiveSession, dict[str, object]], None],
        viewers: Callable[[], int],
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.session = session
        self._host_camera = host_camera
        self._largest_pixels = largest_pixels
        self._on_close = on_close
        self._change = change
        self._viewers = viewers
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._results = Results(session, executor)
        self._executor = executor
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel: RTCDataChannel | None = None
        self._closed = False

    async def answer(self, sdp: str) -> str:
        """The answer to a browser's offer.

        Raises:
            LiveError: the offer cannot be read, or the host's camera does not open.
        """
        check_offer(sdp)
        connection = self._connection
        connection.on("track", self._on_track)
        connection.on("datachannel", self._on_channel)
        connection.on("connectionstatechange", self._on_state)
        if self._host_camera is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._executor, self._host_camera.join, self.session)
        try:
            await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            tracks = [ResultTrack(self._results, lambda result: result.stylized)]
            if self._host_camera is not None:
                tracks.append(ResultTrack(self._results, lambda result: result.frame.planes))
            for track, transceiver in zip(tracks, connection.getTransceivers(), strict=False):
                transceiver.sender.replaceTrack(track)
                transceiver.direction = "sendrecv" if self._host_camera is None else "sendonly"
            await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:  # aiortc's parser raises any kind of exception
            raise LiveError(f"the browser's offer cannot be used ({type(error).__name__}: {error})") from error
        self._start(self._results.pump())
        self._start(self._tell())
        self._start(self._give_up_if_nobody_comes())
        return str(connection.localDescription.sdp)

    async def close(self) -> None:
        """Close the connection. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.session.close()
        if self._host_camera is not None:
            camera = self._host_camera
            await asyncio.get_running_loop().run_in_executor(self._executor, camera.leave, self.session)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await self._connection.close()
        self._on_close(self)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_track(self, track: MediaStreamTrack) -> None:
        wanted = track.kind == "video" and self._host_camera is None
        self._start(self._consume(track) if wanted else _drain(track))

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("message", self._on_message)

    def _on_message(self, message: object) -> None:
        if not isinstance(message, str) or len(message) > _MAX_MESSAGE:
            return
        try:
            params = json.loads(message)
            if isinstance(params, dict):
                if "ping" in params:
                    assert self._channel is not None  # the message came by it
                    self._channel.send(json.dumps({"pong": params["ping"]}))
                else:
                    self._change(self.session, params)
        except (ValueError, TypeError, RecursionError, AnimevidError) as error:
            self.session.report(str(error))

    async def _on_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            await self.close()

    async def _consume(self, track: MediaStreamTrack) -> None:
        """Take every frame at once, so that none is queued in aiortc; the session keeps the newest."""
        reader = PlaneReader()
        index = 0
        with suppress(MediaStreamError):
            while True:
                raw = await track.recv()
                if not isinstance(raw, av.VideoFrame):
                    continue
                planes = fitting(reader.read(raw), self._largest_pixels)
                self.session.offer(Frame.captured(planes, index, time.monotonic()))
                index += 1

    async def _tell(self) -> None:
        """Send statistics to the page, twice a second."""
        while True:
            await asyncio.sleep(_STATUS_SECONDS)
            if self._channel is None or self._channel.readyState != "open":
                continue
            session = self.session
            figures = self._results.meter.statistics(time.monotonic(), frames_dropped=session.frames_dropped)
            self._channel.send(
                json.dumps(
                    {
                        "fps": round(figures.fps, 1),
                        "serverMs": round(figures.latency_median_seconds * 1000, 1),
                        "dropped": figures.frames_dropped,
                        "style": session.style_name,
                        "strength": session.settings.strength,
                        "reduced": str(session.step) if session.is_reduced else None,
                        "trouble": session.trouble,
                        "viewers": self._viewers(),
                    }
                )
            )

    async def _give_up_if_nobody_comes(self) -> None:
        await asyncio.sleep(_CONNECT_SECONDS)
        if self._connection.connectionState != "connected":
            await self.close()


async def _drain(track: MediaStreamTrack) -> None:
    """Discard an unused track's frames, which would fill aiortc's unbounded queue."""
    with suppress(MediaStreamError):
        while True:
            await track.recv()


def fitting(planes: PlanesYUV420, largest_pixels: int) -> PlanesYUV420:
    """``planes``, scaled down if they exceed ``largest_pixels``."""
    pixels = planes.height * planes.width
    if pixels <= largest_pixels:
        return planes
    scale = (largest_pixels / pixels) ** 0.5
    return resize_planes(planes, (int(planes.height * scale), int(planes.width * scale)))
