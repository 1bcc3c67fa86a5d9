"""Image filters of the teachers: edge flow, Kuwahara, lines, sharpening.

Images are float32 ``(H, W, 3)`` RGB on [0, 1]; "lab" means CIE L*a*b* with L on [0, 100] and a, b around [-100, 100];
maps are float32 ``(H, W)``, mostly on [0, 1].

Every operator has a bounded neighbourhood and depends smoothly on its input (no labels, superpixels or statistics of
the whole image), so that a small convolutional student can learn it and video does not flicker.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit, prange

from animevid_trainer.teachers.colour import F, Image, Map, step, to_lab, to_rgb


def blur(x: Image | Map, sigma: float) -> Image | Map:
    """Gaussian blur of ``sigma`` pixels."""
    return cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) if sigma > 0 else x


def box(size: int) -> npt.NDArray[np.uint8]:
    """The square structuring element of ``size`` pixels."""
    return np.ones((size, size), np.uint8)


def slope(light: Map, sigma: float) -> Map:
    """Gradient magnitude per pixel of ``light`` blurred by ``sigma``."""
    i = blur(light, sigma)
    return np.hypot(cv2.Scharr(i, cv2.CV_32F, 1, 0), cv2.Scharr(i, cv2.CV_32F, 0, 1)) / 32


# ---------------------------------------------------------------------------------------------------- flow along edges


def tensor(x: Image | Map, sigma: float, inner: float = 0.6) -> tuple[Map, Map, Map]:
    """Structure tensor (E, F, G) of all channels (Di Zenzo), derivatives at scale ``inner``, smoothed by ``sigma``."""
    i = blur(x, inner)
    gx = cv2.Scharr(i, cv2.CV_32F, 1, 0) / 32
    gy = cv2.Scharr(i, cv2.CV_32F, 0, 1) / 32
    if x.ndim == 2:
        gx, gy = gx[..., None], gy[..., None]
    e, f, g = (blur((p * q).sum(-1), sigma) for p, q in ((gx, gx), (gx, gy), (gy, gy)))
    return e, f, g


def flow(t: tuple[Map, Map, Map]) -> tuple[Map, Map, Map, Map]:
    """Unit tangent (tx, ty) along edges, anisotropy on [0, 1], edge strength (square root of the larger eigenvalue)."""
    e, f, g = t
    d = np.sqrt((e - g) ** 2 + 4 * f * f)
    large, small = (e + g + d) / 2, (e + g - d) / 2
    anisotropy = (large - small) / (large + small + 1e-7)
    phi = 0.5 * np.arctan2(2 * f, e - g)  # direction of the gradient
    strength = np.sqrt(np.maximum(large, 0))
    return (-np.sin(phi)).astype(F), np.cos(phi).astype(F), anisotropy.astype(F), strength.astype(F)


@njit(fastmath=True, cache=True)
def _sample(img: Image, y: float, x: float, c: int) -> float:
    """Bilinear sample of channel ``c`` of ``(H, W, C)``, clamped at the border."""
    height, width = img.shape[:2]
    x = min(max(x, 0.0), width - 1.001)
    y = min(max(y, 0.0), height - 1.001)
    x0, y0 = int(x), int(y)
    fx, fy = x - x0, y - y0
    top = img[y0, x0, c] * (1 - fx) + img[y0, x0 + 1, c] * fx
    return top * (1 - fy) + (img[y0 + 1, x0, c] * (1 - fx) + img[y0 + 1, x0 + 1, c] * fx) * fy


@njit(fastmath=True, cache=True, parallel=True)
def _along(img: Image, tx: Map, ty: Map, sigma: float) -> Image:
    height, width, channels = img.shape
    out = np.empty_like(img)
    n = int(np.ceil(2.2 * sigma))
    for y in prange(height):
        acc = np.zeros(channels, np.float32)
        for x in range(width):
            for c in range(channels):
                acc[c] = img[y, x, c]
            total = 1.0
            for sign in (-1.0, 1.0):
                px, py = float(x), float(y)
                dx, dy = tx[y, x] * sign, ty[y, x] * sign
                for k in range(1, n + 1):
                    px += dx
                    py += dy
                    xi, yi = int(px + 0.5), int(py + 0.5)
                    if xi < 0 or yi < 0 or xi >= width or yi >= height:
                        break
                    w = np.exp(-0.5 * (k / sigma) ** 2)
                    for c in range(channels):
                        acc[c] += w * _sample(img, py, px, c)
                    total += w
                    ex, ey = tx[yi, xi], ty[yi, xi]
                    if ex * dx + ey * dy < 0:
                        ex, ey = -ex, -ey
                    dx, dy = ex, ey
            for c in range(channels):
                out[y, x, c] = acc[c] / total
    return out


@njit(fastmath=True, cache=True, parallel=True)
def _across(light: Image, tx: Map, ty: Map, inner: float, outer: float, tau: float) -> Map:
    height, width = light.shape[:2]
    out = np.empty((height, width), np.float32)
    n = int(np.ceil(2.2 * outer))
    for y in prange(height):
        for x in range(width):
            nx, ny = ty[y, x], -tx[y, x]
            a = b = wa = wb = 0.0
            for i in range(-n, n + 1):
                v = _sample(light, y + ny * i, x + nx * i, 0)
                e1 = np.exp(-0.5 * (i / inner) ** 2)
                e2 = np.exp(-0.5 * (i / outer) ** 2)
                a += e1 * v
                wa += e1
                b += e2 * v
                wb += e2
            out[y, x] = a / wa - tau * (b / wb)
    return out


def along(x: Image | Map, tx: Map, ty: Map, sigma: float) -> Image | Map:
    """Gaussian blur along the flow line through each pixel."""
    out = _along(np.ascontiguousarray(x[..., None] if x.ndim == 2 else x, F), tx, ty, sigma)
    return out[..., 0] if x.ndim == 2 else out


def flow_dog(light: Map, tx: Map, ty: Map, *, inner: float, ratio: float = 1.6, length: float = 3.0) -> Map:
    """Flow-guided difference of Gaussians (Kang 2007): negative on dark lines and on the dark side of edges.

    ``light`` is on [0, 1]; ``inner`` is the line's sigma in pixels, ``length`` the smoothing along the flow.
    """
    return along(_across(np.ascontiguousarray(light[..., None], F), tx, ty, inner, inner * ratio, 1.0), tx, ty, length)


def thin(p: Map, *, reach: float = 1.5, keep: float = 0.25, orient: float = 2.0) -> Map:
    """Soft non-maximum suppression of an edge map: attenuates pixels below their neighbours across the ridge.

    ``reach``: distance of the neighbours in pixels; ``keep``: difference, as a share of the value, that gives 0.
    """
    q = blur(p, 0.7)
    tx, ty, _, _ = flow(tensor(q, orient))
    height, width = p.shape
    xs, ys = np.meshgrid(np.arange(width, dtype=F), np.arange(height, dtype=F))
    sides = [
        cv2.remap(q, xs + s * ty, ys - s * tx, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for s in (-reach, reach)
    ]
    drop = np.maximum(np.maximum(*sides) - q, 0) / (q + 1e-3)
    return p * (1 - step(drop, 0.0, keep))


def longer(p: Map, tx: Map, ty: Map, *, length: float = 8.0, low: float = 0.08, high: float = 0.28) -> Map:
    """Soft hysteresis by length: keeps lines where the mean of ``p`` along the flow is high.

    A gap between strong segments is filled up to that mean; a short isolated segment falls below ``low`` and vanishes.
    """
    fill = along(p, tx, ty, length)
    mean = along(cv2.dilate(p, box(3)), tx, ty, length)
    return np.maximum(p, fill) * step(mean, low, high)


# ------------------------------------------------------------------------------------------------------------- filters


@njit(fastmath=True, cache=True, parallel=True)
def _kuwahara(img: Image, tx: Map, ty: Map, anisotropy: Map, radius: Map, hard: float, floor: float) -> Image:
    height, width, _ = img.shape
    out = np.empty_like(img)
    zeta = 0.33
    eta = (zeta + np.cos(np.pi / 8)) / (np.sin(np.pi / 8) ** 2)
    r2 = np.sqrt(0.5)
    for y in prange(height):
        m = np.empty((8, 4), np.float32)
        s = np.empty((8, 3), np.float32)
        w = np.empty(8, np.float32)
        for x in range(width):
            r = radius[y, x]
            if r < 0.75:
                for c in range(3):
                    out[y, x, c] = img[y, x, c]
                continue
            an = min(anisotropy[y, x], 1.0)
            a = r * min(1.0 + an, 2.0)  # the ellipse is long along the flow and short across it
            b = r / (1.0 + an)
            cp, sp = tx[y, x], ty[y, x]
            m00, m01 = 0.5 / a * cp, 0.5 / a * sp
            m10, m11 = -0.5 / b * sp, 0.5 / b * cp
            mx = int(np.ceil(np.sqrt(a * a * cp * cp + b * b * sp * sp)))
            my = int(np.ceil(np.sqrt(a * a * sp * sp + b * b * cp * cp)))
            m[:] = 0
            s[:] = 0
            for j in range(-my, my + 1):
                yy = y + j
                if yy < 0:
                    yy = -yy
                if yy >= height:
                    yy = 2 * height - 2 - yy
                for i in range(-mx, mx + 1):
                    vx = m00 * i + m01 * j
                    vy = m10 * i + m11 * j
                    if vx * vx + vy * vy > 0.25:
                        continue
                    xx = x + i
                    if xx < 0:
                        xx = -xx
                    if xx >= width:
                        xx = 2 * width - 2 - xx
                    vx *= 2.0
                    vy *= 2.0
                    vxx = zeta - eta * vx * vx
                    vyy = zeta - eta * vy * vy
                    w[0] = max(0.0, vy + vxx) ** 2
                    w[2] = max(0.0, -vx + vyy) ** 2
                    w[4] = max(0.0, -vy + vxx) ** 2
                    w[6] = max(0.0, vx + vyy) ** 2
                    ux = r2 * (vx - vy)
                    uy = r2 * (vx + vy)
                    vxx = zeta - eta * ux * ux
                    vyy = zeta - eta * uy * uy
                    w[1] = max(0.0, uy + vxx) ** 2
                    w[3] = max(0.0, -ux + vyy) ** 2
                    w[5] = max(0.0, -uy + vxx) ** 2
                    w[7] = max(0.0, ux + vyy) ** 2
                    total = 1e-9
                    for k in range(8):
                        total += w[k]
                    weight = np.exp(-3.125 * (vx * vx + vy * vy)) / total
                    c0, c1, c2 = img[yy, xx, 0], img[yy, xx, 1], img[yy, xx, 2]
                    for k in range(8):
                        wk = w[k] * weight
                        if wk > 0:
                            m[k, 0] += c0 * wk
                            m[k, 1] += c1 * wk
                            m[k, 2] += c2 * wk
                            m[k, 3] += wk
                            s[k, 0] += c0 * c0 * wk
                            s[k, 1] += c1 * c1 * wk
                            s[k, 2] += c2 * c2 * wk
            o0, o1, o2, ow = 0.0, 0.0, 0.0, 0.0
            for k in range(8):
                n = m[k, 3]
                if n > 0:
                    u0, u1, u2 = m[k, 0] / n, m[k, 1] / n, m[k, 2] / n
                    var = abs(s[k, 0] / n - u0 * u0) + abs(s[k, 1] / n - u1 * u1) + abs(s[k, 2] / n - u2 * u2)
                    wt = 1.0 / (1.0 + (hard * np.sqrt(var + floor)) ** 8)
                    o0 += wt * u0
                    o1 += wt * u1
                    o2 += wt * u2
                    ow += wt
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = o0 / ow, o1 / ow, o2 / ow
    return out


def kuwahara(img: Image, radius: float | Map, *, hard: float, sigma: float = 2.0) -> Image:
    """Anisotropic Kuwahara filter with eight polynomial sectors (Kyprianidis et al. 2009, 2010).

    ``radius`` in pixels may be a map; ``hard`` (50..100) is the weight of the sectors with the lowest variance.
    """
    tx, ty, anisotropy, _ = flow(tensor(img, sigma))
    r = np.full(img.shape[:2], radius, F) if np.isscalar(radius) else np.ascontiguousarray(radius, F)
    return _kuwahara(np.ascontiguousarray(img, F), tx, ty, anisotropy, r, hard, 1e-5)


def crisp(img: Image, amount: float, sigma: float = 0.9, limit: float = 12.0) -> Image:
    """Sharpen lightness by an unsharp mask (at most ``limit``), clamped to the 3x3 neighbours' range: no halos."""
    lab = to_lab(img)
    light = lab[..., 0]
    low, high = cv2.erode(light, box(3)), cv2.dilate(light, box(3))
    lab[..., 0] = np.clip(light + np.clip(amount * (light - blur(light, sigma)), -limit, limit), low, high)
    return to_rgb(lab)


