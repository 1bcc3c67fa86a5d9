"""Frames for the sections: variations of the demo clip, and noise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

import animevid
from animevid.io import open_source
from animevid.pixels.colour import Colour, ColourRange
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import Size, chroma_size, resize_planes

DEMO_CLIP = Path(animevid.__file__).parent / "demo" / "demo.mp4"
_KEPT = 12
_NOISE_CODES = 6
_GRAIN_CODES = 1.2


def noise_frame(size: Size, *, bit_depth: int = 8, seed: int = 0) -> PlanesYUV420:
    """Uniform noise."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    y, u, v = (rng.integers(0, 1 << bit_depth, side, dtype) for side in (size, chroma_size(size), chroma_size(size)))
    return PlanesYUV420(y, u, v, bit_depth, Colour(range=ColourRange.LIMITED))


@cache
def demo_frames(size: Size) -> tuple[PlanesYUV420, ...]:
    """A few frames of the demo clip, spread over it, at ``size``."""
    with open_source(DEMO_CLIP) as source:
        every = max((source.info.frame_count or _KEPT) // _KEPT, 1)
        kept = [frame.planes for index, frame in enumerate(source) if index % every == 0]
    return tuple(resize_planes(planes, size) for planes in kept[:_KEPT])


def varied_frames(count: int, size: Size) -> Iterator[PlanesYUV420]:
    """``count`` frames, all different: scenes of the demo clip, shifted, mirrored, dimmed and with noise.

    Any two differ by far more than half precision, so that swapped frames are detected.
    """
    scenes = demo_frames(size)
    return (_varied(scenes[index % len(scenes)], index, len(scenes)) for index in range(count))


def noisy_frames(count: int, size: Size) -> Iterator[PlanesYUV420]:
    """A still scene of the demo clip, with different camera noise in each frame."""
    scene = demo_frames(size)[0]
    for index in range(count):
        rng = np.random.default_rng(index)
        y, u, v = (
            np.clip(plane + np.rint(rng.normal(0, _GRAIN_CODES, plane.shape)), 0, 255).astype(np.uint8)
            for plane in (scene.y, scene.u, scene.v)
        )
        yield scene.with_planes(y, u, v)


def _varied(scene: PlanesYUV420, index: int, scenes: int) -> PlanesYUV420:
    rng = np.random.default_rng(index)
    down, across = (2 * int(rng.integers(side // 2 or 1)) for side in scene.y.shape)
    mirror = slice(None, None, -1 if index // scenes % 2 else 1)
    gain = 0.6 + 0.4 * float(rng.random())

    def plane(samples: Plane, share: int, middle: int) -> Plane:
        moved = np.roll(samples[:, mirror], (down // share, across // share), (0, 1))
        noisy = (moved.astype(np.float32) - middle) * gain + middle
        noisy += rng.integers(-_NOISE_CODES, _NOISE_CODES + 1, moved.shape)
        codes: Plane = np.clip(noisy, 0, 255).astype(np.uint8)
        return codes

    return scene.with_planes(plane(scene.y, 1, 16), plane(scene.u, 2, 128), plane(scene.v, 2, 128))
