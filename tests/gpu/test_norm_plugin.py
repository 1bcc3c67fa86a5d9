"""The norm plugin: what is fused in a graph, what TensorRT builds of it, and what both plugins launch."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from animevid.backends import norm_plugin
from animevid.backends.cuda.driver import open_device
from animevid.backends.norm_plugin import DOMAIN, NAME, NormFields, enqueue_norm, fuse_norms, register
from animevid.backends.precision import to_half
from animevid.backends.tensorrt_builder import EngineRequest, ShapeRange, build_engine, engine_key, shape_range
from animevid.cli import main
from animevid.errors import BackendError, StyleError
from animevid.styles.card import StyleCard, write_card
from gpu.cpu_kernels import SOURCES, compile_library
from gpu.engines import TARGETS, rtx_or_skip
from gpu.fake_gpu import IMAGE, FakeGpu, in_child
from gpu.test_kernels import _norm_reference
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from small_networks import Builder, packed_network

CARD = StyleCard(name="normed", size_multiple=2)
_STAND_IN = Path(__file__).parent / "stand_in" / "include"
_PLUGIN = SOURCES.parent / "tensorrt" / "norm_plugin.cpp"


class AnimevidNorm(OpRun):
    """The operator by its definition, for ONNX's own evaluator."""

    op_domain = DOMAIN

    def _run(self, x, scale, shift, layer=None, epsilon=None, slope=None):
        return (_norm_reference(x, scale, shift, layer=bool(layer), epsilon=epsilon, slope=slope).astype(x.dtype),)


def _layer_norm(net: Builder, x: str, channels: int) -> str:
    """As torch exports ``GroupNorm`` of one group."""
    flat = net.op("Reshape", x, net.constant(np.int64([0, 1, -1])))
    ones, zeros = net.constant(np.ones(1, np.float32)), net.constant(np.zeros(1, np.float32))
    normal = net.op("InstanceNormalization", flat, ones, zeros, epsilon=1e-5)
    back = net.op("Reshape", normal, net.op("Shape", x))
    rng = np.random.default_rng(3)
    scale, shift = (net.constant(rng.normal(size=(channels, 1, 1)).astype(np.float32)) for _ in "12")
    return net.op("Add", net.op("Mul", back, scale), shift)


def _instance_norm(net: Builder, x: str, channels: int) -> str:
    rng = np.random.default_rng(4)
    scale, shift = (net.constant(rng.normal(size=channels).astype(np.float32)) for _ in "12")
    return net.op("InstanceNormalization", x, scale, shift, epsilon=1e-9)


def normed_network() -> bytes:
    """A layer norm and LeakyReLU, an instance norm and ReLU, and an instance norm whose result is read twice."""
    net = Builder()
    x = net.op("LeakyRelu", _layer_norm(net, net.conv("input", 3, 8), 8), alpha=0.2)
    x = net.op("Relu", _instance_norm(net, net.conv(x, 8, 8), 8))
    y = _instance_norm(net, net.conv(x, 8, 8), 8)
    x = net.op("Add", net.op("Relu", y), y)
    return net.model(net.conv(x, 8, 3), ["N", 3, "H", "W"])


def _norms(model: bytes) -> list[dict[str, float]]:
    nodes = [node for node in onnx.load_from_string(model).graph.node if node.op_type == NAME]
    return [{a.name: round(helper.get_attribute_value(a), 10) for a in node.attribute} for node in nodes]


def test_each_norm_takes_its_activation_along_unless_somebody_else_reads_it():
    fused = fuse_norms(normed_network())
    slopes = [(norm["layer"], norm["slope"]) for norm in _norms(fused)]
    assert slopes == [(1, pytest.approx(0.2)), (0, 0.0), (0, 1.0)]
    kinds = [node.op_type for node in onnx.load_from_string(fused).graph.node]
    assert not {"InstanceNormalization", "Reshape", "Shape", "LeakyRelu"} & set(kinds)
    assert kinds.count("Relu") == 1


def test_a_fused_network_draws_what_it_drew():
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 3, 12, 20)).astype(np.float32)
    model = normed_network()
    fused = onnx.load_from_string(fuse_norms(model))
    (got,) = ReferenceEvaluator(fused, new_ops=[AnimevidNorm]).run(None, {"input": batch})
    (expected,) = ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"input": batch})
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_a_network_without_norms_stays_as_it_is():
    model = packed_network()
    assert fuse_norms(model) == model
    with pytest.raises(StyleError, match="not a valid ONNX"):
        fuse_norms(b"text" * 30)


