"""Writes still images: one file, or a folder of them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import numpy.typing as npt

from animevid.errors import OutputError, UsageError
from animevid.files import PendingFile, PendingFolder, check_target
from animevid.frame import Frame
from animevid.io.colour import write_tags
from animevid.io.encoders import FrameFormat, add_video_stream, choose_encoder, open_context
from animevid.io.gamut import gamut_to_srgb, tagged_gamut
from animevid.io.network.protocols import Spec, local_path
from animevid.io.photo import with_exif
from animevid.io.planes_io import PlaneWriter
from animevid.io.sink import Sink, SinkReport
from animevid.io.source import Source
from animevid.options import EncodeOptions
from animevid.pixels import planes_to_rgb
from animevid.pixels.colour import Colour, ColourRange, Matrix
from animevid.pixels.planes import PlanesYUV420

#: The suffixes of still images that can be written.
STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")
DEFAULT_QUALITY = 92
#: Encoder options of 16-bit PNG. zlib's default level, 6, takes five times as long for files 7% smaller.
_PNG = {"pred": "up", "compression_level": "1"}


def encode_image(planes: PlanesYUV420, suffix: str, *, quality: int = DEFAULT_QUALITY, exif: bytes = b"") -> bytes:
    """The bytes of an image file in the format of ``suffix``.

    PNG keeps 10 bits (as 16) and alpha; WebP and AVIF keep alpha; JPEG is flattened over black. AVIF has 8 bits if
    there is alpha or EXIF; otherwise it keeps 10 bits and tags wide gamuts, which are converted to sRGB in all other
    cases. ``quality`` 1..100 applies to lossy formats; ``exif`` is the EXIF data.

    Raises:
        UsageError: another suffix, or a quality out of range.
        OutputError: the encoder is missing or refuses the image.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"{quality = } must be 1 to 100")
    suffix = suffix.lower()
    gamut = tagged_gamut(planes)
    if suffix == ".avif" and planes.alpha is None and not exif:
        return _encode_avif(planes, quality=quality)
    if gamut is not None:
        planes = gamut_to_srgb(planes, gamut)
    deep, has_alpha = planes.bit_depth > 8, planes.alpha is not None
    if suffix == ".png":
        if not deep:
            return with_exif(_encode_png(planes), exif)
        pixel_format = "rgba64be" if has_alpha else "rgb48be"
        return with_exif(_encode_still(planes, "png", pixel_format, _PNG, colour=planes.colour), exif)
    if suffix in (".jpg", ".jpeg"):
        # libjpeg's scale to mjpeg's quantiser: 92 is about 3, 100 is 1, 75 about 8.
        scale = max(1, round((100 - quality) * 0.32 + 0.6))
        jfif = replace(planes.colour, matrix=Matrix.BT601, range=ColourRange.FULL)
        options = {"qmin": str(scale), "qmax": str(scale), "huffman": "optimal"}
        return with_exif(_encode_still(planes, "mjpeg", "yuvj420p", options, colour=jfif), exif)
    if suffix in (".webp", ".avif"):
        return _encode_with_pillow(planes, suffix[1:].upper(), quality=quality, exif=exif)
    raise UsageError(f"{suffix = } is no image that is written: use one of {', '.join(STILL_SUFFIXES)}")


def _encode_png(planes: PlanesYUV420) -> bytes:
    """8-bit PNG with OpenCV, whose encoder takes two thirds of the time of FFmpeg's."""
    try:
        return cv2.imencode(".png", _pixels_of(planes, order="BGR"))[1].tobytes()
    except cv2.error as error:
        raise OutputError(f"PNG refuses an image of {planes.width}x{planes.height}: {error.err}") from error


def _pixels_of(planes: PlanesYUV420, *, order: Literal["RGB", "BGR"] = "RGB") -> npt.NDArray[np.uint8]:
    """8-bit RGB or BGR, with alpha if present: (H, W, 3 or 4)."""
    pixels = planes_to_rgb(planes, order=order)
    if planes.alpha is None:
        return pixels
    alpha = planes.alpha if planes.bit_depth == 8 else planes.alpha >> (planes.bit_depth - 8)
    return np.dstack((pixels, alpha.astype(np.uint8)))


