"""TensorRT engines built ahead of time, without a GPU, by TensorRT for RTX; and the cache on disk."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from animevid import trusted_files
from animevid.cli import main
from animevid.errors import BackendError, DeviceError, OutputError, StyleError, UsageError
from animevid.gpu.driver import open_device
from animevid.gpu.tensorrt import engine as engines
from animevid.gpu.tensorrt.cache import EngineCache, StaleEngine, engine_key, read_engine, write_engine
from animevid.gpu.tensorrt.engine import Engine, EngineRequest, IoTensor, Shape, ShapeRange, build_engine, shape_range
from animevid.gpu.tensorrt.library import RTX_RUNS_ON, Gpu, Library, find_library
from animevid.styles import list_styles
from animevid.styles.card import ColourOrder, Layout, StyleCard, write_card
from exported import exported
from gpu.engines import TARGETS, assert_same_but_for_names, rtx_or_skip
from media import write_clip
from small_networks import Builder, packed_network, rgb_network

PACKED = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
NCHW = StyleCard(name="nchw", size_multiple=2)


def fixed_shape(height_px: int, width_px: int) -> ShapeRange:
    shape = Shape(1, height_px, width_px)
    return ShapeRange(shape, shape, shape)


SMALL = fixed_shape(96, 128)


@pytest.fixture(scope="module")
def rtx():
    return rtx_or_skip()


def _engine(content: bytes = b"a plan") -> Engine:
    tensor = IoTensor("input", (1, 24, 24, 32), "float16")
    return Engine(content, tensor, replace(tensor, name="output"))


def test_a_packed_style_becomes_a_half_precision_engine_of_one_size(rtx):
    engine = build_engine(packed_network(), PACKED, EngineRequest(SMALL, target="sm86"), library=rtx)
    assert engine.input == IoTensor("input", (1, 24, 24, 32), "float16")
    assert engine.output == IoTensor("output", (1, 24, 24, 32), "float16")
    assert len(engine.plan) > 10_000


def test_float32_ends_and_float32_throughout_are_to_be_had(rtx):
    for request in (
        EngineRequest(SMALL, target="sm86", half_io=False),
        EngineRequest(SMALL, target="sm86", precision="fp32"),
    ):
        engine = build_engine(rgb_network(), NCHW, request, library=rtx)
        assert (engine.input.dtype, engine.output.dtype) == ("float32", "float32")
        assert engine.input.shape == (1, 3, 96, 128)


def test_free_sizes_up_to_1080p_in_batches_fit_into_the_workspace(rtx):
    shapes = shape_range(PACKED, height_px=1080, width_px=1920, dynamic=True, max_batch=4)
    assert shapes.maximum == Shape(4, 1080, 1920)
    engine = build_engine(packed_network(), PACKED, EngineRequest(shapes, target="sm89"), library=rtx)
    assert engine.input.shape == (-1, 24, -1, -1)


def test_two_builds_of_one_style_are_equal(rtx):
    first, second = (
        build_engine(packed_network(), PACKED, EngineRequest(SMALL, target="sm120"), library=rtx).plan for _ in "12"
    )
    assert first == second


def test_progress_is_reported_and_can_stop_the_build(rtx):
    told: list[tuple[str, int, int]] = []

    def follow(phase: str, done: int, steps: int) -> bool:
        told.append((phase, done, steps))
        return True

    request = EngineRequest(SMALL, target="sm86")
    build_engine(packed_network(), PACKED, request, library=rtx, progress=follow)
    assert any("Building engine" in phase for phase, _, _ in told)
    assert all(0 < done <= steps for _, done, steps in told)
    with pytest.raises(BackendError, match="cannot build") as caught:
        build_engine(packed_network(), PACKED, request, library=rtx, progress=lambda *_: False)
    assert "\n" not in str(caught.value)


def test_tensorrt_for_rtx_measures_nothing_so_it_leaves_no_timing_cache(rtx, tmp_path: Path):
    cache = tmp_path / "timing"
    build_engine(packed_network(), PACKED, EngineRequest(SMALL, target="sm86"), library=rtx, timing_cache=cache)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("model", "card", "request_", "error", "what"),
    [
        (b"text" * 30, PACKED, EngineRequest(SMALL, target="sm86"), StyleError, "not a valid ONNX"),
        (b"text" * 30, PACKED, EngineRequest(SMALL, precision="fp32"), BackendError, "one frame is given"),
        (packed_network(), PACKED, EngineRequest(SMALL, target="sm42"), UsageError, "sm42.*sm86"),
        (packed_network(), PACKED, EngineRequest(SMALL, precision="int3"), UsageError, "fp16 or fp32"),
        (packed_network(n=1, h=12, w=20), PACKED, EngineRequest(SMALL, target="sm86"), UsageError, "takes"),
    ],
    ids=["text", "text-fp32", "target", "precision", "other-size"],
)
def test_what_cannot_be_built_is_refused_in_one_line(rtx, model, card, request_, error, what):
    with pytest.raises(error, match=what) as caught:
        build_engine(model, card, request_, library=rtx)
    assert "\n" not in str(caught.value)


def test_without_a_driver_this_machines_gpu_is_refused_with_the_way_out():
    pytest.importorskip("cuda.bindings")
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceError, match=r"no usable NVIDIA driver.*--backend onnxruntime") as caught:
        open_device(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("capability", ["7.0", "9.0", "10.0"])
def test_a_gpu_that_tensorrt_for_rtx_does_not_run_on_is_refused_with_tensorrt_or_torch_as_alternatives(
    rtx, monkeypatch, capability
):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorrt" else found(name))
    with pytest.raises(BackendError, match=r"does not run on .*animevid\[tensorrt\]\".*--backend torch") as caught:
        find_library(compute_capability=capability)
    with pytest.raises(BackendError, match=r"does not run on .*animevid\[tensorrt-cu12\]"):
        find_library(compute_capability=capability, driver_version="12.8")
    assert "\n" not in str(caught.value)
    assert find_library(compute_capability="8.9").name == "tensorrt_rtx"


def test_the_gpus_that_tensorrt_for_rtx_runs_on_are_those_of_its_own_list(rtx):
    names = {name for name in rtx.module.ComputeCapability.__members__ if name.startswith("SM")}
    assert {"SM" + capability.replace(".", "") for capability in RTX_RUNS_ON} == names


def test_sizes_are_rounded_up_to_what_the_style_takes():
    assert shape_range(PACKED, height_px=357, width_px=637) == fixed_shape(360, 640)
    dynamic = shape_range(NCHW, height_px=360, width_px=640, dynamic=True, max_batch=2)
    assert (dynamic.minimum, dynamic.optimum, dynamic.maximum) == (
        Shape(1, 64, 64),
        Shape(1, 360, 640),
        Shape(2, 360, 640),
    )
    fixed = replace(PACKED, fixed_size_px=(48, 80))
    assert shape_range(fixed, height_px=48, width_px=80, dynamic=True).is_static
    for height, width, batch in ((0, 64, 1), (64, 64, 0)):
        with pytest.raises(UsageError):
            shape_range(PACKED, height_px=height, width_px=width, max_batch=batch)
    with pytest.raises(UsageError, match="only"):
        shape_range(fixed, height_px=64, width_px=64)


def test_the_second_time_the_engine_comes_from_disk(rtx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache, request = EngineCache(tmp_path / "engines"), EngineRequest(SMALL, target="sm86")
    first, path = cache.load_or_build(packed_network(), PACKED, request, library=rtx)
    monkeypatch.setattr(engines, "build_engine", None)
    assert cache.load_or_build(packed_network(), PACKED, request, library=rtx) == (first, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]


class _Counting:
    """Replaces the builder: tests of the cache need no real engine, and a real one is tested above."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self, model, card, request, **_) -> Engine:
        self.builds += 1
        self.target = request.target
        return _engine(f"plan {self.builds}".encode())


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> _Counting:
    counter = _Counting()
    monkeypatch.setattr(engines, "build_engine", counter)
    return counter