def test_half_precision_gives_the_operator_half_pictures_and_float32_scales():
    model = to_half(fuse_norms(normed_network()), half_io=True)
    graph = onnx.load_from_string(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in graph.value_info} | {
        t.name: t.data_type for t in graph.initializer
    }
    norms = [node for node in graph.node if node.op_type == NAME]
    assert len(norms) == 3
    for node in norms:
        assert [types[name] for name in node.input[1:]] == [TensorProto.FLOAT] * 2
        assert types[node.output[0]] == TensorProto.FLOAT16
    assert "Cast" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize("target", TARGETS)
def test_tensorrt_builds_an_engine_with_the_python_plugin(target):
    rtx = rtx_or_skip()
    request = EngineRequest(ShapeRange.static(64, 96), target=target, norm_plugin=True)
    engine = build_engine(normed_network(), CARD, request, library=rtx)
    assert engine.plan.count(NAME.encode()) >= 3
    assert (engine.input.dtype, engine.output.shape) == ("float16", (1, 3, 64, 96))
    plain = EngineRequest(ShapeRange.static(64, 96), target=target)
    assert NAME.encode() not in build_engine(normed_network(), CARD, plain, library=rtx).plan


def test_free_sizes_and_batches_build_too_and_have_a_key_of_their_own():
    rtx = rtx_or_skip()
    shapes = shape_range(CARD, height_px=360, width_px=640, dynamic=True, max_batch=4)
    request = EngineRequest(shapes, target="sm86", norm_plugin=True)
    assert build_engine(normed_network(), CARD, request, library=rtx).input.shape == (-1, 3, -1, -1)
    with_norms, without = (
        engine_key(b"", EngineRequest(shapes, norm_plugin=asked), library=rtx) for asked in (True, False)
    )
    assert with_norms != without


def test_animevid_build_builds_with_it_where_it_is_wanted(tmp_path, monkeypatch, capsys):
    rtx_or_skip()
    style = tmp_path / "normed.onnx"
    style.write_bytes(write_card(normed_network(), CARD))
    names = []
    for wanted in ("1", ""):
        monkeypatch.setenv(norm_plugin.VARIABLE, wanted)
        out = tmp_path / f"engines{wanted}"
        assert main(["build", str(style), "--size", "96x64", "--gpu", "sm86", "--out", str(out)]) == 0
        (engine,) = out.glob("*.engine")
        assert (NAME.encode() in engine.read_bytes()) == (wanted == "1")
        names.append(engine.name)
    assert names[0] != names[1]


def test_registering_twice_is_registering_once():
    rtx = rtx_or_skip()
    assert register(rtx) == register(rtx) == "python"


def test_a_plugin_of_both_phases_keeps_its_fields():
    rtx = rtx_or_skip().module
    creator = norm_plugin._creator_class(rtx)()
    fields = NormFields(layer=True, epsilon=1e-9, slope=0.2)
    plugin = creator.create_plugin("n", norm_plugin._to_plugin_fields(rtx, fields), rtx.TensorRTPhase.BUILD)
    kept = plugin.clone().attach_to_context(None)._fields
    assert (kept.layer, kept.epsilon, kept.slope) == (True, pytest.approx(1e-9), pytest.approx(0.2))


_SHAPES = [(2, 3, 5, 7), (1, 4, 17, 19), (1, 1, 130, 130)]  # the last takes two blocks a group


def _upload(device, array: np.ndarray) -> int:
    address = int(device.call("cuMemAlloc", max(array.nbytes, 4)))
    stream = device.call("cuStreamCreate", 1)
    device.call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream)
    device.call("cuStreamSynchronize", stream)
    return address


def _draw_norm(
    device, enqueue, shape: tuple[int, ...], fields: NormFields, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    """What ``enqueue(pointers, workspace, stream)`` leaves in device memory, and what it should."""
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, shape).astype(dtype)
    scale, shift = (rng.normal(size=shape[1]).astype(np.float32) for _ in "12")
    pointers = [_upload(device, array) for array in (x, scale, shift, np.full_like(x, np.nan))]
    workspace = int(device.call("cuMemAlloc", fields.workspace_bytes(shape)))
    stream = int(device.call("cuStreamCreate", 1))
    enqueue(pointers, workspace, stream)
    got = np.empty_like(x)
    device.call("cuMemcpyDtoHAsync", got.ctypes.data, pointers[3], got.nbytes, stream)
    device.call("cuStreamSynchronize", stream)
    return got, _norm_reference(x, scale, shift, layer=fields.layer, epsilon=fields.epsilon, slope=fields.slope)


