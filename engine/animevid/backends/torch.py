"""PyTorch, for people who train and have it installed: CPU, or CUDA in half precision with CUDA graphs.

The generator is read from the style's ONNX graph itself, operator by operator, so any style runs whose operators are in
``_OPERATORS``; no second copy of the weights and no Python class is needed. On CUDA the graph is made half precision
(``animevid.gpu.precision``: norm statistics stay float32), runs in channels-last memory, and is captured once for
each shape. Nothing else in the engine imports torch.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output, one_line
from animevid.backends.threads import default_threads
from animevid.errors import AnimevidError, BackendError, DeviceError, UsageError
from animevid.styles.card import StyleCard

if TYPE_CHECKING:
    import onnx
    import torch

    from animevid.backends.pictures import PictureRunner
    from animevid.gpu.slots import SlotPlan

_LOG = logging.getLogger(__name__)

#: Shapes whose captured graph is kept; each holds the activations of its shape.
_MAX_GRAPHS = 4
#: torch captures one graph at a time in a process.
_CAPTURING = threading.Lock()
#: What CUDA says, in torch's errors, once the context is dead.
_SIGNS_OF_LOSS = ("illegal memory access", "launch failure", "unspecified launch", "ECC error", "launch timed out")


class TorchBackend(Backend):
    name: ClassVar[str] = "torch"

    def __init__(self, network: _Network, card: StyleCard, *, device: torch.device, description: str) -> None:
        self._network: _Network | None = network
        self._card = card
        self._device = device
        self._description = description
        self._captured: dict[tuple[int, ...], _HostFed] = {}
        self._pictures: PictureRunner | None = None
        self._resources = ExitStack()
        if device.type == "cuda" and network.fixed_batch in (None, 1):
            try:
                self._pictures = self._open_slots()
            except BackendError as error:
                _LOG.info("pictures are converted on the CPU: %s", error)
        # A captured graph has one set of buffers: callers take turns on CUDA.
        self._turn = threading.Lock()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        for module, package in (("torch", "torch"), ("onnx", "onnx")):
            if importlib.util.find_spec(module) is None:
                return f"the backend torch needs {package}; pip install torch onnx"
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, *, threads: int = 0, device: str = "auto") -> Self:
        try:
            import torch
        except (ImportError, OSError) as error:  # a library of CUDA's that is not there, say
            raise BackendError(f"torch cannot be loaded ({one_line(error)}); install it again") from error
        where = _device_of(device)
        count = threads or default_threads()
        try:
            if where.type == "cuda":
                from animevid.gpu.precision import to_half

                model = to_half(model)
            else:
                torch.set_num_threads(count)  # of the whole process: PyTorch knows no other
            network = _Network(model, where)
        except AnimevidError as error:
            raise BackendError(f"torch refuses the style {card.name!r} ({error})") from error
        except Exception as error:
            raise BackendError(f"torch refuses the style {card.name!r} ({one_line(error)})") from error
        place = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {count} threads"
        return cls(network, card, device=where, description=f"torch {torch.__version__} {place}")

    @property
    def preferred_batch(self) -> int:
        fixed = self._network is not None and self._network.fixed_batch == 1
        return 4 if self._device.type == "cuda" and not fixed else 1

    @property
    def description(self) -> str:
        return self._description

    @property
    def device_name(self) -> str:
        import torch

        return "CPU" if self._device.type == "cpu" else torch.cuda.get_device_name(self._device)

    @property
    def pictures(self) -> PictureRunner | None:
        return self._pictures

    def run(self, batch: Tensor) -> Tensor:
        network = self._network
        if network is None:
            raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
        check_batch(batch, self._card)
        size = network.fixed_batch
        if size is None or size == len(batch):
            return self._run_once(network, batch)
        pieces = []
        for start in range(0, len(batch), size):
            piece = batch[start : start + size]
            # The last piece is filled up with its own last picture.
            filled = np.concatenate([piece, *[piece[-1:]] * (size - len(piece))]) if len(piece) < size else piece
            pieces.append(self._run_once(network, filled)[: len(piece)])
        return np.concatenate(pieces)

    def close(self) -> None:
        self._pictures = None
        self._resources.close()
        self._network = None
        self._captured.clear()

    def _open_slots(self) -> PictureRunner:
        from animevid.gpu.driver import open_device
        from animevid.gpu.fatbin import load_fatbin
        from animevid.gpu.renderer import SlotRunner

        # The context of torch itself: both retain the device's primary one.
        device = self._resources.enter_context(open_device(self._device.index or 0))
        fatbin = load_fatbin(driver_version=device.driver_version)
        runner = SlotRunner(device, self._card, self._open_network, kernels=fatbin, batch=self.preferred_batch)
        self._resources.callback(runner.close)
        return runner

    def _open_network(self, plan: SlotPlan) -> _SlotNetwork:
        if self._network is None:
            raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
        return _SlotNetwork(self._network, self._device)

    def _run_once(self, network: _Network, batch: Tensor) -> Tensor:
        import torch

        try:
            with torch.inference_mode():
                if self._device.type == "cuda":
                    output = self._run_captured(network, batch)
                else:
                    output = network(torch.from_numpy(batch.copy()))
        except RuntimeError as error:
            if self._device.type != "cuda":
                raise BackendError(f"torch failed on {batch.shape} ({one_line(error)}); use onnxruntime") from error
            if _is_out_of_memory(error):
                raise DeviceError(f"the GPU is out of memory for {batch.shape}; give a smaller --net-size") from error
            raise _device_error(error, batch.shape) from error
        result: Tensor = np.ascontiguousarray(output.float().cpu().numpy())
        check_output(result, batch, self._card)
        return result

    def _run_captured(self, network: _Network, batch: Tensor) -> torch.Tensor:
        with self._turn:
            captured = self._captured.get(batch.shape)
            if captured is None:
                if len(self._captured) >= _MAX_GRAPHS:
                    self._captured.pop(next(iter(self._captured)))  # done: every call waits for its own end
                captured = self._captured[batch.shape] = _HostFed(network, batch.shape, self._device)
            return captured(batch)


class _Captured:
    """A CUDA graph of one shape with its own input and output. Never run on a GPU yet: see docs/gpu.md.

    ``shares``: the stream and memory pool of other graphs that never run while this one does.
    """

    def __init__(
        self, network: _Network, shape: tuple[int, ...], device: torch.device, *, shares: tuple[Any, Any] | None = None
    ) -> None:
        import torch

        self.source = torch.zeros(shape, dtype=torch.float32, device=device)
        # Capturing needs a stream that is not the default one; replaying may be on any.
        self.stream, pool = shares or _stream_and_pool(device)
        # It is ordered after nothing by itself: weights and zeros were written on the stream that is current here.
        self.stream.wait_stream(torch.cuda.current_stream(device))
        with (
            torch.cuda.stream(self.stream),
            torch.inference_mode(),
            # Shapes never change: cuDNN measures its algorithms in the first run, and the captured one takes the best.
            _CAPTURING,  # before the flags, which are the process's: two that overlap would restore each other's
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True),
        ):
            for _ in range(3):
                network(self.source)
            self.stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # Only this thread's calls may spoil the capture: others decode, wait for pictures and allocate meanwhile.
            with torch.cuda.graph(self._graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
                self.target = network(self.source)

    def replay(self) -> None:
        """Draw ``source`` into ``target``, on the current stream."""
        self._graph.replay()


def _stream_and_pool(device: torch.device) -> tuple[Any, Any]:
    import torch

    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream, torch.cuda.graph_pool_handle()


class _HostFed:
    """A captured graph that is fed from the host."""

    def __init__(self, network: _Network, shape: tuple[int, ...], device: torch.device) -> None:
        import torch

        self._pinned = torch.empty(shape, dtype=torch.float32, pin_memory=True)
        self._captured = _Captured(network, shape, device)

    def __call__(self, batch: Tensor) -> torch.Tensor:
        import torch

        captured = self._captured
        with torch.cuda.stream(captured.stream):
            # Free to be written: the last call waited for what read it.
            self._pinned.numpy()[:] = batch
            captured.source.copy_(self._pinned, non_blocking=True)
            captured.replay()
            output = captured.target.to("cpu")  # waits for the stream
        return output


class _SlotNetwork:
    """The network as slots call it (``gpu.slots.Network``): on their streams and memory. Never run on a GPU yet.

    Each slot and shape has a graph of torch's own, with torch's memory; hence it cannot be captured into another. A
    slot's graphs share that memory: they never run at once, and each reads and writes tensors that stay its own.
    """

    half = False

    def __init__(self, network: _Network, device: torch.device) -> None:
        self._network, self._device = network, device
        self._captured: dict[tuple[int, tuple[int, ...]], _Captured] = {}
        self._shared: dict[int, tuple[Any, Any]] = {}

    def enqueue(self, *, slot: int, stream: int, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        import torch

        from animevid.gpu.driver import OutOfDeviceMemory

        try:
            captured = self._captured.get((slot, shape))
            if captured is None:
                if slot not in self._shared:
                    self._shared[slot] = _stream_and_pool(self._device)
                captured = _Captured(self._network, shape, self._device, shares=self._shared[slot])
                self._captured[slot, shape] = captured
            on: Any = torch.cuda.ExternalStream(stream, self._device)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(on), torch.inference_mode():
                self._draw(captured, source, target, shape)
        except RuntimeError as error:
            if _is_out_of_memory(error):
                raise OutOfDeviceMemory(f"the GPU is out of memory for {shape}; give a smaller --net-size") from error
            raise _device_error(error, shape) from error

    def _draw(self, captured: _Captured, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        captured.source.copy_(_at(source, shape, self._device))
        captured.replay()
        _at(target, shape, self._device).copy_(captured.target)

    def capturable(self, *, slot: int, stream: int, shape: tuple[int, int, int, int]) -> bool:
        return False

    def close(self) -> None:
        import torch

        self._captured.clear()
        self._shared.clear()
        # Slots take their memory from the driver: what torch keeps for later is lost to them.
        torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Also where it ended a capture, whose own complaint then hides it."""
    import torch

    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _device_error(error: RuntimeError, shape: tuple[int, ...]) -> DeviceError:
    from animevid.gpu.driver import DeviceLost

    said = one_line(error)
    if any(sign in said for sign in _SIGNS_OF_LOSS):
        return DeviceLost(f"the GPU stopped working ({said}); what was written is kept: start again, or --device cpu")
    return DeviceError(f"torch failed on {shape} ({said}); run again with -v, or use --backend onnxruntime")


