"""Candidates of an evaluation: anything that maps a photo to an image, with its cost.

======================  ==============================================================================
spec                    candidate
======================  ==============================================================================
``style.onnx``, a name  a style as the engine runs it (``animevid.Stylizer``)
a run's folder          the averaged generator of a run's latest checkpoint, in PyTorch (also ``run:DIR``)
``teacher:SPEC``        a teacher (``teacher:bilateral`` is the filter-and-edges baseline)
``photo``               the unchanged photo, as a baseline
======================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from animevid.errors import UsageError
from torch import Tensor, nn

from animevid_trainer.data.batches import images_of, tensor_of
from animevid_trainer.data.images import Image
from animevid_trainer.run_networks import as_rgb
from animevid_trainer.starting import open_any_teacher
from animevid_trainer.stored_runs import load_generator

#: (height, width) at which multiply-accumulates and speed are measured: about 16:9, multiples of 32.
COST_SIZE = (352, 640)


Kind = Literal["style", "filters", "identity"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """``parameters`` and ``macs`` (multiply-accumulates at ``COST_SIZE``) are None if unknown."""

    label: str
    stylize: Callable[[Image], Image]
    parameters: int | None = None
    macs: int | None = None
    file_bytes: int | None = None
    note: str = ""
    #: a style, or a baseline: the unchanged photo or filters without a network
    kind: Kind = "style"
    #: Stylizes successive frames of a clip; None: each frame separately.
    animate: Callable[[Sequence[Image]], list[Image]] | None = None


def identity() -> Candidate:
    """Return the candidate that leaves the photo unchanged."""
    return Candidate("identity", lambda photo: photo, parameters=0, macs=0, note="the unchanged photo", kind="identity")


def baselines() -> list[Candidate]:
    """Return the baselines: the unchanged photo, and a bilateral filter with black edges.

    Filters alone improve some figures; a style is as good as its lead over them.
    """
    filters = open_any_teacher("bilateral")
    return [
        identity(),
        Candidate("filters only", filters, note="bilateral filter and edges, no network", kind="filters"),
    ]


@contextmanager
def open_candidate(spec: str) -> Iterator[Candidate]:
    """Open the candidate ``[LABEL=]SPEC``; see the module's table.

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
    """Run an RGB network on one image of any size: pad by reflection to its multiple, and crop the result."""
    height, width = photo.shape[:2]
    pad_h, pad_w = -height % multiple, -width % multiple
    padded = np.pad(photo, ((0, pad_h), (0, pad_w), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(images_of(network(tensor_of([padded])))[0][:height, :width])


@torch.no_grad()
def count_macs(network: nn.Module, height: int, width: int) -> int:
    """Count multiply-accumulates of convolutions and linear layers on one (height, width) RGB image."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            # Transposed convolution: each input sample is multiplied once with each weight; strides enlarge the output.
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
        # 4:2:0 needs even sizes: repeat an odd last row or column.
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
    """Count an ONNX model's (parameters, multiply-accumulates at ``COST_SIZE`` or None if shapes are unknown)."""
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
    except Exception:  # onnx raises its own classes for graphs that it cannot handle
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
