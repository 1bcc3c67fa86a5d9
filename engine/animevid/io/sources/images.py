"""Reads still images: a file, a folder, a glob; each upright and with its own tags."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from animevid.errors import InputError, UsageError
from animevid.frame import Frame
from animevid.io.colour import colour_of
from animevid.io.exif import exif_orientation
from animevid.io.frame_fit import cropped
from animevid.io.gamut import ADOBE_RGB, gamut_to_srgb, profile_to_srgb, tagged_gamut
from animevid.io.hdr import open_tone_mapper
from animevid.io.heif import Grid, layout_of, put_together, with_alpha
from animevid.io.network.protocols import Spec, input_error
from animevid.io.orientation import Orientation, orientation_of, turn_upright
from animevid.io.packets import PacketQueue
from animevid.io.photo import PhotoTags, lasting_exif, says_adobe_rgb, tags_of
from animevid.io.pillow import read_image
from animevid.io.planes_io import STILL_RGB, PlaneReader, is_opaque
from animevid.io.pyav import LENIENT_METADATA
from animevid.io.source import Source, SourceInfo
from animevid.io.sources.image_files import FoundImages, find_images
from animevid.io.sources.stream_facts import pixel_shape
from animevid.io.still import HEAD_BYTES, READ_KINDS, still_kind
from animevid.io.truncation import is_cut_short
from animevid.options import SourceOptions
from animevid.pixels.planes import PlanesYUV420

if TYPE_CHECKING:
    from av.container import InputContainer

DEFAULT_SLIDE_RATE = Fraction(25)


class ImageReader:
    """Reads still images: upright, in sRGB, HDR tone-mapped, with 8 or 10 bits (16-bit files become 10)."""

    def __init__(self, *, upright: bool = True, tone_map: bool = True) -> None:
        self._upright = upright
        self._tone_map = tone_map
        self._reader = PlaneReader(rgb_colour=STILL_RGB)

    def read(self, path: Path, data: bytes | None = None) -> tuple[PlanesYUV420, ImageFacts]:
        """The image in ``path`` and its metadata; ``data`` is the file's content, if it has been read already.

        Raises:
            InputError: not an image, or damaged beyond decoding.
        """
        name = str(path)
        try:
            data = path.read_bytes() if data is None else data
        except OSError as error:
            raise input_error(path, error) from error
        kind = still_kind(data[:HEAD_BYTES], lambda: io.BytesIO(data))
        if kind is None:
            raise InputError(f"path = {name!r} is not an image: {READ_KINDS} are read")
        tags = tags_of(data, kind)
        declared = exif_orientation(data) if kind != "mov" else None
        if kind == "pillow" or tags.is_cmyk:
            planes, codec = read_image(data, name=name)
            pixel_format, ratio, orientation, is_damaged = "rgb24", Fraction(1), declared or Orientation(), False
        else:
            try:
                with av.open(io.BytesIO(data), "r", format=kind, **LENIENT_METADATA) as container:
                    stream = container.streams.video[0]
                    frame = next(container.decode(stream))
                    if kind == "mov":
                        planes, declared = self._whole(data, container, frame)
                    else:
                        planes = self._reader.read(frame)
                    # A stream must not be accessed after its container is closed: FFmpeg has freed it.
                    ratio, codec = pixel_shape(stream.sample_aspect_ratio), stream.codec_context.codec.canonical_name
            except (StopIteration, IndexError):
                raise InputError(f"path = {name!r} holds no image that can be decoded: it is damaged") from None
            except (av.FFmpegError, OSError) as error:
                raise input_error(path, error) from error
            mapper = open_tone_mapper(colour_of(frame), allowed=self._tone_map)
            planes = planes if mapper is None else mapper(planes)
            pixel_format, orientation = frame.format.name, declared or orientation_of(frame, codec=codec)
            is_damaged = frame.is_corrupt or is_cut_short(data, kind)
        if planes.alpha is not None and is_opaque(planes):
            planes = replace(planes, alpha=None)
        planes, remark = _in_srgb(planes, tags)
        if tags.has_pages:
            remark = "; ".join(filter(None, ("of a TIFF with several pages the first is read", remark)))
        facts = ImageFacts(
            width=planes.width,
            height=planes.height,
            rotation_degrees=orientation.rotation_degrees,
            sample_aspect_ratio=ratio,
            pixel_format=pixel_format,
            codec=codec,
            is_damaged=is_damaged,
            exif=lasting_exif(tags.exif),
            remark=remark,
        )
        return (turn_upright(planes, orientation) if self._upright else planes), facts

    def _whole(
        self, data: bytes, container: InputContainer, frame: av.VideoFrame
    ) -> tuple[PlanesYUV420, Orientation | None]:
        """The image of an AVIF or HEIC file, composed of its parts, and its orientation if the file has one."""
        layout = layout_of(data)
        if layout is None:
            return self._reader.read(frame), None
        places = {stream.id: number for number, stream in enumerate(container.streams.video)}
        planes = self._part(container, layout.image, places)
        if planes is None:
            return self._reader.read(frame), None
        alpha = self._part(container, layout.alpha, places)
        if alpha is not None and planes.alpha is None:
            planes = with_alpha(planes, alpha)
        crop = layout.crop(planes.width, planes.height)
        return planes if crop is None else cropped(planes, crop), layout.orientation

    def _part(self, container: InputContainer, part: int | Grid | None, places: dict[int, int]) -> PlanesYUV420 | None:
        """An item, or the image composed of its tiles; ``None`` if it is missing."""
        if isinstance(part, int):
            return self._other(container, places[part]) if part in places else None
        if part is None:
            return None
        count = part.rows * part.columns
        wanted = [places[item] for item in part.tiles if item in places]
        if len(wanted) != count:
            wanted = list(range(count)) if count <= len(places) else []
        tiles = [self._other(container, index) for index in wanted]
        return put_together(tiles, part) if len({(tile.width, tile.height) for tile in tiles}) == 1 else None

    def _other(self, container: InputContainer, index: int) -> PlanesYUV420:
        container.seek(0)
        return PlaneReader(rgb_colour=STILL_RGB).read(next(container.decode(video=index)))


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Properties of an image file, before it is turned upright."""

    width: int
    height: int
    rotation_degrees: int
    sample_aspect_ratio: Fraction
    pixel_format: str
    codec: str
    is_damaged: bool
    exif: bytes = b""
    remark: str | None = None