class _Memory:
    """Device memory that is not torch's, in the form that ``torch.as_tensor`` reads."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (address, False), "version": 3}


def _at(address: int, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    import torch

    return torch.as_tensor(_Memory(address, shape), device=device)


@dataclass(frozen=True, slots=True)
class _Step:
    """One node, ready to run: values by name in, values by name out."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dead_after: tuple[str, ...]  # what nobody reads any more: its memory goes back


class _Network:
    """An ONNX graph as a list of PyTorch calls.

    Raises:
        BackendError: not one input, or an operator that is not in ``_OPERATORS``.
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
            raise BackendError(f"it has {len(inputs)} inputs; one picture is given")
        self._input, self._output = inputs[0].name, graph.output[0].name
        first = inputs[0].type.tensor_type.shape.dim[0]
        self.fixed_batch: int | None = first.dim_value if first.dim_value > 0 else None
        self._constants: dict[str, Any] = {}
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
            # Layouts are changed by kernels on this thread's stream; graphs run on others.
            torch.cuda.synchronize(device)
        opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        self._steps = _steps(graph, opset, keep={self._output, *self._constants})

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        values: dict[str, Any] = {**self._constants, "": None}
        values[self._input] = (
            batch.contiguous(memory_format=torch.channels_last) if batch.shape[1] > 1 else batch.contiguous()
        )
        for step in self._steps:
            result = step.function(*(values[name] for name in step.inputs))
            for name, value in zip(step.outputs, result if len(step.outputs) > 1 else (result,), strict=True):
                values[name] = value
            for name in step.dead_after:
                del values[name]
        output: torch.Tensor = values[self._output]
        return output


def _steps(graph: onnx.GraphProto, opset: int, *, keep: set[str]) -> list[_Step]:
    import onnx

    last_reader = {name: index for index, node in enumerate(graph.node) for name in node.input}
    steps = []
    for index, node in enumerate(graph.node):
        make = _OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if make is None:
            raise BackendError(f"the operator {node.op_type} is not known to the backend torch; use onnxruntime")
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        dead = tuple({name for name in node.input if name and name not in keep and last_reader[name] == index})
        steps.append(_Step(make(attributes, opset), tuple(node.input), tuple(node.output), dead))
    return steps


def _device_of(name: str) -> torch.device:
    """Raises:
    UsageError: a device that torch does not know.
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


