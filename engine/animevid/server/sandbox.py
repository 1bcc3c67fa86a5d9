"""The process in which an uploaded file is decoded: little memory, little time, no files but its own, no network.

``python -m animevid.server.sandbox REQUEST`` converts one file and writes one JSON object a line to standard output:
``{"progress": 0.5}`` and, last, ``{"done": true}`` or ``{"error": "..."}``. What a broken or hostile file can do to
FFmpeg it does here, and the server goes on.

Limits come from the kernel: rlimits everywhere but on Windows, and Landlock (Linux 5.13; network from 6.7) for files.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import platform
import struct
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from animevid.errors import AnimevidError, InputError, UnsupportedInputError

if TYPE_CHECKING:
    from animevid.options import ConversionOptions

log = logging.getLogger(__name__)

#: Demuxers an upload may reach. No playlists, no concatenations, no image sequences, no devices, no raw formats.
ALLOWED_FORMATS = "mov,mp4,m4a,3gp,matroska,webm,avi,gif,mpegts,flv,ogg,mpeg,asf"
_PROTOCOLS = "file"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one conversion may use. ``film_pixels`` is pixels a frame times frames; ``photo_pixels`` a still's."""

    duration_seconds: float = 600.0
    frame_pixels: int = 3840 * 2160
    side_px: int = 8192
    film_pixels: int = 1280 * 720 * 30 * 600
    photo_pixels: int = 50_000_000
    memory_bytes: int = 6 << 30
    cpu_seconds: int = 3600
    output_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """One conversion. ``source`` and ``target`` lie in one private folder; ``style`` is an ONNX file.

    ``options`` are those of :class:`ConversionOptions` that differ from the defaults, as JSON takes them. ``card`` is
    that of the style as the page shows it (JSON), which may know more than the file; without one the file
    is looked at. ``allow_int8``: the INT8 file beside it may stand in for it where that is faster (see
    :class:`Style`). ``preview``: one frame of a film, and an estimate, instead of the whole.
    """

    source: str
    target: str
    style: str
    card: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    allow_int8: bool = False
    preview: bool = False
    limits: SandboxLimits = field(default_factory=SandboxLimits)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SandboxRequest:
        raw = json.loads(text)
        return cls(**{**raw, "limits": SandboxLimits(**raw["limits"])})


def main(argv: list[str] | None = None) -> int:
    """The child's whole life."""
    request = SandboxRequest.from_json((argv or sys.argv[1:])[0])
    os.umask(0o077)
    limit_resources(request.limits)
    folder = Path(request.source).parent
    limit_files(writable=[folder], readable=[Path(request.style).parent, *_program_folders()])
    try:
        _convert(request)
    except AnimevidError as error:
        return _fail(str(error).replace(request.source, "upload"))  # where it lies is nobody's business
    except MemoryError:
        return _fail("this file needs more memory than is allowed here: make it smaller")
    except Exception as error:
        return _fail(f"this file cannot be converted ({type(error).__name__})")
    _say(done=True)
    return 0


def _convert(request: SandboxRequest) -> None:
    from animevid.run.conversion import Conversion, Progress
    from animevid.server.preview import preview_film, show_photo

    is_photo = check_upload(Path(request.source), request.limits)
    if request.preview:
        found = preview_film(request.source, Path(request.target).parent, conversion_options(request))
        return _say(preview=found.as_json())
    pixels = 0

    def on_progress(progress: Progress) -> None:
        # A file that does not say how long it is, or lies, is measured on the way.
        if progress.frames_done * pixels > request.limits.film_pixels:
            raise InputError(_too_long(request.limits))
        if progress.frames_total:
            _say(progress=min(0.99, progress.frames_done / progress.frames_total), frames=progress.frames_done)
        else:
            _say(frames=progress.frames_done)

    with Conversion(request.source, request.target, conversion_options(request)) as conversion:
        height, width = conversion.plan.size
        pixels = height * width
        conversion.run(on_progress=on_progress)
    if is_photo:
        show_photo(request.source, request.target)


def conversion_options(request: SandboxRequest) -> ConversionOptions:
    """What the conversion is asked for: all that ``animevid in.mp4 out.mp4`` does by default, and no way out."""
    from animevid.options import ConversionOptions
    from animevid.styles import Style, StyleCard, load_style

    style = (
        load_style(request.style)
        if request.card is None
        else Style(StyleCard.from_json(request.card), Path(request.style))
    )
    return ConversionOptions(
        **request.options,
        style=replace(style, allow_int8=request.allow_int8),
        input_options=(("protocol_whitelist", _PROTOCOLS), ("format_whitelist", ALLOWED_FORMATS)),
    )


