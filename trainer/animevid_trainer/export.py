"""Exports a trained generator as an ONNX style with its card, if its output equals PyTorch's.

The graph has a float32 input ``input`` and output ``output`` with dynamic N, H and W, uses opset 18 (supported by ONNX
Runtime, OpenVINO and TensorRT 10's parser), and has batch norm folded into convolutions by the exporter. With ``fp16``,
weights and activations inside are half precision (see ``animevid.gpu.precision``); the statistics of norm layers stay
in float32.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from animevid.errors import TrainingError
from animevid.gpu.parity import BOUNDS, Bound, Parity
from animevid.gpu.precision import to_half
from animevid.styles.card import ColourOrder, Layout, StyleCard, write_card
from onnxscript import opset18
from torch import Tensor, nn

from animevid_trainer.files import write_file

_LOG = logging.getLogger(__name__)

OPSET = 18
Precision = Literal["fp32", "fp16"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The file written, its card, and its difference from PyTorch."""

    path: Path
    bytes_written: int
    card: StyleCard
    parity: Parity


def make_card(generator: nn.Module, *, name: str, precision: Precision = "fp32", **provenance: str) -> StyleCard:
    """The card of ``generator``: limits from its attributes, ``provenance`` as fields of ``StyleCard``.

    ``weights_sha256`` is computed over the parameters and buffers, in name order, as float32.
    """
    layout = Layout(getattr(generator, "layout", Layout.NCHW))
    return StyleCard(
        name=name,
        layout=layout,
        colour_order=ColourOrder.YUV if layout is Layout.PACKED_YUV420 else ColourOrder.RGB,
        size_multiple=int(getattr(generator, "size_multiple", 32)),
        tileable=bool(getattr(generator, "tileable", False)),
        receptive_field_px=int(getattr(generator, "receptive_field_px", 0)),
        precision=precision,
        weights_sha256=weights_sha256(generator),
        **provenance,  # type: ignore[arg-type]
    )


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over names and float32 values of all parameters and buffers, in name order."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def to_onnx(generator: nn.Module, *, card: StyleCard, precision: Precision = "fp32") -> bytes:
    """``generator`` as a serialized ONNX model with ``card`` in its metadata. The generator is not changed.

    Raises:
        TrainingError: an unknown precision, or a generator that cannot be exported with dynamic N, H and W.
    """
    if precision not in BOUNDS:
        raise TrainingError(f"precision {precision!r} is none of {', '.join(BOUNDS)}")
    module = copy.deepcopy(generator).cpu().float().eval().requires_grad_(False)
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                module,
                (_example(card),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=(free,),
                custom_translation_table={torch.ops.aten.pixel_unshuffle.default: _pixel_unshuffle},
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TrainingError(f"{type(generator).__name__} cannot be exported to ONNX ({reason})") from error
    assert program is not None
    model = program.model_proto
    _name_dimensions(model, card.layout)
    # The exporter's doc strings name local source files and lines; they are useless and three times the graph's size.
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.producer_name = "animevid"
    onnx.checker.check_model(model)
    exported = write_card(model.SerializeToString(), replace(card, precision="fp32"))
    return to_half(exported) if precision == "fp16" else exported


def _pixel_unshuffle(image: Any, downscale_factor: int) -> Any:
    """One operator instead of the exporter's six, in a tenth of the time in ONNX Runtime. For one channel only: with
    more, PyTorch and ONNX order channels differently."""
    if image.shape is None or image.shape[1] != 1:
        raise TrainingError(
            f"pixel_unshuffle of a tensor of shape {tuple(image.shape)} has no ONNX operator; "
            "unshuffle one channel at a time"
        )
    return opset18.SpaceToDepth(image, blocksize=downscale_factor)


def measure_parity(generator: nn.Module, model: bytes, inputs: Sequence[Tensor]) -> Parity:
    """Run both on ``inputs`` (each a batch in the generator's layout; sizes may differ) and compare every value.

    Raises:
        TrainingError: no inputs, a model that ONNX Runtime refuses, or outputs of different shape.
    """
    if not inputs:
        raise TrainingError("parity needs at least one image; give real photos")
    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exception classes share no base
        raise TrainingError(f"ONNX Runtime refuses the model ({str(error).splitlines()[0]})") from error
    name = session.get_inputs()[0].name
    module = copy.deepcopy(generator).cpu().float().eval()
    pairs = []
    for batch in inputs:
        with torch.inference_mode():
            expected = module(batch.float()).numpy()
        try:
            (got,) = session.run(None, {name: batch.float().numpy()})
        except Exception as error:
            raise TrainingError(f"ONNX Runtime fails on {tuple(batch.shape)} ({str(error).splitlines()[0]})") from error
        if got.shape != expected.shape:
            raise TrainingError(
                f"ONNX Runtime gives {got.shape}, PyTorch {expected.shape}: the export is not the same network"
            )
        pairs.append((expected, got))
    return Parity.between(pairs)


def check_parity(parity: Parity, bound: Bound, *, what: str) -> None:
    """Raises:
    TrainingError: ``parity`` is above ``bound``, or not a number.
    """
    if not parity.within(bound):
        raise TrainingError(
            f"{what} differs from PyTorch: {parity}; allowed are max {bound.largest:.0e}, mean {bound.mean:.0e}"
        )


def parity_inputs(images: Sequence[np.ndarray], card: StyleCard, *, longest_px: int = 256) -> list[Tensor]:
    """Real photos (uint8 RGB, ``H, W, 3``) as inputs of the network, cropped to at most ``longest_px`` and a multiple
    of ``size_multiple``.

    Raises:
        TrainingError: an image smaller than one ``size_multiple``.
    """
    inputs = []
    for image in images:
        multiple = card.size_multiple
        height, width = (min(side, longest_px) // multiple * multiple for side in image.shape[:2])
        if not height or not width:
            raise TrainingError(
                f"a photo of {image.shape[1]}x{image.shape[0]} pixels is smaller than the "
                f"{card.size_multiple} that the style needs"
            )
        crop = np.ascontiguousarray(image[:height, :width])
        rgb = torch.from_numpy(crop).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1.0
        if card.layout is Layout.PACKED_YUV420:
            from animevid_trainer.colourspace import rgb_to_packed

            rgb = rgb_to_packed(rgb)
        inputs.append(rgb)
    return inputs


def export_style(
    generator: nn.Module,
    path: Path | str,
    *,
    card: StyleCard,
    images: Sequence[np.ndarray],
    precision: Precision = "fp32",
    bound: Bound | None = None,
) -> ExportReport:
    """Export, compare on real ``images`` (uint8 RGB, ``H, W, 3``), and write the file if the difference is within
    ``bound``.

    ``bound`` defaults to ``BOUNDS[precision]``. The file is written atomically.

    Raises:
        TrainingError: the export fails or the parity is above the bound.
        OutputError: the file cannot be written.
    """
    target = Path(path)
    model = to_onnx(generator, card=card, precision=precision)
    parity = measure_parity(generator, model, parity_inputs(images, card))
    check_parity(parity, bound or BOUNDS[precision], what=f"{target.name} ({precision})")
    write_file(target, model)
    _LOG.info("%s: %d bytes, %s", target, len(model), parity)
    return ExportReport(target, len(model), replace(card, precision=precision), parity)


def _example(card: StyleCard) -> Tensor:
    # N, H and W differ and are above 1, so that the exporter mistakes none for another or for a constant.
    height, width = (card.size_multiple * max(1, -(-side // card.size_multiple)) for side in (64, 96))
    if height == width:
        width += card.size_multiple
    if card.layout is Layout.PACKED_YUV420:
        return torch.rand(2, 24, height // 4, width // 4) * 2.0 - 1.0
    return torch.rand(2, 3, height, width) * 2.0 - 1.0


def _name_dimensions(model: onnx.ModelProto, layout: Layout) -> None:
    names = ("N", None, "H/4", "W/4") if layout is Layout.PACKED_YUV420 else ("N", None, "H", "W")
    for value in (*model.graph.input, *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if name is None:
                continue
            if dimension.HasField("dim_value"):
                raise TrainingError(
                    f"{value.name!r} came out with {name} fixed at {dimension.dim_value}; "
                    "the generator's forward must not depend on the size of its example"
                )
            dimension.dim_param = name


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # The exporter warns about torchvision operators, which are not needed.
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
