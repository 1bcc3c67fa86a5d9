"""Conversions and live frames through slots, end to end, on the fake driver with ONNX Runtime as the network."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from animevid import Stylizer
from animevid.cli import main
from animevid.errors import BackendError, DeviceError
from animevid.frame import Frame
from animevid.gpu import slots
from animevid.gpu.driver import open_device
from animevid.gpu.renderer import SlotRunner
from animevid.gpu.tensorrt import backend as tensorrt
from animevid.gpu.tensorrt import engine as engines
from animevid.gpu.tensorrt.library import find_library
from animevid.io import open_source
from animevid.options import LiveOptions, RuntimeOptions
from animevid.pixels import Colour, ColourRange, PlanesYUV420
from animevid.render.geometry import QUALITY_SHARES
from animevid.run.adaptive import quality_ladder
from animevid.run.live import LiveEngine
from animevid.styles.card import ColourOrder, Layout, StyleCard, write_card
from gpu import fake_tensorrt
from gpu.engines import rtx_or_skip
from gpu.fake_gpu import IMAGE, FakeGpu, in_child
from media import write_clip
from pixels.frames import furthest, noise
from small_networks import packed_network, rgb_network

PACKED = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
RGB = StyleCard(name="rgb", size_multiple=2)
NHWC = StyleCard(name="bgr", size_multiple=2, layout=Layout.NHWC, colour_order=ColourOrder.BGR)
STYLES = {
    "packed": (packed_network(), PACKED),
    "rgb": (rgb_network(), RGB),
    "nhwc-bgr": (rgb_network(nhwc=True), NHWC),
}
FIXED = "fixed"
NETWORKS = {**STYLES, FIXED: (packed_network(n=1, h=24, w=32), replace(PACKED, fixed_size_px=(96, 128)))}
#: Half precision against float32, rounded to 8-bit codes.
CODES = 3


def _style(folder: Path, name: str) -> Path:
    model, card = NETWORKS[name]
    path = folder / f"{name}.onnx"
    path.write_bytes(write_card(model, card))
    return path


def _start(fake_driver: Path, folder: Path, *, seed: int = 1) -> FakeGpu:
    gpu = FakeGpu(fake_driver)
    gpu.seed(seed)
    fake_tensorrt.install()
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    return gpu


def _run(*arguments: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def _decoded(path: Path) -> list[PlanesYUV420]:
    with open_source(path) as source:
        return [frame.planes for frame in source]


def _apart(one: Path, other: Path) -> int:
    pairs = list(zip(_decoded(one), _decoded(other), strict=True))
    assert pairs
    return max(furthest(replace(first, colour=second.colour), second) for first, second in pairs)


def _convert(clip: Path, target: Path, style: Path, *options: object) -> tuple[int, str, str]:
    return _run(clip, target, "--style", style, "--codec", "ffv1", "--no-deflicker", *options)


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("size", ["full", "80x48"])
@in_child
def test_a_conversion_in_slots_gives_the_frames_that_onnx_runtime_gives(fake_driver, tmp_path, style, size):
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=14), _style(tmp_path, style)
    options = ("--net-size", size)
    assert _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime", *options)[0] == 0
    before = gpu.launched
    code, out, err = _convert(clip, tmp_path / "gpu.mkv", file, "--backend", "tensorrt", *options)
    assert (code, err) == (0, ""), err
    assert "14 frames in, 14 out" in out
    assert gpu.launched > before
    assert gpu.graphs_launched > 0
    # Upsampling amplifies errors of half precision.
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= (CODES if size == "full" else 2 * CODES)
    assert (gpu.memory_used, gpu.streams) == (0, 0)


@pytest.mark.shared
@in_child
def test_a_real_clip_in_slots_gives_the_frames_that_onnx_runtime_gives(fake_driver, shared, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    clip = shared / "clips" / "person_ccby.mp4"
    for name, backend in (("cpu", "onnxruntime"), ("gpu", "tensorrt")):
        options = ("--backend", backend, "--precision", "fp32", "--end", "0.6", "--size", "160x90")
        assert _run(clip, tmp_path / f"{name}.mkv", "--codec", "ffv1", *options)[0] == 0
    assert gpu.launched > 0
    # The shipped style has steep edges: a few pixels may fall on the other side.
    pairs = list(zip(_decoded(tmp_path / "cpu.mkv"), _decoded(tmp_path / "gpu.mkv"), strict=True))
    assert pairs
    far = [np.abs(first.y.astype(int) - second.y.astype(int)) > CODES for first, second in pairs]
    assert np.mean(far) < 0.01


@in_child
def test_a_missing_wait_shows_in_the_converted_file(fake_driver, tmp_path):
    """Shows that the tests above can fail: without the wait for the device, the file is wrong."""
    _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=14), _style(tmp_path, "packed")
    _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime")
    slots.Slot.wait = lambda self, device: None
    _convert(clip, tmp_path / "gpu.mkv", file, "--backend", "tensorrt")
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") > CODES


def _one_scratch_for_all_slots() -> None:
    new_context = tensorrt.EngineNetwork._new_context
    tensorrt.EngineNetwork._new_context = lambda self, slot, shape: new_context(self, 0, shape)


def _one_context_for_all_slots() -> None:
    known: dict[tuple[object, ...], object] = {}
    new_context = tensorrt.EngineNetwork._new_context

    def shared(self: tensorrt.EngineNetwork, slot: int, shape: tuple[int, ...]) -> object:
        if (id(self), shape) not in known:
            known[id(self), shape] = new_context(self, slot, shape)
        return known[id(self), shape]

    tensorrt.EngineNetwork._new_context = shared


_SHARED = {"scratch": _one_scratch_for_all_slots, "context": _one_context_for_all_slots}


@pytest.mark.parametrize("shared_thing", [None, *_SHARED])
@in_child
def test_slots_share_neither_scratch_memory_nor_contexts_of_tensorrt(fake_driver, tmp_path, shared_thing):
    """With shared ones, some allowed execution order would give a wrong frame."""
    gpu = _start(fake_driver, tmp_path)
    if shared_thing is not None:
        _SHARED[shared_thing]()
    frames = [noise(48, 64, seed=seed) for seed in range(9)]
    with _open(tmp_path, "packed", "onnxruntime") as cpu:
        expected = [cpu.stylize_planes(frame) for frame in frames]
    wrong = 0
    for seed in range(3):
        gpu.seed(seed)
        with _open(tmp_path, "packed", "tensorrt") as stylizer:
            outputs = [stylizer.infer([stylizer.preprocess(frame)])[0] for frame in frames]
            for frame, output, other in zip(frames, outputs, expected, strict=True):
                wrong += furthest(stylizer.postprocess(frame, output), other) > CODES
    assert (wrong > 0) == (shared_thing is not None)


@in_child
def test_auto_takes_the_gpu_and_says_nothing(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=3), _style(tmp_path, "packed")
    code, _, err = _convert(clip, tmp_path / "gpu.mkv", file)
    assert (code, err) == (0, ""), err
    assert gpu.launched > 0


@pytest.mark.parametrize("when", [0, 9])
@in_child
def test_auto_goes_on_with_the_cpu_when_the_device_is_lost_and_no_frame_is_missing(fake_driver, tmp_path, when):
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=14), _style(tmp_path, "packed")
    _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime")
    gpu.lose_device_after(when)
    code, out, err = _convert(clip, tmp_path / "gpu.mkv", file)
    assert code == 0
    (line,) = err.splitlines()
    assert "continues with onnxruntime" in line
    assert "the GPU stopped working" in line
    assert "14 frames in, 14 out" in out
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES


@in_child
def test_a_device_that_is_lost_ends_a_conversion_that_asked_for_it_in_one_line(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    clip, file, target = write_clip(tmp_path / "clip.mp4", frames=14), _style(tmp_path, "packed"), tmp_path / "o.mkv"
    target.write_bytes(b"an earlier one")
    gpu.lose_device_after(9)
    code, _, err = _convert(clip, target, file, "--backend", "tensorrt", "--overwrite")
    assert code == 6
    assert len(err.splitlines()) == 1
    assert "the GPU stopped working" in err
    assert target.read_bytes() == b"an earlier one"
    assert sorted(path.name for path in tmp_path.glob("*o.mkv*")) == ["o.mkv"]


@pytest.mark.parametrize("room", [1_500_000, 660_000, 20_000])
@in_child
def test_a_small_gpu_takes_smaller_batches_then_none_and_the_result_stays(fake_driver, tmp_path, room):
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=9, height=192, width=256), _style(tmp_path, "packed")
    assert _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime")[0] == 0
    gpu.limit_memory(room)
    code, out, err = _convert(clip, tmp_path / "gpu.mkv", file)
    assert code == 0
    assert "9 frames in, 9 out" in out
    assert "batches of 2" in err
    assert "one frame at a time" in err
    assert ("continues with onnxruntime" in err) == (room < 1_000_000), err
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES


@pytest.mark.parametrize("layout", ["packed", "rgb", "nhwc-bgr"])
@in_child
def test_a_network_that_does_not_fit_sees_tiles_and_draws_the_same_frames(fake_driver, tmp_path, layout):
    """As on the CPU. The builder fails, like TensorRT's, if the activations do not fit."""
    _start(fake_driver, tmp_path)
    said: list[str] = []
    logger = logging.getLogger("animevid")
    logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: said.append(record.getMessage())
    build, built, largest = engines.build_engine, [], 30_000

    def limited(model, card, request, **options):
        shape = request.shapes.maximum
        if shape.count * shape.height_px * shape.width_px > largest:
            raise engines.EngineTooLarge("Error Code 2: OutOfMemory (Requested size was 4299232000 bytes.)")
        built.append((shape.height_px, shape.width_px))
        return build(model, card, request, **options)

    engines.build_engine = limited
    model, card = STYLES[layout]
    path = tmp_path / "tileable.onnx"
    path.write_bytes(write_card(model, replace(card, tileable=True, receptive_field_px=40)))
    frames = [noise(190, 300, seed=seed) for seed in range(2)]
    with Stylizer(path, backend="onnxruntime") as cpu, Stylizer(path, backend="tensorrt") as gpu:
        for strength in (1.0, 0.4, 1.0):
            cpu.strength = gpu.strength = strength
            for frame in frames:
                drawn = replace(gpu.stylize_planes(frame), colour=frame.colour)
                assert furthest(drawn, replace(cpu.stylize_planes(frame), colour=frame.colour)) <= CODES
        (size,) = built  # one engine for all tiles
    assert size[0] * size[1] <= largest
    assert any(f"tiles of {size[1]}x{size[0]}; the result stays the same" in line for line in said), said