def check_upload(path: Path, limits: SandboxLimits) -> bool:
    """Look at the headers of an upload, before anything is decoded for real; whether it is a photo.

    Raises:
        InputError: not a photo or video of an allowed format, too long, or too large.
    """
    from animevid.io.network.protocols import open_input
    from animevid.io.still import still_demuxer

    if (demuxer := still_demuxer(path)) is not None:
        _check_photo(path, demuxer, limits)
        return True
    options = {"protocol_whitelist": _PROTOCOLS, "format_whitelist": ALLOWED_FORMATS}
    try:
        container = open_input(path, options=options)
    except InputError as error:
        known = "MP4, MOV, MKV, WebM, AVI, GIF, TS, FLV, Ogg; JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP"
        raise UnsupportedInputError(f"this is not a video or photo of a kind that is taken here ({known})") from error
    with container:
        for stream in container.streams.video:
            width, height = stream.width or 0, stream.height or 0
            if width * height > limits.frame_pixels or max(width, height) > limits.side_px:
                raise InputError(
                    f"{width}x{height} is too large here: at most {limits.frame_pixels / 1e6:.1f} megapixels"
                )
            rate = stream.average_rate or stream.guessed_rate or 30
            seconds = container.duration / 1e6 if container.duration else 0.0
            if seconds > limits.duration_seconds:
                raise InputError(f"{seconds:.0f} s is too long here: at most {limits.duration_seconds:.0f} s")
            frames = max(float(stream.frames), seconds * float(rate))
            if frames * width * height > limits.film_pixels:
                raise InputError(_too_long(limits))
    return False


def _check_photo(path: Path, demuxer: str, limits: SandboxLimits) -> None:
    from animevid.io.network.protocols import open_input
    from animevid.io.pillow import picture_size

    if demuxer == "pillow":
        width, height = picture_size(path.read_bytes(), name=path.name)
        _refuse_too_large(width * height, limits)
        return
    with open_input(path, format_name=demuxer, options={"protocol_whitelist": _PROTOCOLS}) as container:
        # Phones save one photo as many tiles.
        pixels = sum((stream.width or 0) * (stream.height or 0) for stream in container.streams.video)
    _refuse_too_large(pixels, limits)


def _refuse_too_large(pixels: int, limits: SandboxLimits) -> None:
    if pixels > limits.photo_pixels:
        allowed = f"at most {limits.photo_pixels / 1e6:.0f} megapixels"
        raise InputError(f"a photo of {pixels / 1e6:.0f} megapixels is too large here: {allowed}")


def _too_long(limits: SandboxLimits) -> str:
    minutes = limits.film_pixels / (1280 * 720 * 30 * 60)
    return f"this film is too long for its size: allowed is as much as {minutes:.0f} minutes of 1280x720 at 30 fps"


def limit_resources(limits: SandboxLimits) -> None:
    """Bound memory, CPU time, the size of files and their number, for this process."""
    try:
        import resource
    except ImportError:  # Windows
        log.warning("this system has no resource limits")
        return
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.output_bytes),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS has no RLIMIT_AS to speak of
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))


# Landlock: linux/landlock.h. The numbers of its three system calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute (map a library), read a file, read a folder
_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # write, remove folder or file, make folder or file
_ON_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
_ALL_OF_ABI_1 = (1 << 13) - 1
_TRUNCATE = 1 << 14  # from ABI 3
_NETWORK = 1 << 0 | 1 << 1  # bind and connect TCP, from ABI 4


def limit_files(*, writable: list[Path], readable: list[Path]) -> bool:
    """Let this process, and threads it starts from now on, see only these folders, and no TCP. Linux only.

    Returns whether the kernel does it; elsewhere FFmpeg's own allow-lists are what holds.
    """
    if platform.system() != "Linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        log.warning("this kernel has no Landlock: uploads are decoded without limits on files")
        return False
    handled = _ALL_OF_ABI_1 | (_TRUNCATE if abi >= 3 else 0)
    attributes = struct.pack("=QQ", handled, _NETWORK) if abi >= 4 else struct.pack("=Q", handled)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for paths, access in ((readable, _READ), (writable, (_READ | _WRITE | _TRUNCATE) & handled)):
            for path in paths:
                _allow(libc, ruleset, path, access)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: Any, ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            access &= _ON_FILES
        libc.syscall(_ADD_RULE, ruleset, ctypes.c_int(1), struct.pack("=Qi", access, handle), ctypes.c_uint32(0))
    finally:
        os.close(handle)


def _program_folders() -> list[Path]:
    """What Python and its libraries read: themselves, and what the kernel says about the processor."""
    names = {*sys.path, sys.prefix, sys.base_prefix, "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"}
    names |= {"/proc", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom", "/etc/ld.so.cache"}
    return [Path(name) for name in sorted(names) if name and name != "/" and Path(name).exists()]


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _fail(message: str) -> int:
    _say(error=" ".join(message.split()))
    return 1


def _exit() -> NoReturn:
    code = main()
    sys.stdout.flush()
    os._exit(code)  # no clean-up of a codec that a file may have broken


if __name__ == "__main__":
    _exit()
