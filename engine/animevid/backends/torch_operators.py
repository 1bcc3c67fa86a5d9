"""ONNX operators as torch functions, with which :class:`TorchBackend` runs styles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from animevid.backends import torch_moving
from animevid.backends.torch_moving import Numbers
from animevid.errors import BackendError

if TYPE_CHECKING:
    import torch

    from animevid.backends.torch_moving import Attributes, HostArray, Maker, Operator, Value


def _plain(function: Callable[[], Operator]) -> Maker:
    """An operator without attributes; torch is imported when the style is opened, not with this module."""
    return lambda attributes, opset: function()


def _torch(name: str) -> Maker:
    def make(attributes: Attributes, opset: int) -> Operator:
        import torch

        function: Operator = getattr(torch, name)
        return function

    return make


def _arithmetic(name: str) -> Maker:
    """A binary operator; operands may be arrays on the host."""

    def make(attributes: Attributes, opset: int) -> Operator:
        import torch

        function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = getattr(torch, name)
        numbers = Numbers()

        def run(first: Value, second: Value) -> Value:
            if not isinstance(first, np.ndarray):
                return function(first, numbers.beside(first, second))
            if not isinstance(second, np.ndarray):
                return function(numbers.beside(second, first), second)
            result: HostArray = getattr(np, _NUMPY_NAMES[name])(first, second)
            return result

        return run

    return make


_NUMPY_NAMES = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "floor_divide", "pow": "power"}


def _conv(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    pads, group = attributes.get("pads", [0, 0, 0, 0]), attributes.get("group", 1)
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise BackendError(f"Conv with auto_pad = {attributes['auto_pad'].decode()} is not known to the backend torch")
    top, left, bottom, right = pads
    even = (top, left) == (bottom, right)

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if not even:
            x = functional.pad(x, (left, right, top, bottom))
        padding = (top, left) if even else 0
        return functional.conv2d(x, weight, bias, stride=strides, padding=padding, dilation=dilations, groups=group)

    return run


def _conv_transpose(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right) or "output_shape" in attributes:
        raise BackendError("ConvTranspose with uneven pads is not known to the backend torch; use onnxruntime")
    options = {
        "stride": attributes.get("strides", [1, 1]),
        "padding": (top, left),
        "output_padding": attributes.get("output_padding", [0, 0]),
        "groups": attributes.get("group", 1),
        "dilation": attributes.get("dilations", [1, 1]),
    }
    return lambda x, weight, bias=None: functional.conv_transpose2d(x, weight, bias, **options)


def _pad(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    mode = {b"reflect": "reflect", b"edge": "replicate", b"constant": "constant"}[attributes.get("mode", b"constant")]

    def run(
        x: torch.Tensor, pads: HostArray | None = None, value: HostArray | None = None, axes: HostArray | None = None
    ) -> torch.Tensor:
        amounts = [int(amount) for amount in (attributes["pads"] if pads is None else pads)]
        rank = x.ndim
        named = list(range(rank)) if axes is None else [int(axis) % rank for axis in axes]
        before, after = dict.fromkeys(range(rank), 0), dict.fromkeys(range(rank), 0)
        for place, axis in enumerate(named):
            before[axis], after[axis] = amounts[place], amounts[place + len(named)]
        if any(before[axis] or after[axis] for axis in range(rank - 2)):
            raise RuntimeError("padding of the batch or channel axis is not known to the backend torch")
        flat = [side for axis in (rank - 1, rank - 2) for side in (before[axis], after[axis])]
        if mode == "constant":
            return functional.pad(x, flat, value=0.0 if value is None else float(value))
        return functional.pad(x, flat, mode=mode)

    return run


def _resize(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    mode = attributes.get("mode", b"nearest")
    where = attributes.get("coordinate_transformation_mode", b"half_pixel")
    rounding = attributes.get("nearest_mode", b"round_prefer_floor")
    known: dict[tuple[bytes, bytes, bytes], tuple[str, bool | None]] = {
        (b"nearest", b"asymmetric", b"floor"): ("nearest", None),
        (b"linear", b"half_pixel", rounding): ("bilinear", False),
        (b"linear", b"pytorch_half_pixel", rounding): ("bilinear", False),
        (b"linear", b"align_corners", rounding): ("bilinear", True),
    }
    found = known.get((mode, where, rounding))
    if found is None or attributes.get("antialias"):
        raise BackendError(f"Resize {mode.decode()}, {where.decode()} is not known to the backend torch")

    interpolation, align_corners = found

    def run(
        x: torch.Tensor, roi: HostArray | None = None, scales: HostArray | None = None, sizes: HostArray | None = None
    ) -> torch.Tensor:
        if sizes is not None and len(sizes):
            height, width = (int(side) for side in sizes[2:])
        else:
            assert scales is not None  # an operator has one of the two
            height, width = (int(side * float(scale)) for side, scale in zip(x.shape[2:], scales[2:], strict=True))
        return functional.interpolate(x, size=(height, width), mode=interpolation, align_corners=align_corners)

    return run


def _instance_norm(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift: functional.instance_norm(x, weight=scale, bias=shift, eps=epsilon)


def _batch_norm(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift, mean, var: functional.batch_norm(x, mean, var, scale, shift, eps=epsilon)


def _group_norm(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    epsilon, groups = attributes.get("epsilon", 1e-5), attributes["num_groups"]
    return lambda x, scale, shift: functional.group_norm(x, groups, scale, shift, eps=epsilon)


def _layer_norm(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    epsilon, axis = attributes.get("epsilon", 1e-5), attributes.get("axis", -1)

    def run(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        normal = functional.layer_norm(x, x.shape[axis:], eps=epsilon) * scale
        return normal if shift is None else normal + shift

    return run


def _reduce_mean(attributes: Attributes, opset: int) -> Operator:
    keep = bool(attributes.get("keepdims", 1))

    def run(x: torch.Tensor, axes: HostArray | None = None) -> torch.Tensor:
        along = attributes.get("axes") if axes is None else axes
        return x.mean(dim=tuple(range(x.ndim)) if along is None else tuple(int(axis) for axis in along), keepdim=keep)

    return run


def _cast(attributes: Attributes, opset: int) -> Operator:
    import onnx
    import torch

    dtype = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    wanted = {"float32": torch.float32, "float16": torch.float16}.get(str(dtype))

    def run(x: Value) -> Value:
        if isinstance(x, np.ndarray):
            return x.astype(dtype)
        if wanted is None:
            raise RuntimeError(f"a cast to {dtype} is not known to the backend torch")
        return x.to(wanted)

    return run


def _average_pool(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    padded = any(attributes.get("pads", ())) or attributes.get("auto_pad", b"NOTSET").startswith(b"SAME")
    if padded or attributes.get("ceil_mode", 0) or any(rate != 1 for rate in attributes.get("dilations", ())):
        raise BackendError("AveragePool with padding or dilation is not known to the backend torch; use onnxruntime")
    kernel = attributes["kernel_shape"]
    return lambda x: functional.avg_pool2d(x, kernel, attributes.get("strides", [1, 1]))


def _extreme(name: str) -> Maker:
    """``Min`` or ``Max`` of any number of tensors; some may be arrays on the host."""
    return lambda attributes, opset: _over_all(name)


def _clip(attributes: Attributes, opset: int) -> Operator:
    def run(x: torch.Tensor, low: HostArray | None = None, high: HostArray | None = None) -> torch.Tensor:
        return x.clamp(
            attributes.get("min") if low is None else float(low),
            attributes.get("max") if high is None else float(high),
        )

    return run


def _leaky_relu(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    slope = attributes.get("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


def _prelu(attributes: Attributes, opset: int) -> Operator:
    import torch

    return lambda x, slope: torch.where(x >= 0, x, x * slope)


def _sum(attributes: Attributes, opset: int) -> Operator:
    return _over_all("add")


def _over_all(name: str) -> Operator:
    """torch's binary function ``name`` over any number of terms."""
    import torch

    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = getattr(torch, name)
    numbers = Numbers()

    def run(*terms: Value) -> Value:
        like = next((term for term in terms if not isinstance(term, np.ndarray)), None)
        if like is None:  # values of the graph's shape arithmetic
            numpy_function: Callable[[HostArray, HostArray], HostArray] = getattr(np, _NUMPY_NAMES.get(name, name))
            return functools.reduce(numpy_function, (term for term in terms if isinstance(term, np.ndarray)))
        return functools.reduce(function, (numbers.beside(like, term) for term in terms))

    return run


