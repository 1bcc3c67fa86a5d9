"""Opens and runs a third-party style once in a child process, before it is opened in this one.

A file that loops for ever, allocates all memory or crashes the runtime does so in the child, under limits
(:mod:`animevid.confinement`), and is then refused with one line. The cache folder remembers tried files by their
checksum, so a trial costs about half a second the first time and nothing later. Shipped styles are not tried.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from animevid.card_hints import CardHints
from animevid.confinement import is_confined
from animevid.errors import StyleError, UsageError
from animevid.styles.card import StyleCard
from animevid.styles.folders import cache_folder
from animevid.styles.inspect import look_at

_LOG = logging.getLogger(__name__)

#: Time limit for opening and one small image; the environment variable raises it for slow machines.
SECONDS = 10.0
SECONDS_VARIABLE = "ANIMEVID_STYLE_SECONDS"
#: Address space in addition to that proportional to the file: the runtime's libraries and arenas, and the images.
_MEMORY_BYTES = 3 << 30
#: A network of one large fixed size, without loops, may take this many times as long.
MAX_TIMES = 16.0
#: Time limit for starting Python and the runtime, before anything of the file runs.
_START_SECONDS = 60.0
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV", "OMP_NUM_THREADS")
_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Found:
    """The result of a trial of a file without a card: its card (JSON), and the model if it had to be adapted."""

    card: str = ""
    adapted: bytes = b""


class TrialRequest(TypedDict):
    """The request to the child process, as JSON."""

    name: str
    card: str | None
    hints: dict[str, Any]
    seconds: float
    memory_bytes: int


_remembered: dict[str, _Found] = {}
_running: set[subprocess.Popen[bytes]] = set()


def try_out(
    model: bytes, *, name: str, card: StyleCard | None = None, hints: CardHints | None = None
) -> tuple[bytes, StyleCard]:
    """Open ``model`` (a serialized ONNX file) and run it on a small image, in a child with limits.

    Args:
        model: the file's content.
        name: its name in messages.
        card: the card in the file; ``None`` infers one (:func:`animevid.styles.inspect.look_at`).
        hints: the user's overrides, for a file without a card.

    Returns:
        ``model`` (adapted for every backend if it has no card), and ``card`` or the inferred one.

    Raises:
        StyleError: it does not end, needs too much memory or breaks the child; without a card also what
            ``look_at`` says. A file with a card that ONNX Runtime refuses passes: another backend may take it.
    """
    if is_confined() or not sys.executable:
        return look_at(model, name=name, hints=hints) if card is None else (model, card)
    key = _key(model, card is not None, hints)
    found = _remembered.get(key) or _recall(key)
    if found is None:
        found = _run(model, name, card, hints)
        _write_down(key, found)
    _remembered[key] = found
    adapted = found.adapted or model
    return adapted, card if card is not None else replace(StyleCard.from_json(found.card), name=name)


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Trials that other threads run meanwhile are ended by a Ctrl-C (or exit) in this one."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        for child in tuple(_running):
            child.kill()
        raise


def seconds_allowed() -> float:
    """Time limit in seconds for one run of a third-party network, from ``$ANIMEVID_STYLE_SECONDS``.

    Raises:
        UsageError: the variable is not a number of seconds above 0.
    """
    text = os.environ.get(SECONDS_VARIABLE, "")
    try:
        seconds = float(text) if text else SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise UsageError(f"{SECONDS_VARIABLE} = {text[:20]!r} must be a number of seconds, 1 to 86400")
    return seconds


def _run(model: bytes, name: str, card: StyleCard | None, hints: CardHints | None) -> _Found:
    seconds = seconds_allowed()
    request: TrialRequest = {
        "name": name,
        "card": None if card is None else card.to_json(),
        "hints": asdict(hints or CardHints()),
        "seconds": seconds,
        "memory_bytes": _MEMORY_BYTES + 6 * len(model),
    }
    package = os.fspath(Path(__file__).parents[2])
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", "")))),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "animevid.styles.trial_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        ) as child:
            _running.add(child)
            try:
                head = json.dumps(request).encode() + b"\n"
                said, _ = child.communicate(head + model, timeout=MAX_TIMES * seconds + _START_SECONDS)
            except subprocess.TimeoutExpired:
                raise _endless(name, seconds) from None
            finally:
                _running.discard(child)
                child.kill()  # also after Ctrl-C; no effect if it has ended
    except OSError as error:
        raise StyleError(f"{name!r} cannot be tried in a child process ({error.strerror})") from error
    return _verdict(said, child.returncode, name, seconds)


def _verdict(said: bytes, code: int, name: str, seconds: float) -> _Found:
    answer: dict[str, object] = {}
    line, _, adapted = said.partition(b"\n")
    with suppress(ValueError):
        answer = json.loads(line or b"{}")
    if answer.get("error"):
        raise StyleError(str(answer["error"]))
    if answer.get("memory"):
        raise StyleError(f"{name!r} needs more than {_MEMORY_BYTES >> 30} GiB for one small image: it is no stylizer")
    if "card" in answer:
        return _Found(str(answer["card"]), adapted)
    if code in (-14, -24, -9):  # SIGALRM, SIGXCPU, or killed at the CPU time limit
        raise _endless(name, seconds)
    raise StyleError(f"{name!r} breaks the runtime that opens it (exit {code}): the file is damaged, or made to harm")


def _endless(name: str, seconds: float) -> StyleError:
    return StyleError(
        f"{name!r} did not finish one small image in {seconds:g} s; if it is yours and only slow, "
        f"set {SECONDS_VARIABLE} to more seconds"
    )


def _key(model: bytes, has_card: bool, hints: CardHints | None) -> str:
    try:
        runtime = importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:  # onnxruntime-gpu, or a custom build
        runtime = "unknown"
    digest = hashlib.sha256(model)
    digest.update(repr((_VERSION, runtime, has_card, hints or CardHints())).encode())
    return digest.hexdigest()


def _recall(key: str) -> _Found | None:
    path = cache_folder() / "tried" / key
    try:
        found = _Found(*_split(path.read_bytes()))
        if found.card:
            StyleCard.from_json(found.card)
        return found
    except (OSError, ValueError, StyleError):
        return None


def _split(content: bytes) -> tuple[str, bytes]:
    """The line of the card, and the bytes after it.

    Raises:
        ValueError: there is no line end.
    """
    line, end, rest = content.partition(b"\n")
    if not end:
        raise ValueError("cut short")
    return line.decode(), rest


def _write_down(key: str, found: _Found) -> None:
    folder = cache_folder() / "tried"
    partial = folder / f".{key}.{os.getpid()}"
    with suppress(OSError):  # an unwritable cache only costs time
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_bytes(found.card.encode() + b"\n" + found.adapted)
        os.replace(partial, folder / key)