@in_child
def test_an_engine_of_another_gpu_is_one_line_and_auto_goes_on_without(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=3), _style(tmp_path, "packed")
    build = engines.build_engine
    engines.build_engine = lambda *args, **options: replace(build(*args, **options), plan=b"not for this GPU")
    code, _, err = _convert(clip, tmp_path / "one.mkv", file, "--backend", "tensorrt")
    assert (code, len(err.splitlines())) == (6, 1)
    assert "it may be of another GPU" in err
    assert "delete it" in err
    code, _, err = _convert(clip, tmp_path / "two.mkv", file)
    assert (code, len(err.splitlines())) == (0, 1)
    assert "continues with onnxruntime" in err


@in_child
def test_without_the_kernels_the_network_still_runs_on_the_gpu_with_copies_from_the_host(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)

    def missing(**_: object) -> bytes:
        raise BackendError("the CUDA kernels are not installed")

    tensorrt.load_fatbin = missing
    clip, file = write_clip(tmp_path / "clip.mp4", frames=6), _style(tmp_path, "nhwc-bgr")
    _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime")
    code, _, err = _convert(clip, tmp_path / "gpu.mkv", file, "--backend", "tensorrt", "-v")
    assert code == 0
    assert "frames are converted on the CPU: the CUDA kernels are not installed" in err
    assert gpu.launched == 0
    assert fake_tensorrt._NativeEngine.contexts_made > 0
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES


def _open(folder: Path, name: str, backend: str) -> Stylizer:
    return Stylizer(_style(folder, name), backend=backend)


@in_child
def test_frames_of_changing_form_tags_and_strength_are_drawn_as_on_the_cpu(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    full = Colour(range=ColourRange.FULL)
    forms = [noise(48, 64), noise(50, 71), noise(48, 64, bit_depth=10), noise(48, 64, colour=full), noise(90, 120)]
    alpha = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    frames = [*forms, replace(forms[0], alpha=alpha), *forms]
    with _open(tmp_path, "packed", "onnxruntime") as cpu, _open(tmp_path, "packed", "tensorrt") as gpu:
        for strength in (1.0, 0.5, 0.0):
            cpu.strength = gpu.strength = strength
            drawn = gpu.infer([gpu.preprocess(frame) for frame in frames])
            for frame, output in zip(frames, drawn, strict=True):
                result, expected = gpu.postprocess(frame, output), cpu.stylize_planes(frame)
                assert furthest(result, expected) <= CODES << (frame.bit_depth - 8)
                assert (result.alpha is None) == (frame.alpha is None)


@in_child
def test_a_networks_own_size_larger_than_the_frame_runs_with_copies_from_the_host(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    frame = noise(48, 64)
    with _open(tmp_path, FIXED, "onnxruntime") as cpu, _open(tmp_path, FIXED, "tensorrt") as gpu:
        assert furthest(gpu.stylize_planes(frame), cpu.stylize_planes(frame)) <= CODES
        assert furthest(gpu.stylize_planes(noise(96, 128)), cpu.stylize_planes(noise(96, 128))) <= CODES


@in_child
def test_an_unchanged_frame_at_another_strength_is_drawn_again(fake_driver, tmp_path):
    from animevid.render.temporal import FrameReuse

    _start(fake_driver, tmp_path)
    frame = noise(48, 64)
    with _open(tmp_path, "packed", "onnxruntime") as cpu, _open(tmp_path, "packed", "tensorrt") as gpu:
        steps = FrameReuse(gpu)
        for strength in (1.0, 0.25):
            cpu.strength = gpu.strength = strength
            shown = replace(frame)
            (output,) = steps.infer([steps.preprocess(shown)])
            assert furthest(steps.postprocess(shown, output), cpu.stylize_planes(frame)) <= CODES
        assert steps.skipped == 1


@in_child
def test_a_live_frame_does_not_wait_for_a_full_batch(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    SlotRunner.prepare = lambda *_: None  # the warm-up draws its own frames
    style = _style(tmp_path, "packed")
    with (
        LiveEngine(RuntimeOptions(backend="tensorrt")) as engine,
        engine.open_session(LiveOptions(style=style, adaptive=False)) as session,
    ):
        for seed in range(3):
            session.offer(Frame.captured(noise(48, 64, seed=seed), seed, 0.0))
            result = session.take(timeout_seconds=60)
            assert result is not None, session.trouble
            assert session.trouble is None
    # One frame at a time: pack, filter input and output, unpack; change and noise from the second frame on.
    assert gpu.launched == 3 * 4 + 2 * 2


def _watch_builds(gate: threading.Event | None = None) -> list[tuple[str, tuple[int, int]]]:
    """(thread, network's height and width) of every engine built from now on; the gate blocks all but one."""
    built: list[tuple[str, tuple[int, int]]] = []
    build = engines.build_engine

    def watched(model, card, request, **options):
        if gate is not None and built:
            assert gate.wait(60)
        largest = request.shapes.maximum
        built.append((threading.current_thread().name, (largest.height_px, largest.width_px)))
        return build(model, card, request, **options)

    engines.build_engine = watched
    return built


def _wait_for(reached) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_steps_that_are_made_ready_are_those_that_live_takes():
    assert tuple(level.net_share for level in quality_ladder("fast")) == QUALITY_SHARES


@in_child
def test_a_step_of_quality_waits_for_no_engine_and_the_frame_goes_on_at_the_current_size(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    gate = threading.Event()
    built = _watch_builds(gate)
    frame = noise(192, 256)
    with _open(tmp_path, "packed", "onnxruntime") as cpu, _open(tmp_path, "packed", "tensorrt") as gpu:
        pixels = 192 * 256
        gpu.net_pixels = pixels
        sizes = [gpu.net_size(192, 256, net_pixels=round(pixels * share)) for share in QUALITY_SHARES]
        assert len(set(sizes)) == 4
        for _ in "12":
            assert furthest(gpu.stylize_planes(frame), cpu.stylize_planes(frame)) <= CODES
        gpu.net_pixels = round(pixels * QUALITY_SHARES[2])
        # Its engine is blocked: the earlier one's frames are shown.
        assert furthest(gpu.stylize_planes(frame), cpu.stylize_planes(frame)) <= CODES
        gate.set()
        _wait_for(lambda: gpu._backend.frame_runner.is_ready(frame, sizes[2]))
        cpu.net_pixels = gpu.net_pixels
        assert furthest(gpu.stylize_planes(frame), cpu.stylize_planes(frame)) <= 2 * CODES
        _wait_for(lambda: len(built) == 4)
        assert [size for _, size in built] == sizes
        names = [name for name, _ in built]
        assert names[0] == "MainThread"
        assert all(name.startswith("animevid-engines") for name in names[1:])


@in_child
def test_live_frames_have_their_steps_built_ahead(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    built = _watch_builds()
    style = _style(tmp_path, "packed")
    with (
        LiveEngine(RuntimeOptions(backend="tensorrt")) as engine,
        engine.open_session(LiveOptions(style=style, fps=Fraction(1, 10))) as session,
    ):
        for seed in range(3):
            session.offer(Frame.captured(noise(192, 256, seed=seed), seed, 0.0))
            assert session.take(timeout_seconds=60) is not None, session.trouble
        assert not session.is_reduced
        _wait_for(lambda: len(built) == 4)
    assert (gpu.memory_used, gpu.streams) == (0, 0)


@in_child
def test_the_network_sees_all_of_a_frame_on_a_gpu_and_what_the_style_was_made_for_on_the_cpu(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    model, card = STYLES["packed"]
    path = tmp_path / "small.onnx"
    path.write_bytes(write_card(model, replace(card, net_pixels=48 * 64)))
    frame = noise(192, 256)
    with Stylizer(path) as stylizer, Stylizer(path, backend="onnxruntime") as cpu:
        assert stylizer.net_size(192, 256) == (192, 256)
        with Stylizer(path, backend="onnxruntime", net_pixels=0) as full:
            assert furthest(stylizer.stylize_planes(frame), full.stylize_planes(frame)) <= CODES
        gpu.lose_device_after(0)  # auto continues on the CPU, with its size
        assert stylizer.stylize_planes(frame).y.shape == (192, 256)
        assert stylizer.net_size(192, 256) == cpu.net_size(192, 256) == (48, 64)
        assert furthest(stylizer.stylize_planes(frame), cpu.stylize_planes(frame)) == 0
    with Stylizer(path, backend="onnxruntime", net_pixels=96 * 128) as asked:
        assert asked.net_size(192, 256) == (96, 128)


@in_child
def test_a_conversion_builds_one_engine_only(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    built = _watch_builds()
    clip, file = write_clip(tmp_path / "clip.mp4", frames=5), _style(tmp_path, "packed")
    assert _convert(clip, tmp_path / "gpu.mkv", file, "--backend", "tensorrt", "--net-size", "80x48")[0] == 0
    assert [size for _, size in built] == [(48, 80)]


@in_child
def test_a_size_outside_the_profile_and_a_closed_backend_are_one_line(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    stylizer = _open(tmp_path, "packed", "tensorrt")
    frame = noise(48, 64)
    stylizer.stylize_planes(frame)
    fake_tensorrt._Context.set_input_shape = lambda *_: False
    with pytest.raises(DeviceError, match=r"outside the engine's profile.*animevid build --size") as caught:
        stylizer.stylize_planes(noise(64, 64))
    assert "\n" not in str(caught.value)
    stylizer.close()
    stylizer.close()
    with pytest.raises(BackendError, match="closed"):
        stylizer.stylize_planes(frame)


@in_child
def test_an_old_driver_is_reported_in_one_line_by_auto_and_refused_by_name(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    gpu.say_driver_version(11040)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=2), _style(tmp_path, "packed")
    code, _, err = _convert(clip, tmp_path / "one.mkv", file)
    assert (code, len(err.splitlines())) == (0, 1)
    assert "--backend auto takes onnxruntime" in err
    assert "too old (CUDA 11.4" in err
    code, _, err = _convert(clip, tmp_path / "two.mkv", file, "--backend", "tensorrt")
    assert (code, len(err.splitlines())) == (6, 1)


def test_the_stand_in_has_the_names_of_the_real_library():
    rtx = rtx_or_skip().module
    pairs = [
        (fake_tensorrt.Runtime, rtx.Runtime),
        (fake_tensorrt._NativeEngine, rtx.ICudaEngine),
        (fake_tensorrt._Context, rtx.IExecutionContext),
        (fake_tensorrt._RuntimeConfig, rtx.IRuntimeConfig),
        (fake_tensorrt._RuntimeCache, rtx.IRuntimeCache),
    ]
    own = {"session", "contexts_made", "compiled", "spoiled"}
    for ours, theirs in pairs:
        names = {name for name in vars(ours) if not name.startswith("_")} - own
        assert names <= set(dir(theirs)), names - set(dir(theirs))
    for name in ("ExecutionContextAllocationStrategy", "DynamicShapesKernelSpecializationStrategy"):
        assert set(getattr(fake_tensorrt, name).__members__) <= set(getattr(rtx, name).__members__)
    assert hasattr(rtx.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    assert hasattr(rtx.BuilderFlag, "REQUIRE_USER_ALLOCATION")


def test_the_stand_in_has_the_names_of_classic_tensorrts_lean_runtime():
    """PyPI has only the lean runtime of classic TensorRT. In another process: this one has the RTX library."""
    if importlib.util.find_spec("tensorrt_lean_bindings") is None:
        pytest.skip("TensorRT's lean runtime is not installed: pip install tensorrt-lean-cu13")
    script = (
        "import json, tensorrt_lean_bindings as trt\n"
        "print(json.dumps({name: dir(getattr(trt, name)) for name in dir(trt) if name[0].isupper()}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    real = json.loads(done.stdout)
    own = {"session", "contexts_made", "compiled", "spoiled"}
    # Read by getattr: TensorRT for RTX has them.
    of_rtx = {"is_stream_capturable", "create_runtime_cache", "set_runtime_cache"}
    for ours, theirs in (
        (fake_tensorrt.Runtime, "Runtime"),
        (fake_tensorrt._NativeEngine, "ICudaEngine"),
        (fake_tensorrt._Context, "IExecutionContext"),
        (fake_tensorrt._RuntimeConfig, "IRuntimeConfig"),
    ):
        names = {name for name in vars(ours) if not name.startswith("_")} - own - of_rtx
        assert names
        assert names <= set(real[theirs]), names - set(real[theirs])
    strategies = fake_tensorrt.ExecutionContextAllocationStrategy.__members__
    assert set(strategies) <= set(real["ExecutionContextAllocationStrategy"])
    assert "DynamicShapesKernelSpecializationStrategy" not in real  # so that no runtime cache is requested


@in_child
def test_kernels_that_tensorrt_compiled_for_the_gpu_are_kept_for_the_next_start(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    frame, counts = noise(48, 64), []
    kept = tmp_path / "cache" / "animevid" / "engines"
    for content in (None, None, b"of another GPU"):
        if content is not None:
            (file,) = kept.glob("*.kernels")
            file.write_bytes(content)
        before = fake_tensorrt._NativeEngine.compiled
        with _open(tmp_path, "packed", "tensorrt") as gpu:
            gpu.stylize_planes(frame)
        counts.append(fake_tensorrt._NativeEngine.compiled - before)
    assert counts == [1, 0, 1]
    (file,) = kept.glob("*.kernels")
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kernels", [True, False], ids=["slots", "host-fed"])
@in_child
def test_an_engine_that_does_not_fit_is_built_for_fewer_frames_at_once(fake_driver, tmp_path, kernels):
    _start(fake_driver, tmp_path)
    build, asked = engines.build_engine, []

    def limited(model, card, request, **options):
        asked.append(request.shapes.maximum.count)
        if asked[-1] > 1:
            raise engines.EngineTooLarge("Error Code 2: OutOfMemory (Requested size was 4299232000 bytes.)")
        return build(model, card, request, **options)

    def missing(**_: object) -> bytes:
        raise BackendError("the CUDA kernels are not installed")

    engines.build_engine = limited
    if not kernels:
        tensorrt.load_fatbin = missing
    frame = noise(48, 64)
    with _open(tmp_path, "packed", "onnxruntime") as cpu, _open(tmp_path, "packed", "tensorrt") as gpu:
        assert furthest(gpu.stylize_planes(frame), cpu.stylize_planes(frame)) <= CODES
    assert asked == [4, 2, 1]


@in_child
def test_what_cannot_be_captured_is_drawn_without_graphs(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=14), _style(tmp_path, "packed")
    _convert(clip, tmp_path / "cpu.mkv", file, "--backend", "onnxruntime")
    gpu.fail_captures(1000)
    code, _, err = _convert(clip, tmp_path / "gpu.mkv", file, "--backend", "tensorrt", "-v")
    assert code == 0
    assert "continues without CUDA graphs" in err
    assert gpu.graphs_launched == 0
    assert _apart(tmp_path / "cpu.mkv", tmp_path / "gpu.mkv") <= CODES


@in_child
def test_a_gpu_that_the_kernels_have_no_code_for_is_one_line_and_auto_goes_on_without(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    gpu.say_compute_capability(7, 0)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=3), _style(tmp_path, "packed")
    code, _, err = _convert(clip, tmp_path / "one.mkv", file, "--backend", "tensorrt")
    assert (code, len(err.splitlines())) == (6, 1)
    assert "no code for this GPU" in err
    code, _, err = _convert(clip, tmp_path / "two.mkv", file)
    assert (code, len(err.splitlines())) == (0, 1)
    assert "continues with onnxruntime" in err


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or importlib.util.find_spec("tensorrt") is not None,
    reason="needs a machine with only TensorRT for RTX",
)
@in_child
def test_auto_says_what_to_install_on_a_gpu_that_tensorrt_for_rtx_does_not_run_on(fake_driver, tmp_path):
    gpu = _start(fake_driver, tmp_path)
    tensorrt.find_library = find_library
    gpu.say_compute_capability(9, 0)
    clip, file = write_clip(tmp_path / "clip.mp4", frames=2), _style(tmp_path, "packed")
    code, _, err = _convert(clip, tmp_path / "gpu.mkv", file)
    assert (code, len(err.splitlines())) == (0, 1)
    assert 'does not run on a GPU of compute capability 9.0; pip install "animevid[tensorrt]"' in err


@pytest.mark.parametrize("capability", [(8, 7), (9, 0), (10, 0), (12, 1), (13, 0)])
@in_child
def test_the_kernels_have_code_for_gpus_between_and_after_those_that_they_were_built_for(fake_driver, capability):
    gpu = FakeGpu(fake_driver)
    gpu.say_compute_capability(*capability)
    with open_device() as device:
        assert device.call("cuModuleLoadData", IMAGE) is not None
