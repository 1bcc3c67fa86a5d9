"""Stores votes in SQLite, exchanges them as CSV with a key, and counts them.

A CSV has the header ``id,anime,post,content,faults_L,faults_R``: for each numbered pair, the side (L or R) that looks
more like a frame of an anime film, the side that the judge would keep (post), the side that preserves more of the
photo, and the faults of each side. The key tells which candidate was on which side; it is a JSON list of
``{"id", "photo", "L", "R", "ours"}`` that judges do not see. ``NAME.csv`` needs ``NAME-key.json``.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from animevid.errors import TrainingError

#: question -> its text for judges
QUESTIONS = {
    "anime": "Which looks more like a frame of a hand-drawn anime film?",
    "post": "Which would you rather keep?",
    "content": "Which keeps more of what is in the photo?",
}
FAULTS = (
    "worm-lines", "dashed-lines", "dirty", "blurry", "timid", "colour-cast", "grid", "halo", "lost-text",
    "camouflage-foliage", "face-damaged",
)  # fmt: skip
MAX_FAULTS = 3
_COLUMNS = ("id", *QUESTIONS, "faults_L", "faults_R")

_TABLE = """
CREATE TABLE IF NOT EXISTS votes (
    judge TEXT NOT NULL, photo TEXT NOT NULL, left TEXT NOT NULL, right TEXT NOT NULL,
    anime TEXT NOT NULL, post TEXT NOT NULL, content TEXT NOT NULL,
    faults_left TEXT NOT NULL, faults_right TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (judge, photo, left, right)
)
"""


@dataclass(frozen=True, slots=True)
class Vote:
    """One judge's answers for one photo. ``left``, ``right`` and each answer are names of candidates."""

    judge: str
    photo: str
    left: str
    right: str
    anime: str
    post: str
    content: str
    faults_left: tuple[str, ...] = ()
    faults_right: tuple[str, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """The two candidates, in alphabetical order."""
        first, second = sorted((self.left, self.right))
        return first, second


class VoteStore:
    """Votes in an SQLite file. A judge's new vote on a pair replaces the old one, even if sides were swapped."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            with self._open() as connection:
                connection.execute(_TABLE)
        except sqlite3.Error as error:
            raise TrainingError(f"votes {str(path)!r} cannot be opened ({error}); give another --out") from error

    def put(self, vote: Vote) -> None:
        with self._open() as connection:
            connection.execute(
                "DELETE FROM votes WHERE judge = ? AND photo = ? AND left = ? AND right = ?",
                (vote.judge, vote.photo, vote.right, vote.left),
            )
            connection.execute(
                "INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    vote.judge, vote.photo, vote.left, vote.right, vote.anime, vote.post, vote.content,
                    " ".join(vote.faults_left), " ".join(vote.faults_right), time.time(),
                ),
            )  # fmt: skip

    def all(self) -> list[Vote]:
        """Return all votes in the order of arrival."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT judge, photo, left, right, anime, post, content, faults_left, faults_right FROM votes "
                "ORDER BY at, judge, photo, left"
            ).fetchall()
        return [
            Vote(
                judge, photo, left, right, anime, post, content, tuple(faults_left.split()), tuple(faults_right.split())
            )
            for judge, photo, left, right, anime, post, content, faults_left, faults_right in rows
        ]

    def of(self, judge: str) -> set[tuple[str, tuple[str, str]]]:
        """Return (photo, pair) of each vote of ``judge``."""
        return {(vote.photo, vote.pair) for vote in self.all() if vote.judge == judge}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=10.0)) as connection, connection:
            yield connection


def read_votes(path: Path) -> list[Vote]:
    """Read the votes of ``NAME.csv`` with the key ``NAME-key.json``; ``NAME`` is the judge.

    Raises:
        TrainingError: a missing file or a wrong format; the message names the line.
    """
    key_path = path.with_name(f"{path.stem}-key.json")
    try:
        key = {int(row["id"]): row for row in json.loads(key_path.read_text(encoding="utf-8"))}
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise TrainingError(f"{str(path)!r} has no column {missing[0]!r}; its header is {','.join(_COLUMNS)}")
            return [_vote_of(row, key, path.stem, where=f"{path.name}:{reader.line_num}") for row in reader]
    except OSError as error:
        raise TrainingError(
            f"{error.filename!r} cannot be read ({error.strerror}); votes are NAME.csv with NAME-key.json beside it"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{str(key_path)!r} is not a key: a list of id, photo, L, R ({error})") from error


def _vote_of(row: dict[str, str], key: dict[int, dict[str, str]], judge: str, *, where: str) -> Vote:
    number = (row["id"] or "").strip()
    pair = key.get(int(number)) if number.isdecimal() else None
    if pair is None:
        raise TrainingError(f"{where}: pair {number!r} is not in the key")
    answers = {}
    for question in QUESTIONS:
        side = (row[question] or "").strip().upper()
        if side not in ("L", "R"):
            raise TrainingError(f"{where}: {question} is {row[question]!r}; allowed are L and R")
        answers[question] = pair[side]
    left, right = (
        tuple(fault for fault in (row[f"faults_{side}"] or "").split() if fault != "none") for side in ("L", "R")
    )
    return Vote(judge, pair["photo"], pair["L"], pair["R"], **answers, faults_left=left, faults_right=right)


def write_votes(votes: Iterable[Vote], folder: Path) -> list[Path]:
    """Write ``JUDGE.csv`` and ``JUDGE-key.json`` for each judge to ``folder``; return the paths of the CSVs."""
    folder.mkdir(parents=True, exist_ok=True)
    by_judge: dict[str, list[Vote]] = {}
    for vote in votes:
        by_judge.setdefault(vote.judge, []).append(vote)
    written = []
    for judge, own in sorted(by_judge.items()):
        path = folder / f"{judge}.csv"
        key = [
            {"id": number, "photo": vote.photo, "L": vote.left, "R": vote.right, "ours": vote.pair[0]}
            for number, vote in enumerate(own)
        ]
        path.with_name(f"{judge}-key.json").write_text(json.dumps(key, indent=0) + "\n", encoding="utf-8")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for number, vote in enumerate(own):
                sides = ["L" if getattr(vote, question) == vote.left else "R" for question in QUESTIONS]
                faults = [" ".join(found) or "none" for found in (vote.faults_left, vote.faults_right)]
                writer.writerow([f"{number:02d}", *sides, *faults])
        written.append(path)
    return written


def faults_of(votes: Sequence[Vote]) -> dict[str, dict[str, int]]:
    """Return candidate -> fault -> how often judges named it, the most frequent first."""
    counts: dict[str, dict[str, int]] = {}
    for vote in votes:
        for name, faults in ((vote.left, vote.faults_left), (vote.right, vote.faults_right)):
            of_name = counts.setdefault(name, {})
            for fault in faults:
                of_name[fault] = of_name.get(fault, 0) + 1
    return {name: dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))) for name, found in counts.items()}
