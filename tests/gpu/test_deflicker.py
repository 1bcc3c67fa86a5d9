"""The temporal filter on a GPU: its kernels against ``pixels.deflicker``, and whole streams through slots."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from animevid import Stylizer, TemporalFilter
from animevid.gpu.deflicker import DeviceDeflicker, FilterMemory, SettleParams, cells_of, settle_input, settle_output
from animevid.gpu.driver import Device
from animevid.pixels import InputFilter, OutputFilter, PlanesYUV420
from animevid.render.temporal import FrameReuse, from_cells, to_cells
from animevid.styles.card import ColourOrder, Layout, StyleCard
from gpu.cpu_kernels import CpuKernels
from gpu.fake_gpu import in_child
from gpu.test_on_device import CODES, _apart, _run, _start, _style
from hypothesis import given, settings
from hypothesis import strategies as st
from media import write_clip
from pixels.frames import furthest

CODE = 2 / 255


class _Stream:
    """The kernels' memory, on the host; filters one frame after another."""

    def __init__(self, kernels: CpuKernels, card: StyleCard, size: tuple[int, int], *, half: bool) -> None:
        self._kernels, self._card, self._size, self._half = kernels, card, size, half
        shape = card.tensor_shape(1, *size)[1:]
        # NaN: reveals reads of memory that was not written.
        self.kept = [np.full(shape, np.nan, np.float32) for _ in "12"]
        self.earlier, self.change, self.weights = (np.full(cells_of(size), np.nan, np.float32) for _ in "123")
        self.histogram, self.noise = np.zeros(128, np.uint32), np.zeros(1, np.float32)
        arrays = (*self.kept, self.earlier, self.change, self.histogram, self.noise)
        self._memory = FilterMemory(*(array.ctypes.data for array in arrays))
        self._first = True

    def settle(self, given: np.ndarray, drawn: np.ndarray, *, seed: int) -> None:
        options: dict[str, Any] = {"card": self._card, "size": self._size, "half": self._half, "first": self._first}
        weights = self.weights.ctypes.data
        self._kernels.run(settle_input(given.ctypes.data, weights, self._memory, **options), seed=seed)
        self._kernels.run(settle_output(drawn.ctypes.data, weights, self._memory, **options), seed=seed)
        self._first = False


def test_the_struct_is_as_long_in_python_as_in_cuda(cpu_kernels):
    assert cpu_kernels.params_bytes("animevid_settle_change_f16") == ctypes.sizeof(SettleParams)


