"""Colour functions on arrays: CIE L*a*b*, tone curves, hues, and soft classification by colour (sky, foliage, skin).

Images are float32 ``(H, W, 3)``: RGB on [0, 1], or "lab", CIE L*a*b* with L on [0, 100] and a, b around [-100, 100];
maps are float32 ``(H, W)``, mostly on [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# float32 throughout; numpy's own types turn products with Python numbers into float64
Image = npt.NDArray[Any]
Map = npt.NDArray[Any]
F = np.float32


def step(x: Map, low: float, high: float) -> Map:
    """Smoothstep: 0 up to ``low``, 1 from ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(F)


def to_lab(rgb: Image) -> Image:
    """Convert RGB on [0, 1] to L*a*b*."""
    return cv2.cvtColor(np.ascontiguousarray(rgb, F), cv2.COLOR_RGB2LAB)


def to_rgb(lab: Image) -> Image:
    """Convert L*a*b* to RGB, clipped to [0, 1]."""
    return np.clip(cv2.cvtColor(np.ascontiguousarray(lab, F), cv2.COLOR_LAB2RGB), 0, 1)


def curve(x: Map, points: Sequence[tuple[float, float]]) -> Map:
    """Apply a tone curve through ``points`` (x ascending on [0, 1]): monotone cubic (Fritsch and Carlson 1980)."""
    px, py = np.array(points, float).T
    h = np.diff(px)
    secant = np.diff(py) / h
    tangent = np.zeros_like(px)
    tangent[0], tangent[-1] = secant[0], secant[-1]
    for i in range(1, len(px) - 1):
        if secant[i - 1] * secant[i] > 0:
            a, b = 2 * h[i] + h[i - 1], h[i] + 2 * h[i - 1]
            tangent[i] = (a + b) / (a / secant[i - 1] + b / secant[i])
    grid = np.linspace(0, 1, 1025)
    k = np.clip(np.searchsorted(px, grid, "right") - 1, 0, len(h) - 1)
    t = (grid - px[k]) / h[k]
    y = (
        py[k] * (1 + 2 * t) * (1 - t) ** 2
        + h[k] * tangent[k] * t * (1 - t) ** 2
        + py[k + 1] * t * t * (3 - 2 * t)
        + h[k] * tangent[k + 1] * t * t * (t - 1)
    )
    return np.interp(x, grid, y).astype(F)


def soft_steps(t: Map, count: int, sharp: float) -> Map:
    """Quantize ``t`` on [0, 1] to ``count`` steps with soft borders (Winnemoeller 2006)."""
    q = np.round(t * count) / count
    return (q + np.tanh(sharp * (t - q) * count) / np.tanh(sharp / 2) / (2 * count)).astype(F)


def chroma(lab: Image) -> Map:
    """Chroma: the distance from gray."""
    return np.hypot(lab[..., 1], lab[..., 2])


def hue(lab: Image) -> Map:
    """Hue in degrees [0, 360): 40 skin, 90 yellow, 130 leaves, 270 sky."""
    return np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360


def hue_band(lab: Image, centre: float, half: float, soft: float) -> Map:
    """Return 1 within ``half`` degrees of ``centre``, 0 beyond ``half + soft``."""
    d = np.abs((hue(lab) - centre + 180) % 360 - 180)
    return 1 - step(d, half, half + soft)


def memberships(lab: Image) -> tuple[Map, Map, Map]:
    """Soft membership by colour: blue (sky, water), green (foliage), skin; each on [0, 1], 0 for grays."""
    c = chroma(lab)
    some = step(c, 4, 18)
    skin = hue_band(lab, 56, 14, 14) * step(c, 8, 16) * step(lab[..., 0], 30, 55) * (1 - step(c, 38, 52))
    return hue_band(lab, 260, 30, 25) * some, hue_band(lab, 122, 28, 22) * some, skin


def rotate(lab: Image, degrees: Map) -> None:
    """Rotate the hue, in place."""
    r = np.radians(degrees)
    a, b = lab[..., 1].copy(), lab[..., 2].copy()
    lab[..., 1] = a * np.cos(r) - b * np.sin(r)
    lab[..., 2] = a * np.sin(r) + b * np.cos(r)


def limit_chroma(lab: Image, top: float, knee: float = 0.6) -> None:
    """Compress chroma above ``knee * top`` so that it stays below ``top``; keeps the hue; in place."""
    c = chroma(lab) + 1e-4
    start = knee * top
    rolled = start + (top - start) * np.tanh(np.maximum(c - start, 0) / (top - start))
    lab[..., 1:] *= (np.minimum(c, rolled) / c)[..., None]


def calm_chroma(lab: Image) -> Image:
    """Smooth chroma within areas of similar colour, which removes blotches of coloured noise."""
    out = lab.copy()
    out[..., 1:] = cv2.bilateralFilter(lab, 9, 9, 4)[..., 1:]
    return out
