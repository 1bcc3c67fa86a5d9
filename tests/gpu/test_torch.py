"""The torch backend beyond the conformance suite: operator by operator against ONNX Runtime, and real networks."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from animevid import Stylizer
from animevid.backends import open_backend, torch_graphs, torch_network
from animevid.backends import torch as torch_backend
from animevid.errors import BackendError, DeviceError
from animevid.gpu.driver import DeviceLost, OutOfDeviceMemory, open_device
from animevid.gpu.precision import to_half
from animevid.gpu.slots import DevicePipeline, plan_slots
from animevid.options import RuntimeOptions
from animevid.styles import list_styles
from animevid.styles.card import ColourOrder, Layout, StyleCard, write_card
from exported import exported
from gpu.fake_gpu import IMAGE, FakeGpu, in_child
from pixels.frames import furthest, noise
from small_networks import Builder, cartoongan, packed_network

torch = pytest.importorskip("torch")
CARD = StyleCard(name="net", size_multiple=4)


def _model(net: Builder, output: str, *, opset: int = 18) -> bytes:
    # Other opsets than the builder's: checked on opening.
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [*net.nodes, onnx.helper.make_node("Identity", [output], ["output"])],
            "net",
            [onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])],
            [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])],
            net.weights,
        ),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=10,
    )
    return proto.SerializeToString()


def _compare(model: bytes, batch: np.ndarray | None = None, *, tolerance: float = 2e-5) -> None:
    if batch is None:
        batch = np.random.default_rng(0).uniform(-1, 1, (2, 3, 12, 20)).astype(np.float32)
    with open_backend(model, CARD, RuntimeOptions(backend="onnxruntime", threads=1)) as reference:
        expected = reference.run(batch)
    with open_backend(model, CARD, RuntimeOptions(backend="torch", threads=1)) as backend:
        np.testing.assert_allclose(backend.run(batch), expected, atol=tolerance)


def _scalar(net: Builder, value: float) -> str:
    return net.constant(np.float32(value))


def _sizes(net: Builder) -> str:
    """N, 3, H, W of the input with H doubled, computed by the graph as exporters do."""
    sides = [net.op("Shape", "input", start=i, end=i + 1) for i in range(4)]
    sides[2] = net.op("Mul", sides[2], net.constant(np.int64([2])))
    return net.op("Concat", *sides, axis=0)


OPERATORS = {
    "abs": lambda n: n.op("Abs", "input"),
    "clip": lambda n: n.op("Clip", "input", _scalar(n, -0.2), _scalar(n, 0.5)),
    "clip-one-side": lambda n: n.op("Clip", "input", "", _scalar(n, 0.5)),
    "div": lambda n: n.op("Div", "input", n.op("Add", n.op("Abs", "input"), _scalar(n, 1.0))),
    "max-and-min": lambda n: n.op("Min", n.op("Max", "input", _scalar(n, -0.2)), _scalar(n, 0.5)),
    "exp": lambda n: n.op("Exp", "input"),
    "neg": lambda n: n.op("Neg", "input"),
    "pow": lambda n: n.op("Pow", "input", _scalar(n, 2.0)),
    "prelu": lambda n: n.op("PRelu", "input", n.constant(np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1))),
    "reciprocal": lambda n: n.op("Reciprocal", n.op("Add", n.op("Abs", "input"), _scalar(n, 1.0))),
    "sigmoid": lambda n: n.op("Sigmoid", "input"),
    "sqrt": lambda n: n.op("Sqrt", n.op("Abs", "input")),
    "sub-scalar-first": lambda n: n.op("Sub", _scalar(n, 1.0), "input"),
    "sum-with-a-number": lambda n: n.op("Sum", "input", _scalar(n, 0.5)),
    "sum": lambda n: n.op("Sum", "input", "input", n.op("Tanh", "input")),
    "mean": lambda n: n.op("Sub", "input", n.op("ReduceMean", "input", n.constant(np.int64([2, 3])))),
    "reshape": lambda n: n.op(
        "Reshape", n.op("Tanh", n.op("Reshape", "input", n.constant(np.int64([0, 1, -1])))), n.op("Shape", "input")
    ),
    "conv-uneven-pads": lambda n: n.op(
        "Conv",
        "input",
        n.constant(np.random.default_rng(1).normal(size=(3, 3, 2, 2)).astype(np.float32)),
        pads=[0, 1, 1, 0],
    ),
    "pad-edge": lambda n: n.op(
        "Conv",
        n.op("Pad", "input", n.constant(np.int64([0, 0, 1, 1, 0, 0, 1, 1])), mode="edge"),
        n.constant(np.random.default_rng(1).normal(size=(3, 3, 3, 3)).astype(np.float32)),
    ),
    "pad-some-axes": lambda n: n.op(
        "Conv",
        n.op("Pad", "input", n.constant(np.int64([1, 2, 1, 0])), "", n.constant(np.int64([2, 3]))),
        n.constant(np.random.default_rng(1).normal(size=(3, 3, 3, 3)).astype(np.float32)),
    ),
    "layer-norm": lambda n: n.op(
        "LayerNormalization", "input", n.constant(np.float32(np.linspace(0.5, 2, 20))), axis=3, epsilon=1e-5
    ),
    "depth-to-space": lambda n: n.op("DepthToSpace", n.conv("input", 3, 12, stride=2), blocksize=2, mode="CRD"),
    "batch-norm": lambda n: n.op(
        "BatchNormalization", "input", *(n.constant(np.float32([0.5, 1, 2])) for _ in range(4)), epsilon=1e-3
    ),
    "cast": lambda n: n.op("Cast", n.op("Tanh", n.op("Cast", "input", to=10)), to=1),
    "unsqueeze": lambda n: n.op(
        "Reshape", n.op("Unsqueeze", "input", n.constant(np.int64([1]))), n.op("Shape", "input")
    ),
}  # fmt: skip
OPERATORS["gather-channels"] = lambda n: n.op("Gather", "input", n.constant(np.int64([2, 0, -2])), axis=1)
OPERATORS["gather-nd"] = lambda n: n.op(
    "Transpose",
    n.op("GatherND", n.op("Transpose", "input", perm=[1, 0, 2, 3]), n.constant(np.int64([[2], [0], [1]]))),
    perm=[1, 0, 2, 3],
)
OPERATORS["resize-and-back"] = lambda n: n.conv(
    n.op(
        "Resize", "input", "", n.constant(np.float32([1, 1, 2, 2])), mode="linear",
        coordinate_transformation_mode="half_pixel",
    ),
    3, 3, stride=2,
)  # fmt: skip
OPERATORS["resize-to-computed-sizes"] = lambda n: n.op(
    "Conv",
    n.op("Resize", "input", "", "", _sizes(n), mode="linear", coordinate_transformation_mode="half_pixel"),
    n.constant(np.random.default_rng(1).normal(size=(3, 3, 2, 1)).astype(np.float32)),
    strides=[2, 1],
)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_operator_gives_what_onnx_runtime_gives(name):
    net = Builder()
    # Half precision inside a cast: the rounding of half precision.
    _compare(_model(net, OPERATORS[name](net)), tolerance=2e-3 if name == "cast" else 2e-5)


def test_group_norm_gives_what_onnx_says():
    net = Builder()
    x = net.op("GroupNormalization", "input", *(net.constant(np.float32([0.5, 1, 2])) for _ in range(2)), num_groups=1)
    _compare(_model(net, x, opset=21))


@pytest.mark.parametrize(
    "output",
    [
        lambda n: n.op("Erf", "input"),
        lambda n: n.op("Resize", "input", "", n.constant(np.float32([1, 1, 1, 1])), mode="cubic"),
        lambda n: n.op("Conv", "input", n.constant(np.ones((3, 3, 3, 3), np.float32)), auto_pad="SAME_UPPER"),
    ],
    ids=["operator", "mode", "auto-pad"],
)
def test_what_it_does_not_know_is_refused_when_the_style_is_opened(output):
    net = Builder()
    with pytest.raises(BackendError, match="not known to the backend torch") as caught:
        open_backend(_model(net, output(net)), CARD, RuntimeOptions(backend="torch"))
    assert "\n" not in str(caught.value)


def test_a_torch_that_cannot_be_loaded_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    net = Builder()
    with pytest.raises(BackendError, match=r"torch cannot be loaded .* install it again"):
        torch_backend.TorchBackend.open(_model(net, net.op("Tanh", "input")), CARD)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_with_the_way_out():
    net = Builder()
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU.*--device cpu"):
        open_backend(_model(net, net.op("Tanh", "input")), CARD, RuntimeOptions(backend="torch", device="cuda:0"))


# ---- CUDA, with fakes of torch.cuda ----


def _second_run_makes_nothing(model: bytes, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch_network.TorchNetwork(model, torch.device("cpu"))
    batch = torch.rand(shape) * 2 - 1
    with torch.inference_mode():
        network(batch)
        for name in ("as_tensor", "tensor", "from_numpy", "asarray"):
            monkeypatch.setattr(torch, name, lambda *_, name=name, **__: pytest.fail(f"torch.{name} in a capture"))
        network(batch)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_a_second_run_copies_no_number_of_the_hosts_which_a_capture_would_refuse(name, monkeypatch):
    net = Builder()
    _second_run_makes_nothing(_model(net, OPERATORS[name](net)), (2, 3, 12, 20), monkeypatch)


@pytest.mark.parametrize("style", list_styles(), ids=lambda style: style.path.stem)
def test_a_shipped_style_in_half_precision_can_be_captured_as_far_as_its_numbers_go(style, monkeypatch):
    _second_run_makes_nothing(to_half(style.model), style.card.tensor_shape(1, 64, 96), monkeypatch)


class CudaOnTheCpu:
    """A fake of ``torch.cuda`` for graphs: a graph repeats the network's runs during its capture.

    ``said``: the calls, in order.
    """

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.stream_now: Any = None
        self._graph: Any = None

    def install(self, monkeypatch: Any) -> None:
        cuda, network = self, torch_network.TorchNetwork.__call__

        class Stream:
            def __init__(self, handle: int = 0, device: Any = None) -> None:
                self.handle = handle

            def wait_stream(self, other: Any) -> None:
                cuda.said.append("wait for the current stream")

            def synchronize(self) -> None:
                cuda.said.append("wait for the capturing stream")

        class Graph:
            def __init__(self) -> None:
                self.runs: list[tuple[Any, Any]] = []

            def replay(self) -> None:
                cuda.said.append("replay")
                for (owner, batch), output in self.runs:
                    output.copy_(network(owner, batch))

        @contextmanager
        def stream(chosen: Any) -> Iterator[None]:
            before, self.stream_now = self.stream_now, chosen
            yield
            self.stream_now = before

        @contextmanager
        def graph(made: Any, **options: Any) -> Iterator[None]:
            cuda.said.append(("capture", options))
            self._graph = made
            yield
            self._graph = None

        def run(owner: Any, batch: Any) -> Any:
            cuda.said.append("run")
            output = network(owner, batch)
            if self._graph is not None:
                self._graph.runs.append(((owner, batch), output))
            return output

        pools = iter(range(100))
        for name, stand_in in (
            ("Stream", lambda device: Stream()), ("ExternalStream", Stream), ("stream", stream), ("graph", graph),
            ("CUDAGraph", Graph), ("current_stream", lambda device: None), ("empty_cache", lambda: None),
            ("graph_pool_handle", lambda: next(pools)),
        ):  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, stand_in)
        monkeypatch.setattr(torch_network.TorchNetwork, "__call__", run)


def _small_network() -> Any:
    return torch_network.TorchNetwork(to_half(packed_network()), torch.device("cpu"))


def test_a_graph_is_captured_after_warming_up_behind_what_came_before_and_alone(monkeypatch):
    cuda = CudaOnTheCpu()
    cuda.install(monkeypatch)
    captured = torch_graphs.CapturedGraph(_small_network(), (1, 24, 4, 6), torch.device("cpu"))
    (options,) = (said[1] for said in cuda.said if isinstance(said, tuple))
    warmed_up = ["wait for the current stream", "run", "run", "run", "wait for the capturing stream"]
    assert cuda.said == [*warmed_up, ("capture", options), "run"]
    # Other threads (decoding, waiting, allocating) must not affect the capture.
    assert options["capture_error_mode"] == "thread_local"
    assert options["stream"] is captured.stream


def test_graphs_of_one_slot_share_stream_and_memory_and_those_of_two_do_not(monkeypatch):
    cuda = CudaOnTheCpu()
    cuda.install(monkeypatch)
    monkeypatch.setattr(torch_graphs, "_at", lambda address, shape, device: torch.zeros(shape))
    network = torch_graphs.SlotNetwork(_small_network(), torch.device("cpu"))
    for slot, count in ((0, 1), (0, 2), (1, 1), (0, 1)):
        network.enqueue(slot=slot, stream=7, source=0, target=0, shape=(count, 24, 4, 6))
    captures = [said[1] for said in cuda.said if isinstance(said, tuple)]
    assert len(captures) == 3
    one, two, other = ((options["stream"], options["pool"]) for options in captures)
    assert one == two
    assert one[0] is not other[0]
    assert one[1] != other[1]


class _OutOfMemoryInACapture(CudaOnTheCpu):
    def fail(self, monkeypatch: Any, said: str) -> None:
        @contextmanager
        def graph(made: Any, **_: Any) -> Iterator[None]:
            try:
                yield
            finally:  # like torch: ending a failed capture raises, too
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

        def run(owner: Any, batch: Any) -> Any:
            raise torch.OutOfMemoryError(said) if "out of memory" in said else RuntimeError(said)

        self.install(monkeypatch)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        monkeypatch.setattr(torch_network.TorchNetwork, "__call__", run)


@pytest.mark.parametrize(
    ("said", "error", "way_out"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", OutOfDeviceMemory, "--net-size"),
        ("CUDA error: an illegal memory access was encountered", DeviceLost, "what was written is kept"),
        ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", DeviceError, "--backend onnxruntime"),
    ],
)
def test_what_fails_on_the_gpu_is_one_line_with_the_way_out(monkeypatch, said, error, way_out):
    _OutOfMemoryInACapture().fail(monkeypatch, said)
    network = torch_graphs.SlotNetwork(_small_network(), torch.device("cpu"))
    with pytest.raises(DeviceError) as caught:
        network.enqueue(slot=0, stream=7, source=0, target=0, shape=(1, 24, 4, 6))
    assert type(caught.value) is error
    assert way_out in str(caught.value)
    assert "\n" not in str(caught.value)


def test_out_of_memory_is_seen_behind_the_complaint_of_the_capture_that_it_ended():
    complaint = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    assert not torch_graphs.is_out_of_memory(complaint)
    complaint.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert torch_graphs.is_out_of_memory(complaint)


_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _put_draws_on_their_streams(cuda: CudaOnTheCpu, kept: list[Any]) -> None:
    """Run what torch would submit to the current stream in that stream's order, as a host function."""
    draw = torch_graphs.SlotNetwork._draw

    def at(address: int, shape: tuple[int, ...], device: Any) -> Any:
        memory = (ctypes.c_float * int(np.prod(shape))).from_address(address)
        return torch.from_numpy(np.ctypeslib.as_array(memory).reshape(shape))

    def submit(self: Any, *arguments: Any) -> None:
        def run(_: Any) -> None:
            with torch.inference_mode():
                draw(self, *arguments)

        kept.append(_HOST_FUNCTION(run))
        driver = ctypes.CDLL("libcuda.so.1")
        driver.cuLaunchHostFunc.argtypes = (ctypes.c_void_p, _HOST_FUNCTION, ctypes.c_void_p)
        assert driver.cuLaunchHostFunc(cuda.stream_now.handle, kept[-1], None) == 0

    torch_graphs._at = at
    torch_graphs.SlotNetwork._draw = submit


