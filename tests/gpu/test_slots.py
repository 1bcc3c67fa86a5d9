"""The device pipeline on a driver that delays and reorders all it may: order, overlap, memory, lost devices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from animevid.errors import DeviceError, UsageError
from animevid.gpu import slots
from animevid.gpu.check.graphs import SwapChroma
from animevid.gpu.driver import Device, DeviceLost, OutOfDeviceMemory, open_device
from animevid.gpu.slots import DevicePipeline, SlotPlan, Submission, open_pipeline, plan_slots, smaller_plan
from animevid.pixels import (
    Colour,
    ColourRange,
    PlanesYUV420,
    blend,
    guided_upsample,
    pack_yuv420,
    planes_to_tensor,
    resize_planes,
    tensor_to_planes,
    unpack_yuv420,
)
from animevid.styles.card import ColourOrder, Layout, StyleCard
from gpu.fake_gpu import IMAGE, FakeGpu, in_child
from pixels.frames import furthest, noise

CARD = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
SEEDS = range(6)


def _open(device: Device, plan: SlotPlan) -> DevicePipeline:
    return DevicePipeline(device, SwapChroma(device), plan, module=IMAGE)


def _expected(frame: PlanesYUV420, plan: SlotPlan, strength: float = 1.0) -> PlanesYUV420:
    """The same on the CPU: functions of ``pixels`` around the same network."""
    tensor = pack_yuv420(frame, size=plan.net_size).astype(np.float16).astype(np.float32)
    drawn = np.concatenate([tensor[:16], tensor[20:], tensor[16:20]])
    if plan.upsamples:
        stylized = guided_upsample(frame, tensor, drawn, size=plan.net_size, epsilon=plan.card.upsample_epsilon)
    else:
        stylized = unpack_yuv420(drawn, like=frame)
    return blend(frame, stylized, strength=strength)


def _decoded(count: int, height: int = 22, width: int = 37, **options: Any) -> list[PlanesYUV420]:
    return [noise(height, width, seed=seed, padding=3, **options) for seed in range(count)]


def _same(results: list[PlanesYUV420], expected: list[PlanesYUV420], *, within: int = 1) -> bool:
    return len(results) == len(expected) and all(
        furthest(one, other) <= within for one, other in zip(results, expected, strict=True)
    )


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no-graphs"])
@pytest.mark.parametrize(("batch", "count"), [(1, 7), (3, 7), (2, 1)])
@in_child
def test_every_order_that_streams_allow_gives_the_right_frames_in_order(fake_driver, batch, count, graphs):
    gpu = FakeGpu(fake_driver)
    frames = _decoded(count)
    plan = replace(plan_slots(frames[0], CARD, batch=batch), use_graphs=graphs)
    expected = [_expected(frame, plan) for frame in frames]
    for seed in SEEDS:
        gpu.seed(seed)
        with open_device() as device, _open(device, plan) as pipeline:
            for _ in range(4):  # a format is captured when it is used the second time
                assert _same(list(pipeline.run(frames)), expected)
    assert (gpu.graphs_launched > 0) == graphs


@in_child
def test_a_small_network_is_upsampled_and_blended_on_the_device(fake_driver):
    gpu = FakeGpu(fake_driver)
    frames = _decoded(4, 40, 70, bit_depth=10, colour=Colour(range=ColourRange.FULL))
    plan = plan_slots(frames[0], CARD, net_size=(16, 32))
    gpu.seed(3)
    with open_device() as device, _open(device, plan) as pipeline:
        for strength in (1.0, 0.3, 0.0):
            pipeline.strength = strength
            expected = [_expected(frame, plan, strength) for frame in frames]
            # 10 bits: the rounding of half precision is two codes of 1023.
            assert _same(list(pipeline.run(frames)), expected, within=6)


@in_child
def test_one_graph_serves_every_range_and_strength(fake_driver):
    gpu = FakeGpu(fake_driver)
    limited, full = _decoded(2)
    frames = [limited, replace(full, colour=Colour(range=ColourRange.FULL)), limited]
    plan = plan_slots(limited, CARD, slots=1)
    with open_device() as device, _open(device, plan) as pipeline:
        for strength in (1.0, 0.5, 0.25):
            pipeline.strength = strength
            assert _same(list(pipeline.run(frames)), [_expected(frame, plan, strength) for frame in frames])
        assert pipeline.captured_graphs == 1
    assert gpu.graphs_launched == 8  # every time but the first


def _moved(name: str, call: Callable[..., Any], stream: Any) -> Callable[..., Any]:
    """``call``, with ``stream`` as the last argument of the driver's function ``name``."""
    return lambda asked, *args: call(asked, *args[:-1], stream) if asked == name else call(asked, *args)


