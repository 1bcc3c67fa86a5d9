"""Converts a quantized ONNX graph (Q/DQ) to the form that TensorRT accepts: symmetric, signed, biases in float32.

Our INT8 files are made for CPUs: activations are unsigned 8-bit codes with a zero point, biases 32-bit codes, and a
``Relu`` is implied by the lowest code. TensorRT's INT8 is signed with a zero point of 0 and has no integer biases. This
pass keeps weights and graph, gives each activation the smallest symmetric range that contains its old one (which costs
up to one bit), dequantizes biases, and adds the ``Relu`` that a zero point of 0 implied. Needs the package ``onnx``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from animevid.backends.base import one_line
from animevid.errors import StyleError

if TYPE_CHECKING:
    import onnx

_SIGNED_STEPS = 127.0


def to_symmetric(model: bytes) -> bytes:
    """``model`` (a serialized Q/DQ ONNX file) with symmetric int8 activations and float32 biases.

    Raises:
        StyleError: not an ONNX model, or quantized in a way that TensorRT does not support.
    """
    import onnx

    try:
        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's and the checker's classes share no base
        raise StyleError(f"the file is not a valid ONNX model ({one_line(error)})") from error
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    arrays = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in weights.items()}
    changed: dict[str, npt.NDArray[np.generic]] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            nodes.append(node)
            continue
        scale, zero = _parameters(node, arrays)
        values = arrays.get(node.input[0])
        if values is not None and values.dtype == np.int32:
            shape = (-1,) + (1,) * (values.ndim - 1) if scale.ndim else ()
            changed[node.output[0]] = (values * scale.reshape(shape)).astype(np.float32)
            continue
        if zero.dtype == np.int8 and not zero.any():
            nodes.append(node)
            continue
        if values is not None or zero.dtype != np.uint8 or zero.size != 1:
            raise StyleError(
                f"{node.input[0]} is quantized as {zero.dtype} with zero points {zero.ravel()[:3].tolist()}; "
                "an engine takes activations of 8 bits and symmetric weights; build it of the fp32 file"
            )
        names = tuple(f"{name}_symmetric" for name in node.input[1:3])
        furthest = max(float(zero.item()), 255.0 - float(zero.item())) * float(scale.item())
        changed[names[0]] = np.asarray(furthest / _SIGNED_STEPS, np.float32)
        changed[names[1]] = np.asarray(0, np.int8)
        if node.op_type == "QuantizeLinear" and not zero.item():
            above = f"{node.input[0]}_above_zero"
            nodes.append(onnx.helper.make_node("Relu", [node.input[0]], [above]))
            node.input[0] = above
        node.input[1:3] = names
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in changed.items())
    # The quantizer declares unused domains, which a parser may reject.
    domains = {node.domain for node in nodes}
    opsets = [entry for entry in proto.opset_import if entry.domain in domains | {""}]
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)
    return bytes(proto.SerializeToString())


def _parameters(
    node: onnx.NodeProto, arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8 | np.uint8]]:
    """(scale, zero point)."""
    try:
        return arrays[node.input[1]], arrays[node.input[2]]
    except (KeyError, IndexError) as error:
        raise StyleError(
            f"{node.name or node.op_type} has no constant scale and zero point; use the fp32 file"
        ) from error
