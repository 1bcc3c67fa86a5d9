"""Analyses a photo into maps (contours, texture, sky, foliage, letters, faces), from which all looks are painted."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from animevid_trainer.teachers.colour import Image, Map, chroma, hue_band, memberships, step, to_lab
from animevid_trainer.teachers.faces import Face, face_map
from animevid_trainer.teachers.filters import blur, box, flow, guided, kuwahara, slope, tensor, thin
from animevid_trainer.teachers.networks import Networks, degrid

SMALL_FACE = 60  # pixels; smaller faces keep more of the photo


@dataclass
class Analysis:
    """The analysis of one photo, shared by all looks; the networks compute the fields after ``photo``."""

    photo: Image
    base: Image  # redrawn by the large anime network
    edge: Map  # thin, certain contours
    drawing: Image  # CartoonGAN, without its grid
    faces: list[Face]

    lab: Image = field(init=False)
    tx: Map = field(init=False)  # edge flow of the blurred photo
    ty: Map = field(init=False)
    hard: Map = field(init=False)  # in focus
    texture: Map = field(init=False)  # fine contrast other than contours
    busy: Map = field(init=False)  # fine contrast
    strokes: Map = field(init=False)  # text, twigs: close contours or strong fine contrast, without foliage
    small: Map = field(init=False)  # a small detected face
    even: Map = field(init=False)  # no fine contrast: sky, but not asphalt
    drawn: Map = field(init=False)  # wide contrast: CartoonGAN draws there, and only its grid elsewhere
    green: Map = field(init=False)  # green things
    leafy: Map = field(init=False)  # busy and green, or busy and strongly yellow to red: foliage
    close: Map = field(init=False)  # close contours: letters, windows
    sky: Map = field(init=False)  # light and cool, or a wide blue area: gets no ink
    face: Map = field(init=False)  # skin or a detected face
    visage: Map = field(init=False)  # a detected face
    letters: Map = field(init=False)  # where detail may be restored (outside foliage)
    fine: Image = field(init=False)  # photo without noise, lab
    relit: Image = field(init=False)  # CartoonGAN's drawing under the photo's light, lab

    def __post_init__(self) -> None:
        photo = self.photo
        self.lab = to_lab(photo)
        light = self.lab[..., 0] / 100
        soft = kuwahara(photo, 2.0, hard=100)
        self.tx, self.ty, _, _ = flow(tensor(soft, 1.6))
        self.hard = step(blur(np.maximum(slope(light, 0.8) - 1.3 * slope(light, 3.0), 0), 1.2), 0.003, 0.012)
        contrast = blur(np.abs(light - blur(light, 2.0)), 5.0)
        self.busy = step(contrast, 0.012, 0.05)
        self.even = 1 - step(contrast, 0.004, 0.01)
        self.drawn = step(blur(np.abs(light - blur(light, 5.0)), 8.0), 0.0015, 0.006)
        wide = blur(self.lab, 3.0)
        autumn = hue_band(wide, 60, 40, 20) * step(chroma(wide), 26, 42)
        self.green = memberships(wide)[1]
        self.leafy = blur(np.maximum(self.green, autumn) * step(contrast, 0.012, 0.04), 3.0)
        self.close = step(blur(self.edge, 2.5), 0.2, 0.42)
        away = 1 - step(cv2.dilate(self.edge, box(3)), 0.15, 0.6)
        self.texture = step(blur(np.abs(light - blur(light, 1.5)) * away, 4.0) / (blur(away, 4.0) + 0.15), 0.012, 0.035)
        _, green, _ = memberships(blur(self.lab, 2.0))
        self.letters = 1 - green
        self.fine = to_lab(cv2.bilateralFilter(photo, 5, 0.06, 1.2))
        strong = step(blur(np.abs(light - blur(light, 2.0)), 3.0), 0.04, 0.075) * (1 - self.leafy)
        self.strokes = np.maximum(self.close * (1 - 0.6 * self.texture), 0.85 * strong) * self.letters
        self.sky = sky_map(self.lab)
        self.small = face_map(light.shape, [f for f in self.faces if f.height < SMALL_FACE])
        self.visage = face_map(light.shape, self.faces)
        skin = hue_band(self.lab, 54, 18, 14) * step(chroma(self.lab), 6, 12) * step(light, 0.1, 0.22)
        self.face = np.maximum(0.7 * step(blur(skin, 6.0), 0.3, 0.65), self.visage)
        self.relit = relit(self.lab, to_lab(self.drawing))
        # keep leaves, which the Kuwahara filter paints later, and the strokes of letters
        text = np.maximum(self.close * self.letters, self.strokes) * (1 - self.visage)
        keep = np.maximum(self.leafy, 0.8 * text)[..., None]
        self.base = self.base + keep * (photo - self.base)


def analyse(photo: Image, networks: Networks) -> Analysis:
    """Run the networks on ``photo``, ``(H, W, 3)`` RGB on [0, 1]; takes seconds for a photo of 640 pixels."""
    found = networks.faces(photo)
    drawing = networks.cartoongan((photo * 255).round().astype(np.uint8)).astype(np.float32) / 255
    return Analysis(photo, networks.base(photo, found), contours(photo, networks), degrid(drawing), found)


def contours(photo: Image, networks: Networks) -> Map:
    """Thin, certain edges on [0, 1]: HED's fused output, which ignores texture, times its fine output, thinned."""
    fused, _ = networks.edges(photo, 1.0)
    fused_large, fine_large = networks.edges(photo, 1.5)
    e = thin(np.sqrt(fused_large * fine_large)) * step(fused, 0.3, 0.7)
    return np.clip(1.15 * blur(cv2.dilate(step(e, 0.2, 0.8), box(2)), 0.6), 0, 1)


def sky_map(lab: Image) -> Map:
    """Sky map on [0, 1]: light and cool areas and wide blue areas, without thin dark objects (wires, masts)."""
    light = lab[..., 0] / 100
    cool = 1 - step(lab[..., 2], -2, 8)
    low = cv2.erode(light, box(5))
    bright = step(low, 0.55, 0.7) * np.maximum(cool, step(light, 0.85, 0.95)) * (1 - step(lab[..., 1], 8, 20))
    blue, _, _ = memberships(blur(lab, 2.0))
    blue = blue * np.maximum(step(chroma(lab), 12, 24), step(light, 0.55, 0.7))  # excludes asphalt in the shade
    wide = np.maximum(step(blur(blue, 14), 0.25, 0.5), step(blur(blue, 28), 0.35, 0.6)) * step(
        blur(light, 14), 0.28, 0.42
    )
    thin_dark = step(cv2.morphologyEx(light, cv2.MORPH_CLOSE, box(9)) - light, 0.05, 0.13)
    return np.maximum(bright, wide * step(light, 0.18, 0.3)) * (1 - thin_dark)


def relit(photo: Image, drawing: Image, radius: int = 12, beyond: float = 5.0) -> Image:
    """Add CartoonGAN's lightness detail to the photo's large-scale tones (edge-preserving) and colours; lab."""
    out = photo.copy()
    out[..., 0] = drawing[..., 0] + guided(photo[..., 0], photo[..., 0] - drawing[..., 0], radius, 40.0)
    low, high = cv2.erode(photo[..., 0], box(7)), cv2.dilate(photo[..., 0], box(7))
    out[..., 0] = np.clip(out[..., 0], low - beyond, high + beyond)
    return out