@pytest.mark.parametrize("fault", ["results-before-the-event", "slot-reused-while-busy", "copies-on-another-stream"])
@in_child
def test_a_missing_synchronization_shows_as_a_wrong_frame(fake_driver, fault):
    """Shows that these tests can fail: a real GPU would rarely reveal such faults."""
    gpu = FakeGpu(fake_driver)
    frames = _decoded(6)
    plan = replace(plan_slots(frames[0], CARD, slots=2), use_graphs=False)
    expected = [_expected(frame, plan) for frame in frames]
    if fault == "results-before-the-event":
        slots.Slot.wait = lambda self, device: None
    wrong = 0
    for seed in SEEDS:
        gpu.seed(seed)
        with open_device() as device, _open(device, plan) as pipeline:
            if fault == "copies-on-another-stream":
                other = device.call("cuStreamCreate", 1)
                call = device.call
                device.call = _moved("cuMemcpyDtoHAsync", call, other)
            if fault == "slot-reused-while-busy":
                slot = pipeline._free[0]
                pipeline._free.clear()
                pipeline._free.extend([slot, slot])
            wrong += not _same(list(pipeline.run(frames)), expected)
            if fault == "copies-on-another-stream":
                device.call = call
                device.call("cuStreamSynchronize", other)
    assert wrong > 0


@in_child
def test_slots_are_the_back_pressure(fake_driver):
    FakeGpu(fake_driver)
    frames = _decoded(3)
    plan = plan_slots(frames[0], CARD, slots=2, batch=2)
    expected = [_expected(frame, plan) for frame in frames]
    with open_device() as device, _open(device, plan) as pipeline:
        first = pipeline.submit(frames[:2])
        assert pipeline.free_slots == 1
        second = pipeline.submit(frames[2:])  # live: the available frames, not a full batch
        assert pipeline.free_slots == 0
        third = pipeline.submit(frames[:1])  # uses the first one's slot when it is done; its results wait
        assert pipeline.free_slots == 0
        assert _same(third.results(), expected[:1])
        assert _same(first.results(), expected[:2])
        assert _same(second.results(), expected[2:])
        assert _same(first.results(), expected[:2])  # may be called repeatedly
        assert pipeline.free_slots == 2


@in_child
def test_who_waits_for_frames_leaves_the_core_to_decoder_and_encoder(fake_driver):
    gpu = FakeGpu(fake_driver)
    frames = _decoded(3)
    plan = plan_slots(frames[0], CARD, slots=1)
    with open_device() as device, _open(device, plan) as pipeline:
        assert len(list(pipeline.run(frames))) == 3
    assert gpu.busy_waits == 0


@in_child
def test_one_thread_submits_while_another_waits_for_results(fake_driver):
    gpu = FakeGpu(fake_driver)
    frames = _decoded(24)
    plan = plan_slots(frames[0], CARD, slots=2)
    expected = [_expected(frame, plan) for frame in frames]
    for seed in SEEDS:
        gpu.seed(seed)
        pending: SimpleQueue[Submission | None] = SimpleQueue()
        with open_device() as device, _open(device, plan) as pipeline, ThreadPoolExecutor(1) as pool:

            def wait(pending=pending) -> list[PlanesYUV420]:
                return [frame for submission in iter(pending.get, None) for frame in submission.results()]

            waiting = pool.submit(wait)
            for frame in frames:
                pending.put(pipeline.submit([frame]))
            pending.put(None)
            assert _same(waiting.result(), expected)


