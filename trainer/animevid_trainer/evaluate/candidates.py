"""What is compared: anything that turns a photo into an image, with what it costs.

======================  ==============================================================================
written as              is
======================  ==============================================================================
``style.onnx``, a name  a style as the engine runs it (``animevid.Stylizer``: size, lift, everything)
a run's folder          the averaged generator of a run's latest checkpoint, in PyTorch (also ``run:DIR``)
``teacher:SPEC``        a teacher (``teacher:bilateral`` is the filter-and-edges baseline)
``photo``               the photo itself: what every figure says of doing nothing
======================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from animevid.errors import UsageError
from torch import Tensor, nn

from animevid_trainer.data.batches import images_of, tensor_of
from animevid_trainer.data.images import Image
from animevid_trainer.run_networks import as_rgb
from animevid_trainer.starting import open_any_teacher
from animevid_trainer.stored_runs import load_generator

#: (height, width) at which multiply-accumulates and speed are stated: 16:9 and a multiple of 32.
COST_SIZE = (352, 640)


Kind = Literal["style", "filters", "identity"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """``parameters`` and ``macs`` (multiply-accumulates at ``COST_SIZE``) are None where they are not known."""

    label: str
    stylize: Callable[[Image], Image]
    parameters: int | None = None
    macs: int | None = None
    file_bytes: int | None = None
    note: str = ""
    #: what it is compared for: a style, or what doing nothing and filters alone come to
    kind: Kind = "style"
    #: Successive frames of a clip; without it each is stylized by itself.
    animate: Callable[[Sequence[Image]], list[Image]] | None = None


def identity() -> Candidate:
    """The photo itself."""
    return Candidate(
        "identity", lambda photo: photo, parameters=0, macs=0, note="the photo: does nothing", kind="identity"
    )


def baselines() -> list[Candidate]:
    """What every style stands beside: doing nothing, and a bilateral filter with edges drawn in black.

    Some figures rise by filters alone: a style is worth what it has beyond them.
    """
    filters = open_any_teacher("bilateral")
    return [
        identity(),
        Candidate("filters only", filters, note="bilateral filter and edges, no network", kind="filters"),
    ]


@contextmanager
def open_candidate(spec: str) -> Iterator[Candidate]:
    """The candidate ``[LABEL=]SPEC``; see the module's table.

    Raises:
        AnimevidError: no such style, run or teacher.
    """
    label, equals, rest = spec.partition("=")
    label, spec = (label, rest) if equals else ("", spec)
    if spec == "photo":
        candidate = replace(identity(), label="photo")
    elif spec.startswith("run:") or (Path(spec) / "checkpoints").is_dir():
        candidate = _run_candidate(Path(spec.removeprefix("run:")))
    elif spec.startswith("teacher:"):
        teacher = open_any_teacher(spec[8:])
        candidate = Candidate(spec, teacher, note=f"teacher {teacher.key}"[:120])
    else:
        with _style_candidate(spec) as candidate:
            yield replace(candidate, label=label or candidate.label)
        return
    yield replace(candidate, label=label or candidate.label)


def _run_candidate(run: Path) -> Candidate:
    network = load_generator(run)
    multiple = int(getattr(network, "size_multiple", 32))
    rgb = as_rgb(network).eval()
    return Candidate(
        run.name,
        lambda photo: stylize_with(rgb, photo, multiple=multiple),
        parameters=sum(p.numel() for p in network.parameters()),
        macs=count_macs(rgb, *COST_SIZE),
        note=type(network).__name__,
    )


@torch.no_grad()
def stylize_with(network: nn.Module, photo: Image, *, multiple: int) -> Image:
    """An RGB network on one image of any size: padded by reflection to its multiple, cropped back."""
    height, width = photo.shape[:2]
    pad_h, pad_w = -height % multiple, -width % multiple
    padded = np.pad(photo, ((0, pad_h), (0, pad_w), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(images_of(network(tensor_of([padded])))[0][:height, :width])


@torch.no_grad()
def count_macs(network: nn.Module, height: int, width: int) -> int:
    """Multiply-accumulates of convolutions and linear layers on one (height, width) RGB image."""
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            # Each input sample meets each weight of its output channels once; strides make the output larger instead.
            total += output.numel() * module.weight[:, 0].numel() // (module.stride[0] * module.stride[1])

    hooks = [m.register_forward_hook(count) for m in network.modules()]
    try:
        network(torch.zeros(1, 3, height, width))
    finally:
        for hook in hooks:
            hook.remove()
    return total


@contextmanager
def _style_candidate(spec: str) -> Iterator[Candidate]:
    from animevid.render.stylizer import Stylizer
    from animevid.render.temporal import TemporalFilter

    path = Path(spec)
    looks_like_file = path.suffix == ".onnx" or "/" in spec
    if looks_like_file and not path.is_file():
        raise UsageError(
            f"{spec!r} is not a file; candidates are STYLE.onnx, a style's name, run:DIR, teacher:SPEC, photo"
        )
    with Stylizer(spec) as stylizer:
        model = stylizer.style.model
        parameters, macs = count_onnx(model)
        # An even size is what 4:2:0 can hold; a last odd row or column is repeated.
        yield Candidate(
            path.stem,
            lambda photo: _even(photo, lambda even: np.asarray(stylizer(even), np.uint8)),
            animate=lambda clip: _animated(clip, TemporalFilter(stylizer)),
            parameters=parameters,
            macs=macs,
            file_bytes=len(model),
            note="as the engine runs it",
        )


def _animated(clip: Sequence[Image], stylize: Callable[[Image], Image]) -> list[Image]:
    return [_even(frame, stylize) for frame in clip]


def _even(photo: Image, stylize: Callable[[Image], Image]) -> Image:
    height, width = photo.shape[:2]
    padded = np.pad(photo, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(stylize(padded)[:height, :width])


def count_onnx(model: bytes) -> tuple[int, int | None]:
    """(parameters, multiply-accumulates at ``COST_SIZE`` or None where shapes cannot be inferred) of an ONNX model."""
    import onnx

    proto = onnx.load_from_string(model)
    sizes = {item.name: list(item.dims) for item in proto.graph.initializer}
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    parameters = sum(int(np.prod(item.dims)) for item in proto.graph.initializer if item.data_type in floats)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    channels_last = dims[3].dim_value == 3
    scale = 4 if dims[1].dim_value == 24 else 1
    height, width = (side // scale for side in COST_SIZE)
    for axis, size in zip((0, 1, 2) if channels_last else (0, 2, 3), (1, height, width), strict=True):
        dims[axis].Clear()
        dims[axis].dim_value = size
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # onnx raises its own classes for graphs that it cannot follow
        return parameters, None
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    total = 0
    for node in inferred.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        weight, shape = sizes.get(node.input[1]), shapes.get(node.output[0])
        if weight is None or not shape or 0 in shape:
            return parameters, None
        per_output = int(np.prod(weight[1:])) if node.op_type == "Conv" else int(weight[0])
        if node.op_type == "ConvTranspose":
            strides = next((list(item.ints) for item in node.attribute if item.name == "strides"), [1, 1])
            per_output = int(np.prod(weight)) // int(weight[1]) // int(np.prod(strides))
        total += int(np.prod(shape)) * per_output
    return parameters, total
