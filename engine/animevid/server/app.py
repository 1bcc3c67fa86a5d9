"""``animevid serve``: the page, WebRTC, MJPEG and file conversion over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from animevid.errors import LiveError
from animevid.options import CameraOptions, ConversionOptions, LiveOptions, RuntimeOptions
from animevid.pixels import planes_to_rgb
from animevid.run.live import LiveChanges, LiveEngine, LiveSession
from animevid.server.auth import Guard, add_security_headers
from animevid.server.cards import card_jpeg, jpeg
from animevid.server.host_camera import HostCamera
from animevid.server.incoming import patch_aiortc
from animevid.server.job_routes import JobRoutes
from animevid.server.params import flag, json_object, share
from animevid.server.requests import MAX_REQUEST, bodies, errors
from animevid.server.results import Results
from animevid.server.uploads import JobLimits, Jobs
from animevid.server.webrtc import Peer
from animevid.styles import Style

log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "page"
_PAGE_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
#: Path -> file of the page.
_PAGE_FILES = {
    "/" if path.name == "index.html" else f"/{path.name}": path
    for path in sorted(_PAGE.iterdir())
    if path.suffix in _PAGE_TYPES
}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What is served. ``styles`` are shown in this order; ``camera`` is the host's, if offered."""

    styles: tuple[Style, ...]
    guard: Guard
    live: LiveOptions = field(default_factory=LiveOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    max_viewers: int = 4
    camera: CameraOptions | None = None
    jobs: JobLimits = field(default_factory=JobLimits)
    #: Larger frames from viewers' cameras are scaled down.
    largest_pixels: int = 1280 * 720


def make_app(options: ServerOptions) -> web.Application:
    """The application, ready for ``aiohttp.web.run_app`` or a test.

    Raises:
        LiveError: no style to serve.
    """
    if not options.styles:
        raise LiveError("there is no style to serve: give --style FILE.onnx")
    server = _Server(options)
    app = web.Application(middlewares=[errors, options.guard.middleware, bodies], client_max_size=MAX_REQUEST)
    app.on_response_prepare.append(add_security_headers)
    app.cleanup_ctx.append(server.life)
    app.add_routes(
        [
            *(web.get(path, server.page) for path in _PAGE_FILES),
            web.post("/login", options.guard.login),
            web.get("/api/config", server.config),
            web.get("/api/alive", server.alive),
            web.get("/styles/{name}.jpg", server.style_image),
            web.post("/api/peers", server.new_peer),
            web.delete("/api/peers/{id}", server.end_peer),
            *JobRoutes(lambda: server.jobs, server.style).routes(),
            web.get("/stream.mjpg", server.mjpeg),
        ]
    )
    return app


class _Server:
    """The handlers and what they share."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._styles = {style.card.name: style for style in options.styles}
        self._peers: dict[str, Peer] = {}
        self._card_images: dict[str, bytes] = {}
        self._image_lock = asyncio.Lock()

    async def life(self, app: web.Application) -> AsyncIterator[None]:
        """Opens and closes what the handlers use."""
        patch_aiortc()
        options = self._options
        async with AsyncExitStack() as stack:
            self._executor = stack.enter_context(ThreadPoolExecutor(2 * options.max_viewers + 4, "animevid"))
            self._engine = stack.enter_context(LiveEngine(options.runtime, max_sessions=options.max_viewers))
            self._camera = HostCamera(options.camera)
            self.jobs = await stack.enter_async_context(
                Jobs(options.jobs, options=ConversionOptions(threads=options.runtime.threads))
            )
            yield
            for peer in tuple(self._peers.values()):
                with suppress(Exception):
                    await peer.close()

    # --- page -------------------------------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.StreamResponse:
        path = _PAGE_FILES[request.path]
        return web.Response(body=path.read_bytes(), content_type=_PAGE_TYPES[path.suffix], charset="utf-8")

    async def alive(self, request: web.Request) -> web.StreamResponse:
        """The page polls this each second, to show when the server is away."""
        return web.Response(status=204)

    async def config(self, request: web.Request) -> web.StreamResponse:
        options = self._options
        return web.json_response(
            {
                "styles": [
                    {
                        "name": style.card.name,
                        "title": style.card.title or style.card.name.capitalize(),
                        "description": style.card.description,
                    }
                    for style in options.styles
                ],
                "strength": options.live.strength,
                "maxViewers": options.max_viewers,
                "hostCamera": self._camera.is_offered,
                "uploadBytes": options.jobs.upload_bytes,
                "durationSeconds": options.jobs.sandbox.duration_seconds,
            }
        )

    async def style_image(self, request: web.Request) -> web.StreamResponse:
        """A face and a landscape in a style (``original.jpg``: the photos)."""
        name = request.match_info["name"]
        if name != "original" and name not in self._styles:
            raise web.HTTPNotFound(text="no such style\n")
        async with self._image_lock:
            if name not in self._card_images:
                loop = asyncio.get_running_loop()
                self._card_images[name] = await loop.run_in_executor(self._executor, card_jpeg, self._styles.get(name))
        return web.Response(body=self._card_images[name], content_type="image/jpeg")

    # --- live -------------------------------------------------------------------------------------------------------

    async def new_peer(self, request: web.Request) -> web.StreamResponse:
        params = await json_object(request)
        sdp = params.get("sdp")
        if not isinstance(sdp, str):
            raise LiveError("'sdp' must be the browser's offer")
        session = await self._open_session(params)
        peer = Peer(
            session,
            self._executor,
            host_camera=self._camera if params.get("source") == "host" else None,
            largest_pixels=self._options.largest_pixels,
            on_close=self._forget,
            change=self._change,
            viewers=lambda: self._engine.session_count,
        )
        self._peers[peer.id] = peer
        try:
            answer = await peer.answer(sdp)
        except BaseException:
            await peer.close()
            raise
        return web.json_response({"id": peer.id, "sdp": answer, "type": "answer"})

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.id, None)

    async def end_peer(self, request: web.Request) -> web.StreamResponse:
        peer = self._peers.get(request.match_info["id"])
        if peer is not None:
            await peer.close()
        return web.Response(status=204)

    async def mjpeg(self, request: web.Request) -> web.StreamResponse:
        """The host's camera as motion JPEG, for browsers without WebRTC."""
        if not self._camera.is_offered:
            raise web.HTTPNotFound(text="this server has no camera to offer\n")
        session = await self._open_session(dict(request.query))
        loop = asyncio.get_running_loop()
        pump: asyncio.Task[None] | None = None
        try:
            await loop.run_in_executor(self._executor, self._camera.join, session)
            results = Results(session, self._executor)
            pump = loop.create_task(results.pump())
            response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=frame"})
            await response.prepare(request)
            seen = 0
            while (newest := await results.after(seen)) is not None:
                seen, result = newest
                rgb = planes_to_rgb(result.stylized)
                data = await loop.run_in_executor(self._executor, jpeg, rgb)
                part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                await response.write(part + data + b"\r\n")
            return response
        except ConnectionResetError:
            return response
        finally:
            session.close()
            if pump is not None:
                pump.cancel()
            await loop.run_in_executor(self._executor, self._camera.leave, session)

    async def _open_session(self, params: dict[str, object]) -> LiveSession:
        live = self._options.live
        style = self.style(params.get("style"))
        strength = share(params.get("strength", live.strength))
        settings = replace(live, style=style, strength=strength, mirror=flag(params.get("mirror")))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._engine.open_session, settings)

    def _change(self, session: LiveSession, params: dict[str, object]) -> None:
        changes: LiveChanges = {}
        if "style" in params:
            changes["style"] = self.style(params["style"])
        if "strength" in params:
            changes["strength"] = share(params["strength"])
        if "mirror" in params:
            changes["mirror"] = flag(params["mirror"])
        session.change(**changes)

    def style(self, name: object) -> Style:
        """A style of the page by name: viewers cannot name files or URLs."""
        if name in (None, ""):
            return self._options.styles[0]
        if not isinstance(name, str) or name not in self._styles:
            raise LiveError(f"style = {str(name)[:80]!r} is not served here: {', '.join(self._styles)} are")
        return self._styles[name]
