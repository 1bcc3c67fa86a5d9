"""Planes are views if possible, otherwise copies, and survive the way through an encoder's frame."""

from __future__ import annotations

import av
import numpy as np
import pytest
from animevid.io.planes_io import PlaneReader, PlaneWriter, flatten_alpha, is_opaque
from animevid.pixels.colour import Colour, ColourRange, Matrix
from animevid.pixels.planes import PlanesYUV420
from hypothesis import given, settings
from hypothesis import strategies as st
from passing import corner_colours

BT709 = Colour(Matrix.BT709, ColourRange.LIMITED, 1, 1)


def _planes(height, width, *, bit_depth=8, alpha=False, seed=0):
    random = np.random.default_rng(seed)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    chroma = (height + 1) // 2, (width + 1) // 2
    y, a = (random.integers(0, 1 << bit_depth, (height, width), dtype=dtype) for _ in range(2))
    u, v = (random.integers(0, 1 << bit_depth, chroma, dtype=dtype) for _ in range(2))
    return PlanesYUV420(y, u, v, bit_depth, BT709, a if alpha else None)


@settings(deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    bit_depth=st.sampled_from([8, 10]),
    alpha=st.booleans(),
)
def test_planes_survive_the_way_to_a_frame_and_back(height, width, bit_depth, alpha):
    planes = _planes(height, width, bit_depth=bit_depth, alpha=alpha)
    name = ("yuva420p" if alpha else "yuv420p") + ("10le" if bit_depth == 10 else "")
    frame = PlaneWriter(width=width, height=height, pixel_format=name, colour=BT709).write(planes)
    read = PlaneReader().read(frame)
    for plane in ("y", "u", "v", "alpha"):
        one, other = getattr(read, plane), getattr(planes, plane)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    assert read.colour == BT709


@pytest.mark.parametrize("name", ["yuv420p", "yuvj420p", "yuv420p10le"])
def test_planar_frames_are_seen_without_a_copy(name):
    frame = av.VideoFrame(64, 48, name)
    planes = PlaneReader().read(frame)
    address = planes.y.__array_interface__["data"][0]
    assert address == frame.planes[0].buffer_ptr
    assert planes.owner is frame


def test_decoded_planes_cannot_be_written_to():
    planes = PlaneReader().read(av.VideoFrame(64, 48, "yuv420p"))
    with pytest.raises(ValueError, match="read-only"):
        planes.y[0, 0] = 1


def test_planes_outlive_the_source(make_clip):
    from animevid.io import VideoSource

    with VideoSource(make_clip("even.mp4")) as source:
        planes = next(iter(source)).planes
        before = planes.y.copy()
    np.testing.assert_array_equal(planes.y, before)


def test_nv12_is_taken_apart(make_clip):
    planes = _planes(48, 64)
    frame = PlaneWriter(width=64, height=48, pixel_format="yuv420p", colour=BT709).write(planes)
    read = PlaneReader().read(frame.reformat(format="nv12", src_color_range=1, dst_color_range=1))
    np.testing.assert_array_equal(read.y, planes.y)
    np.testing.assert_array_equal(read.u, planes.u)
    np.testing.assert_array_equal(read.v, planes.v)


def test_a_recycled_frame_does_not_change_what_an_encoder_still_holds():
    writer = PlaneWriter(width=64, height=48, pixel_format="yuv420p", colour=BT709)
    first, second = _planes(48, 64, seed=1), _planes(48, 64, seed=2)
    graph = av.filter.Graph()  # keeps a reference to the frame, like an encoder with frame threads
    buffer = graph.add_buffer(width=64, height=48, format=av.VideoFormat("yuv420p"), time_base="1/25")
    sink = graph.add("buffersink")
    buffer.link_to(sink)
    graph.configure()
    graph.push(writer.write(first))
    writer.write(second)
    held = PlaneReader().read(graph.pull())
    np.testing.assert_array_equal(held.y, first.y)


def test_a_frame_without_other_references_is_recycled():
    writer = PlaneWriter(width=64, height=48, pixel_format="yuv420p", colour=BT709)
    addresses = {writer.write(_planes(48, 64, seed=seed)).planes[0].buffer_ptr for seed in range(5)}
    assert len(addresses) == 1


def test_a_change_of_range_changes_the_numbers():
    """Limited-range black and white become 0 and 255 in full range."""
    luma = np.full((16, 16), 16, np.uint8)
    luma[8:] = 235
    neutral = np.full((8, 8), 128, np.uint8)
    planes = PlanesYUV420(luma, neutral, neutral, 8, BT709)
    full = Colour(Matrix.BT709, ColourRange.FULL, 1, 1)
    written = PlaneReader().read(PlaneWriter(width=16, height=16, pixel_format="yuv420p", colour=full).write(planes))
    assert (int(written.y[0, 0]), int(written.y[-1, -1])) == (0, 255)


@settings(deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), bit_depth=st.sampled_from([8, 10]))
def test_flattening_mixes_towards_black_pixel_by_pixel(height, width, bit_depth):
    planes = _planes(height, width, bit_depth=bit_depth, alpha=True, seed=height * 13 + width)
    flat = flatten_alpha(planes)
    assert flat.alpha is None
    top, black = (1 << bit_depth) - 1, 16 << (bit_depth - 8)
    for row in range(height):
        for column in range(width):
            alpha = int(planes.alpha[row, column]) / top
            expected = black + alpha * (int(planes.y[row, column]) - black)
            assert abs(int(flat.y[row, column]) - expected) <= 0.51


def test_an_opaque_frame_is_flattened_for_nothing():
    planes = _planes(8, 8, alpha=True)
    opaque = PlanesYUV420(planes.y, planes.u, planes.v, 8, BT709, np.full((8, 8), 255, np.uint8))
    assert is_opaque(opaque)
    assert flatten_alpha(opaque).y is opaque.y


def test_the_corners_of_the_test_card_are_told_apart(make_clip):
    from passing import read_frames

    assert corner_colours(read_frames(make_clip("even.mp4"))[0].planes) == ("red", "green", "blue", "grey")


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le"])
def test_a_frame_of_odd_size_has_its_last_column_and_row_twice_in_an_even_frame(name):
    depth = 10 if name.endswith("10le") else 8
    writer = PlaneWriter(width=8, height=6, pixel_format=name, colour=BT709)
    writer.write(_planes(6, 8, bit_depth=depth, seed=1))  # the frame's earlier content
    odd = _planes(5, 7, bit_depth=depth)
    read = PlaneReader().read(writer.write(odd))
    np.testing.assert_array_equal(read.y, np.pad(odd.y, ((0, 1), (0, 1)), mode="edge"))
    np.testing.assert_array_equal(read.u, odd.u)
