"""Makes small ONNX networks like those of stylizers, with fixed random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Collects nodes and weights; every method takes and returns the name of a tensor."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def conv(self, x: str, into: int, out: int, *, size: int = 3, stride: int = 1, group: int = 1) -> str:
        fan_in = into // group * size * size
        weight = self._random.normal(0, 1.2 / np.sqrt(fan_in), (out, into // group, size, size))
        bias = self._random.normal(0, 0.1, out)
        return self.op(
            "Conv",
            x,
            self.constant(weight.astype(np.float32)),
            self.constant(bias.astype(np.float32)),
            pads=[size // 2] * 4,
            strides=[stride] * 2,
            group=group,
        )

    def twice_as_large(self, x: str) -> str:
        scales = self.constant(np.float32([1, 1, 2, 2]))
        return self.op(
            "Resize", x, "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
        )

    def model(
        self, output: str, shape_in: list, shape_out: list | None = None, *, kind: int = TensorProto.FLOAT
    ) -> bytes:
        self.nodes.append(helper.make_node("Identity", [output], ["output"]))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", kind, shape_in)],
            [helper.make_tensor_value_info("output", kind, shape_out or shape_in)],
            self.weights,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(proto)
        return proto.SerializeToString()


def packed_network(
    *, width: int = 16, blocks: int = 2, n: object = "N", h: object = "H", w: object = "W", seed: int = 0
) -> bytes:
    """A small packed generator: 24 channels at 1/4, inverted residual blocks at 1/8, and back. Multiples of 8 px."""
    net = Builder(seed)
    stem = net.op("Relu", net.conv("input", 24, width))
    x = net.op("Relu", net.conv(stem, width, 2 * width, stride=2))
    for _ in range(blocks):
        y = net.op("Relu", net.conv(x, 2 * width, 4 * width, size=1))
        y = net.op("Relu", net.conv(y, 4 * width, 4 * width, group=4 * width))
        x = net.op("Add", x, net.conv(y, 4 * width, 2 * width, size=1))
    x = net.twice_as_large(net.conv(x, 2 * width, width, size=1))
    x = net.op("Add", stem, net.op("Relu", net.conv(x, width, width)))
    return net.model(net.conv(x, width, 24), [n, 24, h, w])


def rgb_network(
    *, nhwc: bool = False, last: str | None = "Tanh", n: object = "N", h: object = "H", w: object = "W", seed: int = 0
) -> bytes:
    """An encoder and decoder on RGB with one stride of 2: multiples of 2 px."""
    net = Builder(seed)
    x = net.op("Transpose", "input", perm=[0, 3, 1, 2]) if nhwc else "input"
    x = net.op("LeakyRelu", net.conv(x, 3, 8, size=7), alpha=0.2)
    x = net.op("LeakyRelu", net.conv(x, 8, 16, stride=2), alpha=0.2)
    x = net.op("Add", x, net.conv(net.op("LeakyRelu", net.conv(x, 16, 16), alpha=0.2), 16, 16))
    x = net.conv(net.twice_as_large(x), 16, 3)
    if last:
        x = net.op(last, x)
    if nhwc:
        x = net.op("Transpose", x, perm=[0, 2, 3, 1])
    return net.model(x, [n, h, w, 3] if nhwc else [n, 3, h, w])


def cartoongan(weights: Path) -> bytes:
    """The published CartoonGAN generator (Chen et al. 2018, PyTorch port) from its safetensors file, as ONNX."""
    tensors = _read_safetensors(weights)
    net = Builder()

    def norm(x: str, name: str) -> str:
        scale, shift = (net.constant(tensors[f"{name}.{part}"]) for part in ("scale", "shift"))
        return net.op("InstanceNormalization", x, scale, shift, epsilon=1e-9)

    def conv(x: str, name: str, *, pad: int, stride: int = 1, kind: str = "Conv") -> str:
        weight, bias = (net.constant(tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
        extra = {"output_padding": [1, 1]} if kind == "ConvTranspose" else {}
        return net.op(kind, x, weight, bias, pads=[pad] * 4, strides=[stride] * 2, **extra)

    def mirrored(x: str, pad: int) -> str:
        return net.op("Pad", x, net.constant(np.int64([0, 0, pad, pad, 0, 0, pad, pad])), mode="reflect")

    x = net.op("Relu", norm(conv(mirrored("input", 3), "conv01_1", pad=0), "in01_1"))
    for i in (2, 3):
        x = conv(conv(x, f"conv0{i}_1", pad=1, stride=2), f"conv0{i}_2", pad=1)
        x = net.op("Relu", norm(x, f"in0{i}_1"))
    for i in range(4, 12):
        y = net.op("Relu", norm(conv(mirrored(x, 1), f"conv{i:02}_1", pad=0), f"in{i:02}_1"))
        x = net.op("Add", x, norm(conv(mirrored(y, 1), f"conv{i:02}_2", pad=0), f"in{i:02}_2"))
    for i in (1, 2):
        x = conv(x, f"deconv0{i}_1", pad=1, stride=2, kind="ConvTranspose")
        x = net.op("Relu", norm(conv(x, f"deconv0{i}_2", pad=1), f"in{i + 11}_1"))
    x = net.op("Tanh", conv(mirrored(x, 3), "deconv03_1", pad=0))
    return net.model(x, ["N", 3, "H", "W"])


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        values = np.frombuffer(data[start + first : start + end], np.float16)
        found[name] = values.reshape(entry["shape"]).astype(np.float32)
    return found
