"""``animevid survey``."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.cli.offers import offer, style_names
from animevid.errors import TrainingError

from animevid_trainer.cli.command import Command
from animevid_trainer.cli.messages import show_data

if TYPE_CHECKING:
    from aiohttp import web

    from animevid_trainer.survey.votes import VoteStore


def _fill(parser: argparse.ArgumentParser) -> None:
    candidates = parser.add_argument(
        "candidates",
        nargs="*",
        metavar="[NAME=]CANDIDATE",
        help="two or more candidates: a run's folder, STYLE.onnx, a style's name, teacher:SPEC, photo",
    )
    offer(candidates, style_names)
    parser.add_argument("--photos", type=Path, help="folder of held-out photos")
    parser.add_argument("--out", type=Path, default=Path("survey"), metavar="DIR", help="where votes are kept")
    parser.add_argument("--limit", type=int, default=21, help="photos at most")
    parser.add_argument("--longest", type=int, default=640, metavar="PX", help="longest side of the photos")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 admits other machines, with a link"
    )
    parser.add_argument("--port", type=int, default=8090, help="0: any free one")
    parser.add_argument("--import", dest="imports", type=Path, action="append", default=[], metavar="VOTES.csv",
                        help="add votes from elsewhere, with VOTES-key.json next to them")  # fmt: skip
    parser.add_argument("--export", type=Path, metavar="DIR", help="write the votes as CSV with keys, and exit")
    parser.add_argument("--results", action="store_true", help="print the ranking and exit")


def _run(args: argparse.Namespace) -> int:
    from animevid_trainer.survey.votes import VoteStore, read_votes, write_votes

    imported = [vote for path in args.imports for vote in read_votes(path)]
    ends = args.results or args.export is not None or (args.imports and not args.candidates)
    if not ends and (args.photos is None or len(args.candidates) < 2):
        raise TrainingError("a survey compares: animevid survey CANDIDATE CANDIDATE ... --photos DIR")
    store = VoteStore(args.out / "votes.sqlite")
    for vote in imported:
        store.put(vote)
    if imported:
        print(f"{len(imported)} votes added to {store.path}")
    if args.export is not None:
        for path in write_votes(store.all(), args.export):
            print(path)
    if args.results:
        print(ranking_text(store), end="")
    return 0 if ends else _serve(args, store)


def ranking_text(store: VoteStore) -> str:
    """The ranking of each question as text."""
    from animevid_trainer.survey.ranking import rank
    from animevid_trainer.survey.votes import QUESTIONS

    votes = store.all()
    lines = [f"{len(votes)} votes of {len({vote.judge for vote in votes})} judges"]
    for question, asked in QUESTIONS.items():
        lines += ["", asked]
        lines += [
            f"  {s.name:<24} {s.share:4.0%}  ({s.low:.0%} to {s.high:.0%})  won {s.won} of {s.votes}"
            for s in rank(votes, question)
        ]
    return "\n".join(lines) + "\n"


def _serve(args: argparse.Namespace, store: VoteStore) -> int:
    from contextlib import ExitStack

    from animevid.server.auth import Guard, is_loopback, new_token

    from animevid_trainer.data.images import find_images, open_images
    from animevid_trainer.evaluate.candidates import open_candidate
    from animevid_trainer.survey.app import Survey, make_app
    from animevid_trainer.survey.pairs import hang, names_of

    paths = find_images(args.photos)
    count = min(args.limit, len(paths))
    chosen = [paths[index * len(paths) // count] for index in range(count)]
    opened = open_images(chosen, what="photos", longest_px=args.longest)
    photos = {name: opened[index] for index, name in enumerate(names_of(opened.paths))}
    with ExitStack() as stack:
        candidates = (stack.enter_context(open_candidate(spec)) for spec in args.candidates)
        exhibition = hang(candidates, photos, on_progress=show_data)
    token = None if is_loopback(args.host) else new_token()
    survey = Survey(exhibition, store, key=new_token())

    def ready(site: str) -> None:
        link = f"{site}/?token={token}" if token else f"{site}/"
        print(f"{len(exhibition.pairs)} pairs a judge; votes go to {store.path}")
        print(f"judges:  {link}")
        print(f"results: {site}/results?key={survey.key}", flush=True)

    _run_app(make_app(survey, Guard(args.host, token)), args.host, args.port, ready)
    return 0


def _run_app(app: web.Application, host: str, port: int, ready: Callable[[str], None]) -> None:
    import asyncio

    from aiohttp import web

    async def serve() -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise TrainingError(
                f"port {port} of {host} cannot be opened ({error.strerror}); give another --port"
            ) from error
        bound = runner.addresses[0][1]
        name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        ready(f"http://{name}:{bound}")
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        print("the survey is closed; run the same command to open it again")


SURVEY = Command("survey", "ask viewers which of two styles' images they would keep, and rank them", _fill, _run)
