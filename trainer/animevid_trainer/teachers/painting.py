"""Paints a teacher's image from a photo's analysis and a look: areas, detail, lines, tones, final redrawing."""

from __future__ import annotations

import cv2
import numpy as np

from animevid_trainer.teachers.analysis import Analysis
from animevid_trainer.teachers.colour import (
    F,
    Image,
    Map,
    calm_chroma,
    chroma,
    curve,
    hue,
    hue_band,
    limit_chroma,
    memberships,
    rotate,
    soft_steps,
    step,
    to_lab,
    to_rgb,
)
from animevid_trainer.teachers.filters import (
    along,
    antialias,
    bloom,
    blur,
    box,
    crisp,
    flow_dog,
    kuwahara,
    longer,
    slope,
)
from animevid_trainer.teachers.look import Flattening, Look
from animevid_trainer.teachers.networks import Networks


def paint(m: Analysis, look: Look, networks: Networks) -> Image:
    """Paint an analysed photo in a look: ``(H, W, 3)`` RGB on [0, 1]."""
    lab = areas(m, look)
    lab[..., 0] -= look.leaf_calm * m.leafy * (lab[..., 0] - blur(lab[..., 0], 6))
    if look.dabs:
        apart = (1 - m.sky) * (1 - step(blur(m.edge, 4), 0.15, 0.4)) * (1 - m.face)
        lab[..., 0] += look.dabs * np.clip(lab[..., 0] - blur(lab[..., 0], 7), -14, 14) * apart
    lines = ink(m, look, detail(m, lab, 0.9, 3.0, look.text)[..., 0] / 100)
    lab = detail(m, lab, look.detail, look.detail_dead, look.text)
    lab = to_lab(antialias(crisp(to_rgb(lab), *look.crisp), look.antialias))
    lab = grade(m, look, lab)
    if look.crisp_late[0]:
        lab = to_lab(antialias(crisp(to_rgb(lab), *look.crisp_late), look.antialias))
    out = to_rgb(draw(lab, lines, look.ink_dark, look.ink_tint))
    if look.bloom:
        out = bloom(out, look.bloom_from, look.bloom, 5.0, look.bloom_tint)
    return finish(m, look, out, networks)


def areas(m: Analysis, look: Look) -> Image:
    """Flatten the photo to areas, foliage in its own way if the look has one; lab."""
    lab = flatten(m, look.areas)
    if look.leaves is not None:
        lab += m.leafy[..., None] * (flatten(m, look.leaves) - lab)
    return lab


def flatten(m: Analysis, way: Flattening) -> Image:
    """Flatten the photo in one way; lab."""
    r = way.radius + way.radius_texture * m.texture + way.radius_calm * (1 - m.busy)
    r = r * (1 - 0.35 * m.leafy)  # smaller dabs for leaves
    x = kuwahara(m.base, kept(m, r), hard=way.hard)
    for _ in range(way.passes - 1):
        x = kuwahara(x, kept(m, r * 0.8), hard=100)
    lab = calm_chroma(to_lab(x))
    share = way.drawing * (1 - way.drawing_green * m.green * m.busy) * m.drawn
    share = share * (1 - 0.8 * m.face) * (1 - 0.5 * m.close)
    lab[..., 0] += share * (m.relit[..., 0] - lab[..., 0])
    lab = to_lab(kuwahara(to_rgb(lab), kept(m, way.radius_last), hard=way.hard_last))
    if way.smooth:
        lab = to_lab(cv2.bilateralFilter(to_rgb(lab), 13, 0.08, way.smooth))
    return lab


def kept(m: Analysis, radius: float | Map) -> Map:
    """Reduce a radius where small detail is dense, and in faces."""
    return (radius * (1 - 0.8 * np.maximum(m.close * m.letters, m.strokes)) * (1 - 0.85 * m.face)).astype(F)


def detail(m: Analysis, lab: Image, share: float, dead: float, text: float) -> Image:
    """Restore small strong detail that flattening removed (letters, eyes, wires), but not weak detail or texture."""
    r = m.fine - lab
    n = np.sqrt((r * r).sum(-1)) + 1e-3
    on = step(blur(m.edge, 1.5), 0.08, 0.3) * (1 - 0.9 * m.texture)
    k = np.maximum(on * np.maximum(n - dead, 0) / n, m.letters * (1 - 0.5 * m.texture) * step(n, 11, 22))
    k = np.maximum(share * k, text * m.strokes * step(n, 3, 9))
    k = np.maximum(k, m.face * step(-r[..., 0], 3, 10))  # dark detail of a face: eyes, brows, mouth
    k = np.maximum(k, 0.75 * m.small * step(n, 2, 7))
    return lab + (k * (1 - m.sky * (1 - m.hard)))[..., None] * r


def ink(m: Analysis, look: Look, light: Map) -> Map:
    """Line strength on [0, 1]: dark sides of edges of ``light`` where the edge network finds a hard, long contour."""
    d = -flow_dog(light, m.tx, m.ty, inner=look.ink_inner, length=look.ink_length)
    e = m.edge * m.hard * (1 - look.ink_texture * m.texture)
    e = blur(cv2.dilate(e, box(3)), 0.8)
    e = along(e, m.tx, m.ty, 4.0)
    k = longer(step(d, *look.ink_range) * step(e, *look.ink_gate) * (1 - m.sky), m.tx, m.ty)
    return k * (1 - look.ink_green * m.green * m.busy) * (1 - look.ink_face * m.visage) * (1 - look.ink_close * m.close)


