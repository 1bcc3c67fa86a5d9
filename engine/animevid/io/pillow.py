"""Pictures that PyAV's FFmpeg does not read, or only in part: animated WebP, JPEG 2000, TGA, ICO, CMYK, JPEG XL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from animevid.errors import InputError, UnsupportedInputError
from animevid.io.photo import open_picture
from animevid.io.planes_io import STILL_RGB
from animevid.pixels import rgb_to_planes
from animevid.pixels.planes import PlanesYUV420

#: Pillow warns from 89 million pixels on and refuses twice that; the largest panoramas of phones have 100.
_MOST_PIXELS = 300_000_000
_ALPHA_MODES = ("RGBA", "LA", "La", "PA", "RGBa")


@dataclass(frozen=True, slots=True)
class TimedPicture:
    """One picture of an animation; times are exact seconds from its beginning."""

    planes: PlanesYUV420
    start_seconds: Fraction
    duration_seconds: Fraction


def read_picture(data: bytes, *, name: str) -> tuple[PlanesYUV420, str]:
    """The (largest) picture in the file ``data`` and the name of its format; CMYK by its own profile.

    Raises:
        InputError: not a picture that Pillow reads, damaged, or too large.
        UnsupportedInputError: JPEG XL without its plug-in.
    """
    with _opened(data, name) as picture:
        return _planes_of(picture, name), str(picture.format).lower()


def picture_size(data: bytes, *, name: str) -> tuple[int, int]:
    """Width and height in pixels by the file's header; nothing is decoded.

    Raises:
        InputError, UnsupportedInputError: as :func:`read_picture`.
    """
    with _opened(data, name) as picture:
        return int(picture.width), int(picture.height)


def read_animation(data: bytes, *, name: str) -> Iterator[TimedPicture]:
    """The pictures of an animated WebP, whole (put over each other as the file says), in order.

    Raises:
        InputError: damaged.
    """
    with _opened(data, name) as picture:
        start = Fraction(0)
        for number in range(getattr(picture, "n_frames", 1)):
            try:
                picture.seek(number)
                planes = _planes_of(picture, name)
            except (EOFError, OSError, SyntaxError, ValueError) as error:
                raise _damaged(name) from error
            duration = Fraction(max(int(picture.info.get("duration") or 0), 1), 1000)
            yield TimedPicture(planes, start, duration)
            start += duration


def animation_times(data: bytes, *, name: str) -> tuple[int, Fraction]:
    """How many pictures an animated WebP has, and how long it lasts in seconds (none is decoded)."""
    count, milliseconds, at = 0, 0, 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ANMF":  # x, y, width, height and duration, of three bytes each
            count += 1
            milliseconds += max(int.from_bytes(data[at + 20 : at + 23], "little"), 1)
        at += 8 + size + size % 2
    if not count:
        raise _damaged(name)
    return count, Fraction(milliseconds, 1000)


def _opened(data: bytes, name: str) -> Any:
    if is_jpeg_xl(data):
        try:
            import pillow_jxl  # noqa: F401  (registers itself)
        except ImportError:
            raise UnsupportedInputError(
                f"path = {name!r} is JPEG XL, which needs a library: pip install pillow-jxl-plugin"
            ) from None
    try:
        picture = open_picture(data)
    except Exception as error:  # Pillow's plug-ins raise what they like over damaged files
        raise _damaged(name) from error
    if picture.width * picture.height > _MOST_PIXELS:
        size = f"{picture.width}x{picture.height}"
        picture.close()
        raise InputError(f"path = {name!r} is {size}: at most {_MOST_PIXELS // 10**6} million pixels are read")
    return picture


def is_jpeg_xl(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is JPEG XL, bare or in its container (ISO/IEC 18181-2)."""
    return head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"))


def _planes_of(picture: Any, name: str) -> PlanesYUV420:
    try:
        if picture.mode == "CMYK":
            picture = _cmyk_to_rgb(picture)
        elif picture.mode.startswith(("I", "F")):  # 16 bits of grey
            levels = np.asarray(picture)
            grey = levels >> 8 if levels.dtype.kind in "iu" and int(levels.max(initial=0)) > 255 else levels
            rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
            return rgb_to_planes(rgb, colour=STILL_RGB)
        has_alpha = picture.mode in _ALPHA_MODES or "transparency" in picture.info
        pixels = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise _damaged(name) from error
    alpha = np.ascontiguousarray(pixels[..., 3]) if has_alpha else None
    return rgb_to_planes(np.ascontiguousarray(pixels[..., :3]), colour=STILL_RGB, alpha=alpha)


def _cmyk_to_rgb(picture: Any) -> Any:
    """By the picture's own profile; without one as Pillow does it."""
    import io

    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return picture.convert("RGB")


def _damaged(name: str) -> InputError:
    return InputError(f"path = {name!r} holds no picture that can be decoded: it is damaged")
