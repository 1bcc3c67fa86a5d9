"""The web application of a survey: pairs for judges, the ranking for holders of the printed key."""

from __future__ import annotations

import hmac
import html
import io
import json
import re
import secrets
import tempfile
import zipfile
from pathlib import Path

from aiohttp import web
from animevid.server.auth import Guard, add_security_headers

from animevid_trainer.survey.pairs import Exhibition, Pair
from animevid_trainer.survey.ranking import Standing, rank
from animevid_trainer.survey.votes import FAULTS, MAX_FAULTS, QUESTIONS, Vote, VoteStore, faults_of, write_votes

_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_COOKIE = "animevid_judge"
_JUDGE = re.compile(r"[0-9a-f]{16}")
_MAX_REQUEST_BYTES = 16 << 10
_MONTHS_SECONDS = 90 * 86400


class Survey:
    """The request handlers of one survey.

    Args:
        exhibition: pairs and images.
        store: stores votes.
        key: gives access to the results.
    """

    def __init__(self, exhibition: Exhibition, store: VoteStore, *, key: str) -> None:
        self.exhibition = exhibition
        self.store = store
        self.key = key
        self._secret = secrets.token_bytes(16)
        # Image URLs must not reveal the candidate.
        self._images = {self._address(*name): data for name, data in exhibition.images.items()}

    def _address(self, photo: str, candidate: str) -> str:
        return hmac.new(self._secret, f"{photo}\0{candidate}".encode(), "sha256").hexdigest()[:24]

    # ---- judges

    async def page(self, request: web.Request) -> web.StreamResponse:
        answer = _file("index.html")
        if not _JUDGE.fullmatch(request.cookies.get(_COOKIE, "")):
            answer.set_cookie(
                _COOKIE, secrets.token_hex(8), httponly=True, samesite="Strict", max_age=_MONTHS_SECONDS,
                secure=request.secure,
            )  # fmt: skip
        return answer

    async def asset(self, request: web.Request) -> web.StreamResponse:
        return _file(request.match_info["name"])

    async def image(self, request: web.Request) -> web.StreamResponse:
        data = self._images.get(request.match_info["address"])
        if data is None:
            raise web.HTTPNotFound(text="no such image\n")
        return web.Response(body=data, content_type="image/jpeg")

    async def next_pair(self, request: web.Request) -> web.StreamResponse:
        judge = self._judge(request)
        order, voted = self.exhibition.order_for(judge), self.store.of(judge)
        left = [pair for pair in order if (pair.photo, tuple(sorted((pair.first, pair.second)))) not in voted]
        skipped = {int(number) for number in request.query.get("skip", "").split(",") if number.isdecimal()}
        wanted = [pair for pair in left if pair.number not in skipped] or left
        answer: dict[str, object] = {
            "done": len(order) - len(left), "of": len(order), "questions": QUESTIONS, "faults": FAULTS,
            "max_faults": MAX_FAULTS,
        }  # fmt: skip
        if wanted:
            pair = wanted[0]
            sides = self.exhibition.sides_for(judge, pair)
            shown = {"photo": "", "left": sides[0], "right": sides[1]}
            answer["pair"] = {"number": pair.number} | {
                where: f"image/{self._address(pair.photo, name)}" for where, name in shown.items()
            }
        return web.json_response(answer)

    async def vote(self, request: web.Request) -> web.StreamResponse:
        judge = self._judge(request)
        try:
            sent = await request.json()
        except json.JSONDecodeError:
            raise _refused("a vote is a JSON object") from None
        self.store.put(self._vote_of(judge, sent))
        return web.json_response({"kept": True})

    def _vote_of(self, judge: str, sent: object) -> Vote:
        pairs = {pair.number: pair for pair in self.exhibition.pairs}
        vote = sent if isinstance(sent, dict) else {}
        number = vote.get("number")
        pair: Pair | None = pairs.get(number) if type(number) is int else None
        if pair is None:
            raise _refused("number is not a pair of this survey")
        sides = dict(zip("LR", self.exhibition.sides_for(judge, pair), strict=True))
        answers = {}
        for question in QUESTIONS:
            if vote.get(question) not in ("L", "R"):
                raise _refused(f"{question}: allowed are L and R")
            answers[question] = sides[vote[question]]
        faults = []
        for side in "LR":
            found = vote.get(f"faults_{side}", [])
            if not (isinstance(found, list) and len(found) <= MAX_FAULTS and all(fault in FAULTS for fault in found)):
                raise _refused(f"faults_{side}: at most {MAX_FAULTS} of {', '.join(FAULTS)}")
            faults.append(tuple(dict.fromkeys(found)))
        return Vote(judge, pair.photo, sides["L"], sides["R"], **answers, faults_left=faults[0], faults_right=faults[1])

    def _judge(self, request: web.Request) -> str:
        judge = request.cookies.get(_COOKIE, "")
        if not _JUDGE.fullmatch(judge):
            raise _refused("open the page first")
        return judge

    # ---- results, with the key

    async def results(self, request: web.Request) -> web.StreamResponse:
        self._check_key(request)
        return web.Response(text=results_page(self.store.all(), key=self.key), content_type="text/html")

    async def export(self, request: web.Request) -> web.StreamResponse:
        self._check_key(request)
        data = io.BytesIO()
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            write_votes(self.store.all(), Path(folder))
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)
        return web.Response(
            body=data.getvalue(),
            content_type="application/zip",
            headers={"Content-Disposition": 'attachment; filename="votes.zip"'},
        )

    def _check_key(self, request: web.Request) -> None:
        if not hmac.compare_digest(request.query.get("key", "").encode(), self.key.encode()):
            raise web.HTTPForbidden(text="open the results with the address that `animevid survey` printed\n")