@settings(max_examples=20, deadline=None)
@given(
    layout=st.sampled_from(list(Layout)),
    sides=st.tuples(st.integers(1, 45), st.integers(1, 70)),
    half=st.booleans(),
    codes=st.sampled_from([0.3, 2.0, 5.0]),
    value_range=st.sampled_from([(-1.0, 1.0), (0.0, 255.0)]),
    seed=st.integers(0, 99),
)
def test_a_stream_settles_as_the_reference_settles_it(cpu_kernels, layout, sides, half, codes, value_range, seed):
    low, high = value_range
    if layout is Layout.PACKED_YUV420:
        low, high, sides = -1.0, 1.0, tuple(-(-side // 4) * 4 for side in sides)
    colour = ColourOrder.YUV if layout is Layout.PACKED_YUV420 else ColourOrder.RGB
    card = StyleCard(name="any", layout=layout, colour_order=colour, input_range=(low, high))
    code, shape = (high - low) / 255, card.tensor_shape(1, *sides)[1:]
    rng, dtype = np.random.default_rng(seed), np.float16 if half else np.float32
    scenes = [rng.uniform(low, high, shape) for _ in "12"]
    stream = _Stream(cpu_kernels, card, sides, half=half)
    filter_input, filter_output = InputFilter(units_per_code=code), OutputFilter()
    for index in range(5):
        given_, drawn = ((scene + rng.normal(0, codes * code, shape)).astype(dtype) for scene in scenes)
        across = np.moveaxis(given_, layout.spatial_axes[1] - 1, 0)
        across[index : index + 2] = high  # it moves across the frame
        cells = [to_cells(tensor.astype(np.float32), layout) for tensor in (given_, drawn)]
        settled, weights = filter_input(cells[0])
        expected = [settled, filter_output(cells[1], weights)]
        stream.settle(given_, drawn, seed=seed + index)
        if weights is not None:
            np.testing.assert_allclose(stream.weights, weights, atol=2e-3)
        np.testing.assert_allclose(stream.noise, filter_input.noise_codes, atol=0.03)
        assert not stream.histogram.any()
        for tensor, kept, cell in zip((given_, drawn), stream.kept, expected, strict=True):
            whole = from_cells(cell, layout, like=tensor)
            np.testing.assert_allclose(kept, whole, atol=0.05 * code)
            np.testing.assert_allclose(tensor, whole, atol=0.05 * code + (high - low) * 3e-4 * half)


def test_what_overflowed_in_one_frame_is_gone_in_the_next(cpu_kernels):
    card = StyleCard(name="any", layout=Layout.NCHW)
    stream = _Stream(cpu_kernels, card, (8, 8), half=True)
    for index in range(3):
        tensors = [np.full((3, 8, 8), 0.5, np.float16) for _ in "12"]
        if index == 1:
            tensors[1][0, 2, 2] = np.inf
        stream.settle(*tensors, seed=0)
    assert (tensors[1] == np.float16(0.5)).all()


# ---- whole streams, on the fake driver ----


def _scene(count: int, height: int = 48, width: int = 64, *, codes: float = 1.5) -> list[PlanesYUV420]:
    """A smooth scene with camera noise and a moving dot."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    luma = 120 + 40 * np.sin(x / 9) + 30 * np.cos(y / 7)
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    frames = []
    for index in range(count):
        noisy = np.clip(luma + rng.normal(0, codes, luma.shape), 16, 235).astype(np.uint8)
        noisy[20:24, 3 * index : 3 * index + 6] = 235
        frames.append(PlanesYUV420(noisy, chroma, chroma))
    return frames


def _through(steps: Any, frames: list[PlanesYUV420], *, batch: int) -> list[PlanesYUV420]:
    """In batches; all are submitted before the first result is requested."""
    waiting = []
    for start in range(0, len(frames), batch):
        some = frames[start : start + batch]
        waiting += zip(some, steps.infer([steps.preprocess(frame) for frame in some]), strict=True)
    return [steps.postprocess(frame, output) for frame, output in waiting]


def _same(shown: list[PlanesYUV420], expected: list[PlanesYUV420], *, within: int = CODES) -> bool:
    pairs = zip(shown, expected, strict=True)
    return all(furthest(replace(one, colour=other.colour), other) <= within for one, other in pairs)


@pytest.mark.parametrize(
    ("style", "net_pixels"), [("packed", 0), ("nhwc-bgr", 0), ("packed", 24 * 32), ("rgb", 24 * 32)]
)
@in_child
def test_a_stream_is_as_steady_in_slots_as_on_the_cpu(fake_driver, tmp_path, style, net_pixels):
    gpu = _start(fake_driver, tmp_path)
    frames, file = _scene(9), _style(tmp_path, style)
    options = {"net_pixels": net_pixels, "precision": "fp32"}
    with Stylizer(file, backend="onnxruntime", **options) as cpu:
        expected = list(map(TemporalFilter(cpu).stylize_planes, frames))
        alone = list(map(cpu.stylize_planes, frames))
    within = CODES if net_pixels == 0 else 2 * CODES
    assert not _same(alone, expected, within=within)
    for seed, batch in ((0, 1), (1, 1), (4, 1), (1, 3)):
        gpu.seed(seed)
        with Stylizer(file, backend="tensorrt", **options) as stylizer:
            assert _same(_through(TemporalFilter(stylizer), frames, batch=batch), expected, within=within)
    assert gpu.graphs_launched > 0
    assert (gpu.memory_used, gpu.streams) == (0, 0)


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@in_child
def test_a_frame_that_does_not_wait_for_the_one_before_is_wrong_in_some_order(fake_driver, tmp_path, side):
    """Shows that the test above can fail."""
    gpu = _start(fake_driver, tmp_path)
    frames, file = _scene(9, codes=3.0), _style(tmp_path, "packed")
    with Stylizer(file, backend="onnxruntime") as cpu:
        expected = list(map(TemporalFilter(cpu).stylize_planes, frames))
    call, settle = Device.call, getattr(DeviceDeflicker, side)

    def without_waiting(self: Any, *args: Any, **options: Any) -> Any:
        Device.call = lambda self, name, *args: None if name == "cuStreamWaitEvent" else call(self, name, *args)
        try:
            return settle(self, *args, **options)
        finally:
            Device.call = call

    setattr(DeviceDeflicker, side, without_waiting)

    def is_wrong(seed: int) -> bool:
        gpu.seed(seed)
        with Stylizer(file, backend="tensorrt") as stylizer:
            return not _same(_through(TemporalFilter(stylizer), frames, batch=1), expected)

    assert any(map(is_wrong, range(20)))


@in_child
def test_a_change_of_size_or_a_batch_that_failed_begins_again_and_streams_do_not_mix(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    file = _style(tmp_path, "packed")
    small, large = _scene(3), _scene(3, 96, 128)
    with Stylizer(file, backend="onnxruntime") as cpu, Stylizer(file, backend="tensorrt") as gpu:
        ours, theirs = TemporalFilter(gpu), TemporalFilter(cpu)
        other, others = TemporalFilter(gpu), TemporalFilter(cpu)
        for frames in (small, large, small):
            for frame in frames:
                assert furthest(ours.stylize_planes(frame), theirs.stylize_planes(frame)) <= CODES
                upside_down = frame.with_planes(frame.y[::-1], frame.u, frame.v)
                assert furthest(other.stylize_planes(upside_down), others.stylize_planes(upside_down)) <= CODES
        ours._on_device.forget()
        alone = cpu.stylize_planes(small[0])
        assert furthest(ours.stylize_planes(small[0]), alone) <= CODES


@in_child
def test_an_unchanged_frame_at_another_strength_is_drawn_again_as_steady_as_it_was(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    frames, file = _scene(6), _style(tmp_path, "packed")
    with Stylizer(file, backend="onnxruntime") as cpu, Stylizer(file, backend="tensorrt") as gpu:
        steps, theirs = FrameReuse(TemporalFilter(gpu)), TemporalFilter(cpu)
        for frame in frames:
            expected = theirs.stylize_planes(frame)
            (output,) = steps.infer([steps.preprocess(frame)])
            assert furthest(steps.postprocess(frame, output), expected) <= CODES
        again = replace(frames[-1])
        cpu.strength = gpu.strength = 0.5
        (output,) = steps.infer([steps.preprocess(again)])
        assert output is None
        shown = steps.postprocess(again, output)
        assert furthest(shown, theirs.stylize_planes(again)) <= CODES
        assert furthest(shown, cpu.stylize_planes(again)) > CODES  # as it would be if drawn independently


@in_child
def test_a_stream_that_has_ended_gives_its_memory_back(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    (frame,) = _scene(1)
    with Stylizer(_style(tmp_path, "packed"), backend="tensorrt") as stylizer:
        for _ in range(3):  # each slot has its own context, created at first use
            stylizer.stylize_planes(frame)
        before = gpu.memory_used
        for _ in range(3):
            TemporalFilter(stylizer).stylize_planes(frame)
        gc.collect()
        stylizer.stylize_planes(frame)
        assert gpu.memory_used == before
        steps = TemporalFilter(stylizer)
        steps.stylize_planes(frame)
        assert gpu.memory_used > before
    assert (gpu.memory_used, gpu.streams) == (0, 0)


@in_child
def test_auto_goes_on_without_flicker_on_the_cpu_when_the_device_is_lost(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    frames = _scene(12)
    with Stylizer(_style(tmp_path, "packed")) as stylizer:
        steps = TemporalFilter(stylizer)
        shown = [steps.stylize_planes(frame) for frame in frames[:3]]
        gpu.lose_device_after(1)
        shown += [steps.stylize_planes(frame) for frame in frames[3:]]
        alone = [stylizer.stylize_planes(frame) for frame in frames]
    still = np.s_[30:, :]  # below the dot

    def flicker(some: list[PlanesYUV420]) -> float:
        return float(np.mean([np.abs(b.y[still].astype(int) - a.y[still]).mean() for a, b in pairwise(some[6:])]))

    assert flicker(shown) < 0.5 * flicker(alone)


@in_child
def test_a_conversion_settles_as_on_the_cpu(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=7, audio=False), _style(tmp_path, "packed")
    for name, backend, more in (
        ("cpu", "onnxruntime", ()),
        ("gpu", "tensorrt", ()),
        ("alone", "onnxruntime", ("--no-deflicker",)),
    ):
        options = ("--style", file, "--codec", "ffv1", "--backend", backend, *more)
        code, _, err = _run(clip, tmp_path / f"{name}.mkv", *options)
        assert code == 0, err
    assert gpu.launched > 0
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "alone.mkv") > 0
