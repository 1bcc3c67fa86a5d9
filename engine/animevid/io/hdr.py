"""Tone maps HDR to SDR: PQ and HLG frames become BT.709, since styles expect SDR colours.

The operator is the EETF of Report ITU-R BT.2390-10 (5.4.1), applied to the largest of R, G, B to preserve hue, from a
1000 cd/m2 master to a 203 cd/m2 reference white (BT.2408); then BT.2020 primaries to BT.709 (BT.2087) and BT.1886's
inverse. It favours quality over speed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from animevid.errors import UnsupportedInputError
from animevid.io.colour import TRANSFER_HLG, TRANSFER_PQ, is_hdr
from animevid.pixels.colour import LUMA_COEFFICIENTS, Colour, ColourRange, Matrix
from animevid.pixels.planes import Plane, PlanesYUV420

Floats = npt.NDArray[np.float32]

MASTER_PEAK_NITS = 1000.0
SDR_WHITE_NITS = 203.0
_TABLE_SIZE = 4096

# SMPTE ST 2084, equation 4.1 ff.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32

# Report ITU-R BT.2087-0: linear BT.2020 RGB to linear BT.709 RGB.
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def pq_to_nits(code: Floats) -> Floats:
    """ST 2084 EOTF: code values 0..1 to absolute luminance, 0..10000 cd/m2."""
    power = np.power(np.clip(code, 0, 1), 1 / _M2)
    return np.asarray(10000 * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1), np.float32)


def nits_to_pq(nits: Floats) -> Floats:
    """ST 2084 inverse EOTF."""
    power = np.power(np.clip(nits, 0, 10000) / 10000, _M1)
    return np.asarray(np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2), np.float32)


def hlg_to_scene(code: Floats) -> Floats:
    """ARIB STD-B67 inverse OETF (BT.2100 table 5): code values 0..1 to scene light, 0..1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    code = np.clip(code, 0, 1)
    return np.asarray(np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12), np.float32)


