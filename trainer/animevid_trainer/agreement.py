"""Checks before a run that all its processes have the same settings and images; otherwise all end with one message."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from animevid.errors import AnimevidError, TrainingError

from animevid_trainer.data.images import find_images
from animevid_trainer.distributed import World, gather


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one process: machine, settings and, for each folder, file name -> digest."""

    machine: str
    settings: dict[str, str]
    folders: dict[str, dict[str, str]]


@contextmanager
def failing_together(world: World) -> Iterator[None]:
    """Raise an error of one process in all of them, so that none waits for a process that has ended.

    Raises:
        TrainingError: in every process, if one failed.
    """
    failure: AnimevidError | None = None
    try:
        yield
    except AnimevidError as error:
        failure = error
    if world.size == 1:
        if failure is not None:
            raise failure
        return
    messages = gather(None if failure is None else str(failure), world)
    failed = {rank: message for rank, message in enumerate(messages) if message is not None}
    if not failed:
        return
    rank, message = next(iter(failed.items()))
    everywhere = len(failed) == world.size and len(set(failed.values())) == 1
    raise TrainingError(message if everywhere else f"process {rank} of {world.size}: {message}") from failure


def agree(settings: Mapping[str, object], folders: Mapping[str, Path | None], world: World) -> None:
    """Check that all processes have the same ``settings`` and the same images.

    Args:
        settings: JSON-compatible values.
        folders: purpose -> path on this machine.

    Raises:
        TrainingError: in every process; the message names what differs, and where.
    """
    if world.size == 1:
        return
    with failing_together(world):
        mine = inputs_of(settings, folders)
    check_alike(mine, world)


def check_resumed(step: int, folder: Path, world: World) -> None:
    """Check that all processes resume from the same ``step``, since each reads the checkpoint itself.

    Raises:
        TrainingError: in every process.
    """
    steps = gather(step, world)
    for rank, other in enumerate(steps):
        if other != steps[0]:
            raise TrainingError(
                f"process {rank} of {world.size} finds step {other} in {str(folder)!r}, process 0 step {steps[0]}: "
                "--out must be a folder that all machines share"
            )


def inputs_of(settings: Mapping[str, object], folders: Mapping[str, Path | None]) -> Inputs:
    """The inputs of this process. Reads every file once.

    Raises:
        TrainingError: a folder is missing or holds no images.
    """
    found = {what: _digests(folder) for what, folder in folders.items() if folder is not None}
    return Inputs(socket.gethostname(), {name: json.dumps(value) for name, value in settings.items()}, found)


def check_alike(mine: Inputs, world: World) -> None:
    """Raises:
    TrainingError: in every process, if the inputs of one differ from the first's; the message names the difference.
    """
    first, *others = gather(mine, world)
    for rank, other in enumerate(others, 1):
        difference = _difference(first, other)
        if difference:
            raise TrainingError(
                f"process {rank} of {world.size} (on {other.machine}) was not given what process 0 (on "
                f"{first.machine}) was: {difference}; give every machine the same command and copies of one folder"
            )


def _difference(first: Inputs, other: Inputs) -> str | None:
    for name in first.settings.keys() | other.settings.keys():
        if first.settings.get(name) != other.settings.get(name):
            return f"its settings differ in {name!r}"
    for what in first.folders.keys() | other.folders.keys():
        expected, found = first.folders.get(what, {}), other.folders.get(what, {})
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                return f"{what}: {name!r} is missing ({len(found)} images instead of {len(expected)})"
            if name not in expected:
                return f"{what}: {name!r} is there as well ({len(found)} images instead of {len(expected)})"
            if expected[name] != found[name]:
                return f"{what}: {name!r} is another image"
    return None


def _digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder).as_posix()): _digest(path) for path in find_images(folder)}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except OSError as error:
        return f"unreadable: {error.strerror}"
