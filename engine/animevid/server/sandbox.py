"""The process that decodes an uploaded file: with limited memory and time, only its own files, and no network.

``python -m animevid.server.sandbox REQUEST`` converts one file and writes one JSON object per line to standard output:
``{"progress": 0.5}`` and, last, ``{"done": true}`` or ``{"error": "..."}``. A broken or hostile file can crash FFmpeg
only here, while the server continues.

Limits come from the kernel (:mod:`animevid.confinement`): rlimits, except on Windows; on Linux also Landlock for
files and seccomp for sockets, other processes and signals. Without them nothing is converted, unless allowed
explicitly.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from animevid.confinement import ResourceLimits, confine, end_with_parent, limit_resources, program_folders
from animevid.errors import AnimevidError, InputError, UnsupportedInputError

if TYPE_CHECKING:
    from animevid.options import ConversionOptions

#: Demuxers an upload may reach. No playlists, no concatenations, no image sequences, no devices, no raw formats.
ALLOWED_FORMATS = "mov,mp4,m4a,3gp,matroska,webm,avi,gif,mpegts,flv,ogg,mpeg,asf"
_PROTOCOLS = "file"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Limits of one conversion. ``video_pixels``: pixels per frame times frames; ``photo_pixels``: of a still."""

    duration_seconds: float = 600.0
    frame_pixels: int = 3840 * 2160
    side_px: int = 8192
    video_pixels: int = 1280 * 720 * 30 * 600
    photo_pixels: int = 50_000_000
    memory_bytes: int = 6 << 30
    cpu_seconds: int = 3600
    output_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """One conversion. ``source``, ``target`` and the copy of the ``style``, an ONNX file, lie in one private folder.

    ``options`` are those of :class:`ConversionOptions` that differ from the defaults, as JSON values. ``card`` is
    the style's card as JSON, which may say more than the file; without one it is inferred from the file.
    ``allow_int8``: use the INT8 file beside it if that is faster (see
    :class:`Style`). ``preview``: one frame of a video, and an estimate, instead of all.
    ``may_be_unconfined``: go on even if the kernel cannot confine the child.
    """

    source: str
    target: str
    style: str
    card: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    allow_int8: bool = False
    preview: bool = False
    may_be_unconfined: bool = False
    limits: SandboxLimits = field(default_factory=SandboxLimits)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SandboxRequest:
        raw = json.loads(text)
        return cls(**{**raw, "limits": SandboxLimits(**raw["limits"])})


def main(argv: list[str] | None = None) -> int:
    """Run the child process."""
    request = SandboxRequest.from_json((argv or sys.argv[1:])[0])
    os.umask(0o077)
    is_confined = confine_to(Path(request.source).parent, request.limits)
    if sys.platform == "linux" and not is_confined and not request.may_be_unconfined:
        return _fail("this system cannot confine what converts uploads, so none is converted")
    try:
        _convert(request)
    except AnimevidError as error:
        return _fail(str(error).replace(request.source, "upload"))  # do not reveal its path
    except MemoryError:
        return _fail("this file needs more memory than is allowed here: make it smaller")
    except Exception as error:
        return _fail(f"this file cannot be converted ({type(error).__name__})")
    _say(done=True)
    return 0


def _convert(request: SandboxRequest) -> None:
    from animevid.run.conversion import Conversion
    from animevid.run.report import Progress
    from animevid.server.preview import preview_video, show_photo

    is_photo = check_upload(Path(request.source), request.limits)
    if request.preview:
        found = preview_video(request.source, Path(request.target).parent, conversion_options(request))
        return _say(preview=found.as_json())
    pixels = 0

    def on_progress(progress: Progress) -> None:
        # Check a missing or wrong duration while decoding.
        if progress.frames_done * pixels > request.limits.video_pixels:
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
    """The options: the defaults of ``animevid in.mp4 out.mp4``, without network access."""
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
    """Check the headers of an upload before it is decoded; returns whether it is a photo.

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
            if frames * width * height > limits.video_pixels:
                raise InputError(_too_long(limits))
    return False


def _check_photo(path: Path, demuxer: str, limits: SandboxLimits) -> None:
    from animevid.io.network.protocols import open_input
    from animevid.io.pillow import image_size

    if demuxer == "pillow":
        width, height = image_size(path.read_bytes(), name=path.name)
        _refuse_too_large(width * height, limits)
        return
    with open_input(path, format_name=demuxer, options={"protocol_whitelist": _PROTOCOLS}) as container:
        # Phones save a photo as many tiles.
        pixels = sum((stream.width or 0) * (stream.height or 0) for stream in container.streams.video)
    _refuse_too_large(pixels, limits)


def _refuse_too_large(pixels: int, limits: SandboxLimits) -> None:
    if pixels > limits.photo_pixels:
        allowed = f"at most {limits.photo_pixels / 1e6:.0f} megapixels"
        raise InputError(f"a photo of {pixels / 1e6:.0f} megapixels is too large here: {allowed}")


def _too_long(limits: SandboxLimits) -> str:
    minutes = limits.video_pixels / (1280 * 720 * 30 * 60)
    return f"this video is too long for its size: the limit is as much as {minutes:.0f} minutes of 1280x720 at 30 fps"


def confine_to(folder: Path, limits: SandboxLimits) -> bool:
    """Confine this process to ``folder``, Python's own files and limited resources.

    Returns:
        Whether the kernel enforces all of it (:func:`animevid.confinement.confine`).
    """
    limit_resources(
        ResourceLimits(memory_bytes=limits.memory_bytes, cpu_seconds=limits.cpu_seconds, file_bytes=limits.output_bytes)
    )
    end_with_parent()
    return confine(writable=[folder], readable=program_folders())


def _say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _fail(message: str) -> int:
    _say(error=" ".join(message.split()))
    return 1


def _exit() -> NoReturn:
    code = main()
    sys.stdout.flush()
    os._exit(code)  # skip the clean-up of a codec that a file may have corrupted


if __name__ == "__main__":
    _exit()