def eetf_bt2390(nits: Floats, *, source_peak: float, target_peak: float) -> Floats:
    """BT.2390's electro-electrical transfer: luminance of a ``source_peak`` master on a ``target_peak`` display.

    Linear up to a knee, then a Hermite spline to the target's peak; computed in PQ, as the report says (black lift 0).
    """
    master = float(nits_to_pq(np.asarray(source_peak, np.float32)))
    e1 = nits_to_pq(nits) / master
    peak = float(nits_to_pq(np.asarray(target_peak, np.float32))) / master
    knee = 1.5 * peak - 0.5
    t = (np.clip(e1, knee, 1) - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * peak
    return pq_to_nits(np.asarray(np.where(e1 < knee, e1, spline) * master, np.float32))


def open_tone_mapper(colour: Colour, *, allowed: bool) -> ToneMapper | None:
    """The tone mapper that frames of ``colour`` need; ``None`` for SDR.

    Raises:
        UnsupportedInputError: HDR, and tone mapping is not allowed.
    """
    if not is_hdr(colour):
        return None
    mapper = ToneMapper(colour)
    if not allowed:
        raise UnsupportedInputError(
            f"transfer = {mapper.name!r} (HDR) is not stylized as it is: allow tone mapping, or convert to SDR first"
        )
    return mapper


class ToneMapper:
    """Maps frames of one HDR kind to SDR BT.709, limited range, same bit depth. Callable on planes."""

    def __init__(self, colour: Colour) -> None:
        self.name = {TRANSFER_PQ: "PQ", TRANSFER_HLG: "HLG"}[colour.transfer]
        self._transfer = colour.transfer
        code = np.linspace(0, 1, _TABLE_SIZE, dtype=np.float32)
        self._to_light = pq_to_nits(code) if self._transfer == TRANSFER_PQ else hlg_to_scene(code)
        # Gain on linear light, indexed by the square root of the largest component: fine steps where it is dark.
        root = np.linspace(0, 1, _TABLE_SIZE, dtype=np.float32)
        nits = np.maximum(root**2 * MASTER_PEAK_NITS, 1e-4).astype(np.float32)
        mapped = eetf_bt2390(nits, source_peak=MASTER_PEAK_NITS, target_peak=SDR_WHITE_NITS)
        self._gain = (mapped / nits / SDR_WHITE_NITS).astype(np.float32)
        self._encode = np.power(root, 2 / 2.4).astype(np.float32)  # BT.1886 inverse of root**2

    def __call__(self, planes: PlanesYUV420) -> PlanesYUV420:
        """``planes`` (PQ or HLG, BT.2020) as SDR BT.709; alpha is unchanged."""
        rgb = _planes_to_rgb(planes)
        light = self._linear_nits(rgb)
        peak = light.max(axis=2)
        gain = self._lookup(self._gain, np.sqrt(peak / MASTER_PEAK_NITS))
        sdr = cv2.transform(light * gain[..., None], _BT2020_TO_BT709)
        encoded = self._lookup(self._encode, np.sqrt(np.clip(sdr, 0, 1)))
        return _rgb_to_planes(encoded, like=planes)

    def _linear_nits(self, rgb: Floats) -> Floats:
        light = self._lookup(self._to_light, rgb)
        if self._transfer == TRANSFER_HLG:
            # BT.2100 OOTF for a 1000 cd/m2 display: system gamma 1.2 on the scene's luminance.
            kr, kb = LUMA_COEFFICIENTS[Matrix.BT2020]
            luminance = light @ np.array([kr, 1 - kr - kb, kb], np.float32)
            light *= (MASTER_PEAK_NITS * np.power(np.maximum(luminance, 1e-6), 0.2))[..., None]
        return light

    @staticmethod
    def _lookup(table: Floats, at: Floats) -> Floats:
        """``table`` sampled at 0..1 (nearest entry)."""
        index = np.clip(at * (_TABLE_SIZE - 1) + 0.5, 0, _TABLE_SIZE - 1).astype(np.int32)
        return np.asarray(table[index], np.float32)


def _planes_to_rgb(planes: PlanesYUV420) -> Floats:
    """Non-linear R'G'B' in 0..1, ``(H, W, 3)``; BT.2020 unless the tags say otherwise."""
    matrix = planes.colour.matrix
    kr, kb = LUMA_COEFFICIENTS[Matrix.BT2020 if matrix is Matrix.UNSPECIFIED else matrix]
    scale = 1 << (planes.bit_depth - 8)
    height, width = planes.height, planes.width
    if planes.colour.range is ColourRange.FULL:
        top = (1 << planes.bit_depth) - 1
        offset, luma_span, chroma_span = 0, top, top
    else:
        offset, luma_span, chroma_span = 16 * scale, 219 * scale, 224 * scale
    y = (planes.y.astype(np.float32) - offset) / luma_span
    size = (planes.u.shape[1] * 2, planes.u.shape[0] * 2)
    cb, cr = (
        (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)[:height, :width].astype(np.float32) - 128 * scale)
        / chroma_span
        for plane in (planes.u, planes.v)
    )
    r = y + 2 * (1 - kr) * cr
    b = y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], axis=2), 0, 1)


def _rgb_to_planes(rgb: Floats, *, like: PlanesYUV420) -> PlanesYUV420:
    """BT.709, limited range, 4:2:0, at the bit depth of ``like``."""
    kr, kb = LUMA_COEFFICIENTS[Matrix.BT709]
    scale = 1 << (like.bit_depth - 8)
    y = rgb @ np.array([kr, 1 - kr - kb, kb], np.float32)
    cb, cr = (rgb[..., 2] - y) / (2 * (1 - kb)), (rgb[..., 0] - y) / (2 * (1 - kr))
    size = (like.u.shape[1], like.u.shape[0])
    dtype: np.dtype[Any] = like.y.dtype
    chroma: list[Plane] = [
        np.rint(cv2.resize(plane, size, interpolation=cv2.INTER_AREA) * (224 * scale) + 128 * scale).astype(dtype)
        for plane in (cb, cr)
    ]
    luma: Plane = np.rint(y * (219 * scale) + 16 * scale).astype(dtype)
    colour = replace(like.colour, matrix=Matrix.BT709, range=ColourRange.LIMITED, primaries=1, transfer=1)
    return replace(like, y=luma, u=chroma[0], v=chroma[1], colour=colour, owner=None)