@in_child
def test_slots_with_torch_as_the_network_draw_what_onnx_runtime_draws_in_every_order(fake_driver, tmp_path):
    gpu = FakeGpu(fake_driver)
    cuda, kept = CudaOnTheCpu(), []
    cuda.install(pytest.MonkeyPatch())
    _put_draws_on_their_streams(cuda, kept)
    card = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
    style = tmp_path / "packed.onnx"
    style.write_bytes(write_card(packed_network(), card))
    frames = [noise(32, 48, seed=seed) for seed in range(5)]
    with Stylizer(style, backend="onnxruntime") as cpu:
        expected = [cpu.stylize_planes(frame) for frame in frames]
    plan = plan_slots(frames[0], card, batch=2, slots=2)
    for seed in range(4):
        gpu.seed(seed)
        network = torch_graphs.SlotNetwork(_small_network(), torch.device("cpu"))
        with open_device() as device, DevicePipeline(device, network, plan, module=IMAGE) as pipeline:
            drawn = list(pipeline.run(frames))
        assert all(furthest(one, other) <= 3 for one, other in zip(drawn, expected, strict=True))


@pytest.mark.shared
def test_a_published_network_draws_a_real_photo_as_onnx_runtime_does(shared: Path):
    file = sorted((shared / "photos").glob("coco-*"))[0]
    photo = cv2.resize(cv2.imread(str(file)), (128, 96))[..., ::-1].astype(np.float32) / 127.5 - 1
    model = cartoongan(shared / "weights" / "cartoongan_shinkai_fp16.safetensors")
    _compare(model, np.ascontiguousarray(photo.transpose(2, 0, 1)[None]), tolerance=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "animegan2", "animegan2-lite"])
def test_our_exporters_graphs_run(name):
    generator, card, model = exported(name)
    batch = np.random.default_rng(0).uniform(-1, 1, card.tensor_shape(1, 32, 48)).astype(np.float32)
    with open_backend(model, card, RuntimeOptions(backend="torch")) as backend, torch.inference_mode():
        expected = generator(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(backend.run(batch), expected, atol=2e-3)
