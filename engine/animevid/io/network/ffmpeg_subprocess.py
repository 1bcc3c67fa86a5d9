"""Protocols that PyAV's FFmpeg lacks (SRT, in the wheels on PyPI), through the ``ffmpeg`` command.

The command only moves bytes between the network and a pipe, restricted to the allowed protocols; demuxing, decoding
and encoding happen here. It never outlives this process, even if that is killed.
"""

from __future__ import annotations

import functools
import os
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import av

from animevid.errors import UsageError
from animevid.io.pyav import LENIENT_METADATA

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

_COMMAND = "ffmpeg"
#: Raw bytes, seven MPEG-TS packets at a time, the payload of an SRT datagram.
_BYTES = ("-f", "data", "-raw_packet_size", "1316")
_COPY = ("-map", "0", "-c", "copy", "-f", "data", "-flush_packets", "1")
#: MPEG-TS null packets (ISO/IEC 13818-1, 2.4.1): the command connects once it has data to send.
_PADDING = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 7
#: The line (log level info) by which the command reports that it is connected.
_CONNECTED = "Output #0"
_COMPLAINT = re.compile(r"\[(?:error|fatal|panic)\] (.*)")
#: Time limit for sending the last data at a regular end.
_FAREWELL_SECONDS = 2.0
#: Waits check ``should_stop`` this often.
_MAX_WAIT_SECONDS = 0.1
#: Time limit for the command to exit after its work.
_PATIENCE_SECONDS = 5.0
#: Time limit without progress: no client connected to a listener, or the peer has stalled.
_TAKEN_WITHIN_SECONDS = 30.0
#: Options of the connection, passed to the command; all others are for the demuxer in this process.
_PROTOCOL_OPTIONS = frozenset(
    (
        "connect_timeout", "ffs", "inputbw", "iptos", "ipttl", "latency", "linger", "listen_timeout", "lossmaxttl",
        "maxbw", "messageapi", "mode", "mss", "nakreport", "oheadbw", "passphrase", "payload_size", "pbkeylen",
        "peerlatency", "pkt_size", "rcvbuf", "rcvlatency", "recv_buffer_size", "rw_timeout", "send_buffer_size",
        "sndbuf", "srt_streamid", "streamid", "timeout", "tlpktdrop", "transtype", "ts_transtype", "tsbpd",
    )
)  # fmt: skip
#: Executes the command such that the kernel kills it when the thread that started it ends (prctl(2),
#: PR_SET_PDEATHSIG).
_DIE_WITH_PARENT = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@functools.cache
def has_protocol(scheme: str) -> bool:
    """Whether PyAV's FFmpeg supports ``scheme`` itself."""
    try:
        av.open(f"{scheme}://", "r").close()
    except av.error.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError, ValueError):  # supported: it only complains about the missing host
        return True
    return True


def open_subprocess_input(
    url: str, *, options: dict[str, str], timeout_seconds: float | None, format_name: str | None = None
) -> PipedContainer:
    """An open ``av`` input container for ``url``, through the command. Closing it ends the command.

    ``options`` must contain ``protocol_whitelist``; those of the connection are passed to the command.

    Raises:
        UsageError: there is no such command, or it lacks the protocol too.
        OSError, av.FFmpegError: it does not answer, or sends no stream.
    """
    ours = {name: value for name, value in options.items() if name not in _PROTOCOL_OPTIONS}
    theirs = {name: value for name, value in options.items() if name in _PROTOCOL_OPTIONS}
    arguments = ["-protocol_whitelist", f"{ours.pop('protocol_whitelist')},pipe", *_BYTES]
    for name, value in theirs.items():
        arguments += [f"-{name}", value]
    arguments += ["-i", url, *_COPY, "pipe:1"]
    pipe = _Reading(_start(url, arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE), timeout_seconds)
    try:
        container = av.open(pipe, "r", format=format_name, container_options=ours, **LENIENT_METADATA)
        return PipedContainer(container, pipe)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = pipe.last_words()
        pipe.close()
        if reason:
            raise OSError(reason) from error
        raise