def _encode_with_pillow(planes: PlanesYUV420, kind: str, *, quality: int, exif: bytes) -> bytes:
    """WebP and 8-bit AVIF with Pillow, which writes alpha and EXIF where FFmpeg does not."""
    from PIL import Image, features

    if not features.check(kind.lower()):
        raise OutputError(f"{kind} is not written by this Pillow: pip install -U pillow, or choose .png")
    file = io.BytesIO()
    try:
        Image.fromarray(_pixels_of(planes)).save(file, kind, quality=quality, exif=exif)
    except (OSError, ValueError) as error:
        raise OutputError(f"{kind} refuses an image of {planes.width}x{planes.height}: {error}") from error
    return file.getvalue()


def _encode_still(
    planes: PlanesYUV420,
    encoder: str,
    pixel_format: str,
    options: dict[str, str],
    *,
    colour: Colour,
) -> bytes:
    writer = PlaneWriter(width=planes.width, height=planes.height, pixel_format=pixel_format, colour=colour)
    try:
        context = av.Codec(encoder, "w").create("video")
        context.width, context.height, context.pix_fmt = planes.width, planes.height, pixel_format
        context.time_base = Fraction(1, 25)
        context.options = options
        context.thread_count = 1
        if pixel_format.startswith("yuv"):
            write_tags(context, colour)
        frame = writer.write(planes)
        frame.pts = 0
        return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(f"{encoder} refuses an image of {planes.width}x{planes.height}: {error}") from error


def _encode_avif(planes: PlanesYUV420, *, quality: int) -> bytes:
    frame_format = FrameFormat(planes.width, planes.height, planes.bit_depth, colour=planes.colour, rate=Fraction(1))
    settings = EncodeOptions(codec="av1", crf=round((100 - quality) * 0.63), options=(("svtav1-params", "avif=1"),))
    plan = choose_encoder(settings, frame_format, container="avif")
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="avif") as container:
            stream = add_video_stream(container, plan.encoder, rate=1)
            open_context(stream.codec_context, plan, frame_format)
            writer = PlaneWriter(
                width=plan.width, height=plan.height, pixel_format=plan.pixel_format, colour=frame_format.colour
            )
            frame = writer.write(planes)
            frame.pts = 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(f"{plan.encoder} refuses an image of {planes.width}x{planes.height}: {error}") from error
    return file.getvalue()


class ImageSink(Sink):
    """One still image. A second frame is refused."""

    def __init__(
        self, path: Spec, *, template: Source | None = None, overwrite: bool = False, quality: int = DEFAULT_QUALITY
    ) -> None:
        self.path = self._target = local_path(path)
        if self._target.suffix.lower() not in STILL_SUFFIXES:
            raise UsageError(f"suffix = {self._target.suffix!r} is no image: use one of {', '.join(STILL_SUFFIXES)}")
        own = template.spec if template is not None else None
        check_target(self._target, overwrite=overwrite, source=own)
        self._overwrite = overwrite
        self._quality = quality
        self._frame: Frame | None = None
        self._notices = _alpha_notices(template, self._target.suffix)

    @property
    def description(self) -> str:
        return self._target.suffix.lower().lstrip(".")

    @property
    def notices(self) -> tuple[str, ...]:
        return self._notices

    def _write(self, frame: Frame) -> None:
        if self._frame is not None:
            raise UsageError(
                f"path = {str(self._target)!r} holds one image, more come: give a folder, a video or a .gif"
            )
        self._frame = frame
        self._count(Fraction(0))

    def _finish(self) -> SinkReport:
        if self._frame is None:
            self._done = True
            raise OutputError(f"path = {str(self._target)!r} is not written: no frame came")
        frame = self._frame
        data = encode_image(frame.planes, self._target.suffix, quality=self._quality, exif=frame.exif)
        pending = PendingFile(self._target, overwrite=self._overwrite)
        try:
            pending.path.write_bytes(data)
            size = pending.publish()
        finally:
            pending.discard()
        return self._report(bytes_written=size)

    def abort(self) -> None:
        self._done = True
        self._frame = None


