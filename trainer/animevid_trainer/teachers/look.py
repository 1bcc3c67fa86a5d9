"""Looks: the parameters of painting. :data:`LOOKS` has those of the shipped styles.

======  ============================================================================================
aozora  bright summer day: thin toned lines, luminous sky
ehon    picture book: creamy light, brush dabs, sepia lines
cel     flat two- and three-tone shading, clean dark contours; for people and cameras
======  ============================================================================================

To add a look, add a :class:`Look` to :data:`LOOKS`; ``animevid_trainer.teachers.painting`` uses every field.
"""

from __future__ import annotations

from dataclasses import dataclass

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Flattening:
    """How a photo becomes flat areas: Kuwahara filters, CartoonGAN's drawing mixed in, flattened again."""

    radius: float
    radius_texture: float  # added on texture
    radius_calm: float  # added in smooth areas
    hard: float
    passes: int
    drawing: float  # share of CartoonGAN's lightness
    drawing_green: float  # reduction of that share in foliage
    radius_last: float
    hard_last: float
    smooth: float = 0.0  # sigma of a final bilateral filter


@dataclass(frozen=True)
class Look:
    """Parameters of a look. Lightness t and tone curves are on [0, 1]; chroma, a, b in CIE units; sizes in pixels."""

    name: str
    areas: Flattening
    leaves: Flattening | None = None  # of foliage, if other than of the rest: finer, so that leaves keep their shapes
    dabs: float = 0.0  # contrast of brush dabs with their surroundings
    # small strong detail that is restored from the photo
    detail: float = 0.8
    detail_dead: float = 4.0  # differences below this stay flattened
    text: float = 0.9  # share of dense small detail (letters)
    # ink
    ink_inner: float = 0.8  # sigma of a line
    ink_length: float = 3.0  # smoothing along the line
    ink_range: tuple[float, float] = (0.006, 0.03)  # contrast at which a line begins, and at which it is full
    ink_gate: tuple[float, float] = (0.12, 0.45)  # the same for edge probability
    ink_texture: float = 0.8  # reduction on texture
    ink_green: float = 0.0  # reduction in busy foliage
    ink_close: float = 0.3  # reduction where contours are close (letters, far windows)
    ink_face: float = 0.5  # reduction in faces (their dark detail is restored instead)
    ink_dark: float = 0.45
    ink_tint: tuple[float, float] = (2.0, -6.0)  # a, b
    # tones
    tones: Curve = ((0, 0), (1, 1))
    steps: int = 0  # cel steps of lightness
    steps_share: float = 0.0
    steps_sharp: float = 7.0
    # colours
    sky_low: float = 1.65  # gain of pale skies
    sky_hue: float = 271.0
    sky_deepen: float = 0.12
    gain: float = 0.0  # of all chroma
    gain_pale: float = 0.4  # additional gain of pale colours ...
    gain_width: float = 60.0  # ... below this chroma
    gain_blue: float = 0.0
    gain_green: float = 0.0
    gain_light: float = 0.0  # additional gain of light tones (negative: paler)
    leaf_light: float = -4.0  # hue shift in degrees at the light end
    leaf_shade: float = 22.0  # hue shift in degrees at the dark end
    leaf_slope: float = 60.0
    leaf_calm: float = 0.15  # reduction of contrast between leaves, which looks like camouflage
    shade: tuple[float, float] = (4.0, -12.0)  # a, b added to shadows
    shade_range: tuple[float, float] = (0.45, 0.95)  # darkness 1 - t at which that begins, and at which it is full
    light: tuple[float, float] = (0.0, 2.0)  # a, b added to lights
    light_range: tuple[float, float] = (0.6, 0.95)
    light_blue: float = 0.0  # share of ``light`` in blue areas
    chroma_top: float = 80.0
    # finish
    rim: float = 0.0  # darkening of the edge of a wash
    crisp: tuple[float, float] = (1.2, 0.9)  # amount, sigma; before the grade
    crisp_late: tuple[float, float] = (0.0, 1.5)  # after the grade
    antialias: float = 1.6
    bloom: float = 0.0
    bloom_from: float = 0.72
    bloom_tint: tuple[float, float, float] = (1.0, 0.97, 0.92)
    brush: float = 0.8  # scale of the final redrawing
    sharpen: float = 0.6  # final halo-free sharpening


