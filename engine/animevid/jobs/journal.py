"""The journal of a job's finished segments: a SQLite file, consistent after any crash."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from animevid.errors import OutputError
from animevid.jobs.cuts import Segment
from animevid.jobs.segment_sink import FinishedSegment

#: ``PRAGMA user_version`` of the tables below. Raise it with every change to them.
VERSION = 1
_TABLES = """
CREATE TABLE job (identity TEXT NOT NULL, origin TEXT NOT NULL, file_start TEXT NOT NULL);
CREATE TABLE segment (
    number INTEGER PRIMARY KEY, start TEXT, end TEXT,
    file TEXT, frames INTEGER, bytes INTEGER, checksum TEXT  -- NULL until it is done
);
"""


@dataclass(frozen=True, slots=True)
class JobDescription:
    """The job's options and the cuts of the source. Times are seconds; see :class:`SegmentSink` for the last two."""

    identity: dict[str, str]
    segments: tuple[Segment, ...]
    origin_seconds: Fraction
    file_start: Fraction


class Journal:
    """A job's journal at ``path``. Each change is on disk when its method returns. A context manager.

    Raises:
        OutputError: it is damaged, of another version, or cannot be written.
    """

    def __init__(self, path: Path, *, output: str) -> None:
        self._output = output
        with self._complaints():
            # A rollback journal: WAL needs shared memory, which network shares lack.
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = DELETE")
            self._database.execute("PRAGMA synchronous = EXTRA")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            self.close()
            raise OutputError(
                f"the journal of {output!r} is of version {version}, this animevid writes {VERSION}: give --restart, "
                "or continue with the version of animevid that started it"
            )
        self.is_new = version == 0

    def begin(self, job: JobDescription) -> None:
        """Record the job."""
        with self._complaints():
            self._database.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";\n"):
                self._database.execute(statement)
            self._database.execute(
                "INSERT INTO job VALUES (?, ?, ?)",
                (json.dumps(job.identity), str(job.origin_seconds), str(job.file_start)),
            )
            self._database.executemany(
                "INSERT INTO segment (number, start, end) VALUES (?, ?, ?)",
                [(segment.index, _text(segment.start_seconds), _text(segment.end_seconds)) for segment in job.segments],
            )
            self._database.execute(f"PRAGMA user_version = {VERSION}")
            self._database.execute("COMMIT")
        self.is_new = False

    def read(self) -> JobDescription:
        """The job recorded by ``begin``."""
        with self._complaints():
            identity, origin, file_start = self._database.execute("SELECT * FROM job").fetchone()
            rows = self._database.execute("SELECT number, start, end FROM segment ORDER BY number").fetchall()
        segments = tuple(Segment(number, _time(start), _time(end)) for number, start, end in rows)
        return JobDescription(json.loads(identity), segments, Fraction(origin), Fraction(file_start))

    def finished(self) -> dict[int, FinishedSegment]:
        """The segments that are done, by index."""
        with self._complaints():
            rows = self._database.execute(
                "SELECT number, file, frames, bytes, checksum FROM segment WHERE file IS NOT NULL"
            ).fetchall()
        return {
            number: FinishedSegment(number, Path(file), frames, size, checksum)
            for number, file, frames, size, checksum in rows
        }

    def add(self, segment: FinishedSegment) -> None:
        """Record that ``segment`` is done. Its folder is not recorded, so the job may be moved."""
        with self._complaints():
            self._database.execute(
                "UPDATE segment SET file = ?, frames = ?, bytes = ?, checksum = ? WHERE number = ?",
                (segment.path.name, segment.frames, segment.bytes, segment.checksum, segment.index),
            )

    def forget(self, indices: Sequence[int]) -> None:
        """Record that segments must be made again."""
        with self._complaints():
            self._database.executemany(
                "UPDATE segment SET file = NULL WHERE number = ?", [(index,) for index in indices]
            )

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._database.close()

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise OutputError(
                    f"path = {self._output!r} cannot be written: the disk is full; free some space, then the same "
                    "command resumes"
                ) from error
            raise OutputError(f"the journal of {self._output!r} cannot be used ({error}): give --restart") from error
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            raise OutputError(
                f"the journal of {self._output!r} is damaged ({error}): give --restart to begin anew"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _text(seconds: Fraction | None) -> str | None:
    return None if seconds is None else str(seconds)


def _time(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)