@in_child
def test_a_pipeline_that_is_closed_keeps_the_frames_that_were_submitted(fake_driver):
    FakeGpu(fake_driver)
    frames = _decoded(3)
    plan = plan_slots(frames[0], CARD)
    with open_device() as device:
        with _open(device, plan) as pipeline:
            pending = [pipeline.submit([frame]) for frame in frames]
        results = [frame for submission in pending for frame in submission.results()]
        assert _same(results, [_expected(frame, plan) for frame in frames])
        with pytest.raises(DeviceError, match="closed"):
            pipeline.submit(frames[:1])


class SwapRedAndBlue(SwapChroma):
    """In the (N, 3, H, W) output of an RGB network."""

    half = False

    def enqueue(self, *, slot: int, stream: int, source: int, target: int, shape: tuple[int, ...]) -> None:
        channel = 4 * shape[2] * shape[3]
        for frame in range(shape[0]):
            for first, to in ((0, 2), (1, 1), (2, 0)):
                offsets = ((3 * frame + place) * channel for place in (to, first))
                to_address, from_address = (address + o for address, o in zip((target, source), offsets, strict=True))
                self._device.call("cuMemcpyDtoDAsync", to_address, from_address, channel, stream)


@pytest.mark.parametrize("net_size", [None, (16, 24)], ids=["whole", "upsampled"])
@pytest.mark.parametrize("bit_depth", [8, 10])
@in_child
def test_a_style_that_reads_rgb_runs_in_slots_too(fake_driver, net_size, bit_depth):
    gpu = FakeGpu(fake_driver)
    card = StyleCard(name="rgb", size_multiple=8, input_range=(0.0, 1.0), output_range=(0.0, 1.0))
    frames = _decoded(5, 46, 71, bit_depth=bit_depth)
    plan = plan_slots(frames[0], card, net_size=net_size, batch=2)

    def expected(frame: PlanesYUV420) -> PlanesYUV420:
        size = plan.net_size
        tensor = planes_to_tensor(frame, layout="NCHW", value_range=(0.0, 1.0), size=size, multiple=8)
        drawn = np.ascontiguousarray(tensor[::-1])
        small = tensor_to_planes(drawn, like=frame, layout="NCHW", value_range=(0.0, 1.0), size=size)
        if net_size is None:
            return replace(small, colour=frame.colour)
        return guided_upsample(frame, resize_planes(frame, size), small, size=size)

    for seed in SEEDS[:3]:
        gpu.seed(seed)
        with (
            open_device() as device,
            DevicePipeline(device, SwapRedAndBlue(device), plan, module=IMAGE) as pipeline,
        ):
            # 8 bits: another order of rounding; upsampling turns noise into edges and amplifies it.
            within = (1 if net_size is None else 8) << (bit_depth - 8)
            assert _same(list(pipeline.run(frames)), [expected(frame) for frame in frames], within=within)


@in_child
def test_what_does_not_fit_the_plan_is_refused_and_the_next_frame_runs(fake_driver):
    FakeGpu(fake_driver)
    (frame,) = _decoded(1)
    plan = plan_slots(frame, CARD)
    with open_device() as device, _open(device, plan) as pipeline:
        for wrong in ([], [frame, frame], [noise(20, 37)], [noise(22, 37, bit_depth=10)]):
            with pytest.raises(UsageError) as caught:
                pipeline.submit(wrong)
            assert "\n" not in str(caught.value)
        assert _same(list(pipeline.run([frame])), [_expected(frame, plan)])
    with pytest.raises(UsageError, match="larger than the frame"):
        plan_slots(frame, CARD, net_size=(32, 32))


