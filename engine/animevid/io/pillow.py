"""Images that PyAV's FFmpeg cannot read, or not in full: animated WebP, JPEG 2000, TGA, ICO, CMYK, JPEG XL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from animevid.errors import InputError, UnsupportedInputError
from animevid.io.photo import open_image
from animevid.io.planes_io import STILL_RGB
from animevid.pixels import rgb_to_planes
from animevid.pixels.planes import PlanesYUV420

if TYPE_CHECKING:
    import PIL.Image

#: Pillow warns from 89 million pixels on and refuses twice that; the largest phone panoramas have 100 million.
_MAX_PIXELS = 300_000_000
_ALPHA_MODES = ("RGBA", "LA", "La", "PA", "RGBa")


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """One frame of an animation; times are exact seconds from its start."""

    planes: PlanesYUV420
    start_seconds: Fraction
    duration_seconds: Fraction


def read_image(data: bytes, *, name: str) -> tuple[PlanesYUV420, str]:
    """The (largest) image in the file ``data`` and the name of its format; CMYK is converted by its own profile.

    Raises:
        InputError: not an image that Pillow reads, damaged, or too large.
        UnsupportedInputError: JPEG XL without its plug-in.
    """
    with _opened(data, name) as image:
        return _planes_of(image, name), str(image.format).lower()


def image_size(data: bytes, *, name: str) -> tuple[int, int]:
    """Width and height in pixels by the file's header; nothing is decoded.

    Raises:
        InputError, UnsupportedInputError: as :func:`read_image`.
    """
    with _opened(data, name) as image:
        return int(image.width), int(image.height)


def read_animation(data: bytes, *, name: str) -> Iterator[TimedFrame]:
    """The composed frames of an animated WebP, in order.

    Raises:
        InputError: damaged.
    """
    has_alpha = len(data) > 20 and bool(data[20] & 0x10)  # a flag of the VP8X header; Pillow's frames are always RGBA
    with _opened(data, name) as image:
        has_alpha = has_alpha and _is_transparent(image)
        start = Fraction(0)
        for number in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(number)
                planes = _planes_of(image, name)
                if not has_alpha:
                    planes = replace(planes, alpha=None)
            except (EOFError, OSError, SyntaxError, ValueError) as error:
                raise _damaged(name) from error
            duration = Fraction(max(int(image.info.get("duration") or 0), 1), 1000)
            yield TimedFrame(planes, start, duration)
            start += duration


def _is_transparent(image: PIL.Image.Image) -> bool:
    """Whether any frame shows what lies behind it: encoders set the header's flag for opaque animations too."""
    try:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            if image.getchannel("A").getextrema() != (255, 255):
                return True
    except (EOFError, OSError, SyntaxError, ValueError):
        return True  # damaged; reading it reports that
    return False


def animation_times(data: bytes, *, name: str) -> tuple[int, Fraction]:
    """How many frames an animated WebP has, and how long it lasts in seconds (nothing is decoded)."""
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


def _opened(data: bytes, name: str) -> PIL.Image.Image:
    if is_jpeg_xl(data):
        try:
            import pillow_jxl  # noqa: F401  (registers itself)
        except ImportError:
            raise UnsupportedInputError(
                f"path = {name!r} is JPEG XL, which needs a library: pip install pillow-jxl-plugin"
            ) from None
    try:
        image = open_image(data)
    except Exception as error:  # Pillow's plug-ins raise any kind of exception for damaged files
        raise _damaged(name) from error
    if image.width * image.height > _MAX_PIXELS:
        size = f"{image.width}x{image.height}"
        image.close()
        raise InputError(f"path = {name!r} is {size}: at most {_MAX_PIXELS // 10**6} million pixels are read")
    return image


def is_jpeg_xl(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is JPEG XL, bare or in its container (ISO/IEC 18181-2)."""
    return head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"))


def _planes_of(image: PIL.Image.Image, name: str) -> PlanesYUV420:
    try:
        if image.mode == "CMYK":
            image = _cmyk_to_rgb(image)
        elif image.mode.startswith(("I", "F")):  # 16 bits of grey
            levels = np.asarray(image)
            grey = levels >> 8 if levels.dtype.kind in "iu" and int(levels.max(initial=0)) > 255 else levels
            rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
            return rgb_to_planes(rgb, colour=STILL_RGB)
        has_alpha = image.mode in _ALPHA_MODES or "transparency" in image.info
        pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise _damaged(name) from error
    alpha = np.ascontiguousarray(pixels[..., 3]) if has_alpha else None
    return rgb_to_planes(np.ascontiguousarray(pixels[..., :3]), colour=STILL_RGB, alpha=alpha)


def _cmyk_to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert by the image's profile, or by Pillow's default without one."""
    import io

    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:  # as it is if the image is converted in place
                return converted
    return image.convert("RGB")


def _damaged(name: str) -> InputError:
    return InputError(f"path = {name!r} holds no image that can be decoded: it is damaged")
