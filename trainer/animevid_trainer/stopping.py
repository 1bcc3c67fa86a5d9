"""Handles Ctrl-C, SIGTERM and SIGHUP: answers at once, and stops after the current step."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP")
_NUMBERS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_END = b"\0"


class StopRequest:
    """Set by SIGTERM, SIGHUP and SIGINT: finish the step, save, exit. A second signal has its usual effect.

    Python runs a handler between bytecode instructions, and a backward pass of many seconds is a single one. So
    the signal also wakes a thread, which reports what is being finished while the pass still runs.

    Args:
        on_stop: called once, from that thread, when a signal arrives.
    """

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        self.asked = False
        self._on_stop = on_stop
        self._before: dict[
            signal.Signals, signal.Handlers | Callable[[int, FrameType | None], object] | int | None
        ] = {}
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StopRequest:
        with contextlib.suppress(ValueError):  # only the main thread may set handlers
            for number in _NUMBERS:
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue  # nohup
                self._before[number] = signal.signal(number, self._ask)
            receiver, sender = socket.socketpair()
            sender.setblocking(False)
            self._sockets = receiver, sender
            self._fd_before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._listen, args=(receiver,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._sockets is None or self._thread is None:
            return
        signal.set_wakeup_fd(self._fd_before)
        receiver, sender = self._sockets
        sender.setblocking(True)
        sender.sendall(_END)
        self._thread.join()
        receiver.close()
        sender.close()

    def _listen(self, receiver: socket.socket) -> None:
        answered = False
        while (byte := receiver.recv(1)) and byte != _END:
            if byte[0] in _NUMBERS and not answered:
                answered = True
                if self._on_stop is not None:
                    self._on_stop()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, self._before[signal.Signals(number)])