# ---- operators: each maker takes a node's attributes and the opset, and gives a function of the node's inputs ----

_Maker = Callable[[dict[str, Any], int], Callable[..., Any]]


def _plain(function: Callable[[], Callable[..., Any]]) -> _Maker:
    """An operator without attributes; torch is imported when the style is opened, not with this module."""
    return lambda attributes, opset: function()


def _torch(path: str) -> _Maker:
    def make(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
        import torch

        found: Any = torch
        for part in path.split("."):
            found = getattr(found, part)
        function: Callable[..., Any] = found
        return function

    return make


def _arithmetic(path: str) -> _Maker:
    """A binary operator whose operand may be a host's array."""

    def make(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
        import torch

        function: Any = getattr(torch, path)
        numbers = _Numbers()

        def run(first: Any, second: Any) -> Any:
            if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
                return getattr(np, _NUMPY_NAMES[path])(first, second)
            like = second if isinstance(first, np.ndarray) else first
            return function(numbers.beside(like, first), numbers.beside(like, second))

        return run

    return make


_NUMPY_NAMES = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "floor_divide", "pow": "power"}


class _Numbers:
    """A node's numbers that are the host's, as tensors beside a picture. Made once: a capture refuses copies to it."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], torch.Tensor] = {}

    def beside(self, like: torch.Tensor, value: Any) -> torch.Tensor:
        """``value`` in the dtype and on the device of ``like``; a tensor is itself."""
        if not isinstance(value, np.ndarray):
            tensor: torch.Tensor = value
            return tensor
        key = (value.tobytes(), value.dtype.str, value.shape, like.dtype, like.device)
        if key not in self._made:
            import torch

            self._made[key] = torch.as_tensor(value.copy(), dtype=like.dtype, device=like.device)
        return self._made[key]


def _conv(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    pads, group = attributes.get("pads", [0, 0, 0, 0]), attributes.get("group", 1)
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise BackendError(f"Conv with auto_pad = {attributes['auto_pad'].decode()} is not known to the backend torch")
    top, left, bottom, right = pads
    even = (top, left) == (bottom, right)

    def run(x: Any, weight: Any, bias: Any = None) -> Any:
        if not even:
            x = functional.pad(x, (left, right, top, bottom))
        padding = (top, left) if even else 0
        return functional.conv2d(x, weight, bias, stride=strides, padding=padding, dilation=dilations, groups=group)

    return run


def _conv_transpose(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
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


def _pad(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    mode = {b"reflect": "reflect", b"edge": "replicate", b"constant": "constant"}[attributes.get("mode", b"constant")]

    def run(x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
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


def _resize(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    mode = attributes.get("mode", b"nearest")
    where = attributes.get("coordinate_transformation_mode", b"half_pixel")
    rounding = attributes.get("nearest_mode", b"round_prefer_floor")
    known: dict[tuple[bytes, bytes, bytes], dict[str, Any]] = {
        (b"nearest", b"asymmetric", b"floor"): {"mode": "nearest"},
        (b"linear", b"half_pixel", rounding): {"mode": "bilinear", "align_corners": False},
        (b"linear", b"pytorch_half_pixel", rounding): {"mode": "bilinear", "align_corners": False},
        (b"linear", b"align_corners", rounding): {"mode": "bilinear", "align_corners": True},
    }
    options = known.get((mode, where, rounding))
    if options is None or attributes.get("antialias"):
        raise BackendError(f"Resize {mode.decode()}, {where.decode()} is not known to the backend torch")

    def run(x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Any:
        height, width = (
            (int(side) for side in sizes[2:])
            if sizes is not None and len(sizes)
            else (int(side * float(scale)) for side, scale in zip(x.shape[2:], scales[2:], strict=True))
        )
        return functional.interpolate(x, size=(height, width), **options)

    return run


def _instance_norm(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift: functional.instance_norm(x, weight=scale, bias=shift, eps=epsilon)


def _batch_norm(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift, mean, var: functional.batch_norm(x, mean, var, scale, shift, eps=epsilon)


def _group_norm(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    epsilon, groups = attributes.get("epsilon", 1e-5), attributes["num_groups"]
    return lambda x, scale, shift: functional.group_norm(x, groups, scale, shift, eps=epsilon)


def _layer_norm(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    epsilon, axis = attributes.get("epsilon", 1e-5), attributes.get("axis", -1)

    def run(x: Any, scale: Any, shift: Any = None) -> Any:
        normal = functional.layer_norm(x, x.shape[axis:], eps=epsilon) * scale
        return normal if shift is None else normal + shift

    return run


def _reduce_mean(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    keep = bool(attributes.get("keepdims", 1))

    def run(x: Any, axes: Any = None) -> Any:
        along = attributes.get("axes") if axes is None else axes
        return x.mean(dim=tuple(range(x.ndim)) if along is None else tuple(int(axis) for axis in along), keepdim=keep)

    return run


def _cast(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    import onnx
    import torch

    dtype = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    wanted = {"float32": torch.float32, "float16": torch.float16}.get(str(dtype))

    def run(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return x.astype(dtype)
        if wanted is None:
            raise RuntimeError(f"a cast to {dtype} is not known to the backend torch")
        return x.to(wanted)

    return run


def _constant(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    import onnx

    (name, value), *_ = attributes.items()
    array = onnx.numpy_helper.to_array(value) if name == "value" else np.asarray(value)
    return lambda: array


def _shape(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    part = slice(attributes.get("start", 0), attributes.get("end"))
    return lambda x: np.asarray(x.shape, np.int64)[part]


def _gather(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    return lambda x, index: np.take(_on_host(x), index, axis=attributes.get("axis", 0))


def _on_host(x: Any) -> Any:
    if not isinstance(x, np.ndarray):
        raise RuntimeError("gathering of pictures is not known to the backend torch")
    return x


def _concat(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    import torch

    axis = attributes["axis"]

    def run(*parts: Any) -> Any:
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate(parts, axis)
        return torch.cat(parts, axis)

    return run


def _reshape(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    def run(x: Any, shape: Any) -> Any:
        sides = [x.shape[i] if side == 0 else int(side) for i, side in enumerate(np.atleast_1d(shape))]
        return x.reshape(sides)

    return run


def _unsqueeze(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    def run(x: Any, axes: Any = None) -> Any:
        along = tuple(int(axis) for axis in (attributes["axes"] if axes is None else axes))
        if isinstance(x, np.ndarray):
            return np.expand_dims(x, along)
        for axis in sorted(along):
            x = x.unsqueeze(axis)
        return x

    return run


def _slice(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    def run(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
        along = range(len(starts)) if axes is None else [int(axis) for axis in axes]
        strides = [1] * len(starts) if steps is None else [int(step) for step in steps]
        cut: list[slice] = [slice(None)] * x.ndim
        for axis, start, end, step in zip(along, starts, ends, strides, strict=True):
            if step < 1:
                raise RuntimeError(f"Slice with {step = } is not known to the backend torch")
            cut[axis] = slice(int(start), int(end), step)
        return x[tuple(cut)]

    return run


def _average_pool(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    padded = any(attributes.get("pads", ())) or attributes.get("auto_pad", b"NOTSET").startswith(b"SAME")
    if padded or attributes.get("ceil_mode", 0) or any(rate != 1 for rate in attributes.get("dilations", ())):
        raise BackendError("AveragePool with padding or dilation is not known to the backend torch; use onnxruntime")
    kernel = attributes["kernel_shape"]
    return lambda x: functional.avg_pool2d(x, kernel, attributes.get("strides", [1, 1]))


def _extreme(name: str) -> _Maker:
    """``Min`` or ``Max`` of any number of tensors, some of which may be the host's."""
    return lambda attributes, opset: _over_all(name)


def _clip(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    def run(x: Any, low: Any = None, high: Any = None) -> Any:
        low = attributes.get("min") if low is None else float(low)
        high = attributes.get("max") if high is None else float(high)
        return x.clamp(low, high)

    return run


def _leaky_relu(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    slope = attributes.get("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


def _prelu(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    import torch

    return lambda x, slope: torch.where(x >= 0, x, x * slope)


def _transpose(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    return lambda x: x.permute(attributes.get("perm", list(range(x.ndim))[::-1]))


def _depth_to_space(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    if attributes.get("mode", b"DCR") != b"CRD":
        raise BackendError("DepthToSpace in the mode DCR is not known to the backend torch; use onnxruntime")
    return lambda x: functional.pixel_shuffle(x, attributes["blocksize"])


def _space_to_depth(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    from torch.nn import functional

    def run(x: Any) -> Any:
        if x.shape[1] != 1:  # of more channels, torch orders them differently
            raise BackendError(
                f"SpaceToDepth of {x.shape[1]} channels is not known to the backend torch; use onnxruntime"
            )
        return functional.pixel_unshuffle(x, attributes["blocksize"])

    return run


def _identity(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    return lambda x: x


def _sum(attributes: dict[str, Any], opset: int) -> Callable[..., Any]:
    return _over_all("add")


def _over_all(name: str) -> Callable[..., Any]:
    """torch's binary function ``name`` over any number of terms."""
    import torch

    function: Any = getattr(torch, name)
    numbers = _Numbers()

    def run(*terms: Any) -> Any:
        like = next((term for term in terms if not isinstance(term, np.ndarray)), None)
        if like is None:  # numbers of the graph's own arithmetic, on shapes say
            return functools.reduce(getattr(np, _NUMPY_NAMES.get(name, name)), terms)
        return functools.reduce(function, (numbers.beside(like, term) for term in terms))

    return run


_OPERATORS: dict[str, _Maker] = {
    "Abs": _torch("abs"),
    "Add": _arithmetic("add"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Div": _arithmetic("div"),
    "Exp": _torch("exp"),
    "Gather": _gather,
    "GroupNormalization": _group_norm,
    "Identity": _identity,
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
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": _torch("sigmoid"),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Sqrt": _torch("sqrt"),
    "Sub": _arithmetic("sub"),
    "Sum": _sum,
    "Tanh": _torch("tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
