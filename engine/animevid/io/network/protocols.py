"""The protocols that animevid reads and writes, and FFmpeg's failures as one-line errors.

A local name never becomes a protocol by accident (``concat:``, ``subfile:`` ...): it is opened as ``file:``, and what
it refers to (a playlist, a concatenation) may only be local too. A URL is opened when its scheme is on the list below.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import av

from animevid.errors import InputError, OutputError, UnsupportedInputError, UsageError
from animevid.io.dash.changing_maps import parts_of
from animevid.io.dash.container import DashContainer, open_dash, open_parts
from animevid.io.dash.finding import local_manifest, names_manifest, remote_manifest
from animevid.io.dash.places import Place
from animevid.io.dash.segments import Track
from animevid.io.network.avio import open_avio_output
from animevid.io.network.ffmpeg_subprocess import (
    PipedContainer,
    has_protocol,
    open_subprocess_input,
    open_subprocess_output,
)
from animevid.io.network.playlists import check_playlist, check_remote_playlist, is_remote_playlist
from animevid.io.pyav import LENIENT_METADATA
from animevid.redaction import redacted, redacted_text

if TYPE_CHECKING:
    from io import FileIO

    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer, OutputContainer

    from animevid.io.network.standard_input import StandardInput

    #: What ``open_input`` and ``open_output`` return.
    MediaInput: TypeAlias = InputContainer | PipedContainer | DashContainer
    MediaOutput: TypeAlias = OutputContainer | PipedContainer

Spec = str | PathLike[str]

#: scheme -> FFmpeg protocols that opening it may use.
_READ_SCHEMES: dict[str, str] = {
    "http": "http,https,tcp,tls,crypto,data",
    "https": "http,https,tcp,tls,crypto,data",
    "rtsp": "rtp,rtsp,rtcp,udp,tcp,tls,http",
    "rtsps": "rtp,rtsp,rtcp,udp,tcp,tls,http",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tcp,tls",
    "rtp": "rtp,rtcp,udp",
    "udp": "udp",
    "tcp": "tcp",
    "srt": "srt,udp",
    "file": "file,crypto,data",
}
#: Schemes for which the ``ffmpeg`` command is used if PyAV's FFmpeg lacks them.
_BRIDGED = frozenset({"srt"})
#: scheme -> the container that is sent.
_WRITE_SCHEMES: dict[str, str] = {
    "rtsp": "rtsp",
    "rtmp": "flv",
    "rtmps": "flv",
    "rtp": "rtp_mpegts",
    "udp": "mpegts",
    "tcp": "mpegts",
    "srt": "mpegts",
}
_WEB = ("http", "https")
#: Schemes whose output is a connection that takes the muxer's bytes.
_CONNECTED = frozenset({"rtmp", "rtmps", "tcp"})
STANDARD_STREAM = "-"
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters or more: C:\ is a drive


def scheme_of(spec: Spec) -> str | None:
    """The lower-case URL scheme of ``spec``; ``None`` for a local name and for ``-``."""
    found = _SCHEME.match(fspath(spec))
    return found.group(1).lower() if found else None


def is_local_file(spec: Spec) -> bool:
    """Whether ``spec`` names something in the file system (not a URL, not ``-``)."""
    return fspath(spec) != STANDARD_STREAM and scheme_of(spec) in (None, "file")


def local_path(spec: Spec) -> Path:
    """The path of a local ``spec`` (without ``file://``)."""
    text = fspath(spec)
    return Path(text[len("file://") :] if scheme_of(text) == "file" else text)


def ffmpeg_url(path: Path, handle: int | None) -> str:
    """A local file as FFmpeg opens it: by its name, or if that is not UTF-8, which PyAV requires, by its descriptor.

    Args:
        path: the file.
        handle: its descriptor, open while the result is used; for names that are not UTF-8 (``/dev/fd``).
    """
    return f"file:{path}" if handle is None or is_utf8(path) else f"file:/dev/fd/{handle}"


def is_utf8(path: Path) -> bool:
    """Whether a name is valid UTF-8, which FFmpeg's options and playlists require."""
    try:
        str(path).encode()
    except UnicodeEncodeError:  # an undecodable byte, which Python stores as a lone surrogate
        return False
    return True


#: Playlists of several files: reading them may wait for a segment that never comes.
_PLAYLISTS = frozenset({".m3u8", ".m3u"})
_PLAYLIST_SECONDS = 5.0
#: FFmpeg takes these from the connection that a playlist came by, so they do not reach a playlist that is a file.
_HTTP_OPTIONS = frozenset({"headers", "user_agent", "cookies", "referer", "http_proxy"})
#: A manifest's segments may have names of any kind.
_PLAYED_AS_LISTED = {"allowed_extensions": "ALL", "allowed_segment_extensions": "ALL", "extension_picky": "0"}


def open_input(
    spec: Spec,
    *,
    options: dict[str, str] | None = None,
    format_name: str | None = None,
    timeout_seconds: float | None = 30.0,
    hwaccel: HWAccel | None = None,
    file: StandardInput | None = None,
) -> MediaInput:
    """An open ``av`` input container for a file, a URL or ``-`` (standard input); ``hwaccel`` decodes on a device.

    ``file``: replaces standard input if its beginning has been read already.

    Raises:
        UsageError: a scheme that is not on the list.
        InputError: missing, unreadable, or not a media file.
    """
    text = fspath(spec)
    scheme = scheme_of(text)
    handle: int | None = None
    timeout: float | None = timeout_seconds
    manifest: tuple[bytes | list[Track], Place] | None = None
    may_be_dash = format_name is None and file is None and "format_whitelist" not in (options or {})
    if text == STANDARD_STREAM:
        name, protocols, timeout = "pipe:0", "pipe", None
    elif is_local_file(text):
        path = local_path(text)
        if not path.exists():
            raise InputError(f"path = {str(path)!r} does not exist: check the name")
        if path.is_dir():
            raise InputError(f"path = {str(path)!r} is a folder where a file is expected: give a file in it")
        protocols, timeout = _READ_SCHEMES["file"], None
        if path.suffix.lower() in _PLAYLISTS and path.is_file():
            check_playlist(path)
            # FFmpeg reloads a playlist without an end mark up to a thousand times.
            options = {"m3u8_hold_counters": "3", "max_reload": "3", **(options or {})}
            timeout = _PLAYLIST_SECONDS
            with suppress(OSError):  # FFmpeg reports it
                place = Place.of_file(path)
                tracks = parts_of(path.read_text("utf-8", "surrogateescape"), place) if may_be_dash else []
                manifest = (tracks, place) if len(tracks) > 1 else None
        elif may_be_dash and path.is_file():
            manifest = local_manifest(path)
        if file is None and not is_utf8(path) and os.access(path, os.R_OK):
            handle = os.open(path, os.O_RDONLY)
        name = ffmpeg_url(path, handle)
    elif scheme in _READ_SCHEMES:
        if is_remote_playlist(text):
            check_remote_playlist(text)
        if may_be_dash and names_manifest(text):
            manifest = remote_manifest(text)
        name, protocols = text, _READ_SCHEMES[scheme]
    else:
        allowed = ", ".join(sorted(_READ_SCHEMES))
        raise UsageError(f"{scheme = } cannot be read: use a file, '-' or one of {allowed}")
    wanted = {"protocol_whitelist": protocols, **(options or {})}
    if scheme in ("rtsp", "rtsps"):
        wanted.setdefault("rtsp_transport", "tcp")  # a lost UDP packet damages frames; TCP only adds delay
    try:
        if manifest is not None:
            return _open_dash(*manifest, options=wanted, timeout_seconds=timeout)
        if scheme in _BRIDGED and not has_protocol(scheme):
            return open_subprocess_input(name, options=wanted, timeout_seconds=timeout, format_name=format_name)
        return av.open(
            name if file is None else file, "r", format=format_name, container_options=wanted, timeout=timeout,
            hwaccel=hwaccel, **LENIENT_METADATA,
        )  # fmt: skip
    except (av.FFmpegError, OSError, ValueError) as error:
        if manifest is None and isinstance(error, av.error.InvalidDataError) and may_be_dash and scheme in _WEB:
            manifest = remote_manifest(text)  # its address need not end in .mpd
            if manifest is not None:
                return _open_dash(*manifest, options=wanted, timeout_seconds=timeout)
        raise input_error(spec, error) from error
    finally:
        if handle is not None:
            os.close(handle)


def _open_dash(
    data: bytes | list[Track], place: Place, *, options: dict[str, str], timeout_seconds: float | None
) -> DashContainer:
    own = sorted(_HTTP_OPTIONS.intersection(options))
    if own and not place.is_local:
        raise UsageError(f"option {own[0]!r} cannot be given for DASH: give a URL with user and password, or the .m3u8")
    protocols = "file,crypto,data" if place.is_local else "file,http,https,tcp,tls,crypto,data"
    # Only the playlists made here are local files of a remote manifest: they list addresses on web servers alone.
    wanted = {**options, "protocol_whitelist": protocols, **_PLAYED_AS_LISTED}

    def open_playlist(name: str) -> InputContainer:
        return av.open(
            name, "r", format="hls", container_options=wanted,
            timeout=_PLAYLIST_SECONDS if place.is_local else timeout_seconds, **LENIENT_METADATA,
        )  # fmt: skip

    try:
        if isinstance(data, list):
            return open_parts(data, open_playlist=open_playlist)
        return open_dash(data, place, open_playlist=open_playlist)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"path = {place.manifest!r}: its segments cannot be read ({_reason(error)})") from error


