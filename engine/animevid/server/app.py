"""``animevid serve``: the page, WebRTC, MJPEG and file conversion over HTTP."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import math
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from aiohttp import MultipartReader, web

from animevid.errors import AnimevidError, LiveError
from animevid.options import CameraOptions, ConversionOptions, LiveOptions, RuntimeOptions
from animevid.pixels import planes_to_rgb
from animevid.run.live import BusyError, LiveEngine, LiveSession
from animevid.server.auth import Guard, add_security_headers
from animevid.server.uploads import Job, JobLimits, Jobs, TooLargeError
from animevid.server.webrtc import HostCamera, Peer, Results, patch_aiortc
from animevid.styles import Style

log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "page"
_PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_DEMO = Path(__file__).parent.parent / "demo" / "demo.mp4"
_RETRY_SECONDS = 5
_MAX_REQUEST = 128 << 10
_MAX_WORD = 200
_CARD_WIDTH_PX = 240


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What is served. ``styles`` are those on the page, the first one first; ``camera`` is the host's, if offered."""

    styles: tuple[Style, ...]
    guard: Guard
    live: LiveOptions = field(default_factory=LiveOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    max_viewers: int = 4
    camera: CameraOptions | None = None
    jobs: JobLimits = field(default_factory=JobLimits)
    #: Larger pictures from viewers' cameras are made smaller.
    largest_pixels: int = 1280 * 720


def make_app(options: ServerOptions) -> web.Application:
    """The application, ready for ``aiohttp.web.run_app`` or a test.

    Raises:
        LiveError: no style to serve.
    """
    if not options.styles:
        raise LiveError("there is no style to serve: give --style FILE.onnx")
    server = _Server(options)
    app = web.Application(middlewares=[options.guard.middleware, _errors], client_max_size=_MAX_REQUEST)
    app.on_response_prepare.append(add_security_headers)
    app.cleanup_ctx.append(server.life)
    app.add_routes(
        [
            *(web.get(path, server.page) for path in _PAGE_FILES),
            web.post("/login", options.guard.login),
            web.get("/api/config", server.config),
            web.get("/styles/{name}.jpg", server.style_picture),
            web.post("/api/peers", server.new_peer),
            web.delete("/api/peers/{id}", server.end_peer),
            web.post("/api/jobs", server.new_job),
            web.get("/api/jobs/{id}", server.job),
            web.delete("/api/jobs/{id}", server.end_job),
            web.get("/api/jobs/{id}/result", server.job_result),
            web.post("/convert", server.convert_form),
            web.get("/jobs/{id}", server.job_page),
            web.get("/stream.mjpg", server.mjpeg),
        ]
    )
    return app


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Our own errors as one line of JSON; 503 with Retry-After for whoever must wait."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except BusyError as error:
        body = {"error": str(error), "retryAfterSeconds": _RETRY_SECONDS}
        return web.json_response(body, status=503, headers={"Retry-After": str(_RETRY_SECONDS)})
    except TooLargeError as error:
        return web.json_response({"error": str(error)}, status=413)
    except AnimevidError as error:
        return web.json_response({"error": str(error)}, status=400)


class _Server:
    """The handlers and what they share."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._styles = {style.card.name: style for style in options.styles}
        self._peers: dict[str, Peer] = {}
        self._pictures: dict[str, bytes] = {}
        self._picture_lock = asyncio.Lock()

    async def life(self, app: web.Application) -> AsyncIterator[None]:
        """Opens what the handlers use, and closes it."""
        patch_aiortc()
        options = self._options
        async with AsyncExitStack() as stack:
            self._executor = stack.enter_context(ThreadPoolExecutor(2 * options.max_viewers + 4, "animevid"))
            self._engine = stack.enter_context(LiveEngine(options.runtime, max_sessions=options.max_viewers))
            self._camera = HostCamera(options.camera)
            self._jobs = await stack.enter_async_context(Jobs(options.jobs))
            yield
            for peer in tuple(self._peers.values()):
                with suppress(Exception):
                    await peer.close()

    # --- page -------------------------------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.StreamResponse:
        name, content_type = _PAGE_FILES[request.path]
        return web.Response(body=(_PAGE / name).read_bytes(), content_type=content_type, charset="utf-8")

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

    async def style_picture(self, request: web.Request) -> web.StreamResponse:
        """What a style makes of one picture (``original.jpg``: the picture itself)."""
        name = request.match_info["name"]
        if name != "original" and name not in self._styles:
            raise web.HTTPNotFound(text="no such style\n")
        async with self._picture_lock:
            if name not in self._pictures:
                loop = asyncio.get_running_loop()
                self._pictures[name] = await loop.run_in_executor(self._executor, self._paint_card, name)
        return web.Response(body=self._pictures[name], content_type="image/jpeg")

    def _paint_card(self, name: str) -> bytes:
        from animevid.io import open_source
        from animevid.pixels import resize_planes
        from animevid.render.stylizer import Stylizer

        with open_source(_DEMO) as source:
            planes = next(iter(source)).planes
        height = round(planes.height * _CARD_WIDTH_PX * 2 / planes.width / 2) * 2
        planes = resize_planes(planes, (height, _CARD_WIDTH_PX * 2))
        if name != "original":
            # A network of its own, for a moment: the shelf's are the live worker's.
            with Stylizer(self._styles[name], threads=1, net_pixels=0) as stylizer:
                planes = stylizer.stylize_planes(planes)
        return _jpeg(planes_to_rgb(resize_planes(planes, (height // 2, _CARD_WIDTH_PX))), quality=88)

    # --- live -------------------------------------------------------------------------------------------------------

    async def new_peer(self, request: web.Request) -> web.StreamResponse:
        params = await _json(request)
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
        """The host's camera as JPEG after JPEG, for browsers without WebRTC: an ordinary picture that moves."""
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
                data = await loop.run_in_executor(self._executor, _jpeg, rgb)
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

    async def _open_session(self, params: dict[str, Any]) -> LiveSession:
        live = self._options.live
        style = self._style(params.get("style"))
        settings = replace(live, style=style, strength=_share(params.get("strength", live.strength)))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._engine.open_session, settings)

    def _change(self, session: LiveSession, params: dict[str, Any]) -> None:
        changes: dict[str, Any] = {}
        if "style" in params:
            changes["style"] = self._style(params["style"])
        if "strength" in params:
            changes["strength"] = _share(params["strength"])
        session.change(**changes)

    def _style(self, name: object) -> Style:
        """A style of the page by name: viewers cannot name files or URLs."""
        if name in (None, ""):
            return self._options.styles[0]
        if not isinstance(name, str) or name not in self._styles:
            raise LiveError(f"style = {str(name)[:80]!r} is not served here: {', '.join(self._styles)} are")
        return self._styles[name]

    # --- files ------------------------------------------------------------------------------------------------------

    async def new_job(self, request: web.Request) -> web.StreamResponse:
        """The file is the body itself."""
        self._refuse_too_long(request)
        query = request.query
        job = await self._jobs.receive(
            aiter(request.content.iter_chunked(256 << 10)),
            name=query.get("name", "video"),
            style=self._style(query.get("style")),
            options=self._conversion(
                strength=_share(query.get("strength", "1")),
                compare="split" if query.get("compare") == "split" else None,
            ),
        )
        return web.json_response(job.as_json(), status=201)

    async def job(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._job(request).as_json())

    async def end_job(self, request: web.Request) -> web.StreamResponse:
        await self._jobs.remove(request.match_info["id"])
        return web.Response(status=204)

    async def job_result(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request)
        if job.state != "done":
            raise web.HTTPConflict(text="not finished\n")
        name = f"{Path(job.name).stem}-{job.style.path.stem}.mp4"
        disposition = "inline" if "inline" in request.query else f"attachment; filename*=UTF-8''{quote(name)}"
        headers = {"Content-Disposition": disposition, "Content-Type": "video/mp4"}
        # A look at it in the page is no save.
        return web.FileResponse(job.result, headers=headers) if "inline" in request.query else _Saved(job, headers)

    async def convert_form(self, request: web.Request) -> web.StreamResponse:
        """The same for a browser without scripts: a plain form, then a page that reloads itself."""
        self._refuse_too_long(request)
        style, strength = self._style(None), 1.0
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, MultipartReader):
                raise LiveError("a form within a form is not understood")
            if part.name == "style":
                style = self._style(await form_word(part))
            elif part.name == "strength":
                strength = _share(await form_word(part))
            elif part.name == "file":
                job = await self._jobs.receive(
                    _chunks(part),
                    name=part.filename or "video",
                    style=style,
                    options=self._conversion(strength=strength),
                )
                raise web.HTTPSeeOther(f"/jobs/{job.id}")
        raise LiveError("no file was chosen")

    async def job_page(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request)
        text = {
            "done": f'<p>Done.</p><p><a class="button" href="/api/jobs/{job.id}/result">Save the video</a></p>',
            "failed": f"<p>It did not work: {html.escape(job.error or '')}</p>",
        }.get(
            job.state, f"<p>{job.state}, {job.progress:.0%}</p><progress max='1' value='{job.progress:.3f}'></progress>"
        )
        reload = "" if job.state in ("done", "failed") else '<meta http-equiv="refresh" content="2">'
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8">{reload}<title>animevid</title>'
            '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css">'
            f'<main class="login"><h1>anime<b>vid</b></h1><h2>{html.escape(job.name)}</h2>{text}'
            '<p><a href="/">Back</a></p></main></html>'
        )
        return web.Response(text=page, content_type="text/html")

    def _conversion(self, **asked: Any) -> ConversionOptions:
        """The options of an upload's conversion: the sandbox has the server's threads, but no GPU."""
        return ConversionOptions(threads=self._options.runtime.threads, **asked)

    def _job(self, request: web.Request) -> Job:
        job = self._jobs.find(request.match_info["id"])
        if job is None:
            raise web.HTTPNotFound(text="there is no such job, or it was removed\n")
        return job

    def _refuse_too_long(self, request: web.Request) -> None:
        """Before the first byte, where the browser says how many there are."""
        limit = self._options.jobs.upload_bytes
        if request.content_length is not None and request.content_length > limit + _MAX_REQUEST:
            raise TooLargeError(f"the file is larger than the {limit >> 20} MiB allowed")