LIBRARY = Library("tensorrt_rtx", "1.0", json)


@pytest.mark.parametrize(
    "change",
    [
        {"gpu": Gpu("RTX 3060", "8.6", "591.1")},
        {"library": replace(LIBRARY, version="1.1")},
        {"request": EngineRequest(SMALL, target="sm86", workspace_bytes=1 << 30)},
    ],
    ids=["driver", "library", "workspace"],
)
def test_what_changes_by_itself_makes_an_engine_stale_and_says_so_in_one_line(counting, tmp_path, caplog, change):
    cache = EngineCache(tmp_path / "engines")
    usual = {"gpu": Gpu("RTX 3060", "8.6", "590.0"), "library": LIBRARY, "request": EngineRequest(SMALL, target="sm86")}

    def get(request: EngineRequest, **others) -> tuple[Engine, Path]:
        return cache.load_or_build(b"model", PACKED, request, **others)

    _, path = get(**usual)
    with caplog.at_level(logging.WARNING, logger="animevid"):
        engine, again = get(**{**usual, **change})
    assert (counting.builds, engine.plan, again) == (2, b"plan 2", path)
    (record,) = caplog.records
    assert "is stale" in record.getMessage()
    assert " -> " in record.getMessage()
    assert "\n" not in record.getMessage()


