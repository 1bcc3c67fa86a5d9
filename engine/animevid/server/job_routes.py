"""File conversion over HTTP: upload, preview, conversion, comparison and download; a plain form without scripts."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from animevid.errors import LiveError
from animevid.server.params import json_object, share
from animevid.server.receive import TooLargeError
from animevid.server.requests import Form, chunks, form_word
from animevid.server.uploads import Job, Jobs
from animevid.styles import Style

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

_CHUNK_BYTES = 256 << 10
#: Bytes allowed beside the file in a form.
_FORM_BYTES = 128 << 10
_IMAGES = frozenset(("before", "after"))


class JobRoutes:
    """The handlers of ``/api/jobs``. ``jobs`` is called at each request; ``style`` finds a style by name."""

    def __init__(self, jobs: Callable[[], Jobs], style: Callable[[object], Style]) -> None:
        self._jobs = jobs
        self._style = style

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/jobs", self.create),
            web.get("/api/jobs/{id}", self.show),
            web.delete("/api/jobs/{id}", self.remove),
            web.post("/api/jobs/{id}/preview", self.preview),
            web.post("/api/jobs/{id}/start", self.start),
            web.get("/api/jobs/{id}/result", self.result),
            web.get("/api/jobs/{id}/original", self.original),
            web.get("/api/jobs/{id}/{image}.jpg", self.image),
            web.post("/convert", self.form),
            web.get("/jobs/{id}", self.page),
        ]

    async def create(self, request: web.Request) -> web.StreamResponse:
        """The body is the file. ``hold=1``: a video waits until it is started."""
        self._refuse_too_long(request)
        query = request.query
        job = await self._jobs().receive(
            aiter(request.content.iter_chunked(_CHUNK_BYTES)),
            name=query.get("name", "video"),
            style=self._style(query.get("style")),
            strength=share(query.get("strength", "1")),
            compare=query.get("compare") == "split",
            hold=query.get("hold") == "1",
        )
        return self._answer(job, status=201)

    async def show(self, request: web.Request) -> web.StreamResponse:
        return self._answer(self._job(request))

    async def remove(self, request: web.Request) -> web.StreamResponse:
        await self._jobs().remove(request.match_info["id"])
        return web.Response(status=204)

    async def preview(self, request: web.Request) -> web.StreamResponse:
        """One frame in a style, and an estimate; responds when both are ready."""
        job, params = self._job(request), await json_object(request)
        await self._jobs().preview(
            job, style=self._style(params.get("style")), strength=share(params.get("strength", 1.0))
        )
        return self._answer(job)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Convert a held video, or convert any upload again in another style."""
        job, params = self._job(request), await json_object(request)
        await self._jobs().start(
            job, style=self._style(params.get("style")), strength=share(params.get("strength", 1.0))
        )
        return self._answer(job)

    async def result(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request)
        if job.state != "done":
            raise web.HTTPConflict(text="not finished\n")
        inline = "inline" in request.query
        disposition = "inline" if inline else f"attachment; filename*=UTF-8''{quote(job.result_name)}"
        kind = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".png": "image/png"}[job.result.suffix]
        headers = {"Content-Disposition": disposition, "Content-Type": kind}
        # Showing the result in the page does not count as a download.
        return web.FileResponse(job.result, headers=headers) if inline else _Saved(job, headers)

    async def original(self, request: web.Request) -> web.StreamResponse:
        """The original video, for the browser to play beside the result."""
        job = self._job(request)
        if job.photo_suffix is not None or job.state != "done" or not job.source.exists():
            raise web.HTTPNotFound(text="there is no original video to compare with\n")
        headers = {"Content-Disposition": "inline", "Content-Type": _media_type(job.source)}
        return web.FileResponse(job.source, headers=headers)

    async def image(self, request: web.Request) -> web.StreamResponse:
        """``before.jpg`` and ``after.jpg``: a photo, or the previewed frame of a video."""
        job, name = self._job(request), request.match_info["image"]
        path = job.folder / f"{name}.jpg"
        if name not in _IMAGES or not path.exists():
            raise web.HTTPNotFound(text="there is no such image\n")
        return web.FileResponse(path, headers={"Content-Type": "image/jpeg"})

    # --- without scripts --------------------------------------------------------------------------------------------

    async def form(self, request: web.Request) -> web.StreamResponse:
        """Handle a plain form without scripts; the response is a page that reloads itself."""
        self._refuse_too_long(request)
        style, strength = self._style(None), 1.0
        form = Form(request)
        while (part := await form.next()) is not None:
            if part.name == "style":
                style = self._style(await form_word(part))
            elif part.name == "strength":
                strength = share(await form_word(part))
            elif part.name == "file":
                name = part.filename or "video"
                job = await self._jobs().receive(chunks(part), name=name, style=style, strength=strength)
                raise web.HTTPSeeOther(f"/jobs/{job.id}")
        raise LiveError("no file was chosen")

    async def page(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request)
        what = "video" if job.photo_suffix is None else "photo"
        text = {
            "done": f'<p>Done.</p><p><a class="button" href="/api/jobs/{job.id}/result">Save the {what}</a></p>',
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

    # --- shared -----------------------------------------------------------------------------------------------------

    def _answer(self, job: Job, *, status: int = 200) -> web.Response:
        return web.json_response({**job.as_json(), "ahead": self._jobs().ahead(job)}, status=status)

    def _job(self, request: web.Request) -> Job:
        job = self._jobs().find(request.match_info["id"])
        if job is None:
            raise web.HTTPNotFound(text="there is no such job, or it was removed\n")
        return job

    def _refuse_too_long(self, request: web.Request) -> None:
        """Refuse before the first byte if Content-Length is too large."""
        limit = self._jobs().limits.upload_bytes
        if request.content_length is not None and request.content_length > limit + _FORM_BYTES:
            raise TooLargeError(f"the file is larger than the {limit >> 20} MiB allowed")


class _Saved(web.FileResponse):
    """A job's result; once all of it is sent, the job counts as fetched."""

    def __init__(self, job: Job, headers: dict[str, str]) -> None:
        super().__init__(job.result, headers=headers)
        self._job = job

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        writer = await super().prepare(request)
        self._job.was_fetched |= request.method == "GET" and self.status == 200
        return writer


def _media_type(path: Path) -> str:
    """A media type for the browser, which itself reports formats that it cannot play."""
    with path.open("rb") as file:
        head = file.read(6)
    if head[:3] == b"GIF":
        return "image/gif"
    return "video/webm" if head[:4] == b"\x1a\x45\xdf\xa3" else "video/mp4"
