"""Chooses the nodes of a graph that stay in float32 when the others become half precision (``gpu.precision``).

- ``FLOAT32_OPS``: normalization layers, reductions (means, sums, norms), exponentials and roots, because a sum of 10^5
  squares or a variance of 10^-9 does not fit half precision;
- arithmetic between them: the squares that go into a mean and the differences and quotients made from it
  (``ARITHMETIC`` operators whose result feeds, or whose input comes from, an operator above);
- filters over box means (``AveragePool`` with windows that overlap: Kuwahara's, guided and ink filters), from their
  input to the next layer or the output: a variance of 10^-5 is the difference of two means near 1, and its fourth power
  underflows half precision, so that the weights of all squares become 0 and their quotient NaN;
- a node with a weight beyond 65504, and arithmetic with one number below 2^-14, where half precision loses bits (the
  epsilon of a norm).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from animevid.backends.base import Tensor

if TYPE_CHECKING:
    import onnx

HALF_MAX = 65504.0
#: The least normal number of half precision; below it, bits are lost.
HALF_TINY = 2.0**-14

#: Layers whose output is normalized image data, not a statistic. They are computed in float32.
WHOLE_NORMS: frozenset[str] = frozenset(
    [
        "BatchNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "LpNormalization",
        "LRN",
        "MeanVarianceNormalization",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
        "LogSoftmax",
        "Softmax",
    ]
)
#: All operators that are computed in float32: also sums, exponentials, roots.
FLOAT32_OPS: frozenset[str] = WHOLE_NORMS | frozenset(
    [
        "CumSum",
        "Einsum",
        "GlobalAveragePool",
        "GlobalLpPool",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMean",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Exp",
        "Log",
        "Pow",
        "Reciprocal",
        "Softplus",
        "Sqrt",
    ]
)
#: Elementwise operators that follow their neighbours into float32.
ARITHMETIC: frozenset[str] = frozenset(["Abs", "Add", "Div", "Identity", "Max", "Min", "Mul", "Neg", "Sub", "Sum"])

#: Operators that continue a box filter in float32: elementwise ones and those that only move values. The
#: next layer (a convolution, a product of matrices, a resize, a norm) ends the filter.
FILTER_OPS: frozenset[str] = (ARITHMETIC | FLOAT32_OPS - WHOLE_NORMS) | frozenset(
    [
        "AveragePool",
        "Clip",
        "Concat",
        "DepthToSpace",
        "Flatten",
        "MaxPool",
        "Pad",
        "Relu",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)


def float32_nodes(nodes: Sequence[onnx.NodeProto], weight: Callable[[str], Tensor | None]) -> set[int]:
    """Indices of the nodes that stay in float32; the module's docstring has the rules."""
    made_by = {name: index for index, node in enumerate(nodes) for name in node.output}
    chosen = {index for index, node in enumerate(nodes) if node.op_type in FLOAT32_OPS}
    statistics = {index for index in chosen if nodes[index].op_type not in WHOLE_NORMS}
    for index, node in enumerate(nodes):
        for values in filter(None, map(_magnitudes, map(weight, node.input))):
            is_epsilon = node.op_type in ARITHMETIC and values.scalar and 0 < values.largest < HALF_TINY
            if values.largest > HALF_MAX or is_epsilon:
                chosen.add(index)
                statistics.add(index)
    # Backwards: inputs of a sum or a root are computed in float32 ...
    for index in range(len(nodes) - 1, -1, -1):
        if index in statistics:
            sources = {made_by[name] for name in nodes[index].input if name in made_by}
            statistics |= {source for source in sources if nodes[source].op_type in ARITHMETIC}
    # ... and forwards: results of a statistic too, up to the next layer or to a residual sum.
    for index, node in enumerate(nodes):
        is_residual = node.op_type in ("Add", "Sum") and all(name in made_by for name in node.input)
        if node.op_type in ARITHMETIC and not is_residual and any(made_by.get(n) in statistics for n in node.input):
            statistics.add(index)
    return chosen | statistics | _filter_nodes(nodes, made_by)


def _filter_nodes(nodes: Sequence[onnx.NodeProto], made_by: Mapping[str, int]) -> set[int]:
    """Indices of the nodes of filters over box means: their inputs, the means, and everything computed from them."""
    inside = {index for index, node in enumerate(nodes) if _is_box_filter(node)}
    # The inputs (squares, and the padding around them) ...
    for index in range(len(nodes) - 1, -1, -1):
        if index in inside:
            sources = {made_by[name] for name in nodes[index].input if name in made_by}
            inside |= {source for source in sources if nodes[source].op_type in (ARITHMETIC | {"Pad"})}
    # ... and the results.
    for index, node in enumerate(nodes):
        if node.op_type in FILTER_OPS and any(made_by.get(name) in inside for name in node.input):
            inside.add(index)
    return inside


def _is_box_filter(node: onnx.NodeProto) -> bool:
    """Whether it is a mean over overlapping windows; without overlap it only downsamples."""
    if node.op_type != "AveragePool":
        return False
    sides = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    kernel = sides.get("kernel_shape", [])
    strides = sides.get("strides") or [1] * len(kernel)
    return any(step < side for step, side in zip(strides, kernel, strict=True))


@dataclass(frozen=True, slots=True)
class _Magnitudes:
    largest: float
    scalar: bool


def _magnitudes(values: Tensor | None) -> _Magnitudes | None:
    return None if values is None or not values.size else _Magnitudes(float(np.abs(values).max()), values.size == 1)