def test_engines_of_other_models_sizes_gpus_and_precisions_lie_side_by_side(counting, tmp_path):
    cache = EngineCache(tmp_path / "engines")
    usual = EngineRequest(SMALL, target="sm86")
    requests = [usual, replace(usual, target="sm89"), replace(usual, shapes=fixed_shape(96, 96))]
    requests += [replace(usual, precision="fp32"), replace(usual, half_io=False)]
    paths = {cache.load_or_build(b"model", PACKED, request, library=LIBRARY)[1] for request in requests}
    paths.add(cache.load_or_build(b"another", PACKED, usual, library=LIBRARY)[1])
    assert len(paths) == counting.builds == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"",
        lambda content: b"\x00" * len(content),
        lambda content: content.replace(b"plan_sha256", b"plan_sha257"),
        lambda content: content.replace(b"animevid-engine 1", b"animevid-engine 9"),
    ],
    ids=["cut", "one-bit", "empty", "zeros", "header", "version"],
)
def test_a_damaged_engine_is_built_again_and_reported_in_one_line(counting, tmp_path, caplog, damage):
    cache, request = EngineCache(tmp_path / "engines"), EngineRequest(SMALL, target="sm86")
    _, path = cache.load_or_build(b"model", PACKED, request, library=LIBRARY)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING, logger="animevid"):
        engine, _ = cache.load_or_build(b"model", PACKED, request, library=LIBRARY)
    assert engine.plan == b"plan 2"
    assert len(caplog.records) == 1
    assert "is damaged" in caplog.text
    assert read_engine(path).plan == b"plan 2"


@pytest.mark.parametrize(
    ("library", "capability", "target"),
    [
        *(("tensorrt_rtx", capability, f"sm{capability.replace('.', '')}") for capability in RTX_RUNS_ON),
        ("tensorrt_rtx", "", "current"),
        ("tensorrt", "7.5", "current"),
    ],
)
def test_an_engine_names_the_capability_of_its_gpu_to_tensorrt_for_rtx(counting, tmp_path, library, capability, target):
    gpu = Gpu("a card", capability, "12.8")
    EngineCache(tmp_path / "engines").load_or_build(
        b"model", PACKED, EngineRequest(SMALL), gpu=gpu, library=Library(library, "1.0", json)
    )
    assert counting.target == target


