"""The CUDA kernels, run on the CPU from their own sources, against the readable references of ``animevid.pixels``.

This tests arithmetic, indexing and barriers, but not execution on a GPU (docs/gpu.md).
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from animevid.gpu import kernels
from animevid.pixels import Colour, ColourRange, Matrix, PlanesYUV420, padded_size
from animevid.pixels.blend import blend_ref
from animevid.pixels.change import NoiseFloor, has_changed
from animevid.pixels.guided_upsample import guided_upsample_ref
from animevid.pixels.packed import pack_yuv420_ref, unpack_yuv420_ref
from animevid.pixels.rgb import planes_to_tensor_ref, tensor_to_planes_ref
from gpu.cpu_kernels import CpuKernels, HeldFrame
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pixels.frames import decoded, frames, furthest, noise, sizes

#: Tolerance of float32 tensors in [-1, 1], since sums have another order; half precision adds its rounding.
FLOAT_TOLERANCE, HALF_TOLERANCE = 3e-6, 6e-4
short = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
formats = st.sampled_from(["yuv420p", "nv12"])
pitches = st.sampled_from([2, 16, 256])


def _tensor(shape: tuple[int, ...], *, half: bool) -> np.ndarray:
    # NaN: reveals values that a kernel does not write.
    return np.full(shape, np.nan, np.float16 if half else np.float32)


def _tolerance(half: bool) -> float:
    return HALF_TOLERANCE if half else FLOAT_TOLERANCE


@pytest.mark.parametrize(
    ("kernel", "struct"),
    [
        ("animevid_pack_f16", kernels.PackParams),
        ("animevid_unpack_f32", kernels.UnpackParams),
        ("animevid_to_rgb_f16", kernels.ToRgbParams),
        ("animevid_from_rgb_f32", kernels.FromRgbParams),
        ("animevid_norm_statistics_f16", kernels.NormParams),
        ("animevid_upsample_lines", kernels.UpsampleParams),
        ("animevid_blend", kernels.BlendParams),
        ("animevid_compare", kernels.CompareParams),
    ],
)
def test_the_structs_are_as_long_in_python_as_in_cuda(cpu_kernels: CpuKernels, kernel, struct):
    assert cpu_kernels.params_bytes(kernel) == ctypes.sizeof(struct)


@short
@given(frame=frames(), target=st.none() | sizes, half=st.booleans(), pixel_format=formats, pitch=pitches)
def test_packing_is_what_the_reference_packs(cpu_kernels, frame, target, half, pixel_format, pitch):
    size = target or (frame.height, frame.width)
    padded = padded_size(size)
    tensor = _tensor((24, padded[0] // 4, padded[1] // 4), half=half)
    held = HeldFrame.holding(frame, pixel_format=pixel_format, pitch_multiple=pitch)
    cpu_kernels.run(kernels.pack(held.surface, tensor.ctypes.data, size=size, padded=padded, half=half))
    np.testing.assert_allclose(tensor, pack_yuv420_ref(frame, size=size), atol=2 * _tolerance(half))
    assert furthest(held.planes(), frame) == 0


@short
@given(frame=frames(), seed=st.integers(0, 99), half=st.booleans(), pixel_format=formats, pitch=pitches)
def test_unpacking_is_what_the_reference_unpacks(cpu_kernels, frame, seed, half, pixel_format, pitch):
    padded = padded_size((frame.height, frame.width))
    shape = (24, padded[0] // 4, padded[1] // 4)
    # Beyond [-1, 1], to test clamping, too.
    tensor = np.random.default_rng(seed).uniform(-1.2, 1.2, shape).astype(np.float16 if half else np.float32)
    tensor[0, 0, 0] = np.nan
    out = HeldFrame(frame, pixel_format=pixel_format, pitch_multiple=pitch)
    cpu_kernels.run(kernels.unpack(tensor.ctypes.data, out.surface, padded=padded, half=half))
    # One code if a value lies between two codes.
    assert furthest(out.planes(), unpack_yuv420_ref(tensor.astype(np.float32), like=frame)) <= 1


@short
@given(
    frame=frames(),
    target=st.none() | sizes,
    half=st.booleans(),
    nhwc=st.booleans(),
    bgr=st.booleans(),
    pixel_format=formats,
    value_range=st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)]),
)
def test_an_rgb_tensor_equals_the_reference(cpu_kernels, frame, target, half, nhwc, bgr, pixel_format, value_range):
    size = target or (frame.height, frame.width)
    padded = padded_size(size, multiple=4)
    tensor = _tensor((*padded, 3) if nhwc else (3, *padded), half=half)
    held = HeldFrame.holding(frame, pixel_format=pixel_format, pitch_multiple=2)
    options = {"nhwc": nhwc, "bgr": bgr, "value_range": value_range}
    cpu_kernels.run(kernels.to_rgb(held.surface, tensor.ctypes.data, size=size, padded=padded, half=half, **options))
    expected = planes_to_tensor_ref(
        frame,
        layout="NHWC" if nhwc else "NCHW",
        order="BGR" if bgr else "RGB",
        value_range=value_range,
        size=size,
        multiple=4,
    )
    unit = (value_range[1] - value_range[0]) / 2
    difference = np.abs(tensor.astype(np.float32) - expected) / unit
    assert not np.isnan(difference).any()
    # A value between two codes may be rounded to either: at most one 8-bit code, and rarely.
    assert difference.max() <= 0.02
    assert np.median(difference) <= 2 * _tolerance(half)
    if target is None:
        assert difference.max() <= 4 * _tolerance(half)


@short
@given(
    frame=frames(),
    seed=st.integers(0, 99),
    half=st.booleans(),
    nhwc=st.booleans(),
    bgr=st.booleans(),
    pixel_format=formats,
)
def test_planes_from_rgb_are_what_the_reference_makes(cpu_kernels, frame, seed, half, nhwc, bgr, pixel_format):
    padded = padded_size((frame.height, frame.width), multiple=4)
    shape = (*padded, 3) if nhwc else (3, *padded)
    tensor = np.random.default_rng(seed).uniform(-1.2, 1.2, shape).astype(np.float16 if half else np.float32)
    out = HeldFrame(frame, pixel_format=pixel_format, pitch_multiple=2)
    cpu_kernels.run(kernels.from_rgb(tensor.ctypes.data, out.surface, padded=padded, half=half, nhwc=nhwc, bgr=bgr))
    expected = tensor_to_planes_ref(
        tensor.astype(np.float32), like=frame, layout="NHWC" if nhwc else "NCHW", order="BGR" if bgr else "RGB"
    )
    assert furthest(replace(out.planes(), colour=expected.colour), expected) <= 1


def _norm_reference(x: np.ndarray, scale, shift, *, layer: bool, epsilon: float, slope: float) -> np.ndarray:
    """In float64, from the definition (Ba et al. 2016; Ulyanov et al. 2016)."""
    wide = x.astype(np.float64)
    axes = (1, 2, 3) if layer else (2, 3)
    normal = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + epsilon)
    y = normal * scale[:, None, None] + shift[:, None, None]
    return np.where(y >= 0, y, y * slope)


def _run_norm(cpu_kernels, x: np.ndarray, *, layer: bool, slope: float, seed: int = 0, epsilon: float = 1e-5):
    channels = x.shape[1]
    rng = np.random.default_rng(1)
    scale, shift = (rng.normal(size=channels).astype(np.float32) for _ in "12")
    groups = x.shape[0] * (1 if layer else channels)
    partials = np.full((groups, 256, 3), np.nan, np.float32)
    out = np.full_like(x, np.nan)
    launches = kernels.norm(
        x.ctypes.data, out.ctypes.data, shape=x.shape, layer=layer, partials=partials.ctypes.data,
        scale=scale.ctypes.data, shift=shift.ctypes.data, half=x.dtype == np.float16, epsilon=epsilon, slope=slope,
    )  # fmt: skip
    cpu_kernels.run(launches, seed=seed)
    return out, _norm_reference(x, scale, shift, layer=layer, epsilon=epsilon, slope=slope)


@pytest.mark.parametrize("layer", [True, False], ids=["layer", "instance"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 4, 16, 16), (1, 5, 1, 333), (2, 1, 181, 183)])
def test_norms_are_what_their_definition_says(cpu_kernels, layer, shape):
    x = np.random.default_rng(0).normal(3.0, 2.0, shape).astype(np.float32)
    got, expected = _run_norm(cpu_kernels, x, layer=layer, slope=0.2)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_a_norm_far_from_zero_does_not_cancel(cpu_kernels):
    # Computed from the mean of squares in float32, a deviation of 1 around 3000 would be lost.
    x = np.random.default_rng(0).normal(3000.0, 1.0, (1, 2, 40, 40)).astype(np.float32)
    got, expected = _run_norm(cpu_kernels, x, layer=False, slope=1.0)
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_half_precision_norms_take_their_statistics_in_float32(cpu_kernels):
    # The squares of these overflow half precision, and so does their sum.
    x = np.random.default_rng(0).normal(0.0, 900.0, (1, 4, 33, 35)).astype(np.float16)
    got, expected = _run_norm(cpu_kernels, x, layer=True, slope=0.2)
    np.testing.assert_allclose(got, expected, atol=4e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_threads_run_changes_nothing(cpu_kernels, seed):
    x = np.random.default_rng(0).normal(size=(1, 3, 21, 23)).astype(np.float32)
    first, _ = _run_norm(cpu_kernels, x, layer=True, slope=0.2, seed=0)
    other, _ = _run_norm(cpu_kernels, x, layer=True, slope=0.2, seed=1000 * seed + 7)
    np.testing.assert_array_equal(first, other)


@short
@given(
    frame=frames(st.tuples(st.integers(2, 70), st.integers(2, 70))),
    share=st.tuples(st.floats(0.2, 1), st.floats(0.2, 1)),
    seed=st.integers(0, 99),
    radius=st.integers(1, 4),
    sharpen=st.sampled_from([0.0, 0.5]),
    half=st.booleans(),
    pixel_format=formats,
)
def test_upsampling_equals_the_reference(cpu_kernels, frame, share, seed, radius, sharpen, half, pixel_format):
    size = tuple(max(1, round(side * part)) for side, part in zip((frame.height, frame.width), share, strict=True))
    padded = padded_size(size)
    rng = np.random.default_rng(seed)
    dtype = np.float16 if half else np.float32
    low_in, low_out = (rng.uniform(-1, 1, (24, padded[0] // 4, padded[1] // 4)).astype(dtype) for _ in "12")
    scratch = np.full(kernels.upsample_scratch_bytes(size), 0xFF, np.uint8)  # NaN where nothing is written
    full = HeldFrame.holding(frame, pixel_format=pixel_format, pitch_multiple=2)
    result = HeldFrame(frame, pixel_format=pixel_format, pitch_multiple=2)
    launches = kernels.guided_upsample(
        full.surface, result.surface, low_in=low_in.ctypes.data, low_out=low_out.ctypes.data, size=size, padded=padded,
        scratch=scratch.ctypes.data, half=half, radius=radius, sharpen=sharpen,
    )  # fmt: skip
    cpu_kernels.run(launches)
    expected = guided_upsample_ref(
        frame, low_in.astype(np.float32), low_out.astype(np.float32), size=size,
        radius=radius, sharpen=sharpen,
    )  # fmt: skip
    # One 8-bit code if the order of a sum matters; deep frames have finer codes.
    assert furthest(result.planes(), expected) <= 1 << (frame.bit_depth - 8)


@short
@given(size=sizes, depth=st.sampled_from([8, 10]), strength=st.floats(0.01, 0.99), pixel_format=formats)
def test_blending_is_what_the_reference_blends_to_the_code(cpu_kernels, size, depth, strength, pixel_format):
    one, other = (noise(*size, bit_depth=depth, seed=seed) for seed in (1, 2))
    first, second = (HeldFrame.holding(frame, pixel_format=pixel_format, pitch_multiple=2) for frame in (one, other))
    cpu_kernels.run(kernels.blend(first.surface, second.surface, strength=strength))
    assert furthest(second.planes(), blend_ref(one, other, strength=strength)) == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=sizes,
    depth=st.sampled_from([8, 10]),
    pixel_format=formats,
    pitch=pitches,
    plane=st.integers(0, 2),
    place=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    side=st.sampled_from([1, 3, 16]),
    codes=st.sampled_from([-25, -24, -6, -3, -2, 2, 3, 5, 6, 24, 25]),
    mixed=st.booleans(),
)
@example(size=(40, 40), depth=8, pixel_format="nv12", pitch=2, plane=0, place=(0.0, 0.0), side=16, codes=6, mixed=True)
def test_a_frame_has_changed_where_the_reference_says_so(
    cpu_kernels, size, depth, pixel_format, pitch, plane, place, side, codes, mixed
):
    code = 1 << (depth - 8)
    before = noise(*size, bit_depth=depth)
    before = before.with_planes(*(np.clip(item, 30 * code, 220 * code) for item in (before.y, before.u, before.v)))
    planes = [item.copy() for item in (before.y, before.u, before.v)]
    top, left = (int(share * length) for share, length in zip(place, planes[plane].shape, strict=True))
    part = planes[plane][top : top + side, left : left + side]
    # Differences of both signs cancel in a block's mean; differences of one sign do not.
    signs = 1 - 2 * (np.indices(part.shape).sum(axis=0) % 2) if mixed else 1
    part[...] = part.astype(int) + signs * codes * code
    now = before.with_planes(*planes)
    first, second = (
        HeldFrame.holding(frame, pixel_format=pixel_format, pitch_multiple=pitch) for frame in (before, now)
    )
    changed = np.zeros(1, np.uint32)
    floor = NoiseFloor()
    cpu_kernels.run(kernels.compare(first.surface, second.surface, changed.ctypes.data, floor=floor))
    assert changed[0] == has_changed(before, now, floor=floor)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 31, 33, 127, 129, 257])
def test_odd_widths_and_pitches_are_packed_and_unpacked_to_the_code(cpu_kernels, width):
    for pitch in (1, 7, 64):
        frame = noise(9, width, seed=width)
        padded = padded_size((9, width))
        tensor = _tensor((24, padded[0] // 4, padded[1] // 4), half=False)
        held, back = HeldFrame.holding(frame, pitch_multiple=pitch), HeldFrame(frame, pitch_multiple=pitch)
        cpu_kernels.run(
            [
                kernels.pack(held.surface, tensor.ctypes.data, size=(9, width), padded=padded, half=False),
                kernels.unpack(tensor.ctypes.data, back.surface, padded=padded, half=False),
            ]
        )
        assert furthest(back.planes(), frame) == 0


@pytest.mark.shared
def test_a_real_frame_goes_through_half_precision_and_comes_back_within_a_code(cpu_kernels, clips: Path):
    clip = next(path for path in sorted(clips.iterdir()) if path.name.startswith("bbb") or path.suffix == ".mp4")
    frame, _frame = decoded(clip, 0)
    frame = PlanesYUV420(
        frame.y[:90, :160], frame.u[:45, :80], frame.v[:45, :80], 8, Colour(Matrix.BT709, ColourRange.LIMITED)
    )
    padded = padded_size((90, 160))
    tensor = _tensor((24, padded[0] // 4, padded[1] // 4), half=True)
    held, back = HeldFrame.holding(frame, pixel_format="nv12", pitch_multiple=64), HeldFrame(frame, pixel_format="nv12")
    cpu_kernels.run(
        [
            kernels.pack(held.surface, tensor.ctypes.data, size=(90, 160), padded=padded, half=True),
            kernels.unpack(tensor.ctypes.data, back.surface, padded=padded, half=True),
        ]
    )
    assert furthest(back.planes(), frame) <= 1


# The block runner itself: what silently fails on a GPU must be an error here.

_BROKEN = r"""
#include "platform.cuh"
using animevid::cpu::Block;
__global__ void some_threads_skip_the_barrier(int* out) {
    if (threadIdx.x < 5) __syncthreads();
    out[threadIdx.x] = 1;
}
__global__ void reads_before_the_barrier(int* out) {
    __shared__ int shared[64];
    shared[threadIdx.x] = static_cast<int>(threadIdx.x) + 1;
    out[threadIdx.x] = shared[63 - threadIdx.x];
    __syncthreads();
    shared[threadIdx.x] = 0;
}
__global__ void reads_after_the_barrier(int* out) {
    __shared__ int shared[64];
    shared[threadIdx.x] = static_cast<int>(threadIdx.x) + 1;
    __syncthreads();
    out[threadIdx.x] = shared[63 - threadIdx.x];
}
extern "C" int run(int which, int* out, unsigned long long seed, int barriers) {
    Block block;
    block.block = {64, 1, 1};
    try {
        block.run([&] {
            if (which == 0) some_threads_skip_the_barrier(out);
            if (which == 1) reads_before_the_barrier(out);
            if (which == 2) reads_after_the_barrier(out);
        }, barriers != 0, seed);
    } catch (const std::exception&) { return 1; }
    return 0;
}
"""


@pytest.fixture(scope="module")
def broken_kernels(tmp_path_factory) -> ctypes.CDLL:
    from gpu.cpu_kernels import SOURCES, compile_library

    folder = tmp_path_factory.mktemp("broken")
    (folder / "broken.cpp").write_text(_BROKEN)
    return ctypes.CDLL(str(compile_library(folder / "broken.cpp", folder / "broken.so", f"-I{SOURCES}")))


def _run_broken(library: ctypes.CDLL, which: int, *, seed: int = 0, barriers: bool = True) -> tuple[int, np.ndarray]:
    out = np.zeros(64, np.int32)
    failed = library.run(which, ctypes.c_void_p(out.ctypes.data), ctypes.c_ulonglong(seed), int(barriers))
    return failed, out


def test_a_barrier_that_some_threads_skip_is_an_error(broken_kernels):
    assert _run_broken(broken_kernels, 0)[0] == 1


def test_a_barrier_in_a_kernel_that_was_said_to_have_none_is_an_error(broken_kernels):
    assert _run_broken(broken_kernels, 2, barriers=False)[0] == 1


def test_a_missing_barrier_shows_as_a_wrong_result_and_a_present_one_does_not(broken_kernels):
    expected = np.arange(64, 0, -1)
    good = [_run_broken(broken_kernels, 2, seed=seed) for seed in range(5)]
    bad = [_run_broken(broken_kernels, 1, seed=seed) for seed in range(5)]
    assert all(failed == 0 and (out == expected).all() for failed, out in good)
    assert not any((out == expected).all() for _, out in bad)
