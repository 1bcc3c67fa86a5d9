"""ONNX operators that only move values (shapes, slices, layouts), as torch functions.

Values of the graph's shape arithmetic are NumPy arrays on the host; frames are tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from animevid.errors import BackendError

#: A node's attributes by name: numbers, lists of numbers, bytes, or a tensor; each operator knows its own.
Attributes = Mapping[str, Any]
#: A value on the host: of the graph's shape arithmetic, or a constant.
HostArray = npt.NDArray[Any]

if TYPE_CHECKING:
    import torch

    #: A value that a node reads or writes.
    Value = torch.Tensor | HostArray
    #: A node's computation: its inputs in the order of the ONNX operator, ``None`` for those left out.
    Operator = Callable[..., Value]
    #: From a node's attributes and the graph's opset to its computation.
    Maker = Callable[[Attributes, int], Operator]


class Numbers:
    """A node's host constants as tensors on the device of a frame. Made once, since a capture forbids copies."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], torch.Tensor] = {}

    def beside(self, like: torch.Tensor, value: Value, *, dtype: torch.dtype | None = None) -> torch.Tensor:
        """``value`` on the device of ``like``, with its dtype unless another is given; a tensor is kept."""
        if not isinstance(value, np.ndarray):
            return value
        dtype = dtype or like.dtype
        key = (value.tobytes(), value.dtype.str, value.shape, dtype, like.device)
        if key not in self._made:
            import torch

            self._made[key] = torch.as_tensor(value.copy(), dtype=dtype, device=like.device)
        return self._made[key]


def constant(attributes: Attributes, opset: int) -> Operator:
    import onnx

    (name, value), *_ = attributes.items()
    array = onnx.numpy_helper.to_array(value) if name == "value" else np.asarray(value)
    return lambda: array


def shape(attributes: Attributes, opset: int) -> Operator:
    part = slice(attributes.get("start", 0), attributes.get("end"))
    return lambda x: np.asarray(x.shape, np.int64)[part]


def gather(attributes: Attributes, opset: int) -> Operator:
    axis, numbers = attributes.get("axis", 0), Numbers()

    def run(x: Value, index: Value) -> Value:
        if isinstance(x, np.ndarray):
            taken: HostArray = np.take(x, np.asarray(index), axis)
            return taken
        return _picked(x, index, axis, numbers)

    return run


def gather_nd(attributes: Attributes, opset: int) -> Operator:
    """Only for indices ``(K, 1)``, which select along the first axis: exporters write ``x[:, order]`` so."""
    numbers = Numbers()
    if attributes.get("batch_dims", 0):
        raise BackendError("GatherND with batch_dims is not known to the backend torch; use onnxruntime")

    def run(x: torch.Tensor, index: HostArray) -> torch.Tensor:
        if np.ndim(index) != 2 or index.shape[1] != 1:
            raise RuntimeError(f"GatherND with {index.shape = } is not known to the backend torch")
        return _picked(x, index[:, 0], 0, numbers)

    return run


def _picked(x: torch.Tensor, index: Value, axis: int, numbers: Numbers) -> torch.Tensor:
    import torch

    if not isinstance(index, np.ndarray) or index.ndim != 1:
        raise RuntimeError("the backend torch cannot gather by what it computes")
    where = np.where(index < 0, index + x.shape[axis], index)
    return torch.index_select(x, axis, numbers.beside(x, where, dtype=torch.int64))


def concat(attributes: Attributes, opset: int) -> Operator:
    import torch

    axis = attributes["axis"]

    def run(*parts: Value) -> Value:
        on_host = [part for part in parts if isinstance(part, np.ndarray)]
        if len(on_host) == len(parts):
            return np.concatenate(on_host, axis)
        if on_host:
            raise RuntimeError("Concat of a frame and constants is not known to the backend torch")
        return torch.cat([part for part in parts if not isinstance(part, np.ndarray)], axis)

    return run


def reshape(attributes: Attributes, opset: int) -> Operator:
    def run(x: Value, shape: HostArray) -> Value:
        sides = [x.shape[i] if side == 0 else int(side) for i, side in enumerate(np.atleast_1d(shape))]
        return x.reshape(sides)

    return run


def unsqueeze(attributes: Attributes, opset: int) -> Operator:
    def run(x: Value, axes: HostArray | None = None) -> Value:
        along = tuple(int(axis) for axis in (attributes["axes"] if axes is None else axes))
        if isinstance(x, np.ndarray):
            return np.expand_dims(x, along)
        for axis in sorted(along):
            x = x.unsqueeze(axis)
        return x

    return run


def slice_(attributes: Attributes, opset: int) -> Operator:
    def run(
        x: Value, starts: HostArray, ends: HostArray, axes: HostArray | None = None, steps: HostArray | None = None
    ) -> Value:
        along = range(len(starts)) if axes is None else [int(axis) for axis in axes]
        strides = [1] * len(starts) if steps is None else [int(step) for step in steps]
        cut: list[slice] = [slice(None)] * x.ndim
        for axis, start, end, step in zip(along, starts, ends, strides, strict=True):
            if step < 1:
                raise RuntimeError(f"Slice with {step = } is not known to the backend torch")
            cut[axis] = slice(int(start), int(end), step)
        return x[tuple(cut)]

    return run


def transpose(attributes: Attributes, opset: int) -> Operator:
    return lambda x: x.permute(attributes.get("perm", list(range(x.ndim))[::-1]))


def depth_to_space(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    if attributes.get("mode", b"DCR") != b"CRD":
        raise BackendError("DepthToSpace in the mode DCR is not known to the backend torch; use onnxruntime")
    return lambda x: functional.pixel_shuffle(x, attributes["blocksize"])


def space_to_depth(attributes: Attributes, opset: int) -> Operator:
    from torch.nn import functional

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != 1:  # with more channels, torch orders them differently
            raise BackendError(
                f"SpaceToDepth of {x.shape[1]} channels is not known to the backend torch; use onnxruntime"
            )
        return functional.pixel_unshuffle(x, attributes["blocksize"])

    return run
