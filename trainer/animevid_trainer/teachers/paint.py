"""Teachers that paint by hand-written rules: flatten areas, choose colours, ink the lines.

Too slow for video (about a second a picture), which does not matter: a student learns to do it in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

Picture = npt.NDArray[np.uint8]
Image = npt.NDArray[np.float32]  # (H, W, 3) BGR or Lab
Map = npt.NDArray[np.float32]  # (H, W)


@dataclass(frozen=True, slots=True)
class Ink:
    """How lines are found and drawn. All of it looks a few pixels around only, so that a small network can learn it."""

    sigma_px: float = 1.2  # of the inner Gaussian; sets the line's width
    threshold: float = -0.004  # of the difference of Gaussians on [0, 1] lightness
    slope: float = 50.0
    opacity: float = 0.9
    darkness: float = 0.2  # ink is this share of the colour beside it


@dataclass(frozen=True, slots=True)
class Paint:
    """One look. Lightness ``L`` is Lab's on [0, 1], chroma Lab's own units."""

    name: str
    flatten: float  # lambda of L0 smoothing
    shading_lightness: float = 0.0  # share of the shading network's lightness
    shading_chroma: float = 0.0  # and of its chroma (little: its casts are its worst fault)
    tones: int = 0  # lightness steps; 0 keeps gradients
    tone_share: float = 0.6
    saturation: float = 1.4
    lift: float = 0.06  # of middle lightness; black and white stay
    contrast: float = 0.0
    cool_shadows: float = 3.0
    warm_lights: float = 3.0
    matched_lightness: float = 0.0  # share of the way to the photo's own tones (see match_tones): for shading that
    matched_chroma: float = 0.0  # drifts; all of it would take the shading's contrast away
    vivid: float = 1.0  # extra chroma of skies and foliage, not of skin
    ink: Ink = Ink()


AOZORA = Paint(
    "aozora",
    flatten=0.01,
    shading_lightness=1.0,
    shading_chroma=0.3,
    matched_lightness=0.2,
    matched_chroma=0.7,
    saturation=1.6,
    lift=0.12,
    contrast=0.12,
    vivid=1.8,
)
CEL = Paint(
    "cel",
    flatten=0.02,
    tones=6,
    tone_share=0.8,
    saturation=1.4,
    lift=0.13,
    contrast=0.12,
    ink=Ink(sigma_px=1.5, opacity=1.0, darkness=0.08),
)


class Painter:
    """A teacher made of one :class:`Paint`, over the photo or over what a ``shading`` teacher makes of it."""

    def __init__(self, paint: Paint, *, shading: Callable[[Picture], Picture] | None = None) -> None:
        self._paint = paint if shading is not None else replace(paint, shading_lightness=0.0, shading_chroma=0.0)
        self._shading = shading
        self.key = f"paint 6 {asdict(self._paint)} over {getattr(shading, 'key', 'the photo')}"

    def __call__(self, photo: Picture) -> Picture:
        """``(H, W, 3)`` uint8 RGB -> the same shape."""
        shade = self._shading is not None and not without_texture(photo.astype(np.float32) / 255.0)
        return draw(photo, self._paint, shading=self._shading(photo) if shade and self._shading else None)


class BilateralTeacher:
    """The cartoon filter of tutorials: bilateral filter, adaptive-threshold edges. What a style must be better than."""

    key = "bilateral 1"

    def __call__(self, photo: Picture) -> Picture:
        smooth = photo
        for _ in range(3):
            smooth = np.asarray(cv2.bilateralFilter(smooth, 9, 40, 7), np.uint8)
        gray = cv2.medianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 5)
        edges = cv2.adaptiveThreshold(gray, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 5)
        return np.asarray(cv2.bitwise_and(smooth, smooth, mask=edges), np.uint8)


def draw(photo: Picture, paint: Paint, *, shading: Picture | None = None) -> Picture:
    """Paint ``photo`` (``H, W, 3`` uint8 RGB); ``shading`` of the same shape lends lightness and chroma."""
    bgr = np.ascontiguousarray(photo[..., ::-1], np.float32) / 255.0
    if without_texture(bgr):
        return _to_picture(choose_colours(bgr, replace(paint, tones=0)))
    lab = _lab(bgr)
    if shading is not None:
        shaded = _lab(np.ascontiguousarray(shading[..., ::-1], np.float32) / 255.0)
        lab[..., 0] += paint.shading_lightness * (shaded[..., 0] - lab[..., 0])
        lab[..., 1:] += paint.shading_chroma * (shaded[..., 1:] - lab[..., 1:])
    flat = np.clip(l0_smooth(np.clip(_bgr(lab), 0, 1), strength=paint.flatten), 0, 1)
    # L0 leaves faint steps in skies and walls, which would show as bands
    flat = np.asarray(cv2.bilateralFilter(flat, 13, 0.05, 5.0), np.float32)
    toned = choose_colours(flat, paint)
    painted = _to_picture(ink(toned, find_lines(bgr, paint.ink), paint.ink))
    if not paint.matched_lightness and not paint.matched_chroma:
        return painted
    reference = _to_picture(choose_colours(bgr, replace(paint, tones=0)))
    return match_tones(painted, reference, lightness=paint.matched_lightness, chroma=paint.matched_chroma)


def match_tones(picture: Picture, reference: Picture, *, lightness: float, chroma: float) -> Picture:
    """Move the tones of ``picture`` towards those of ``reference``, both ``(H, W, 3)`` uint8 RGB, by these shares.

    A network with instance norm shifts the brightness and tint of each whole picture in a way that no student with a
    local view can foresee. Lightness is mapped by the monotone curve that equalizes its quantiles, chroma by mean and
    spread, so what is drawn stays and the drift goes.
    """
    ours = _lab(np.ascontiguousarray(picture[..., ::-1], np.float32) / 255.0)
    theirs = _lab(np.ascontiguousarray(reference[..., ::-1], np.float32) / 255.0)
    shares = np.linspace(0.01, 0.99, 33)
    source, target = (np.quantile(lab[::2, ::2, 0], shares) for lab in (ours, theirs))
    # ties (flat areas) keep the middle of what they map to
    source, first = np.unique(np.round(source, 1), return_index=True)
    curve = np.interp(ours[..., 0], np.r_[0.0, source, 100.0], np.r_[0.0, target[first], 100.0])
    # steep pieces of the curve would bring noise back
    gain = np.clip(curve - ours[..., 0], -18.0, 18.0)
    moved = ours.copy()
    moved[..., 0] += lightness * gain
    for channel in (1, 2):
        spread = np.clip(float(theirs[..., channel].std()) / max(float(ours[..., channel].std()), 1.0), 0.6, 1.6)
        centred = (ours[..., channel] - ours[..., channel].mean()) * spread + theirs[..., channel].mean()
        moved[..., channel] += chroma * (centred - ours[..., channel])
    return _to_picture(np.clip(_bgr(moved), 0, 1))


def _to_picture(bgr: Image) -> Picture:
    return np.ascontiguousarray((np.clip(bgr, 0, 1) * 255.0).round().astype(np.uint8)[..., ::-1])


def without_texture(image: Image) -> bool:
    """Whether there is nothing to draw in a picture on [0, 1]: one colour, or gradients. Its colours alone are chosen.

    Flattening would turn a gradient into bands, and a network with instance norm paints noise on an even picture.
    """
    return float(np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean()) < 0.004


def l0_smooth(image: Image, *, strength: float, kappa: float = 2.0, beta_max: float = 1e4) -> Image:
    """Flatten areas and keep edges: L0 gradient minimization of ``(H, W, 3)`` on [0, 1], by half-quadratic splitting.

    Source: Xu, Lu, Xu and Jia 2011, "Image Smoothing via L0 Gradient Minimization", equations 8 to 12, algorithm 1;
    ``strength`` is its lambda. Borders wrap, so the picture is mirrored around itself first.
    """
    height, width = image.shape[:2]
    margin = 8
    rows, columns = (fft.next_fast_len(side + 2 * margin, real=True) for side in (height, width))
    below, right = rows - height - margin, columns - width - margin
    bordered = cv2.copyMakeBorder(image, margin, below, margin, right, cv2.BORDER_REFLECT)
    smooth = np.ascontiguousarray(bordered.transpose(2, 0, 1), np.float32)  # (3, H, W)
    kernel = np.zeros((2, rows, columns), np.float32)
    kernel[0, 0, 0], kernel[0, 0, -1] = -1, 1
    kernel[1, 0, 0], kernel[1, -1, 0] = -1, 1
    gradient_power = (np.abs(fft.rfft2(kernel)) ** 2).sum(0)
    source = fft.rfft2(smooth)
    beta = 2.0 * strength
    while beta < beta_max:
        horizontal, vertical = np.roll(smooth, -1, 2) - smooth, np.roll(smooth, -1, 1) - smooth
        large = (horizontal**2 + vertical**2).sum(0) >= strength / beta
        horizontal *= large
        vertical *= large
        divergence = np.roll(horizontal, 1, 2) - horizontal + np.roll(vertical, 1, 1) - vertical
        spectrum = (source + np.float32(beta) * fft.rfft2(divergence)) / (1.0 + np.float32(beta) * gradient_power)
        smooth = fft.irfft2(spectrum, s=(rows, columns))
        beta *= kappa
    inner = smooth[:, margin : margin + height, margin : margin + width]
    return np.ascontiguousarray(inner.transpose(1, 2, 0), np.float32)


def choose_colours(flat: Image, paint: Paint) -> Image:
    """Tones and colours of a flattened picture, BGR on [0, 1]. Black, white and gray order are kept."""
    lab = _lab(flat)
    light, a, b = lab[..., 0] / 100.0, lab[..., 1], lab[..., 2]
    if paint.tones:
        steps = cv2.GaussianBlur(soft_steps(light, paint.tones), (0, 0), 0.7)
        light = light + paint.tone_share * (steps - light)
    light = np.clip(light, 0, 1)
    middle = 4.0 * light * (1.0 - light)
    light = light + paint.lift * middle + paint.contrast * middle * (2.0 * light - 1.0)
    chroma = np.hypot(a, b)
    # grays are not coloured by saturation, and what is vivid already is not pushed out of gamut
    gain = 1.0 + (paint.saturation - 1.0) * np.exp(-((chroma / 75.0) ** 2)) * np.minimum(1.0, chroma / 4.0)
    shadow, lights = middle * (1.0 - light), middle * light
    a = a * gain + 0.28 * paint.cool_shadows * shadow
    b = b * gain - paint.cool_shadows * shadow + 0.6 * paint.warm_lights * lights
    blue = np.clip(-b / 25.0, 0, 1)
    green = np.clip(-a / 20.0, 0, 1) * np.clip(b / 15.0, 0, 1)
    push = 1.0 + 0.2 * paint.vivid * (blue * np.clip(1.0 - a / 20.0, 0, 1) + green)  # both axes: hue is kept
    a, b = a * push, b * push
    return np.clip(_bgr(np.dstack((np.clip(light, 0, 1) * 100.0, a, b)).astype(np.float32)), 0, 1)


def soft_steps(light: Map, tones: int, *, sharpness: float = 4.0) -> Map:
    """Lightness in ``tones`` soft steps.

    Source: Winnemoeller, Olsen and Gooch 2006, "Real-Time Video Abstraction", equation 4.
    """
    nearest = np.round(light * tones) / tones
    ramp = np.tanh(sharpness * (light - nearest) * tones) / np.tanh(sharpness / 2.0)
    return np.asarray(nearest + ramp / (2.0 * tones), np.float32)


def find_lines(bgr: Image, settings: Ink) -> Map:
    """Where ink goes, 0..1: a thresholded difference of Gaussians of the lightness, with fine texture smoothed before.

    Source: Winnemoeller, Kyprianidis and Olsen 2012, "XDoG", equations 1 and 5, with tau = 1 and k = 1.6.
    """
    soft = bgr
    for _ in range(2):
        soft = np.asarray(cv2.bilateralFilter(soft, 7, 0.1, 3), np.float32)
    light = cv2.GaussianBlur(_lab(soft)[..., 0] / 100.0, (0, 0), 0.5)
    response = cv2.GaussianBlur(light, (0, 0), settings.sigma_px) - cv2.GaussianBlur(
        light, (0, 0), 1.6 * settings.sigma_px
    )
    line = -np.tanh(settings.slope * np.minimum(response - settings.threshold, 0))
    return np.asarray(np.clip(line, 0, 1), np.float32)


def ink(image: Image, line: Map, settings: Ink) -> Image:
    """Draw ``line`` over ``image`` (BGR on [0, 1]) in a dark, slightly cool shade of the colour beside it."""
    beside = cv2.GaussianBlur(image, (0, 0), 2.0)
    shade = beside * settings.darkness * np.array([1.25, 0.95, 0.95], np.float32)
    cover = (line * settings.opacity)[..., None]
    return np.asarray(image * (1.0 - cover) + np.minimum(shade, image) * cover, np.float32)


def _lab(bgr: Image) -> Image:
    return np.asarray(cv2.cvtColor(np.asarray(bgr, np.float32), cv2.COLOR_BGR2LAB), np.float32)


def _bgr(lab: Image) -> Image:
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), np.float32)
