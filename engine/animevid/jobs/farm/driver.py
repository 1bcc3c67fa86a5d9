"""Distributes the segments of a job over workers, and again if a worker is lost or slow."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import TYPE_CHECKING

from animevid.errors import AnimevidError, BackendError
from animevid.jobs.farm.worker import FarmRequest, SegmentWorker, SourceReader, remote_reader
from animevid.jobs.identity import source_identity
from animevid.jobs.job import Job
from animevid.jobs.packets import checksum, sync_folder
from animevid.jobs.segment_sink import FinishedSegment
from animevid.options import ConversionOptions

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

log = logging.getLogger(__name__)

#: How many workers one segment may lose.
_MAX_TRIES = 4
#: Idle workers start a second attempt at a segment that takes this many times the usual time.
_SLOW_FACTOR = 1.5
_POLL_SECONDS = 0.5


@dataclass(slots=True)
class _Task:
    index: int
    worker: ActorHandle[SegmentWorker]
    started_at: float


@dataclass(slots=True)
class _Idle:
    """A worker without work. It can make ``next_index`` without a lead-in; ``None``: no segment."""

    worker: ActorHandle[SegmentWorker]
    next_index: int | None = None


def next_segment(pending: Collection[int], own: int | None, going_on: Collection[int | None]) -> int:
    """The best of the ``pending`` segments for a worker.

    That is ``own``, which needs no lead-in. Else one with many pending ones after it: the first of the longest run of
    neighbours, or the middle one if another worker will continue with the first.
    """
    if own in pending:
        assert own is not None
        return own
    rows: list[list[int]] = []
    for index in sorted(pending):
        if rows and rows[-1][-1] == index - 1:
            rows[-1].append(index)
        else:
            rows.append([index])
    row = max(rows, key=len)
    return row[len(row) // 2] if row[0] in going_on else row[0]


class Farm:
    """The driver's part of a job; Ray is connected already.

    An idle worker gets one segment, so at most one per worker is in progress. Finished ones are recorded in the
    job's journal, so a killed driver resumes like any job.

    Args:
        job: the job.
        options: valid on every machine (the style by name, or as a file that all machines see).
        cpus: CPUs per worker.
        gpus: GPUs per worker.
        max_workers: maximum number of workers; ``None``: as many as fit.
        capacity: how many workers may run now; ``None``: as many as the cluster has room for.
        worker_class: the remote class.
    """

    def __init__(
        self,
        job: Job,
        options: ConversionOptions,
        *,
        cpus: float = 1,
        gpus: float = 0,
        max_workers: int | None = None,
        capacity: Callable[[], int] | None = None,
        worker_class: type[SegmentWorker] = SegmentWorker,
    ) -> None:
        import ray

        self._ray: ModuleType = ray
        self._job, self._cpus, self._gpus = job, cpus, gpus
        self._max_workers = max_workers
        self._capacity = capacity or self._room
        self._remote_worker = self._ray.remote(worker_class)
        self._number = 0
        self.lost = self.copies = self.refused = 0
        self.seconds: list[float] = []
        threads = max(1, int(cpus))
        token = secrets.token_hex(16)
        (job.folder / "token").write_text(token)
        self._request = FarmRequest(
            src=os.path.abspath(job.src),
            dst=os.path.abspath(job.dst),
            options=replace(
                options,
                threads=options.threads or threads,
                encoder=replace(options.encoder, threads=options.encoder.threads or threads),
                overwrite=True,
            ),
            description=job.description,
            folder=str(job.folder.absolute()),
            token=token,
            version=_version(),
            source=source_identity(Path(job.src)),
            style=job.style_digest,
        )
        self._source: ActorHandle[SourceReader] = (
            self._ray.remote(SourceReader).options(num_cpus=0).remote(self._request.src)
        )

    def run(self, on_segment: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Make all missing segments. ``on_segment`` is called with the numbers of finished and of all segments.

        Raises:
            AnimevidError: a segment failed; or no worker can be used.
        """
        pending = {segment.index for run in self._job.missing_runs() for segment in run}
        missing, total = set(pending), len(self._job.description.segments)
        starting: dict[ObjectRef[object], ActorHandle[SegmentWorker]] = {}
        running: dict[ObjectRef[object], _Task] = {}
        idle: list[_Idle] = []
        tries: dict[int, int] = {}
        last_refusal = ""
        try:
            while missing:
                while len(starting) + len(running) + len(idle) < min(self._capacity(), len(missing)):
                    worker = self._start()
                    starting[worker.check.remote()] = worker
                self._hand_out(pending, missing, idle, running)
                ready, _ = self._ray.wait([*starting, *running], num_returns=1, timeout=_POLL_SECONDS)
                for ref in ready:
                    if ref in starting:
                        worker = starting.pop(ref)
                        refusal = self._outcome(ref)
                        if refusal is None:
                            idle.append(_Idle(worker))
                            continue
                        self.refused += 1
                        last_refusal = str(refusal)
                        log.warning("a worker cannot be used: %s", last_refusal)
                        self._ray.kill(worker)
                        if self.refused > 2 * max(1, self._capacity()) and not running and not idle:
                            raise BackendError(f"no worker can be used: {last_refusal}")
                        continue
                    task = running.pop(ref)
                    try:
                        finished = self._take(task, ref, missing)
                    except _Lost as lost:
                        self.lost += 1
                        tries[task.index] = tries.get(task.index, 0) + 1
                        log.warning("a worker was lost: segment %d is given to another", task.index)
                        if tries[task.index] >= _MAX_TRIES:
                            raise BackendError(
                                f"segment {task.index} lost {_MAX_TRIES} workers ({lost}): check the machines' "
                                "memory; then the same command resumes"
                            ) from lost
                        if task.index in missing and task.index not in {t.index for t in running.values()}:
                            pending.add(task.index)
                        continue
                    idle.append(_Idle(task.worker, task.index + 1))
                    if finished is not None:
                        missing.discard(task.index)
                        self.seconds.append(time.monotonic() - task.started_at)
                        self._job.add(finished)
                        on_segment(total - len(missing), total)
        finally:
            at_work = [task.worker for task in running.values()]
            for worker in [*starting.values(), *at_work, *(each.worker for each in idle)]:
                self._ray.kill(worker)
            self._ray.kill(self._source)

    def _hand_out(
        self, pending: set[int], missing: set[int], idle: list[_Idle], running: dict[ObjectRef[object], _Task]
    ) -> None:
        pending &= missing
        while idle:
            # A worker that needs no lead-in gets its segment before another one takes it.
            idle.sort(key=lambda each: each.next_index not in pending)
            going_on = {each.next_index for each in idle} | {task.index + 1 for task in running.values()}
            index = next_segment(pending, idle[0].next_index, going_on) if pending else self._slowest(running)
            if index is None:
                return
            pending.discard(index)
            worker = idle.pop(0).worker
            running[worker.make.remote(index)] = _Task(index, worker, time.monotonic())

    def _slowest(self, running: dict[ObjectRef[object], _Task]) -> int | None:
        """The slowest segment without a second attempt, if it takes long."""
        if not self.seconds:
            return None
        indices = [task.index for task in running.values()]
        late = time.monotonic() - _SLOW_FACTOR * median(self.seconds)
        slow = [task for task in running.values() if task.started_at < late and indices.count(task.index) == 1]
        if not slow:
            return None
        self.copies += 1
        return min(slow, key=lambda task: task.started_at).index

    def _take(self, task: _Task, ref: ObjectRef[object], missing: set[int]) -> FinishedSegment | None:
        """Move a worker's segment into place; ``None`` if another worker was faster."""
        finished = self._outcome(ref)
        if isinstance(finished, str):
            raise _Lost(finished)
        assert isinstance(finished, FinishedSegment)
        target = self._job.path_of(task.index)
        if task.index not in missing:
            finished.path.unlink(missing_ok=True)
            return None
        if finished.path.exists() and finished.path.parent == Path(self._request.folder):
            os.replace(finished.path, target)
        else:
            part = target.with_suffix(".part")
            with part.open("wb") as file:
                while file.tell() < finished.bytes:
                    piece = self._outcome(task.worker.read.remote(str(finished.path), file.tell()))
                    if not isinstance(piece, bytes) or not piece:
                        raise _Lost("its result is gone")
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if checksum(part) != finished.checksum:
                raise _Lost("its result was damaged on the way")
            os.replace(part, target)
        sync_folder(target.parent)
        return replace(finished, path=target)

    def _outcome(self, ref: ObjectRef[object]) -> object:
        """A call's result; the reason as a string if its worker was lost.

        Raises:
            AnimevidError: raised by the worker.
        """
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(getattr(error, "cause", None), AnimevidError) else None
            raise cause or BackendError(f"a worker failed: {str(error).splitlines()[-1]}") from error
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            cause = lines[-1].split(". ")[0] if lines else ""  # the rest is general advice from Ray
            return f"{type(error).__name__}: {cause}"

    def _start(self) -> ActorHandle[SegmentWorker]:
        self._number += 1
        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_restarts": 0}
        actor = self._remote_worker.options(**options)
        worker: ActorHandle[SegmentWorker] = actor.remote(self._request, remote_reader(self._source), self._number)
        return worker

    def _room(self) -> int:
        resources = self._ray.cluster_resources()
        room = int(resources.get("CPU", 1) / self._cpus) if self._cpus else 1
        if self._gpus:
            room = min(room, int(resources.get("GPU", 0) / self._gpus))
        return max(1, room if self._max_workers is None else min(room, self._max_workers))


class _Lost(Exception):
    """A worker was lost."""


def _version() -> str:
    from animevid import __version__

    return __version__
