"""Makes small ONNX networks with a style card: quick to build and run, with effects that tests can measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from animevid.styles.card import CARD_KEY, ColourOrder, Layout, StyleCard
from onnx import TensorProto, helper, numpy_helper

LEVELS = 4  # per unit: posterized values are multiples of 1 / LEVELS


def save_style(path: Path, card: StyleCard, *, effect: str = "posterize", with_card: bool = True) -> Path:
    """Write a network of ``card.layout``: ``"copy"``, ``"posterize"``, ``"negative"`` or ``"blur"`` (3x3)."""
    channels = 24 if card.layout is Layout.PACKED_YUV420 else 3
    shape: list[object] = ["N", channels, "H", "W"]
    if card.layout is Layout.NHWC:
        shape = ["N", "H", "W", channels]
    nodes = {
        "copy": [helper.make_node("Identity", ["input"], ["output"])],
        "negative": [helper.make_node("Neg", ["input"], ["output"])],
        "posterize": [
            helper.make_node("Mul", ["input", "levels"], ["scaled"]),
            helper.make_node("Round", ["scaled"], ["rounded"]),
            helper.make_node("Div", ["rounded", "levels"], ["output"]),
        ],
        "blur": [
            helper.make_node("Conv", ["input", "kernel"], ["output"], pads=[1, 1, 1, 1], group=channels),
        ],
    }[effect]
    constants = [
        numpy_helper.from_array(np.float32(LEVELS), "levels"),
        numpy_helper.from_array(np.full((channels, 1, 3, 3), 1 / 9, np.float32), "kernel"),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        card.name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [constant for constant in constants if constant.name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if with_card:
        helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


PACKED = StyleCard(
    name="test-packed",
    title="Packed posterize",
    layout=Layout.PACKED_YUV420,
    colour_order=ColourOrder.YUV,
    size_multiple=8,
    tileable=True,
    receptive_field_px=8,
    net_pixels=320 * 180,
    licence="Apache-2.0",
)
NCHW = StyleCard(name="test-nchw", title="RGB posterize", size_multiple=8, licence="Apache-2.0")
NHWC = replace(NCHW, name="test-nhwc", layout=Layout.NHWC, colour_order=ColourOrder.BGR, size_multiple=32)
