"""The torch backend beyond the conformance suite: operator by operator against ONNX Runtime, and real networks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from animevid.backends import open_backend
from animevid.errors import BackendError, DeviceError
from animevid.styles.card import StyleCard
from small_networks import Builder, cartoongan

torch = pytest.importorskip("torch")
CARD = StyleCard(name="net", size_multiple=4)


def _model(net: Builder, output: str, *, opset: int = 18) -> bytes:
    # Other opsets than the builder's own: checked when it is opened.
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
    with open_backend(model, CARD, backend="onnxruntime", threads=1) as reference:
        expected = reference.run(batch)
    with open_backend(model, CARD, backend="torch", threads=1) as backend:
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
    "exp": lambda n: n.op("Exp", "input"),
    "neg": lambda n: n.op("Neg", "input"),
    "pow": lambda n: n.op("Pow", "input", _scalar(n, 2.0)),
    "prelu": lambda n: n.op("PRelu", "input", n.constant(np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1))),
    "reciprocal": lambda n: n.op("Reciprocal", n.op("Add", n.op("Abs", "input"), _scalar(n, 1.0))),
    "sigmoid": lambda n: n.op("Sigmoid", "input"),
    "sqrt": lambda n: n.op("Sqrt", n.op("Abs", "input")),
    "sub-scalar-first": lambda n: n.op("Sub", _scalar(n, 1.0), "input"),
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
    # Half precision inside a cast: its own rounding.
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
        open_backend(_model(net, output(net)), CARD, backend="torch")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_with_the_way_out():
    net = Builder()
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU.*--device cpu"):
        open_backend(_model(net, net.op("Tanh", "input")), CARD, backend="torch", device="cuda:0")


@pytest.mark.shared
def test_a_published_network_draws_a_real_photo_as_onnx_runtime_does(shared: Path):
    file = sorted((shared / "photos").glob("coco-*"))[0]
    photo = cv2.resize(cv2.imread(str(file)), (128, 96))[..., ::-1].astype(np.float32) / 127.5 - 1
    model = cartoongan(shared / "weights" / "cartoongan_shinkai_fp16.safetensors")
    _compare(model, np.ascontiguousarray(photo.transpose(2, 0, 1)[None]), tolerance=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "animegan2", "animegan2-lite"])
def test_our_exporters_graphs_run(name):
    from animevid_trainer.export import make_card, to_onnx
    from animevid_trainer.generators import make_generator

    generator = make_generator(name)
    card = make_card(generator, name=name)
    model = to_onnx(generator, card=card)
    batch = np.random.default_rng(0).uniform(-1, 1, card.tensor_shape(1, 32, 48)).astype(np.float32)
    with open_backend(model, card, backend="torch") as backend, torch.inference_mode():
        expected = generator.eval()(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(backend.run(batch), expected, atol=2e-3)