def _in_srgb(planes: PlanesYUV420, tags: PhotoTags) -> tuple[PlanesYUV420, str | None]:
    """``planes`` in sRGB, and a notice if they were converted."""
    if tags.is_cmyk:
        return planes, "CMYK is converted to sRGB, by the image's own profile where it has one"
    if tags.profile:
        converted, name = profile_to_srgb(planes, tags.profile)
        if name == "":
            return planes, "the colour profile cannot be read: the colours are taken for sRGB"
        depth = " at 8 bits" if converted.bit_depth < planes.bit_depth else ""
        return converted, None if name is None else f"the colour profile {name!r} is converted to sRGB{depth}"
    gamut = ADOBE_RGB if says_adobe_rgb(tags.exif) else tagged_gamut(planes)
    if gamut is None:
        return planes, None
    return gamut_to_srgb(planes, gamut), f"{gamut.name} is converted to sRGB"


class ImageSource(Source):
    """One image, or several as the frames of a video at ``rate`` frames per second.

    ``spec`` is a file, a folder (its images in natural order: 2 before 10; other files are ignored) or a glob.
    A file that cannot be read is an error if it is the only one; among several it is skipped and counted as concealed.
    ``lost_images`` names each that is skipped or truncated, and subfolders, which only a glob searches
    (``photos/**/*``).

    Raises:
        InputError: it does not exist, or has no image.
    """

    def __init__(
        self,
        spec: Spec,
        options: SourceOptions | None = None,
        *,
        rate: Fraction | None = None,
        upright: bool = True,
        data: bytes | None = None,
    ) -> None:
        options = options or SourceOptions()
        self.spec = spec
        self._data = data
        self.packets = PacketQueue()
        self.packets.subscribe(frozenset())
        self.frames_decoded = 0
        self.frames_concealed = 0
        self.read_error: str | None = None
        self._rate = rate or DEFAULT_SLIDE_RATE
        if self._rate <= 0:
            raise UsageError(f"rate = {rate} must be a positive number of frames per second")
        self._found = find_images(spec) if data is None else FoundImages((Path(os.fspath(spec)),), ("",), Path(), ())
        self._lost = list(self._found.lost)
        self._remarks: dict[str, None] = {}
        first_index = _first_index(options.start, rate=self._rate)
        paths = self._found.paths
        last_index = len(paths) if options.end is None else _first_index(options.end, rate=self._rate)
        self._chosen, self._names = paths[first_index:last_index], self._found.names[first_index:last_index]
        if not self._chosen:
            raise UsageError(f"the cut holds none of the {len(paths)} images of {os.fspath(spec)!r}")
        self.origin_seconds = first_index / self._rate
        self._first_index = first_index
        self._reader = ImageReader(upright=upright, tone_map=options.tone_map)
        self._planes: PlanesYUV420 | None
        self._planes, facts = self._first_readable()
        self._first = facts
        if facts.is_damaged:
            self._lost.append(_damage(self._chosen[0]))
        still = len(paths) == 1
        turned = upright and facts.rotation_degrees in (90, 270)
        ratio = facts.sample_aspect_ratio
        self.info = SourceInfo(
            width=facts.width,
            height=facts.height,
            display_width=self._planes.width,
            display_height=self._planes.height,
            rotation_degrees=facts.rotation_degrees,
            sample_aspect_ratio=1 / ratio if turned else ratio,
            average_rate=self._rate,
            is_variable_rate=False,
            time_base=1 / self._rate,
            duration_seconds=None if still else len(self._chosen) / self._rate,
            frame_count=len(self._chosen),
            colour=self._planes.colour,
            bit_depth=self._planes.bit_depth,
            pixel_format=facts.pixel_format,
            has_alpha=self._planes.alpha is not None,
            codec=facts.codec,
            container="image" if still else "images",
            is_still=still,
        )

    @property
    def image_names(self) -> Sequence[str]:
        return self._names if self._data is None else ()

    @property
    def image_root(self) -> Path:
        return self._found.root

    @property
    def lost_images(self) -> tuple[str, ...]:
        return tuple(self._lost)

    @property
    def notices_so_far(self) -> tuple[str, ...]:
        return (*self.lost_images, *self._remarks)

    def close(self) -> None:
        self._planes = None

    def __iter__(self) -> Iterator[Frame]:
        step = 1 / self._rate
        for number, path in enumerate(self._chosen):
            planes, facts = self._planes, self._first
            self._planes = None
            if planes is None:
                try:
                    planes, facts = self._read(path)
                except InputError as error:
                    self.frames_concealed += 1
                    self._lost.append(f"skipped: {error}")
                    continue
                if facts.is_damaged:
                    self._lost.append(_damage(path))
            self.frames_concealed += facts.is_damaged
            self.frames_decoded += 1
            time = (self._first_index + number) * step
            yield Frame(planes, number, time, step, 0, facts.is_damaged, facts.exif)

    def _read(self, path: Path) -> tuple[PlanesYUV420, ImageFacts]:
        planes, facts = self._reader.read(path, self._data)
        if facts.remark is not None:
            self._remarks[facts.remark] = None
        return planes, facts

    def _first_readable(self) -> tuple[PlanesYUV420, ImageFacts]:
        failures: list[InputError] = []
        while self._chosen:
            try:
                found = self._read(self._chosen[0])
            except InputError as error:
                failures.append(error)
                self._chosen, self._names = self._chosen[1:], self._names[1:]
                continue
            # Not earlier: if no image can be read, the error says so.
            self._lost.extend(f"skipped: {failure}" for failure in failures)
            self.frames_concealed += len(failures)
            return found
        raise failures[0] if failures else InputError(f"path = {os.fspath(self.spec)!r} holds no image")


def _first_index(seconds: Fraction | None, *, rate: Fraction) -> int:
    """Index of the first image at or after ``seconds``."""
    if seconds is None:
        return 0
    if seconds < 0:
        raise UsageError(f"seconds = {float(seconds)} must not be negative")
    return -int(-seconds * rate // 1)


def _damage(path: Path) -> str:
    return f"path = {str(path)!r} is damaged or cut short: the missing part is grey"
