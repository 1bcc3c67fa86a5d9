"""Frames for these tests: drawn by hypothesis, or taken from real clips."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from animevid.pixels import Colour, ColourRange, Matrix, Plane, PlanesYUV420, chroma_size
from hypothesis import strategies as st

MATRICES = [Matrix.BT709, Matrix.UNSPECIFIED, Matrix.BT470BG, Matrix.BT601, Matrix.BT2020]


def noise(
    height: int, width: int, *, bit_depth: int = 8, colour: Colour | None = None, seed: int = 0, padding: int = 0
) -> PlanesYUV420:
    """Uniform noise; rows are ``padding`` samples longer than the frame, as in decoders' buffers."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bit_depth == 8 else np.uint16

    def plane(size: tuple[int, int]) -> Plane:
        rows = rng.integers(0, 1 << bit_depth, (size[0], size[1] + padding)).astype(dtype)
        rows.flags.writeable = False
        return rows[:, : size[1]]

    chroma = chroma_size((height, width))
    return PlanesYUV420(plane((height, width)), plane(chroma), plane(chroma), bit_depth, colour or Colour())


def grey(height: int, width: int, y: int, *, u: int = 128, v: int = 128, colour: Colour | None = None) -> PlanesYUV420:
    """One 8-bit colour everywhere."""
    chroma = chroma_size((height, width))
    return PlanesYUV420(
        np.full((height, width), y, np.uint8),
        np.full(chroma, u, np.uint8),
        np.full(chroma, v, np.uint8),
        8,
        colour or Colour(),
    )


sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


@st.composite
def frames(draw: st.DrawFn, size: st.SearchStrategy[tuple[int, int]] = sizes) -> PlanesYUV420:
    """Any size, stride, depth, range and matrix."""
    height, width = draw(size)
    return noise(
        height,
        width,
        bit_depth=draw(st.sampled_from([8, 10, 12])),
        colour=Colour(draw(st.sampled_from(MATRICES)), draw(st.sampled_from(list(ColourRange)))),
        seed=draw(st.integers(0, 2**32 - 1)),
        padding=draw(st.integers(0, 9)),
    )


def decoded(path: Path, index: int) -> tuple[PlanesYUV420, av.VideoFrame]:
    """Frame ``index`` of a yuv420p clip as views into the decoder's own buffers, and the frame."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == index:
                return views(frame), frame
    raise AssertionError(f"{path.name} has no frame {index}")


def views(frame: av.VideoFrame) -> PlanesYUV420:
    """Views of the planes of a yuv420p or yuv420p10le frame."""
    deep = "10" in frame.format.name
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
        planes.append(rows[:, : plane.width])
    colour = Colour(Matrix.UNSPECIFIED, ColourRange.FULL if "j" in frame.format.name else ColourRange.UNSPECIFIED)
    return PlanesYUV420(*planes, 10 if deep else 8, colour, owner=frame)


def planes_of(frame: PlanesYUV420) -> list[Plane]:
    return [frame.y, frame.u, frame.v]


def furthest(one: PlanesYUV420, other: PlanesYUV420) -> int:
    """The largest difference between two frames in codes; asserts that everything else is equal."""
    assert (one.bit_depth, one.colour) == (other.bit_depth, other.colour)
    result = 0
    for a, b in zip(planes_of(one), planes_of(other), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        result = max(result, int(np.abs(a.astype(int) - b).max()))
    return result