@in_child
def test_out_of_memory_halves_the_batch_and_says_so_and_never_changes_the_result(fake_driver):
    gpu = FakeGpu(fake_driver)
    said: list[str] = []
    logger = logging.getLogger("animevid")
    logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: said.append(record.getMessage())
    frame = noise(256, 256)
    gpu.limit_memory(1_400_000)
    plan = plan_slots(frame, CARD, batch=8, slots=1)
    with open_device() as device, open_pipeline(lambda plan: _open(device, plan), plan) as pipeline:
        assert pipeline.plan.batch < 8
        assert _same(list(pipeline.run([frame])), [_expected(frame, plan)])
    assert gpu.memory_used == 0  # failed attempts freed their memory
    assert any("batches of 4" in line for line in said)
    gpu.limit_memory(1000)
    for card in (CARD, replace(CARD, tileable=True, receptive_field_px=16)):
        plan = plan_slots(frame, card)
        with open_device() as device, pytest.raises(OutOfDeviceMemory, match="--net-size"):
            open_pipeline(lambda plan, device=device: _open(device, plan), plan)
    assert any("tiles of" in line for line in said)


def test_tiles_cover_the_frame_and_see_all_that_a_pixel_of_the_network_sees():
    card = replace(CARD, tileable=True, receptive_field_px=20)
    plan: SlotPlan | None = replace(plan_slots(noise(250, 330), card), slots=1)
    largest = plan.padded[0] * plan.padded[1]
    count = 0
    while (plan := smaller_plan(plan)) is not None:
        count += 1
        assert plan.net_size == (250, 330)
        assert plan.tile is not None
        assert plan.tile[0] * plan.tile[1] <= 0.75 * largest
        largest = plan.tile[0] * plan.tile[1]
        kept = np.zeros(plan.padded, int)
        for row, column in plan.tiles:
            kept[row.keep_start : row.keep_stop, column.keep_start : column.keep_stop] += 1
            for span, read, length in zip((row, column), plan.tile, plan.padded, strict=True):
                assert span.read_stop - span.read_start == read
                assert span.read_start % plan.multiple == 0
                assert span.read_start == 0 or span.keep_start - span.read_start >= 20
                assert span.read_stop == length or span.read_stop - span.keep_stop >= 20
        assert (kept == 1).all()
    assert count >= 2


@in_child
def test_a_lost_device_ends_in_one_line_and_keeps_the_frames_that_came_back(fake_driver):
    gpu = FakeGpu(fake_driver)
    frames = _decoded(9)
    plan = plan_slots(frames[0], CARD, slots=1)
    results = []
    with open_device() as device, _open(device, plan) as pipeline:
        gpu.lose_device_after(7)  # two kernels a frame: the eighth fails
        with pytest.raises(DeviceLost, match="what was written is kept") as caught:  # noqa: PT012
            for result in pipeline.run(frames):
                results.append(result)
    assert "\n" not in str(caught.value)
    assert len(results) == 3
    assert _same(results, [_expected(frame, plan) for frame in frames[: len(results)]])


@in_child
def test_everything_is_given_back(fake_driver):
    gpu = FakeGpu(fake_driver)
    frames = _decoded(3)
    plan = plan_slots(frames[0], CARD)
    with open_device() as device:
        pipeline = _open(device, plan)
        assert (gpu.memory_used > 0, gpu.streams) == (True, 3)
        pipeline.close()
        pipeline.close()
    assert (gpu.memory_used, gpu.streams) == (0, 0)


@in_child
def test_an_old_driver_and_a_gpu_that_is_not_there_are_one_line(fake_driver):
    gpu = FakeGpu(fake_driver)
    with pytest.raises(DeviceError, match="no such NVIDIA GPU"):
        open_device(7)
    gpu.say_driver_version(11080)
    with pytest.raises(DeviceError, match=r"too old \(CUDA 11.8; this needs CUDA 12") as caught:
        open_device()
    assert "\n" not in str(caught.value)