def antialias(img: Image, sigma: float) -> Image:
    """Average along the flow where it has one clear direction, which smooths jagged and frayed edges."""
    tx, ty, anisotropy, strength = flow(tensor(img, 1.2))
    k = (step(anisotropy, 0.3, 0.7) * step(strength, 0.01, 0.05))[..., None]
    return img + k * (along(img, tx, ty, sigma) - img)


def bloom(img: Image, threshold: float, amount: float, sigma: float, tint: tuple[float, float, float]) -> Image:
    """Add a glow around areas brighter than ``threshold`` (screen blend)."""
    y = np.maximum(img - threshold, 0) / (1 - threshold)
    y = blur(y, sigma) * 0.6 + blur(y, sigma * 3) * 0.4
    return 1 - (1 - img) * (1 - amount * y * np.array(tint, F))


def guided(guide: Map, src: Map, radius: int, eps: float) -> Map:
    """Guided filter (He et al. 2010): smooth ``src`` within ``radius``, but not across edges of ``guide``."""
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(x: Map) -> Map:
        return cv2.boxFilter(x, -1, size, borderType=cv2.BORDER_REFLECT_101)

    mg, ms = mean(guide), mean(src)
    a = (mean(guide * src) - mg * ms) / (mean(guide * guide) - mg * mg + eps)
    return mean(a) * guide + mean(ms - a * mg)