def open_output(
    name: str,
    *,
    muxer: str,
    options: dict[str, str],
    should_stop: Callable[[], bool] = lambda: False,
    io_open: Callable[[str, int, dict[str, str]], FileIO] | None = None,
) -> MediaOutput:
    """An ``av`` output container for FFmpeg's ``name`` of a file, a URL or a pipe.

    A network URL is connected on return, except for RTSP, whose muxer connects when it writes its header.
    ``should_stop`` ends every wait for a server. ``io_open``, as in ``av.open``, opens the files of a muxer that
    writes several.

    Raises:
        UsageError: a protocol that is missing here.
        OSError, av.FFmpegError: it cannot be written.
    """
    scheme = scheme_of(name)
    if scheme in _BRIDGED and not has_protocol(scheme):
        protocols = _READ_SCHEMES[scheme]
        return open_subprocess_output(name, protocols=protocols, muxer=muxer, options=options, should_stop=should_stop)
    if scheme in _CONNECTED:
        connection = open_avio_output(name, protocols=_READ_SCHEMES[scheme], should_stop=should_stop)
        if connection is not None:
            return PipedContainer(av.open(connection, "w", format=muxer, container_options=options), connection)
    return av.open(name, "w", format=muxer, container_options=options, io_open=io_open)


def input_error(spec: Spec, error: Exception) -> InputError:
    """FFmpeg's error when reading ``spec``, as one line with a remedy."""
    name = redacted(spec)
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
        return InputError(
            f"path = {name!r} is not a video, image or GIF that FFmpeg can read, or it is cut off: check the file"
        )
    if isinstance(error, PermissionError):
        return InputError(f"path = {name!r} may not be read: check its permissions")
    if isinstance(error, FileNotFoundError | av.error.HTTPNotFoundError):
        return InputError(f"path = {name!r} does not exist: check the name")
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return InputError(f"url = {name!r} refuses access: check user, password and permissions")
    if isinstance(error, av.error.ExitError | TimeoutError):
        return InputError(f"url = {name!r} did not answer in time: check address and network")
    if isinstance(error, av.error.DecoderNotFoundError | av.error.PatchWelcomeError):
        return UnsupportedInputError(f"path = {name!r} needs a decoder that this FFmpeg lacks: convert it first")
    return InputError(f"path = {name!r} cannot be read: {_reason(error)}")