def open_subprocess_output(
    url: str, *, protocols: str, muxer: str, options: dict[str, str], should_stop: Callable[[], bool]
) -> PipedContainer:
    """An ``av`` output container that is sent to ``url`` through the command. Closing it waits for the command.

    Returns when the command is connected. ``should_stop`` ends every wait.

    Raises:
        UsageError: there is no such command, or it lacks the protocol too.
        OSError: it cannot connect, or no peer has connected for :data:`_TAKEN_WITHIN_SECONDS`.
    """
    # Without lingering, data still in flight at the end of the video would be lost.
    arguments = ["-protocol_whitelist", f"{protocols},pipe", *_BYTES, "-i", "pipe:0", *_COPY]
    arguments += ["-linger", f"{_PATIENCE_SECONDS:g}", url]
    process = _start(url, arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    pipe = _Writing(process, should_stop=should_stop)
    if muxer == "mpegts":
        try:
            pipe.connect()
        except BaseException:
            pipe.abandon()
            raise
    return PipedContainer(av.open(pipe, "w", format=muxer, container_options=options), pipe)


def _start(url: str, arguments: list[str], *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    scheme = url.partition(":")[0]
    command = shutil.which(_COMMAND)
    if command is None or scheme not in _protocols_of(command):
        lacking = "there is no ffmpeg command" if command is None else f"the {_COMMAND} command lacks it too"
        raise UsageError(
            f"{scheme = } is not in this FFmpeg ({av.__version__} of PyAV) and {lacking}: install an ffmpeg with "
            f"{scheme.upper()} (Debian: apt-get install ffmpeg)"
        )
    return _start_bound_to_us(
        [command, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info", *arguments],
        stdin=stdin,
        stdout=stdout,
    )


def _start_bound_to_us(command: list[str], *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    """Start ``command`` so that it ends with this process, even if that is killed. Only Linux can guarantee it;
    elsewhere the command ends with the pipe, unless it is waiting for a peer."""

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # keep Ctrl-C from the command: it ends after the last data
        )

    if sys.platform != "linux" or not sys.executable:
        return start(command)
    started: Future[subprocess.Popen[bytes]] = Future()

    def start_and_stay() -> None:
        try:
            process = start([sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command])
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(process)
        # To the kernel the parent is this thread, so it must live until the command has ended.
        with suppress(OSError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    threading.Thread(target=start_and_stay, name="animevid-ffmpeg-parent", daemon=True).start()
    return started.result()


@functools.cache
def _protocols_of(command: str) -> frozenset[str]:
    done = subprocess.run([command, "-hide_banner", "-protocols"], capture_output=True, text=True, check=False)
    return frozenset(done.stdout.split())


class _Pipe(ABC):
    """A running command and its last error messages."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._words: deque[str] = deque(maxlen=4)
        self._connected = threading.Event()
        # Read continuously: a full pipe would block the command.
        self._listener = threading.Thread(target=self._listen, name="animevid-ffmpeg", daemon=True)
        self._listener.start()

    def last_words(self) -> str:
        """The command's last error message if it has ended, else empty."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        if self._process.poll() is None:
            return ""
        self._listener.join(1)
        return next((words.rpartition(": ")[2] for words in reversed(self._words) if words), "")

    @abstractmethod
    def close(self) -> None:
        """End the command. Safe to call twice."""

    def abandon(self) -> None:
        """End the command without waiting for what it still has to send."""
        self._process.kill()
        with suppress(OSError):
            self.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if _CONNECTED in text:
                self._connected.set()
            if complaint := _COMPLAINT.search(text):
                self._words.append(complaint[1])

    def _end(self) -> None:
        """End the command if it has not ended by itself."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._listener.join(1)
        if self._process.stderr is not None:
            self._process.stderr.close()


class _Reading(_Pipe):
    """The command's output as a file for PyAV."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_seconds: float | None) -> None:
        super().__init__(process)
        self._timeout = timeout_seconds

    def read(self, size: int) -> bytes:
        """The available bytes, at most ``size``; empty at the end.

        Raises:
            TimeoutError: no data arrived within the timeout.
        """
        stdout = self._process.stdout
        assert stdout is not None
        if os.name != "nt" and not select.select([stdout], [], [], self._timeout)[0]:
            raise TimeoutError(f"nothing came in {self._timeout:g} s")
        return stdout.read(size) or b""

    def close(self) -> None:
        """End the command. Safe to call twice."""
        self._end()
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Writing(_Pipe):
    """The command's input as a file for PyAV."""

    def __init__(self, process: subprocess.Popen[bytes], *, should_stop: Callable[[], bool] = lambda: False) -> None:
        super().__init__(process)
        self._should_stop = should_stop
        self._over_since_seconds: float | None = None
        if os.name != "nt":
            assert process.stdin is not None
            os.set_blocking(process.stdin.fileno(), False)

    def connect(self) -> None:
        """Wait until the command is connected.

        Raises:
            OSError: it cannot connect, no peer connected for :data:`_TAKEN_WITHIN_SECONDS`, or it was stopped.
        """
        self.write(_PADDING)
        deadline = time.monotonic() + _TAKEN_WITHIN_SECONDS
        while not self._connected.wait(_MAX_WAIT_SECONDS):
            if self._process.poll() is not None:
                raise OSError(self.last_words() or "the connection broke")
            self._give_up_after(deadline, farewell_seconds=0.0)

    def _give_up_after(self, deadline: float, *, farewell_seconds: float) -> None:
        now = time.monotonic()
        if self._should_stop():
            self._over_since_seconds = self._over_since_seconds or now
            if now - self._over_since_seconds >= farewell_seconds:
                raise OSError("the output was stopped")
        if now > deadline:
            raise OSError(f"no peer has accepted the stream for {_TAKEN_WITHIN_SECONDS:g} s")

    def write(self, data: bytes) -> int:
        """Write all of ``data``, at the speed of the peer.

        Raises:
            OSError: the connection broke, or the peer took no data for :data:`_TAKEN_WITHIN_SECONDS`.
        """
        stdin = self._process.stdin
        assert stdin is not None
        view = memoryview(data)
        try:
            while view:
                deadline = time.monotonic() + _TAKEN_WITHIN_SECONDS
                while os.name != "nt" and not select.select([], [stdin], [], _MAX_WAIT_SECONDS)[1]:
                    self._give_up_after(deadline, farewell_seconds=_FAREWELL_SECONDS)
                view = view[stdin.write(view) or 0 :]
        except BrokenPipeError as error:
            raise OSError(self.last_words() or "the connection broke") from error
        return len(data)

    def close(self) -> None:
        """Let the command send its remaining data and end. Safe to call twice.

        Raises:
            OSError: the command failed.
        """
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.close()
        try:
            code = self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0  # all data was passed on; a peer that does not disconnect is no failure
        words = self.last_words()
        self._end()
        if code:
            raise OSError(words or f"{_COMMAND} ended with {code}")


class Pipe(Protocol):
    """The transport of a container's bytes."""

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class PipedContainer:
    """An ``av`` container that closes its pipe with it."""

    def __init__(self, container: InputContainer | OutputContainer, pipe: Pipe) -> None:
        self._container = container
        self._pipe = pipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def close(self) -> None:
        """Close both. Safe to call twice."""
        try:
            self._container.close()
        finally:
            self._pipe.close()

    def abandon(self) -> None:
        """Close both without waiting for the other side."""
        self._pipe.abandon()
        with suppress(av.FFmpegError, OSError, ValueError):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
