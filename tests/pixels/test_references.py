"""Every compiled kernel equals its readable reference, on every instruction set of this machine."""

from __future__ import annotations

import numpy as np
import pytest
from animevid.pixels import PlanesYUV420, chroma_size
from animevid.pixels.blend import blend, blend_ref
from animevid.pixels.change import plane_difference, plane_difference_ref
from animevid.pixels.deflicker import settle, settle_input, settle_input_ref, settle_ref
from animevid.pixels.guided_upsample import guided_upsample, guided_upsample_ref
from animevid.pixels.packed import pack_yuv420, pack_yuv420_ref, unpack_yuv420, unpack_yuv420_ref
from animevid.pixels.resize import resize_plane, resize_plane_ref
from animevid.pixels.rgb import (
    planes_to_rgb,
    planes_to_rgb_ref,
    planes_to_tensor,
    planes_to_tensor_ref,
    rgb_to_planes,
    rgb_to_planes_ref,
    tensor_to_planes,
    tensor_to_planes_ref,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pixels.frames import frames, furthest, noise, sizes

pytestmark = pytest.mark.usefixtures("instruction_set")

each = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

# One code: another order of sums, or fused multiply-add, may round a value between two codes differently.
ROUNDING = 1
# Floats of about 1, after a few operations in single precision.
FLOAT = 5e-6

orders = st.sampled_from(["RGB", "BGR"])
layouts = st.sampled_from(["NCHW", "NHWC"])
seeds = st.integers(0, 2**32 - 1)


@st.composite
def whole_ratios(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int]]:
    """(source, target) sizes: whole-number ratios, which have their own kernels, and arbitrary ones."""
    target = draw(sizes)
    factor = draw(st.sampled_from([0, 1, 2, 3, 4, 5]))
    return (draw(sizes) if factor == 0 else (target[0] * factor, target[1] * factor)), target


@each
@given(frame=frames(), multiple=st.sampled_from([4, 8, 32]))
def test_pack_equals_its_reference(frame: PlanesYUV420, multiple: int):
    np.testing.assert_allclose(
        pack_yuv420(frame, multiple=multiple), pack_yuv420_ref(frame, multiple=multiple), atol=FLOAT, rtol=0
    )


@each
@given(data=st.data(), both=whole_ratios())
def test_pack_with_resize_equals_its_reference(data: st.DataObject, both: tuple[tuple[int, int], tuple[int, int]]):
    frame = data.draw(frames(st.just(both[0])))
    # OpenCV ignores source samples that are covered by less than a thousandth.
    np.testing.assert_allclose(
        pack_yuv420(frame, size=both[1]), pack_yuv420_ref(frame, size=both[1]), atol=3e-3, rtol=0
    )