_FINE = Flattening(
    radius=2.5, radius_texture=1.5, radius_calm=1.0, hard=80, passes=1,
    drawing=0.85, drawing_green=0.65, radius_last=2.0, hard_last=80,
)  # fmt: skip

AOZORA = Look(
    name="aozora",
    areas=_FINE,
    detail=0.85, detail_dead=3.0,
    tones=((0, 0), (0.04, 0.06), (0.12, 0.155), (0.3, 0.36), (0.5, 0.585), (0.7, 0.78), (0.88, 0.935), (1, 1)),
    gain_pale=0.32, gain_width=55, gain_blue=-0.03, gain_green=0.12,
    chroma_top=86,
    bloom=0.14,
)  # fmt: skip

EHON = Look(
    name="ehon",
    areas=Flattening(
        radius=3.5, radius_texture=2.0, radius_calm=1.5, hard=50, passes=2,
        drawing=0.55, drawing_green=0.7, radius_last=3.0, hard_last=100,
    ),
    dabs=0.45,
    detail=0.7, detail_dead=6.0,
    ink_inner=0.7, ink_range=(0.006, 0.036), ink_dark=0.58, ink_tint=(10.0, 14.0),
    tones=((0, 0), (0.04, 0.07), (0.15, 0.22), (0.4, 0.505), (0.65, 0.75), (0.85, 0.915), (1, 1)),
    sky_low=1.45, sky_hue=245, sky_deepen=0.0,
    gain=0.04, gain_pale=0.3, gain_width=45, gain_blue=-0.22, gain_green=-0.05, gain_light=-0.05,
    leaf_light=0, leaf_shade=22, leaf_slope=55, leaf_calm=0.35,
    shade=(4.0, 5.0), shade_range=(0.35, 0.9), light=(1.5, 9.5), light_range=(0.42, 0.92), light_blue=0.35,
    chroma_top=82,
    rim=7.0, crisp=(1.5, 0.9), antialias=2.0,
)  # fmt: skip

CEL = Look(
    name="cel",
    areas=Flattening(
        radius=3.5, radius_texture=2.5, radius_calm=2.0, hard=50, passes=2,
        drawing=0.6, drawing_green=0.6, radius_last=3.5, hard_last=80, smooth=5.0,
    ),
    leaves=_FINE,
    detail=0.85, detail_dead=4.5,
    ink_inner=1.1, ink_range=(0.004, 0.02), ink_gate=(0.1, 0.3), ink_texture=0.9, ink_green=0.85, ink_face=0.6,
    ink_close=0.45,
    ink_dark=0.92, ink_tint=(2.0, -8.0),
    tones=((0, 0), (0.05, 0.06), (0.15, 0.18), (0.35, 0.42), (0.6, 0.7), (0.85, 0.925), (1, 1)),
    steps=3, steps_share=0.7, steps_sharp=9.0,
    sky_low=1.6, sky_hue=268, sky_deepen=0.10,
    gain_pale=0.45, gain_width=50, gain_blue=-0.05, gain_green=0.06,
    leaf_light=0, leaf_shade=22, leaf_slope=55,
    shade=(3.0, -10.0), shade_range=(0.35, 0.8), light=(0.0, 0.0),
    chroma_top=94,
    crisp=(0.0, 0.9), crisp_late=(1.4, 1.3), antialias=1.8,
)  # fmt: skip

LOOKS = {look.name: look for look in (AOZORA, EHON, CEL)}
