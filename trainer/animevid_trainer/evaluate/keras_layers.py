"""Runs Keras "layers" models from TensorFlow.js packages in PyTorch; supports the layers of a classifier.

A package contains ``model.min.js`` (the graph and the list of weights, as a JavaScript object) and ``group1-shardKofN``
files (the weights in base64, mostly quantized to 8 bits: value = code * scale + min).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from animevid.errors import TrainingError
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]
Run = Callable[[list[Tensor]], Tensor]


class LayerConfig(TypedDict, total=False):
    """The settings of a Keras layer; each kind of layer has some of them."""

    activation: str
    batch_input_shape: list[int]
    epsilon: float
    max_value: float | None
    padding: str | list[list[int]]  # "same" or "valid"; ((top, bottom), (left, right)) for ZeroPadding2D
    pool_size: list[int]
    strides: list[int]
    units: int


class LayerNode(TypedDict):
    """A layer in ``model.min.js``. ``inbound_nodes[0]``: the layers it reads, the name first."""

    name: str
    class_name: str
    config: LayerConfig
    inbound_nodes: list[list[list[str | int]]]


class Quantization(TypedDict):
    """value = code * scale + min; ``dtype`` is that of the codes."""

    dtype: str
    scale: float
    min: float


class WeightEntry(TypedDict):
    """A weight in the list of weights."""

    name: str
    shape: list[int]
    dtype: str
    quantization: NotRequired[Quantization]


class WeightGroup(TypedDict):
    weights: list[WeightEntry]


@dataclass(frozen=True)
class Layer:
    """One node of the graph: ``run`` maps the outputs of ``inputs`` (layer names) to this layer's."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    run: Run


@dataclass(frozen=True)
class KerasModel:
    """``model(x)``, x float32 (N, 3, size_px, size_px) on [0, 1] -> (class probabilities, features).

    Features are the input of the first fully connected layer.
    """

    layers: tuple[Layer, ...]
    size_px: int
    classes: int

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values: dict[str, Tensor] = {}
        features: Tensor | None = None
        out = images
        for layer in self.layers:
            inputs = [values[name] for name in layer.inputs] or [images]
            if layer.kind == "Dense" and features is None:
                features = inputs[0]
            out = values[layer.name] = layer.run(inputs)
        assert features is not None  # read_keras_model rejects a model without a Dense layer
        return out, features


def read_keras_model(folder: Path) -> KerasModel:
    """Read the model in ``folder`` (``model.min.js`` and its shards).

    Raises:
        TrainingError: missing files, another format, or an unsupported layer.
    """
    try:
        graph = _object_in(next(iter(sorted(folder.glob("model*.js")))).read_text("utf-8"))
        data = b"".join(_base64_in(path.read_text("ascii")) for path in sorted(folder.glob("group*shard*")))
        weights = _weights(graph["weightsManifest"], data)
        config = graph["modelTopology"]["model_config"]["config"]
        nodes = config["layers"] if isinstance(config, dict) else config
        layers = tuple(_layer(node, weights) for node in nodes)
        size_px = int(nodes[0]["config"]["batch_input_shape"][1])
        dense = [node["config"]["units"] for node in nodes if node["class_name"] == "Dense"]
        return KerasModel(layers, size_px, int(dense[-1]))
    except StopIteration:
        raise TrainingError(f"{str(folder)!r} has no model.min.js; give the folder of one unpacked network") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TrainingError(f"{str(folder)!r} holds no Keras layers model that can be read ({error!r})") from error


def _object_in(script: str) -> dict[str, Any]:
    """Parse the object that a bundled CommonJS module exports, by converting JavaScript notation to JSON."""
    start = script.index("{modelTopology")
    text = script[start : script.index("},{}]", start)]
    text = re.sub(r"([{,])([A-Za-z_$][\w$]*):", r'\1"\2":', text)
    text = text.replace("!0", "true").replace("!1", "false")
    text = re.sub(r"([:,\[]-?)\.(\d)", r"\g<1>0.\2", text)
    found: dict[str, Any] = json.loads(text)
    return found


def _base64_in(script: str) -> bytes:
    found = re.search(r'exports="([A-Za-z0-9+/=]+)"', script)
    if found is None:
        raise ValueError("a shard holds no base64 text")
    try:
        return base64.b64decode(found[1], validate=True)
    except binascii.Error as error:
        raise ValueError(f"a shard is not base64: {error}") from error


