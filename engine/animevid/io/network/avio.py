"""Output over FFmpeg's network protocols, as a file for PyAV, with a time limit and cancellation.

PyAV 18 (the last for Python 3.11) opens an output's protocol with the GIL held and without its ``timeout``, so a silent
server blocks every thread and Ctrl-C for ever; writing to a stalled one has no time limit either. So the functions
of the same library are called directly (avio.h). PyAV 19 applies ``timeout`` to both and releases the GIL, but a wait
still cannot be cancelled, which Ctrl-C needs. ``tests/io/test_published.py`` shows the difference
(``test_pyav_waits_for_a_silent_server_without_end_before_19``): this module can go with PyAV 18, if PyAV then has a
way to cancel.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import time
from collections.abc import Callable
from contextlib import suppress

import av
import av.container.core

#: Time limit for a server that accepts no data, equal to the read timeout.
_TIMEOUT_SECONDS = 30.0
#: Time limit for sending the last packets at a regular end.
_FAREWELL_SECONDS = 2.0
_WRITE = 2  # AVIO_FLAG_WRITE
_INTERRUPT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class _InterruptCallback(ctypes.Structure):
    _fields_ = [("callback", _INTERRUPT), ("opaque", ctypes.c_void_p)]


class _Context(ctypes.Structure):
    """The first fields of FFmpeg's ``AVIOContext``, unchanged since FFmpeg 5."""

    _fields_ = [
        ("av_class", ctypes.c_void_p),
        ("buffer", ctypes.c_void_p),
        ("buffer_size", ctypes.c_int),
        ("buf_ptr", ctypes.c_void_p),
        ("buf_end", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("read_packet", ctypes.c_void_p),
        ("write_packet", ctypes.c_void_p),
        ("seek", ctypes.c_void_p),
        ("pos", ctypes.c_int64),
        ("eof_reached", ctypes.c_int),
        ("error", ctypes.c_int),
        ("write_flag", ctypes.c_int),
    ]


@functools.cache
def _library() -> ctypes.CDLL | None:
    """FFmpeg's functions, found through the PyAV module linked with them; ``None`` where that fails."""
    if os.name == "nt":
        return None
    try:
        library = ctypes.CDLL(av.container.core.__file__)
        library.avio_open2.argtypes = [
            ctypes.POINTER(ctypes.POINTER(_Context)),
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.POINTER(_InterruptCallback),
            ctypes.POINTER(ctypes.c_void_p),
        ]
        library.avio_write.argtypes = [ctypes.POINTER(_Context), ctypes.c_char_p, ctypes.c_int]
        library.avio_write.restype = None
        library.avio_flush.argtypes = [ctypes.POINTER(_Context)]
        library.avio_flush.restype = None
        library.avio_closep.argtypes = [ctypes.POINTER(ctypes.POINTER(_Context))]
        library.av_dict_set.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
        library.av_dict_free.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
        library.av_dict_free.restype = None
    except (OSError, AttributeError):
        return None
    return library


def open_avio_output(url: str, *, protocols: str, should_stop: Callable[[], bool]) -> AvioOutput | None:
    """Connect to ``url``; ``None`` where FFmpeg's functions cannot be called.

    ``should_stop`` ends every wait.

    Raises:
        OSError, av.FFmpegError: there is no connection.
    """
    library = _library()
    if library is None:
        return None
    connection = AvioOutput(library, url, protocols=protocols, should_stop=should_stop)
    if not connection.is_understood:
        connection.abandon()
        return None
    return connection


class AvioOutput:
    """An open connection with the file methods that PyAV calls. One thread writes."""

    def __init__(self, library: ctypes.CDLL, url: str, *, protocols: str, should_stop: Callable[[], bool]) -> None:
        self._library = library
        self._should_stop = should_stop
        self._over_since_seconds: float | None = None
        self._patience_seconds = 0.0
        self._abandoned = False
        self._context = ctypes.POINTER(_Context)()
        self._callback = _InterruptCallback(_INTERRUPT(self._interrupt), None)  # lives as long as the connection
        options = ctypes.c_void_p()
        for name, value in (("protocol_whitelist", protocols), ("rw_timeout", str(round(_TIMEOUT_SECONDS * 1e6)))):
            library.av_dict_set(ctypes.byref(options), name.encode(), value.encode(), 0)
        try:
            code = library.avio_open2(
                ctypes.byref(self._context),
                os.fsencode(url),
                _WRITE,
                ctypes.byref(self._callback),
                ctypes.byref(options),
            )
        finally:
            library.av_dict_free(ctypes.byref(options))
        _check(code)
        self._patience_seconds = _FAREWELL_SECONDS

    @property
    def is_understood(self) -> bool:
        """Whether FFmpeg's structure matches ours, checked on the values of a new connection."""
        context = self._context.contents
        return (context.eof_reached, context.error, context.write_flag) == (0, 0, 1)

    def write(self, data: bytes) -> int:
        """Send all of ``data``.

        Raises:
            OSError, av.FFmpegError: the connection broke, or the server took nothing for 30 seconds.
        """
        if not self._context:
            raise OSError(errno.EPIPE, "the connection is closed")
        self._library.avio_write(self._context, data, len(data))
        self._library.avio_flush(self._context)
        error = self._context.contents.error
        if error < 0:
            self._abandoned = True  # do not wait for the muxer's last writes
            _check(error)
        return len(data)

    def abandon(self) -> None:
        """Close without waiting for the server. Safe to call twice."""
        self._abandoned = True
        with suppress(OSError, av.FFmpegError):
            self.close()

    def close(self) -> None:
        """Flush and disconnect. Safe to call twice.

        Raises:
            OSError, av.FFmpegError: the last data did not arrive.
        """
        if self._context:
            _check(self._library.avio_closep(ctypes.byref(self._context)))

    def _interrupt(self, _: int) -> int:
        """FFmpeg's interrupt callback, called ten times a second while it waits: nonzero aborts."""
        if self._abandoned:
            return 1
        if not self._should_stop():
            return 0
        now = time.monotonic()
        if self._over_since_seconds is None:
            self._over_since_seconds = now
        return int(now - self._over_since_seconds >= self._patience_seconds)


def _check(code: int) -> None:
    """Raise the error of FFmpeg's ``code``."""
    if code >= 0:
        return
    av.error.err_check(code)
