"""The farm's worker on each machine: stylizes one segment at a time and returns it."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from animevid.errors import AnimevidError
from animevid.jobs.farm.run import SegmentRun
from animevid.jobs.identity import source_identity, style_identity
from animevid.jobs.journal import JobDescription
from animevid.jobs.part import open_part
from animevid.jobs.segment_sink import FinishedSegment
from animevid.options import ConversionOptions
from animevid.render.stylizer import Stylizer
from animevid.run.conversion import Conversion, open_stylizer

#: The size of a chunk of a file sent between machines.
PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class FarmRequest:
    """A worker's configuration. ``token`` is also a file in ``folder``: a worker that finds it shares the folder."""

    src: str
    dst: str
    options: ConversionOptions
    description: JobDescription
    folder: str
    token: str
    version: str
    source: str
    style: str


class SegmentWorker:
    """One worker. ``read_source(offset, size)`` reads the source if its file is not visible here."""

    def __init__(self, request: FarmRequest, read_source: Callable[[int, int], bytes], number: int) -> None:
        self._request = request
        self._read_source = read_source
        self.number = number
        self._own = Path(tempfile.mkdtemp(prefix="animevid-farm-"))
        self._src = self._dst = ""
        self._shares = False
        self._stylizer: Stylizer | None = None
        self._run: SegmentRun | None = None

    def check(self) -> str | None:
        """Prepare; returns the reason if it fails, in one line, or ``None``."""
        from animevid import __version__

        request = self._request
        if __version__ != request.version:
            return f"it has animevid {__version__}, the driver {request.version}: install the same"
        options = request.options
        assert not isinstance(options.style, Stylizer)  # an open stylizer cannot be sent
        try:
            self._stylizer = open_stylizer(options)
        except AnimevidError as error:
            return " ".join(str(error).split())
        if style_identity(self._stylizer) != request.style:
            return f"its style {self._stylizer.card.name!r} is another file than the driver's: copy that"
        self._shares = _read(Path(request.folder) / "token") == request.token
        try:
            self._src = request.src if self._sees_source() else self._fetch_source()
        except OSError as error:
            return f"the source cannot be copied to it: {error.strerror}"
        # Segments need the output's plan; only the driver writes the output.
        self._dst = request.dst if self._shares else str(self._own / Path(request.dst).name)
        return None

    def make(self, index: int) -> FinishedSegment:
        """Stylize a segment into the shared folder, or into a local file for ``read``.

        The segment after the previous one continues it; any other begins with a lead-in.
        """
        if self._run is None or self._run.next_index != index:
            self._end_run()
            self._run = self._open_run(index)
        try:
            return self._run.make_next()
        except BaseException:
            self._end_run()
            raise

    def read(self, path: str, offset: int) -> bytes:
        """A chunk of a finished segment's file, which is removed after its last chunk."""
        with open(path, "rb") as file:
            file.seek(offset)
            piece = file.read(PIECE_BYTES)
            is_last = offset + len(piece) >= os.fstat(file.fileno()).st_size
        if is_last:
            os.unlink(path)
        return piece

    def pid(self) -> int:
        """The worker's process id."""
        return os.getpid()

    def close(self) -> None:
        """Free everything."""
        self._end_run()
        if self._stylizer is not None:
            self._stylizer.close()
        shutil.rmtree(self._own, ignore_errors=True)

    def _open_run(self, first: int) -> SegmentRun:
        assert self._stylizer is not None
        request, options = self._request, replace(self._request.options, style=self._stylizer)
        folder = Path(request.folder) if self._shares else self._own
        segments, token = request.description.segments[first:], secrets.token_hex(4)

        def open_segments(add: Callable[[FinishedSegment], None]) -> Conversion:
            return open_part(
                self._src,
                self._dst,
                options,
                segments,
                request.description,
                path_of=lambda index: folder / f"{index:06}-{token}.pkts",
                add=add,
            )

        return SegmentRun(open_segments, first=first, last=segments[-1].index)

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.close()

    def _sees_source(self) -> bool:
        try:
            return source_identity(Path(self._request.src)) == self._request.source
        except OSError:
            return False

    def _fetch_source(self) -> str:
        path = self._own / Path(self._request.src).name
        with path.open("wb") as file:
            while piece := self._read_source(file.tell(), PIECE_BYTES):
                file.write(piece)
        return str(path)


class SourceReader:
    """Serves the source's bytes from the driver's machine."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, offset: int, size: int) -> bytes:
        with open(self._path, "rb") as file:
            file.seek(offset)
            return file.read(size)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


def remote_reader(handle: Any) -> Callable[[int, int], bytes]:
    """``read_source`` of a worker, for a ``SourceReader`` that is an actor of Ray."""

    def read(offset: int, size: int) -> bytes:
        import ray

        piece: bytes = ray.get(handle.read.remote(offset, size))
        return piece

    return read