def _weights(manifest: Sequence[WeightGroup], data: bytes) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    offset = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        quantization = entry.get("quantization")
        kind = np.dtype(quantization["dtype"] if quantization else entry["dtype"])
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(data, kind, count, offset).astype(np.float32)
        if quantization:
            values = values * np.float32(quantization["scale"]) + np.float32(quantization["min"])
        found[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
        offset += count * kind.itemsize
    if offset != len(data):
        raise ValueError(f"{len(data)} bytes of weights, {offset} expected")
    return found


def _layer(node: LayerNode, weights: Weights) -> Layer:
    config, kind = node["config"], node["class_name"]
    if kind not in _KINDS:
        raise ValueError(f"layer {kind = } is not among {', '.join(_KINDS)}")
    inputs = tuple(str(source[0]) for source in node["inbound_nodes"][0]) if node["inbound_nodes"] else ()
    own = {key.rpartition("/")[2]: value for key, value in weights.items() if key.partition("/")[0] == node["name"]}
    return Layer(node["name"], kind, inputs, _KINDS[kind](config, own))


# ------------------------------------------------------------------------------------------------------------- layers


def _same(config: LayerConfig, image: Tensor, kernel: Sequence[int]) -> Tensor:
    """Apply TensorFlow's "same" padding, which adds an odd pixel at the end."""
    if config.get("padding") != "same":
        return image
    pads = []
    for side, size, stride in zip(image.shape[:1:-1], kernel[::-1], config["strides"][::-1], strict=True):
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(image, pads)


def _activated(name: str, values: Tensor) -> Tensor:
    if name == "softmax":
        return functional.softmax(values, dim=1)
    if name == "relu":
        return functional.relu(values)
    if name == "linear":
        return values
    raise ValueError(f"activation {name = } is not among linear, relu, softmax")


def _conv(config: LayerConfig, own: Weights) -> Run:
    kernel = own["kernel"].permute(3, 2, 0, 1).contiguous()
    return lambda x: _activated(
        config["activation"],
        functional.conv2d(
            _same(config, x[0], kernel.shape[2:]), kernel, own.get("bias"), stride=tuple(config["strides"])
        ),
    )


def _depthwise(config: LayerConfig, own: Weights) -> Run:
    kernel = own["depthwise_kernel"].permute(2, 3, 0, 1).contiguous()
    return lambda x: _activated(
        config["activation"],
        functional.conv2d(
            _same(config, x[0], kernel.shape[2:]),
            kernel,
            own.get("bias"),
            stride=tuple(config["strides"]),
            groups=kernel.shape[0],
        ),
    )


def _batch_norm(config: LayerConfig, own: Weights) -> Run:
    return lambda x: functional.batch_norm(
        x[0],
        own["moving_mean"],
        own["moving_variance"],
        own.get("gamma"),
        own.get("beta"),
        training=False,
        eps=config["epsilon"],
    )


def _relu(config: LayerConfig, _: Weights) -> Run:
    highest = config.get("max_value")
    return lambda x: x[0].clamp(0.0, highest)


def _zero_padding(config: LayerConfig, _: Weights) -> Run:
    padding = config["padding"]
    if isinstance(padding, str):
        raise ValueError(f"{padding = } of a layer that only pads")
    (top, bottom), (left, right) = padding
    return lambda x: functional.pad(x[0], (left, right, top, bottom))


def _average_pool(config: LayerConfig, _: Weights) -> Run:
    size, strides = tuple(config["pool_size"]), tuple(config["strides"])

    def run(x: list[Tensor]) -> Tensor:
        # TensorFlow's average ignores the padding.
        there = functional.avg_pool2d(_same(config, torch.ones_like(x[0][:1, :1]), size), size, strides)
        return functional.avg_pool2d(_same(config, x[0], size), size, strides) / there

    return run


def _max_pool(config: LayerConfig, _: Weights) -> Run:
    if config["padding"] != "valid":
        raise ValueError("max pooling with padding 'same' is not supported")
    return lambda x: functional.max_pool2d(x[0], tuple(config["pool_size"]), tuple(config["strides"]))


def _dense(config: LayerConfig, own: Weights) -> Run:
    return lambda x: _activated(config["activation"], x[0] @ own["kernel"] + own["bias"])


def _first(config: LayerConfig, _: Weights) -> Run:
    return lambda x: x[0]


_KINDS: dict[str, Callable[[LayerConfig, Weights], Run]] = {
    "InputLayer": _first,
    "Dropout": _first,
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "BatchNormalization": _batch_norm,
    "ReLU": _relu,
    "Activation": lambda config, _: lambda x: _activated(config["activation"], x[0]),
    "Add": lambda config, _: lambda x: torch.stack(x).sum(0),
    "Concatenate": lambda config, _: lambda x: torch.cat(x, 1),
    "ZeroPadding2D": _zero_padding,
    "AveragePooling2D": _average_pool,
    "GlobalAveragePooling2D": lambda config, _: lambda x: x[0].mean((2, 3)),
    "MaxPooling2D": _max_pool,
    "Flatten": lambda config, _: lambda x: x[0].permute(0, 2, 3, 1).flatten(1),
    "Dense": _dense,
}