class _Saved(web.FileResponse):
    """A job's result; when all of it is sent, the job counts as fetched."""

    def __init__(self, job: Job, headers: dict[str, str]) -> None:
        super().__init__(job.result, headers=headers)
        self._job = job

    async def prepare(self, request: web.BaseRequest) -> Any:
        writer = await super().prepare(request)
        self._job.was_fetched |= request.method == "GET" and self.status == 200
        return writer


async def _chunks(part: Any) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(256 << 10):
        yield chunk


async def form_word(part: Any) -> str:
    """A form's field, which holds a word: whatever is longer is refused before it is read."""
    word = b""
    while chunk := await part.read_chunk(_MAX_WORD):
        word += chunk
        if len(word) > _MAX_WORD:
            raise LiveError(f"the field {str(part.name)[:20]!r} is longer than {_MAX_WORD} bytes: give a name")
    return word.decode("utf-8", "replace")


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        params = json.loads(await request.text())
    except (ValueError, RecursionError) as error:
        raise LiveError("the request is not JSON") from error
    if not isinstance(params, dict):
        raise LiveError("the request must be a JSON object")
    return params


def _share(value: object) -> float:
    try:
        share = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        share = math.nan
    if not 0.0 <= share <= 1.0:
        raise LiveError(f"strength = {str(value)[:20]!r} must lie between 0 and 1")
    return share


def _jpeg(rgb: Any, *, quality: int = 80) -> bytes:
    import cv2

    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)
