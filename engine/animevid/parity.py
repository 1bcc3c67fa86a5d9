"""Compares a style in half precision with float32, before an engine is built."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from animevid.backends.base import Tensor
from animevid.errors import InputError
from animevid.gpu.parity import BOUNDS, Parity, check_parity, measure_parity
from animevid.gpu.precision import to_half
from animevid.io import open_source
from animevid.pixels import PlanesYUV420, pack_yuv420, planes_to_tensor
from animevid.render.geometry import net_size
from animevid.styles.card import Layout, StyleCard

_LOG = logging.getLogger(__name__)

#: Real frames that every installation has.
DEMO_CLIP = Path(__file__).parent / "demo" / "demo.mp4"
#: Frames are compared at about this many pixels: ONNX Runtime computes half precision slowly on a CPU.
_PIXELS = 320 * 180
_FRAMES = 4


def check_half_precision(model: bytes, card: StyleCard, frames: Sequence[PlanesYUV420]) -> Parity:
    """Stylize ``frames`` with ``model`` (float32 ONNX) and its half-precision version in ONNX Runtime, and compare.

    Raises:
        BackendError: they differ by more than ``BOUNDS["fp16"]``: a code on average.
        StyleError: the style cannot be converted to half precision.
    """
    unit = abs(card.output_range[1] - card.output_range[0]) / 2
    batches = [network_batch(frame, card) for frame in frames]
    parity = measure_parity(model, to_half(model), batches, unit=unit)
    check_parity(parity, BOUNDS["fp16"], what=f"the style {card.name!r} in half precision")
    _LOG.info("half precision of %s: %s", card.name, parity)
    return parity


def network_batch(frame: PlanesYUV420, card: StyleCard) -> Tensor:
    """``frame`` as a batch of one in the card's layout, of about ``_PIXELS`` pixels or at its fixed size."""
    size, multiple = net_size(card, frame.height, frame.width, net_pixels=_PIXELS), card.padded_multiple_px
    if card.layout is Layout.PACKED_YUV420:
        return pack_yuv420(frame, size=size, multiple=multiple)[np.newaxis]
    return planes_to_tensor(
        frame, layout=card.layout.value, order=card.colour_order.value, value_range=card.input_range, size=size,
        multiple=multiple,
    )[np.newaxis]  # fmt: skip


def read_frames(path: Path | str = DEMO_CLIP, *, count: int = _FRAMES) -> list[PlanesYUV420]:
    """``count`` frames, spread over a clip, a folder of images or whatever else ``open_source`` reads.

    Raises:
        InputError: it cannot be read, or holds no frame.
    """
    with open_source(path) as source:
        step = max((source.info.frame_count or count) // count, 1)
        frames = [frame.planes for index, frame in zip(range(step * count), source, strict=False) if index % step == 0]
    if not frames:
        raise InputError(f"{str(path)!r} holds no frame to compare half precision with")
    return frames