def make_app(survey: Survey, guard: Guard) -> web.Application:
    """Create the application, for ``aiohttp.web.run_app`` or a test."""
    app = web.Application(middlewares=[guard.middleware], client_max_size=_MAX_REQUEST_BYTES)
    app.on_response_prepare.append(add_security_headers)
    app.add_routes(
        [
            web.get("/", survey.page),
            web.get("/{name:style.css|survey.js}", survey.asset),
            web.get("/image/{address}", survey.image),
            web.get("/pair", survey.next_pair),
            web.post("/vote", survey.vote),
            web.post("/login", guard.login),
            web.get("/results", survey.results),
            web.get("/results.zip", survey.export),
        ]
    )
    return app


def results_page(votes: list[Vote], *, key: str) -> str:
    """Return a page with the ranking of each question and the faults."""
    judges = len({vote.judge for vote in votes})
    parts = [f"<p>{len(votes)} votes of {judges} judges.</p>"]
    for question, asked in QUESTIONS.items():
        parts.append(f"<h2>{html.escape(asked)}</h2>{_ranking_table(rank(votes, question))}")
    faults = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td class=many>"
        + (", ".join(f"{html.escape(fault)} {count}" for fault, count in found.items()) or "none named")
        + "</td></tr>"
        for name, found in sorted(faults_of(votes).items())
    )
    parts.append(f"<h2>Faults</h2><div class=table><table>{faults}</table></div>")
    parts.append(
        "<p class=dim>Share: expected share of votes won against an average candidate of this survey, with a 95 % "
        "interval (Bradley and Terry 1952). If intervals overlap, the order is not certain yet.</p>"
        f'<p><a class=button href="results.zip?key={html.escape(key)}">Votes as CSV</a></p>'
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Survey: results</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="style.css">'
        f'<main class="results"><h1>Results</h1>{"".join(parts)}</main></html>'
    )


def _ranking_table(standings: list[Standing]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(s.name)}</th><td>{s.share:.0%}</td><td>{s.low:.0%} to {s.high:.0%}</td>"
        f'<td><svg viewBox="0 0 100 10" role="img" aria-label="{s.low:.0%} to {s.high:.0%}">'
        f'<rect class="range" x="{100 * s.low:.1f}" y="3.5" width="{max(0.5, 100 * (s.high - s.low)):.1f}" height="3"/>'
        f'<rect class="at" x="{100 * s.share - 0.8:.1f}" y="1" width="1.6" height="8"/></svg></td>'
        f"<td>{s.won} of {s.votes}</td></tr>"
        for s in standings
    )
    head = "<tr><th scope=col>candidate</th><th scope=col>share</th><th scope=col>95 %</th><th></th><th>won</th></tr>"
    return f"<div class=table><table>{head}{rows}</table></div>" if rows else "<p>No votes yet.</p>"


def _file(name: str) -> web.Response:
    path = _PAGE / name
    return web.Response(text=path.read_text(encoding="utf-8"), content_type=_TYPES[path.suffix])


def _refused(what: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": what}), content_type="application/json")