def output_error(spec: Spec, error: Exception) -> OutputError:
    """A failure to write ``spec``, as one line with a remedy."""
    name = redacted(spec)
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"path = {name!r} cannot be written: the disk is full; free some space or choose another folder"
        )
    if isinstance(error, PermissionError) or number == errno.EROFS:
        return OutputError(f"path = {name!r} may not be written: check the folder's permissions or choose another")
    if isinstance(error, FileNotFoundError):
        return OutputError(f"path = {name!r} cannot be written: its folder does not exist; make it first")
    return OutputError(f"path = {name!r} cannot be written: {_reason(error)}")


def output_url(spec: Spec) -> tuple[str, str] | None:
    """FFmpeg's name and container for a ``spec`` that is not a local file; ``None`` if it is one.

    Raises:
        UsageError: a scheme that cannot be written.
    """
    text = fspath(spec)
    if is_local_file(text):
        return None
    if text == STANDARD_STREAM:
        return "pipe:1", "matroska"
    scheme = scheme_of(text)
    if scheme not in _WRITE_SCHEMES:
        allowed = ", ".join(sorted(_WRITE_SCHEMES))
        raise UsageError(f"{scheme = } cannot be written: use a file, '-' or one of {allowed}")
    return text, _WRITE_SCHEMES[scheme]


def is_published(spec: Spec) -> bool:
    """Whether writing ``spec`` means sending it over the network."""
    return not is_local_file(spec) and fspath(spec) != STANDARD_STREAM


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return redacted_text(str(text).splitlines()[0])
