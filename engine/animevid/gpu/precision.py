"""A float32 ONNX graph -> the same graph in half precision, by construction: every tensor's type is in the file.

TensorRT 11 and TensorRT for RTX are strongly typed: they use the graph's types and have no FP16 flag. So ``to_half``
sets the types itself. Convolutions, activations, padding and resizing become float16. Some operators stay in float32
(``gpu.float32_nodes``), as do the graph's inputs and outputs, unless ``half_io`` is set.

Operators and opset are kept; ``Cast`` nodes connect the two precisions, one per tensor. Needs the package ``onnx``.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from animevid.backends.base import Tensor, one_line
from animevid.errors import BackendError, StyleError
from animevid.gpu.float32_nodes import float32_nodes
from animevid.styles.card import read_card, write_card

if TYPE_CHECKING:
    import onnx

#: Inputs that are sizes and coordinates, not image data; they stay as they are.
_UNTOUCHED_INPUTS: dict[str, frozenset[int]] = {
    "Resize": frozenset({1, 2}),
    "Upsample": frozenset({1}),
}
#: Operators that create or declare a type.
_TYPED = frozenset(
    ["Cast", "CastLike", "ConstantOfShape", "RandomNormal", "RandomUniform", "EyeLike", "Range", "Shape", "Size"]
)
#: Of these, the ones that take a tensor of any type.
_ANY_INPUT = frozenset(["Cast", "Shape", "Size"])
_QUANTIZED = frozenset(["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"])


def to_half(model: bytes, *, half_io: bool = False) -> bytes:
    """``model`` (a serialized float32 ONNX file) in half precision inside; names, shapes, opset and metadata stay.

    A card in the metadata says ``precision`` ``"fp16"`` afterwards. ``half_io`` makes the float32 inputs and outputs
    float16 too, for engines that are fed by kernels. A model that already has float16 tensors is returned unchanged.

    Raises:
        StyleError: not an ONNX model, or one that this pass does not support (quantized, control flow).
    """
    onnx = _onnx()
    try:
        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=False)
    except Exception as error:  # protobuf's and the checker's classes share no base
        raise StyleError(f"the file is not a valid ONNX model ({one_line(error)})") from error
    graph = proto.graph
    quantized = sorted({node.op_type for node in graph.node} & _QUANTIZED)
    if quantized:
        raise StyleError(f"the style is quantized ({', '.join(quantized)}); half precision is made from its fp32 file")
    nested = next((node.op_type for node in graph.node if any(a.type in (5, 10) for a in node.attribute)), None)
    if nested is not None:
        raise StyleError(f"the style has control flow ({nested}), which cannot be made half precision; use fp32")
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in graph.initializer):
        return model
    typed = {value.name for value in (*graph.output, *graph.value_info)}
    foreign = next(
        (node for node in graph.node if node.op_type != "Constant" and not typed.issuperset(_outputs(node))), None
    )
    if foreign is not None:
        raise StyleError(
            f"the style has an operator of unknown result ({foreign.domain or 'ai.onnx'}.{foreign.op_type}), which "
            "cannot be made half precision; use fp32"
        )
    _Pass(proto, half_io=half_io).apply()
    try:
        onnx.checker.check_model(proto)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    except Exception as error:
        raise StyleError(f"the style cannot be made half precision ({one_line(error)}); use fp32") from error
    result = bytes(proto.SerializeToString())
    card = read_card(result)
    return result if card is None else write_card(result, replace(card, precision="fp16"))


def spell_out_rounding(model: bytes) -> bytes:
    """A float32 graph with the numbers of ``model``: each float16 tensor is rounded to float16 and back.

    ONNX Runtime computes most of half precision in float32 on a CPU and drops the casts that it puts between two
    operators, so that nothing overflows and little is rounded; it keeps casts that are in the graph. A model without
    float16 is returned unchanged.

    Raises:
        BackendError: not an ONNX model.
    """
    onnx = _onnx()
    try:
        proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=False)
    except Exception as error:
        raise BackendError(f"the file is not a valid ONNX model ({one_line(error)})") from error
    graph, half, single = proto.graph, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    ends = (*graph.input, *graph.output)
    halves = {v.name for v in (*ends, *graph.value_info) if v.type.tensor_type.elem_type == half}
    halves |= {tensor.name for tensor in graph.initializer if tensor.data_type == half}
    if not halves:
        return model
    for tensor in graph.initializer:
        if tensor.data_type == half:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in ends:
        if value.name in halves:
            value.type.tensor_type.elem_type = single
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for position, name in enumerate(node.output):
            if name not in halves:
                continue
            wide, narrow = f"{name}__wide", f"{name}__narrow"
            node.output[position] = wide
            if node.op_type == "Cast":
                next(a for a in node.attribute if a.name == "to").i = single
            nodes.append(onnx.helper.make_node("Cast", [wide], [narrow], to=half))
            nodes.append(onnx.helper.make_node("Cast", [narrow], [name], to=single))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return bytes(proto.SerializeToString())


class _Pass:
    """One pass over a graph in topological order. Changes the graph in place."""

    def __init__(self, proto: onnx.ModelProto, *, half_io: bool) -> None:
        self._onnx = _onnx()
        self._float, self._half = self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.FLOAT16
        self._proto, self._graph, self._half_io = proto, proto.graph, half_io
        self._hoist_constants()
        self._weights = {tensor.name: tensor for tensor in self._graph.initializer}
        typed = (*self._graph.input, *self._graph.output, *self._graph.value_info)
        self._types: dict[str, int] = {value.name: value.type.tensor_type.elem_type for value in typed}
        self._types |= {name: tensor.data_type for name, tensor in self._weights.items()}
        self._nodes: list[onnx.NodeProto] = []
        self._casts: dict[tuple[str, int], str] = {}
        self._names = {name for node in self._graph.node for name in (*node.input, *node.output)} | set(self._types)
        self._half_weights: list[onnx.TensorProto] = []

    def apply(self) -> None:
        nodes = list(self._graph.node)
        floats = {name for name, kind in self._types.items() if kind == self._float}
        in_float = float32_nodes(nodes, self._weight_array)
        outputs = {value.name for value in self._graph.output}
        declared = self._half if self._half_io else self._float
        for value in (*self._graph.input, *self._graph.output):
            if value.name in floats and value.name not in self._weights:
                value.type.tensor_type.elem_type = declared
                self._types[value.name] = declared
        for index, node in enumerate(nodes):
            want = self._float if index in in_float or node.op_type in _TYPED else self._half
            if node.op_type not in _ANY_INPUT:
                self._convert_inputs(node, want)
            self._nodes.append(node)
            for position, name in enumerate(node.output):
                if name in floats:
                    self._types[name] = want
                    if name in outputs and want != declared:
                        self._declare(node, position, declared)
        self._replace_contents()

    def _declare(self, node: onnx.NodeProto, position: int, declared: int) -> None:
        """The graph's output number ``position`` of ``node`` is cast to the type that the graph promises."""
        name = node.output[position]
        made = self._types[name]
        node.output[position] = self._fresh(f"{name}_inside")
        self._types[node.output[position]] = made
        self._nodes.append(self._cast(node.output[position], name, declared))
        self._types[name] = declared
        # Other readers get the original value.
        self._casts[name, made] = node.output[position]

    def _replace_contents(self) -> None:
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        del self._graph.value_info[:]
        used = {name for node in self._nodes for name in node.input} | {value.name for value in self._graph.output}
        kept = [tensor for tensor in (*self._graph.initializer, *self._half_weights) if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        # Weights that are listed as inputs too (IR version 3) would keep a stale type there.
        free = [value for value in self._graph.input if value.name not in self._weights]
        del self._graph.input[:]
        self._graph.input.extend(free)

    def _weight_array(self, name: str) -> Tensor | None:
        tensor = self._weights.get(name)
        if tensor is None or tensor.data_type != self._float:
            return None
        return np.asarray(self._onnx.numpy_helper.to_array(tensor), np.float32)

    def _convert_inputs(self, node: onnx.NodeProto, want: int) -> None:
        untouched = _UNTOUCHED_INPUTS.get(node.op_type, frozenset())
        for position, name in enumerate(node.input):
            if not name or position in untouched or self._types.get(name) not in (self._float, self._half):
                continue
            if self._types[name] != want:
                node.input[position] = self._converted(name, want)

    def _converted(self, name: str, want: int) -> str:
        known = self._casts.get((name, want))
        if known is not None:
            return known
        target = self._fresh(f"{name}_{'fp16' if want == self._half else 'fp32'}")
        weight = self._weight_array(name)
        if weight is not None and want == self._half:
            self._half_weights.append(self._onnx.numpy_helper.from_array(weight.astype(np.float16), target))
        else:
            self._nodes.append(self._cast(name, target, want))
        self._types[target] = want
        self._casts[name, want] = target
        return target

    def _cast(self, source: str, target: str, to: int) -> onnx.NodeProto:
        node: onnx.NodeProto = self._onnx.helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to)
        return node

    def _fresh(self, wish: str) -> str:
        name, count = wish, 1
        while name in self._names:
            name, count = f"{wish}_{count}", count + 1
        self._names.add(name)
        return name

    def _hoist_constants(self) -> None:
        """``Constant`` nodes become initializers, so that there is one kind of weight."""
        kept = []
        for node in self._graph.node:
            value = next((a for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                tensor = self._graph.initializer.add()
                tensor.CopyFrom(value.t)
                tensor.name = node.output[0]
            elif node.op_type == "Constant":
                (attribute,) = node.attribute  # value_float, value_ints, ...
                array = np.asarray(self._onnx.helper.get_attribute_value(attribute))
                array = array.astype(np.float32 if attribute.name.startswith("value_float") else np.int64)
                self._graph.initializer.append(self._onnx.numpy_helper.from_array(array, node.output[0]))
            else:
                kept.append(node)
        del self._graph.node[:]
        self._graph.node.extend(kept)


def _outputs(node: onnx.NodeProto) -> set[str]:
    return {name for name in node.output if name}


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnx.checker
        import onnx.inliner
        import onnx.numpy_helper
        import onnx.shape_inference
    except ModuleNotFoundError as error:
        raise BackendError('half precision needs the package onnx; pip install "animevid[gpu]"') from error
    return onnx