@pytest.mark.skipif(os.name == "nt", reason="Windows has access lists, not modes")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_engine_that_others_can_write_is_refused_not_run(counting, tmp_path, mode):
    cache, request = EngineCache(tmp_path / "engines"), EngineRequest(SMALL, target="sm86")
    _, path = cache.load_or_build(b"model", PACKED, request, library=LIBRARY)
    path.chmod(mode)
    with pytest.raises(BackendError, match=r"written by others.*chmod go-w"):
        cache.load_or_build(b"model", PACKED, request, library=LIBRARY)
    path.chmod(0o600)
    cache.folder.chmod(0o777)
    with pytest.raises(BackendError, match="written by others"):
        cache.load_or_build(b"model", PACKED, request, library=LIBRARY)


def test_a_failed_write_leaves_the_earlier_engine_and_no_crumbs(tmp_path, monkeypatch):
    path = tmp_path / "one.engine"
    key = engine_key(b"model", EngineRequest(SMALL), library=LIBRARY)
    write_engine(path, _engine(b"old"), key=key)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trusted_files.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_engine(path, _engine(b"new"), key=key)
    assert read_engine(path, key=key).plan == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["one.engine"]
    with pytest.raises(StaleEngine, match="model_sha256"):
        read_engine(path, key=engine_key(b"other", EngineRequest(SMALL), library=LIBRARY))


def test_the_command_builds_for_three_gpus_that_are_not_here(rtx, tmp_path, capsys):
    style = tmp_path / "mine.onnx"
    style.write_bytes(write_card(packed_network(), PACKED))
    arguments = ["build", str(style), "--size", "130x90", "--gpu", ",".join(TARGETS), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    engines = sorted((tmp_path / "out").glob("*.engine"))
    assert len(engines) == 3
    inputs = {read_engine(engine).input for engine in engines}
    assert inputs == {IoTensor("input", (-1, 24, 24, 34), "float16")}  # as --backend tensorrt requests
    parity, *said = capsys.readouterr().out.splitlines()
    assert parity.startswith("half precision: max ")
    assert "over 4 frames" in parity
    assert [line.split("  ")[0] for line in said] == [
        str(next(e for e in engines if e.stem.endswith(target))) for target in TARGETS
    ]


def _too_large_for_half() -> bytes:
    """A network with intermediate values above 65504, which are infinite in half precision."""
    net = Builder()
    x = "input"
    for factor in (300.0, 300.0, 1 / 300.0, 1 / 300.0):
        x = net.op("Mul", x, net.constant(np.float32(factor)))
    return net.model(x, ["N", 3, "H", "W"])


def test_a_style_that_half_precision_spoils_is_refused_and_nothing_is_built(tmp_path, capsys):
    style, out = tmp_path / "large.onnx", tmp_path / "out"
    style.write_bytes(write_card(_too_large_for_half(), replace(NCHW, name="large")))
    assert main(["build", str(style), "--gpu", "sm86", "--out", str(out), "--size", "64x64"]) == 6
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "differs from float32: max inf" in said
    assert "--precision fp32" in said
    assert not out.exists()


def test_the_frames_to_compare_with_can_be_chosen(tmp_path, capsys, rtx):
    style = tmp_path / "mine.onnx"
    style.write_bytes(write_card(packed_network(), PACKED))
    arguments = ["build", str(style), "--gpu", "sm86", "--out", str(tmp_path / "out"), "--size", "64x64"]
    assert main([*arguments, "--check-with", str(write_clip(tmp_path / "own.mp4", frames=9))]) == 0
    assert "half precision: max" in capsys.readouterr().out
    assert main([*arguments, "--check-with", str(tmp_path / "none.mp4")]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["build", "--size", "big"], 2, "not a size"),
        (["build", "--gpu", "rtx3060"], 2, "compute capabilities"),
        (["build", "no-such-style", "--gpu", "sm86"], 5, "no style"),
        (["build", "STYLE", "--gpu", "sm42"], 2, "sm42"),
        (["build", "STYLE"], 6, "driver"),
    ],
)
def test_bad_arguments_are_one_line_and_an_exit_code(rtx, tmp_path, capsys, arguments, code, what):
    style = tmp_path / "mine.onnx"
    style.write_bytes(write_card(packed_network(), PACKED))
    if arguments == ["build", "STYLE"] and os.path.exists("/dev/nvidiactl"):
        pytest.skip("there is a GPU here")
    assert main([str(style) if word == "STYLE" else word for word in arguments] + ["--out", str(tmp_path)]) == code
    said = capsys.readouterr().err
    assert what in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.glob("*.engine"))


