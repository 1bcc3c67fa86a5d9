"""Converts wide-gamut photos to sRGB: Adobe RGB, Display P3 or any ICC profile.

Styles expect sRGB, and JPEG, PNG and WebP without a profile are shown as sRGB.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from animevid.io.colour import is_hdr
from animevid.pixels import planes_to_rgb, planes_to_tensor, rgb_to_planes, tensor_to_planes
from animevid.pixels.planes import PlanesYUV420

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

_TABLE_SIZE = 4096
_SAME_WITHIN = 3  # tolerance in levels of 255, for rounding and other vendors' sRGB profiles
_WHITE = (0.3127, 0.3290)  # D65
_SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))


@dataclass(frozen=True, slots=True)
class Gamut:
    """Primaries as CIE 1931 x, y (white D65), and the exponent of their transfer curve (0: that of sRGB)."""

    name: str
    primaries: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    exponent: float


#: Adobe RGB (1998), 4.3.
ADOBE_RGB = Gamut("Adobe RGB", ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.19921875)
#: H.273 code points of wide primaries.
_TAGGED = {
    9: Gamut("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), 0.0),
    12: Gamut("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), 0.0),
}


def tagged_gamut(planes: PlanesYUV420) -> Gamut | None:
    """The wide gamut in the tags of ``planes``; ``None`` for sRGB-like colours and for HDR."""
    return None if is_hdr(planes.colour) else _TAGGED.get(planes.colour.primaries)


def gamut_to_srgb(planes: PlanesYUV420, gamut: Gamut) -> PlanesYUV420:
    """``planes`` converted from ``gamut`` to sRGB: to linear light, through the matrix of primaries, and back.

    Colours outside sRGB are clipped. Depth, range, matrix and alpha are unchanged.
    """
    code = np.linspace(0, 1, _TABLE_SIZE, dtype=np.float32)
    to_light = np.power(code, gamut.exponent).astype(np.float32) if gamut.exponent else _srgb_to_light(code)
    # Indexed by the square root of light: fine steps where it is dark.
    encode = _light_to_srgb(code**2)
    rgb = planes_to_tensor(planes, layout="NHWC", value_range=(0.0, 1.0))
    light = cv2.transform(_lookup(to_light, rgb), _matrix_to_srgb(gamut.primaries))
    encoded = _lookup(encode, np.sqrt(np.clip(light, 0, 1)))
    colour = replace(planes.colour, primaries=1, transfer=13)
    return tensor_to_planes(encoded, like=replace(planes, colour=colour, owner=None), layout="NHWC", value_range=(0, 1))


def profile_to_srgb(planes: PlanesYUV420, profile: bytes) -> tuple[PlanesYUV420, str | None]:
    """``planes`` converted from the ICC ``profile`` to sRGB, and the name of the profile.

    The name is ``None`` if the profile is equivalent to sRGB and nothing was converted, and empty if it cannot be read.
    Colours go through 8 bits a channel (Little CMS, relative colorimetric with black point compensation).
    """
    from PIL import Image, ImageCms

    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        is_grey = own.profile.xcolor_space.strip() == "GRAY"
        transform = _transform(own, "L" if is_grey else "RGB")
        if _changes_little(transform, is_grey=is_grey):
            return planes, None
        name = ImageCms.getProfileDescription(own).strip().splitlines()[0] or "unnamed"
        rgb = planes_to_rgb(planes)
        given = Image.fromarray(np.ascontiguousarray(rgb[..., 0]) if is_grey else rgb)
        converted = np.asarray(transform.apply(given))
    except Exception as error:  # ImageCms.PyCMSError, and others for damaged profiles
        log.debug("the colour profile is not applied: %s", error)
        return planes, ""
    colour = replace(planes.colour, primaries=1, transfer=13)
    alpha = planes.alpha
    if alpha is not None and planes.bit_depth > 8:
        alpha = (alpha >> (planes.bit_depth - 8)).astype(np.uint8)
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return rgb_to_planes(np.ascontiguousarray(converted), colour=colour, alpha=alpha), printable[:60]


def _transform(profile: ImageCmsProfile, mode: str) -> ImageCmsTransform:
    from PIL import ImageCms

    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _changes_little(transform: ImageCmsTransform, *, is_grey: bool) -> bool:
    from PIL import Image

    levels = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    given = Image.fromarray(np.ascontiguousarray(lattice[..., 0]) if is_grey else lattice)
    wanted = np.repeat(lattice[..., :1], 3, axis=2) if is_grey else lattice
    return int(np.abs(np.asarray(transform.apply(given)).astype(int) - wanted).max()) <= _SAME_WITHIN


@lru_cache(maxsize=8)
def _matrix_to_srgb(primaries: tuple[tuple[float, float], ...]) -> Floats:
    return np.asarray(np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(primaries), np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float64]:
    """Linear RGB to CIE XYZ, white at Y = 1 (SMPTE RP 177)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries], np.float64).T
    x, y = _WHITE
    return columns * np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y]))


def _srgb_to_light(code: Floats) -> Floats:
    """IEC 61966-2-1."""
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _light_to_srgb(light: Floats) -> Floats:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def _lookup(table: Floats, at: Floats) -> Floats:
    index = np.clip(at * (_TABLE_SIZE - 1) + 0.5, 0, _TABLE_SIZE - 1).astype(np.int32)
    return np.asarray(table[index], np.float32)
