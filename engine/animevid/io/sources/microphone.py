"""A microphone, or a file as a substitute."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av

from animevid.errors import LiveError
from animevid.io.pacing import Pacer

if TYPE_CHECKING:
    from av.container import InputContainer

log = logging.getLogger(__name__)

#: FFmpeg's input and default device of each platform.
_MICROPHONE_FORMATS = {"linux": ("alsa", "default"), "darwin": ("avfoundation", ":default")}


class Microphone:
    """Reads audio of a microphone, or of a file in its place, in its own thread. A context manager.

    ``device``: ``"auto"`` (the system's default), a device's name, or a file that plays in real time.

    Raises:
        LiveError: no microphone, or it does not open.
    """

    def __init__(self, device: str = "auto") -> None:
        self._stopping = threading.Event()
        self._container = _open_microphone(device)
        self._is_file = Path(device).is_file()
        self._deliver: Callable[[av.AudioFrame, float], None] = lambda frame, arrived_at_seconds: None
        self._thread = threading.Thread(target=self._run, name="animevid-microphone", daemon=True)

    def start(self, deliver: Callable[[av.AudioFrame, float], None]) -> None:
        """Call ``deliver(frame, arrived_at_seconds)`` with each audio frame, on ``time.monotonic``'s clock."""
        self._deliver = deliver
        self._thread.start()

    def close(self) -> None:
        """Stop. Safe to call twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        pacer = Pacer(should_stop=self._stopping.is_set, sleep=self._stopping.wait)
        try:
            pacer.restart(Fraction(0))
            for frame in self._container.decode(audio=0):
                if self._is_file and frame.time is not None:
                    pacer.hold(Fraction(frame.time) + Fraction(frame.samples, frame.rate))
                if self._stopping.is_set():
                    return
                self._deliver(frame, time.monotonic())
        except (av.FFmpegError, OSError) as error:
            log.warning("the microphone broke off: %s", error)


def _open_microphone(device: str) -> InputContainer:
    if Path(device).is_file():
        name, format_name = f"file:{device}", None
        options = {"protocol_whitelist": "file"}
    else:
        format_name, default = _MICROPHONE_FORMATS.get(sys.platform, ("dshow", ""))
        name, options = (default if device == "auto" else device), {}
        if not name:
            raise LiveError("name the microphone as this system does: --microphone 'audio=Microphone (...)'")
    try:
        container = av.open(name, "r", format=format_name, container_options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise LiveError(f"microphone {name!r} cannot be opened ({error.__class__.__name__}): name another") from error
    if not container.streams.audio:
        container.close()
        raise LiveError(f"microphone {name!r} has no sound: name another")
    return container