@each
@given(frame=frames(), seed=seeds, extra=st.integers(0, 2))
def test_unpack_equals_its_reference(frame: PlanesYUV420, seed: int, extra: int):
    rng = np.random.default_rng(seed)
    shape = 24, -(-frame.height // 4) + extra, -(-frame.width // 4) + extra
    tensor = rng.normal(0, 1, shape).astype(np.float32)
    tensor.flat[::53], tensor.flat[7::53], tensor.flat[11::53] = np.nan, np.inf, -np.inf
    assert furthest(unpack_yuv420(tensor, like=frame), unpack_yuv420_ref(tensor, like=frame)) <= ROUNDING


@each
@given(data=st.data(), both=whole_ratios())
def test_resize_equals_its_reference(data: st.DataObject, both: tuple[tuple[int, int], tuple[int, int]]):
    frame = data.draw(frames(st.just(both[0])))
    one, other = (f(frame.y, both[1]).astype(int) for f in (resize_plane, resize_plane_ref))
    assert np.abs(one - other).max() <= max(ROUNDING, (1 << frame.bit_depth) // 500)


@each
@given(frame=frames(), seed=seeds, strength=st.floats(0, 1))
def test_blend_equals_its_reference_exactly(frame: PlanesYUV420, seed: int, strength: float):
    other = noise(frame.height, frame.width, bit_depth=frame.bit_depth, colour=frame.colour, seed=seed)
    assert furthest(blend(frame, other, strength=strength), blend_ref(frame, other, strength=strength)) == 0


@each
@given(frame=frames(), seed=seeds)
def test_difference_equals_its_reference(frame: PlanesYUV420, seed: int):
    other = noise(frame.height, frame.width, bit_depth=frame.bit_depth, seed=seed)
    one = plane_difference(frame.y, other.y, bit_depth=frame.bit_depth)
    assert one == pytest.approx(plane_difference_ref(frame.y, other.y, bit_depth=frame.bit_depth), rel=1e-12)


@each
@given(frame=frames(), order=orders)
def test_rgb_equals_its_reference(frame: PlanesYUV420, order: str):
    one, other = (f(frame, order=order).astype(int) for f in (planes_to_rgb, planes_to_rgb_ref))
    assert np.abs(one - other).max() <= ROUNDING


@each
@given(frame=frames(), order=orders, seed=seeds)
def test_planes_from_rgb_equal_their_references(frame: PlanesYUV420, order: str, seed: int):
    rgb = np.random.default_rng(seed).integers(0, 256, (frame.height, frame.width, 3)).astype(np.uint8)
    how = {"colour": frame.colour, "bit_depth": frame.bit_depth, "order": order}
    assert furthest(rgb_to_planes(rgb, **how), rgb_to_planes_ref(rgb, **how)) <= ROUNDING


@each
@given(
    frame=frames(),
    order=orders,
    layout=layouts,
    low=st.sampled_from([-1.0, 0.0]),
    high=st.sampled_from([1.0, 255.0]),
)
def test_tensor_equals_its_reference(frame: PlanesYUV420, order: str, layout: str, low: float, high: float):
    how = {"order": order, "layout": layout, "value_range": (low, high), "multiple": 8}
    one, other = planes_to_tensor(frame, **how), planes_to_tensor_ref(frame, **how)
    assert one.flags.c_contiguous
    np.testing.assert_allclose(one, other, atol=FLOAT * (high - low), rtol=0)


@each
@given(frame=frames(), order=orders, layout=layouts, seed=seeds)
def test_planes_from_tensor_equal_their_references(frame: PlanesYUV420, order: str, layout: str, seed: int):
    shape = (3, frame.height + 3, frame.width + 5)
    tensor = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    tensor.flat[::53] = np.nan
    if layout == "NHWC":
        tensor = np.ascontiguousarray(np.moveaxis(tensor, 0, -1))
    how = {"like": frame, "order": order, "layout": layout}
    assert furthest(tensor_to_planes(tensor, **how), tensor_to_planes_ref(tensor, **how)) <= ROUNDING


@each
@given(
    data=st.data(),
    low=sizes,
    seed=seeds,
    radius=st.integers(1, 6),
    epsilon=st.sampled_from([1e-3, 1e-2, 1e-1, float("inf")]),
    sharpen=st.sampled_from([0.0, 0.5, 1.5]),
)
def test_guided_upsample_equals_its_reference(
    data: st.DataObject,
    low: tuple[int, int],
    seed: int,
    radius: int,
    epsilon: float,
    sharpen: float,
):
    ratio = data.draw(st.sampled_from([1, 2, 3, 1.37]))
    full = data.draw(frames(st.just((int(low[0] * ratio), int(low[1] * ratio)))))
    rng = np.random.default_rng(seed)
    low_in = pack_yuv420_ref(full, size=low)
    low_out = (low_in * rng.uniform(0.3, 1.2) + rng.normal(0, 0.2, low_in.shape)).astype(np.float32)
    how = {"size": low, "radius": radius, "epsilon": epsilon, "sharpen": sharpen}
    one, other = guided_upsample(full, low_in, low_out, **how), guided_upsample_ref(full, low_in, low_out, **how)
    # The quotient covariance / (variance + epsilon) amplifies single precision where epsilon is small.
    assert furthest(one, other) <= ROUNDING * (1 << (full.bit_depth - 8))


@each
@given(frame=frames())
def test_a_frame_comes_back_exactly_from_its_packed_tensor(frame: PlanesYUV420):
    assert furthest(unpack_yuv420(pack_yuv420(frame), like=frame), frame) == 0


def test_chroma_of_an_odd_frame_is_rounded_up():
    assert chroma_size((5, 7)) == (3, 4)


@each
@given(
    channels=st.integers(1, 24), height=st.integers(1, 20), width=st.integers(1, 40), seed=seeds,
    spread=st.floats(0.1, 30), still=st.floats(0.5, 6),
)  # fmt: skip
def test_settling_equals_its_reference(channels: int, height: int, width: int, seed: int, spread: float, still: float):
    rng = np.random.default_rng(seed)
    before = rng.uniform(-1, 1, (channels, height, width)).astype(np.float32)
    now = (before + rng.normal(0, spread / 127.5, before.shape)).astype(np.float32)
    earlier = rng.uniform(0, 1, (height, width)).astype(np.float32)
    one, other = now.copy(), now.copy()
    how = {"still_codes": still, "units_per_code": 2 / 255}
    weights, noise = settle_input(before, one, earlier, **how)
    weights_ref, noise_ref = settle_input_ref(before, other, earlier, **how)
    np.testing.assert_allclose(weights, weights_ref, atol=2e-5, rtol=0)
    np.testing.assert_allclose(one, other, atol=1e-4 * spread / 10, rtol=0)
    assert abs(noise - noise_ref) <= 1 / 8  # a change on the boundary of two bins
    one, other = now.copy(), now.copy()
    settle(before, weights, one)
    settle_ref(before, weights, other)
    np.testing.assert_allclose(one, other, atol=FLOAT, rtol=0)