class ImageFolderSink(Sink):
    """A folder of images, one per frame, named like the template's images or by number.

    ``path`` is the folder, or a pattern in it (``out/frame%05d.jpg``). A new folder appears when all are written; files
    for an existing one (``overwrite``, or empty) are moved into it at the end.
    """

    def __init__(
        self, path: Spec, *, template: Source | None = None, overwrite: bool = False, quality: int = DEFAULT_QUALITY
    ) -> None:
        given = local_path(path)
        self._pattern: str | None = None
        folder = given
        if re.search(r"%0?\d*d", given.name):
            self._pattern, folder = given.name, given.parent
        suffix = Path(self._pattern).suffix.lower() if self._pattern else ".png"
        if suffix not in STILL_SUFFIXES:
            raise UsageError(f"{suffix = } is no image: use one of {', '.join(STILL_SUFFIXES)}")
        self._suffix = suffix
        self._names: Sequence[str] = () if self._pattern or template is None else template.image_names
        self._taken: set[str] = set()
        if template is not None and self._names and folder.exists():
            _check_not_over_input(folder, template)
        self._pending = PendingFolder(folder, overwrite=overwrite, pattern=self._pattern)
        self.path = folder
        self._quality = quality
        self._bytes = 0
        self._made = False
        self._notices = _alpha_notices(template, suffix)

    @property
    def description(self) -> str:
        return f"{self._suffix.lstrip('.')} images"

    @property
    def separate_images(self) -> bool:
        return True

    @property
    def notices(self) -> tuple[str, ...]:
        return self._notices

    def _write(self, frame: Frame) -> None:
        if not self._made:
            self._pending.create()
            self._made = True
        name = self._name(frame)
        data = encode_image(frame.planes, Path(name).suffix, quality=self._quality, exif=frame.exif)
        path = self._pending.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._bytes += len(data)
        self._count(self._end_seconds, frame.duration_seconds)

    def _name(self, frame: Frame) -> str:
        if self._pattern is not None:
            return self._pattern % (self.frames_written + 1)
        if frame.index < len(self._names):
            name = self._names[frame.index]
            return self._untaken(Path(name if Path(name).suffix.lower() in STILL_SUFFIXES else f"{name}.png"))
        return f"{self.frames_written + 1:06d}{self._suffix}"

    def _untaken(self, name: Path) -> str:
        """``name``, or a numbered one if an image of this run has it already."""
        found, number = name, 1
        while str(found) in self._taken:
            number += 1
            found = name.with_stem(f"{name.stem}-{number}")
        self._taken.add(str(found))
        return str(found)

    def _finish(self) -> SinkReport:
        if not self.frames_written:
            self.abort()
            raise OutputError(f"path = {str(self._pending.target)!r} is not written: no frame came")
        try:
            self._pending.publish()
        finally:
            self._pending.discard()
        report = self._report(bytes_written=self._bytes)
        return replace(report, path=str(self._pending.target / (self._pattern or "")))

    def abort(self) -> None:
        if not self._done:
            self._done = True
            self._pending.discard()


def _check_not_over_input(folder: Path, source: Source) -> None:
    """Raises:
    OutputError: images written into ``folder`` would replace images of the source.
    """
    is_same = source.image_root.exists() and source.image_root.samefile(folder)
    if not is_same:
        pairs = ((source.image_root / name, folder / name) for name in source.image_names)
        is_same = any(new.exists() and read.exists() and new.samefile(read) for read, new in pairs)
    if is_same:
        raise OutputError(f"path = {str(folder)!r} is the folder of the input: choose another one")


def _alpha_notices(template: Source | None, suffix: str) -> tuple[str, ...]:
    if template is not None and template.info.has_alpha and suffix.lower() in (".jpg", ".jpeg"):
        return (f"{suffix} has no alpha channel: the image is put over black (.png, .webp and .avif keep it)",)
    return ()