@pytest.mark.parametrize("layer", [True, False], ids=["layer", "instance"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@in_child
def test_the_python_plugin_launches_the_norm_on_the_stream_that_it_is_given(fake_driver, layer, dtype):
    gpu = FakeGpu(fake_driver)
    fields = NormFields(layer=layer, epsilon=1e-5, slope=0.2)
    with open_device() as device:
        for seed, shape in enumerate(_SHAPES):
            gpu.seed(seed)
            got, expected = _draw_norm(
                device,
                lambda pointers, workspace, stream, shape=shape: enqueue_norm(
                    fields, shape=shape, half=dtype == np.float16, pointers=pointers, workspace=workspace, stream=stream
                ),
                shape, fields, dtype,
            )  # fmt: skip
            np.testing.assert_allclose(got, expected, atol=2e-5 if dtype == np.float32 else 2e-2)


@in_child
def test_the_plugins_kernels_outlive_the_device_that_they_were_first_launched_on(fake_driver):
    """The next one has the same primary context, at the same address; modules of one that ended would be gone."""
    FakeGpu(fake_driver)
    fields, shape = NormFields(layer=True), _SHAPES[0]
    for _ in "12":
        with open_device() as device:
            got, expected = _draw_norm(
                device,
                lambda pointers, workspace, stream: enqueue_norm(
                    fields, shape=shape, half=False, pointers=pointers, workspace=workspace, stream=stream
                ),
                shape, fields, np.float32,
            )  # fmt: skip
            np.testing.assert_allclose(got, expected, atol=2e-5)


# ---- in C++ ----

_CALLS_A_PLUGIN = r"""
#include "norm_plugin.cpp"
// The way of TensorRT: creator, plugin, clone in a context, enqueue; 0 for success. Leaves the workspace it asked for.
extern "C" AV_EXPORT int run(int layer, float epsilon, float slope, const long long* sides, int half,
                             const void* const* inputs, void* output, void* workspace, void* stream, long long* bytes) {
    int32_t count = 0;
    auto* const creator = static_cast<nvinfer1::IPluginCreatorV3One*>(getCreators(count)[0]);
    const nvinfer1::PluginField given[] = {{"slope", &slope, nvinfer1::PluginFieldType::kFLOAT32, 1},
                                           {"layer", &layer, nvinfer1::PluginFieldType::kINT32, 1},
                                           {"epsilon", &epsilon, nvinfer1::PluginFieldType::kFLOAT32, 1}};
    nvinfer1::PluginFieldCollection fields;
    fields.nbFields = 3;
    fields.fields = given;
    auto* const made = creator->createPlugin("n", &fields, nvinfer1::TensorRTPhase::kBUILD);
    auto* const first = static_cast<nvinfer1::IPluginV3OneRuntime*>(
        made->getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
    // What an engine keeps of it makes the plugin that runs.
    auto* const kept = creator->createPlugin("n", first->getFieldsToSerialize(), nvinfer1::TensorRTPhase::kRUNTIME);
    auto* const plugin = static_cast<nvinfer1::IPluginV3OneRuntime*>(
        kept->getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME))->attachToContext(nullptr);
    auto* const build = static_cast<nvinfer1::IPluginV3OneBuild*>(
        plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kBUILD));
    nvinfer1::DynamicPluginTensorDesc tensor{};
    tensor.max.nbDims = 4;
    for (int axis = 0; axis < 4; ++axis) tensor.max.d[axis] = sides[axis];
    tensor.desc.dims = tensor.max;
    tensor.desc.type = half ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
    *bytes = static_cast<long long>(build->getWorkspaceSize(&tensor, 1, &tensor, 1));
    const int failed = static_cast<nvinfer1::IPluginV3OneRuntime*>(
        plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME))
            ->enqueue(&tensor.desc, &tensor.desc, inputs, &output, workspace, static_cast<cudaStream_t>(stream));
    delete plugin;
    delete kept;
    delete made;
    return failed;
}
"""


def _compile(source: Path, target: Path) -> Path:
    fatbin = target.with_suffix(".fatbin")
    fatbin.write_bytes(IMAGE)
    return compile_library(
        source, target, f"-I{_STAND_IN}", f"-I{_PLUGIN.parent}", f'-DANIMEVID_FATBIN="\\"{fatbin}\\""', "-ldl"
    )


@pytest.fixture(scope="module")
def native_plugin(tmp_path_factory) -> Path:
    return _compile(_PLUGIN, tmp_path_factory.mktemp("plugin") / "libanimevid_tensorrt.so")


@pytest.fixture(scope="module")
def native_caller(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("caller")
    (folder / "caller.cpp").write_text(_CALLS_A_PLUGIN)
    return _compile(folder / "caller.cpp", folder / "libcaller.so")


@pytest.mark.parametrize("layer", [True, False], ids=["layer", "instance"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@in_child
def test_the_cpp_plugin_launches_the_norm_on_the_stream_that_it_is_given(fake_driver, native_caller, layer, dtype):
    gpu = FakeGpu(fake_driver)
    library = ctypes.CDLL(str(native_caller))
    fields = NormFields(layer=layer, epsilon=1e-5, slope=0.2)
    for seed, shape in enumerate(_SHAPES):
        gpu.seed(seed)
        # Each time another device, whose primary context has the same address.
        with open_device() as device:

            def enqueue(pointers, workspace, stream, shape=shape):
                bytes_asked = ctypes.c_longlong()
                failed = library.run(
                    int(layer), ctypes.c_float(fields.epsilon), ctypes.c_float(fields.slope),
                    (ctypes.c_longlong * 4)(*shape), int(dtype == np.float16), (ctypes.c_void_p * 3)(*pointers[:3]),
                    ctypes.c_void_p(pointers[3]), ctypes.c_void_p(workspace), ctypes.c_void_p(stream),
                    ctypes.byref(bytes_asked),
                )  # fmt: skip
                assert failed == 0
                assert bytes_asked.value == fields.workspace_bytes(shape)

            got, expected = _draw_norm(device, enqueue, shape, fields, dtype)
            np.testing.assert_allclose(got, expected, atol=2e-5 if dtype == np.float32 else 2e-2)


def test_without_a_driver_the_cpp_plugin_says_that_it_failed(native_caller):
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("there is a GPU here")
    sides, inputs = (ctypes.c_longlong * 4)(1, 1, 2, 2), (ctypes.c_void_p * 3)()
    run = ctypes.CDLL(str(native_caller)).run
    zero = ctypes.c_float(0)
    assert run(0, zero, zero, sides, 0, inputs, None, None, None, ctypes.byref(ctypes.c_longlong())) == 1


_BUILDS = """
import sys
from pathlib import Path
from animevid.backends import norm_plugin, tensorrt_builder as b
from animevid.styles.card import StyleCard
library = b.find_library("tensorrt_rtx")
print(norm_plugin.register(library, native=Path(sys.argv[1])), norm_plugin.register(library))
request = b.EngineRequest(b.ShapeRange.static(64, 96), target="sm89", norm_plugin=True)
engine = b.build_engine(Path(sys.argv[2]).read_bytes(), StyleCard(name="n", size_multiple=2), request, library=library)
print(engine.plan.count(b"AnimevidNorm"), engine.output.shape)
"""


def test_tensorrt_loads_the_cpp_plugin_and_builds_an_engine_with_it(native_plugin, tmp_path):
    rtx_or_skip()
    model = tmp_path / "normed.onnx"
    model.write_bytes(normed_network())
    # In a process of its own: the registry of this one has the plugin in Python.
    done = subprocess.run(
        [sys.executable, "-c", _BUILDS, str(native_plugin), str(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "c++ c++"
    assert done.stdout.split("\n")[1].endswith("(1, 3, 64, 96)")
    assert int(done.stdout.split()[2]) >= 3


_IMPORTS_IT_FIRST = """
import sys, tensorrt_rtx
from pathlib import Path
from animevid.backends import tensorrt_builder as b
from animevid.styles.card import StyleCard
request = b.EngineRequest(b.ShapeRange.static(64, 96), target="sm89", norm_plugin=True)
try:
    b.build_engine(Path(sys.argv[1]).read_bytes(), StyleCard(name="n", size_multiple=2), request)
except b.BackendError as error:
    print(error)
"""


def test_a_library_whose_parser_would_crash_is_refused_in_one_line(tmp_path):
    rtx_or_skip()
    model = tmp_path / "normed.onnx"
    model.write_bytes(normed_network())
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS_IT_FIRST, str(model)],
        capture_output=True, text=True, check=False, env={**os.environ, "LD_LIBRARY_PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "imported before" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_a_plugin_that_others_can_write_is_refused(native_plugin, tmp_path):
    open_to_all = tmp_path / "plugin.so"
    open_to_all.write_bytes(native_plugin.read_bytes())
    open_to_all.chmod(0o777)
    library = SimpleNamespace(
        name="tensorrt", version="0", module=SimpleNamespace(get_plugin_registry=lambda: _EmptyRegistry())
    )
    with pytest.raises(BackendError, match="written by others"):
        register(library, native=open_to_all)


class _EmptyRegistry:
    def get_creator(self, *_: object) -> None:
        return None


def test_cmake_builds_the_cpp_plugin_where_it_is_given_headers(tmp_path):
    import shutil

    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("there is no CMake or no compiler")
    project = tmp_path / "CMakeLists.txt"
    root = SOURCES.parents[1]
    project.write_text(
        f"cmake_minimum_required(VERSION 3.22)\nproject(one LANGUAGES CXX)\nset(PROJECT_SOURCE_DIR {root})\n"
        f"add_subdirectory({_PLUGIN.parent} plugin)\n"
    )
    build = tmp_path / "build"
    options = [f"-DTENSORRT_ROOT={_STAND_IN.parent}"]
    for command in (["cmake", "-S", str(tmp_path), "-B", str(build), *options], ["cmake", "--build", str(build)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (build / "plugin" / "libanimevid_tensorrt.so").stat().st_size > 500_000  # the kernels are inside