OPERATORS: dict[str, Maker] = {
    "Abs": _torch("abs"),
    "Add": _arithmetic("add"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": torch_moving.concat,
    "Constant": torch_moving.constant,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": torch_moving.depth_to_space,
    "Div": _arithmetic("div"),
    "Exp": _torch("exp"),
    "Gather": torch_moving.gather,
    "GatherND": torch_moving.gather_nd,
    "GroupNormalization": _group_norm,
    "Identity": _plain(lambda: lambda x: x),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _leaky_relu,
    "Max": _extreme("maximum"),
    "Min": _extreme("minimum"),
    "Mul": _arithmetic("mul"),
    "Neg": _torch("neg"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _arithmetic("pow"),
    "Reciprocal": _torch("reciprocal"),
    "ReduceMean": _reduce_mean,
    "Relu": _torch("relu"),
    "Reshape": torch_moving.reshape,
    "Resize": _resize,
    "Shape": torch_moving.shape,
    "Sigmoid": _torch("sigmoid"),
    "Slice": torch_moving.slice_,
    "SpaceToDepth": torch_moving.space_to_depth,
    "Sqrt": _torch("sqrt"),
    "Sub": _arithmetic("sub"),
    "Sum": _sum,
    "Tanh": _torch("tanh"),
    "Transpose": torch_moving.transpose,
    "Unsqueeze": torch_moving.unsqueeze,
}