def draw(lab: Image, k: Map, dark: float, tint: tuple[float, float]) -> Image:
    """Draw ink as a darker tone of the colour below it."""
    out = lab.copy()
    out[..., 0] *= 1 - dark * k
    out[..., 1] += tint[0] * k * dark
    out[..., 2] += tint[1] * k * dark
    return out


def grade(m: Analysis, look: Look, lab: Image) -> Image:
    """Apply the look's tones and colours; grays stay almost gray."""
    lab = lab.copy()
    blue, green, skin = memberships(blur(lab, 1.5))
    blue = memberships(blur(lab, 4))[0]
    skin = np.maximum(skin, 0.8 * m.visage * hue_band(lab, 54, 24, 16))
    t = lab[..., 0] / 100
    c = chroma(lab)
    bright = step(t, 0.5, 0.65)
    sky = blue * np.maximum(step(c, 30, 46), bright * np.maximum(m.even, step(c, 14, 26)))  # excludes pale pavement
    gray = (1 - step(blur(chroma(m.lab), 4.0), 5, 15)) * (1 - step(c, 8, 18))
    gray = np.maximum(
        gray, blue * (1 - bright) * (1 - step(c, 13, 25))
    )  # walls and asphalt in the shade, which are bluish already
    tone = curve(t, look.tones)
    if look.steps:
        flat = soft_steps(tone, look.steps, look.steps_sharp)
        tone = tone + look.steps_share * (flat - tone) * (1 - 0.5 * skin) * (1 - 0.7 * m.visage) * (1 - 0.7 * m.sky)
    tone += azure(lab, sky, t, look) - t
    pale = np.exp(-((c / look.gain_width) ** 2)) * (1 - 0.85 * skin) * (1 - 0.9 * gray) * (1 - 0.5 * (blue - sky))
    gain = 1 + look.gain + look.gain_pale * pale
    gain += look.gain_blue * blue + look.gain_green * green
    gain = gain * (1 + look.gain_light * step(t, 0.6, 1)) * (1 - 0.15 * gray * blue * (1 - sky))
    lab[..., 1:] *= gain[..., None]
    leaves(lab, green, t, look)
    shade = step(1 - t, *look.shade_range) * step(t, 0, 0.1)  # black stays black
    shade *= (1 - 0.65 * skin) * (1 - 0.7 * gray)
    light = step(t, *look.light_range) * (1 - (1 - look.light_blue) * blue)
    lab[..., 1] += look.shade[0] * shade + look.light[0] * light + 1.5 * skin
    lab[..., 2] += look.shade[1] * shade + look.light[1] * light - 4 * skin * step(t, 0.3, 0.8)
    lab[..., 0] = np.clip(tone, 0, 1) * 100 + 5 * skin * t * (1 - t) * 4
    if look.rim:  # as in watercolour, where pigment collects at the edges of a wash
        edge = blur(slope(t, 1.0), 0.8)
        lab[..., 0] -= np.minimum(90 * np.maximum(edge - 0.01, 0), look.rim) * (1 - 0.6 * m.sky) * (1 - 0.7 * m.visage)
    limit_chroma(lab, look.chroma_top)
    return lab


def azure(lab: Image, sky: Map, t: Map, look: Look) -> Map:
    """Colour pale skies and shift all skies towards one hue, in place; return a slightly deeper lightness."""
    c = chroma(lab)
    gain = 1 + sky * (look.sky_low - 1) * np.exp(-((c / 22) ** 2)) * step(c, 2.5, 8)
    lab[..., 1:] *= gain[..., None]
    k = sky * step(c * gain, 8, 30)
    rotate(lab, k * step(t, 0.25, 0.5) * np.clip((look.sky_hue - hue(lab)) * 0.7, -10, 22))
    return t - look.sky_deepen * k * t * (1 - t) * 4


def leaves(lab: Image, green: Map, t: Map, look: Look) -> None:
    """Shift foliage in place: yellowish lights towards green, shadows towards blue-green."""
    turn = np.clip((0.5 - t) * look.leaf_slope, look.leaf_light, look.leaf_shade) * (0.4 + 0.6 * step(t, 0.1, 0.35))
    rotate(lab, green * (turn + np.clip((116 - hue(lab)) * 0.4, 0, 12)))


def finish(m: Analysis, look: Look, image: Image, networks: Networks) -> Image:
    """Redraw every edge with the small anime network, keep letters, and sharpen without halos."""
    before = to_lab(image)
    after = to_lab(networks.last_brush(image, m.faces, look.brush))
    r = before - after
    n = np.sqrt((r * r).sum(-1))
    k = m.letters * (1 - m.face) * np.maximum(0.6 * step(n, 12, 24), np.maximum(m.close, m.strokes) * step(n, 4, 10))
    k = np.maximum(k, 0.6 * m.small * step(n, 3, 8))
    return crisp(to_rgb(after + k[..., None] * r), look.sharpen, 0.8, 8.0)