_SHIPPED = [style for style in list_styles() if style.path.parent.name == "styles" and "animevid" in style.path.parts]


def _build(model: bytes, card: StyleCard, library: Library, *, dynamic: bool, target: str) -> Engine:
    """Build for 1080p, or for every size up to it."""
    shapes = shape_range(card, height_px=1080, width_px=1920, dynamic=dynamic)
    engine = build_engine(model, card, EngineRequest(shapes, target=target), library=library)
    expected = card.tensor_shape(1, shapes.maximum.height_px, shapes.maximum.width_px)
    if dynamic:
        expected = tuple(-1 if axis in card.layout.spatial_axes else s for axis, s in enumerate(expected))
    assert (engine.input.shape, engine.output.shape) == (expected, expected)
    assert (engine.input.dtype, engine.output.dtype) == ("float16", "float16")
    return engine


@pytest.mark.slow
@pytest.mark.parametrize("style", _SHIPPED, ids=lambda style: style.path.stem)
def test_every_shipped_style_is_built_for_every_gpu_up_to_1080p(rtx, style):
    if style.card.precision == "int8":
        pytest.skip("quantized styles are run by CPU backends")
    for dynamic in (False, True):
        built = [_build(style.model, style.card, rtx, dynamic=dynamic, target=target) for target in TARGETS]
        again = _build(style.model, style.card, rtx, dynamic=dynamic, target=TARGETS[0])
        assert_same_but_for_names(again, built[0])
        assert dynamic or again == built[0]
        assert len({engine.plan for engine in built}) == len(TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "animegan2", "cartoongan"])  # animegan2-lite has animegan2's operators
def test_every_generator_family_is_built_for_every_gpu_up_to_1080p(rtx, name):
    """Each kind of shapes and each GPU once; every pair of them is built of the shipped styles, which take less."""
    pytest.importorskip("torch")
    _, card, model = exported(name)
    for dynamic, target in zip((True, False, False), TARGETS, strict=True):
        _build(model, card, rtx, dynamic=dynamic, target=target)


_GARBAGE = """
import gc
from animevid.gpu.tensorrt import engine as engines
from animevid.gpu.tensorrt.library import find_library
from test_builder import PACKED, SMALL

library = find_library()

class Busy(library.module.ILogger):
    first_error = ""

    def log(self, severity, message):
        self.kept = [[] for _ in range(300_000)]  # enough for a collection

kept = []
engines.make_logger = lambda module: kept.append(Busy()) or kept[-1]
gc.set_threshold(200_000, 1, 1)
gc.collect()
loop = [library.module.Builder(Busy())]
loop.append(loop)
del loop  # only a collection frees it now
try:
    engines.build_engine(b"text" * 30, PACKED, engines.EngineRequest(SMALL, precision="fp32"), library=library)
except Exception as error:
    print(type(error).__name__)
"""


def test_a_builder_that_is_garbage_does_not_lock_the_next_one(rtx):
    # TensorRT calls the Python logger with a lock held, where Python may collect garbage.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", _GARBAGE]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert result.stdout.strip() == "BackendError", result.stderr
