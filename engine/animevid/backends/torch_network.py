"""An ONNX graph as a list of steps in torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from animevid.backends.torch_operators import OPERATORS
from animevid.errors import BackendError, DeviceError, UsageError

if TYPE_CHECKING:
    import onnx
    import torch

    from animevid.backends.torch_moving import Operator, Value


@dataclass(frozen=True, slots=True)
class _Step:
    """One node, ready to run: reads and writes values by name."""

    function: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dead_after: tuple[str, ...]  # values that are not read again, to be freed


class TorchNetwork:
    """An ONNX graph as a list of PyTorch calls.

    Raises:
        BackendError: not exactly one input, or an operator that is not in ``OPERATORS``.
    """

    def __init__(self, model: bytes, device: torch.device) -> None:
        import onnx
        import torch

        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto)
        graph = proto.graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in weights]
        if len(inputs) != 1 or not graph.output:
            raise BackendError(f"it has {len(inputs)} inputs; one frame is given")
        self._input, self._output = inputs[0].name, graph.output[0].name
        first = inputs[0].type.tensor_type.shape.dim[0]
        self.fixed_batch: int | None = first.dim_value if first.dim_value > 0 else None
        self._constants: dict[str, Value] = {}
        for name, tensor in weights.items():
            array = onnx.numpy_helper.to_array(tensor)
            if array.dtype.kind == "f" and array.ndim > 0:
                value = torch.from_numpy(array.copy()).to(device)
                self._constants[name] = (
                    value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
                )
            else:  # sizes, axes, scales: read by the host
                self._constants[name] = array
        if device.type == "cuda":
            # Kernels on this thread's stream convert the layouts; graphs run on other streams.
            torch.cuda.synchronize(device)
        opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        self._steps = _steps(graph, opset, keep={self._output, *self._constants})

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        values: dict[str, Value | None] = {**self._constants, "": None}
        values[self._input] = (
            batch.contiguous(memory_format=torch.channels_last) if batch.shape[1] > 1 else batch.contiguous()
        )
        for step in self._steps:
            result = step.function(*(values[name] for name in step.inputs))
            for name, value in zip(step.outputs, result if len(step.outputs) > 1 else (result,), strict=True):
                values[name] = value
            for name in step.dead_after:
                del values[name]
        output = values[self._output]
        if not isinstance(output, torch.Tensor):
            raise RuntimeError("its output does not depend on the frame")
        return output


def _steps(graph: onnx.GraphProto, opset: int, *, keep: set[str]) -> list[_Step]:
    import onnx

    last_reader = {name: index for index, node in enumerate(graph.node) for name in node.input}
    steps = []
    for index, node in enumerate(graph.node):
        make = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if make is None:
            raise BackendError(f"the operator {node.op_type} is not known to the backend torch; use onnxruntime")
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        dead = tuple({name for name in node.input if name and name not in keep and last_reader[name] == index})
        steps.append(_Step(make(attributes, opset), tuple(node.input), tuple(node.output), dead))
    return steps


def device_named(name: str) -> torch.device:
    """Raises:
    UsageError: a device that torch does not support.
    DeviceError: no CUDA here.
    """
    import torch

    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is None:
        raise UsageError(f"device = {name!r}: torch knows auto, cpu, cuda and cuda:N")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(f"device = {name!r}: this torch finds no NVIDIA GPU; update the driver, or give --device cpu")
    device = torch.device("cuda" if name == "auto" else name)
    if (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device = {name!r}: there are {torch.cuda.device_count()} GPUs; they count from cuda:0")
    return device
