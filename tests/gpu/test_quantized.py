"""INT8 styles in TensorRT's form, compared with the original file."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from animevid.errors import StyleError
from animevid.gpu.quantized import to_symmetric
from animevid.gpu.tensorrt.engine import EngineRequest, build_engine, shape_range
from animevid.styles.card import ColourOrder, Layout, StyleCard, read_card, write_card
from gpu.engines import TARGETS, rtx_or_skip
from small_networks import Builder, packed_network, rgb_network

pytest.importorskip("torch")  # the trainer's quantizer makes such files
from animevid_trainer.quantize import network_inputs, quantize_style

PACKED = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
RGB = StyleCard(name="rgb", size_multiple=2)
NETWORKS = {"packed": (packed_network(), PACKED), "rgb": (rgb_network(), RGB)}


def _photos() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        cv2.resize(random.integers(0, 256, (6, 8, 3), np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
        for _ in "1234"
    ]


@cache
def _quantized(name: str) -> bytes:
    model, card = NETWORKS[name]
    return quantize_style(write_card(model, card), _photos())


def _run(model: bytes, batch: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"input": batch})[0]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_symmetric_graph_draws_what_the_quantized_one_draws(name):
    model, card = NETWORKS[name]
    quantized = _quantized(name)
    symmetric = to_symmetric(quantized)
    for batch in network_inputs(_photos()[:2], card):
        whole, before, after = (_run(each, batch) for each in (model, quantized, symmetric))
        # Activations have one bit less: the error against float32 is at most 1.5 times that of the file.
        assert np.abs(after - whole).mean() <= 1.5 * np.abs(before - whole).mean() + 1e-3


def test_no_unsigned_code_and_no_integer_bias_is_left():
    proto = onnx.load_from_string(to_symmetric(_quantized("packed")))
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert {str(array.dtype) for array in arrays.values()} <= {"int8", "float32", "int64"}
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not arrays[node.input[2]].any()
    onnx.checker.check_model(proto, full_check=True)


def test_a_relu_that_the_zero_point_stood_for_is_spelled_out():
    net = Builder()
    x = net.conv("input", 3, 3)
    quantized = net.op("QuantizeLinear", x, net.constant(np.float32(0.01)), net.constant(np.uint8(0)))
    x = net.op("DequantizeLinear", quantized, net.constant(np.float32(0.01)), net.constant(np.uint8(0)))
    model = net.model(x, ["N", 3, "H", "W"])
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    before, after = _run(model, batch), _run(to_symmetric(model), batch)
    assert before.min() == after.min() == 0.0
    assert np.abs(before - after).max() <= 0.02


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"text" * 20, "not a valid ONNX"), ("zero-point", "symmetric weights")],
    ids=["text", "asymmetric-weights"],
)
def test_what_has_no_symmetric_form_is_refused_in_one_line(content, what):
    if isinstance(content, str):
        net = Builder()
        codes = net.constant(np.zeros((3, 3, 3, 3), np.uint8))
        weight = net.op("DequantizeLinear", codes, net.constant(np.float32(0.1)), net.constant(np.uint8(7)))
        content = net.model(net.op("Conv", "input", weight, pads=[1, 1, 1, 1]), ["N", 3, "H", "W"])
    with pytest.raises(StyleError, match=what) as caught:
        to_symmetric(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", TARGETS)
def test_an_int8_style_is_built_of_one_size_and_of_all_up_to_1080p(target):
    library = rtx_or_skip()
    model = _quantized("packed")
    card = read_card(model)
    assert card is not None
    assert card.precision == "int8"
    fixed = EngineRequest(shape_range(card, height_px=96, width_px=128), target=target)
    engine = build_engine(model, card, fixed, library=library)
    assert (engine.input.shape, engine.input.dtype) == ((1, 24, 24, 32), "float32")
    assert build_engine(model, card, fixed, library=library) == engine
    free = shape_range(card, height_px=1080, width_px=1920, dynamic=True, max_batch=4)
    assert build_engine(model, card, EngineRequest(free, target=target), library=library).input.shape == (
        -1,
        24,
        -1,
        -1,
    )


@pytest.mark.shared
def test_a_shipped_style_in_int8_is_near_to_float32_in_an_engines_form(shared: Path):
    from animevid.styles import list_styles

    (style, *_) = (style for style in list_styles() if style.card.precision == "fp32")
    files = sorted((shared / "photos").glob("scene-*"))[:6]
    photos = [cv2.resize(cv2.imread(str(file)), (320, 180))[..., ::-1].copy() for file in files]
    quantized = quantize_style(style.model, photos[:4])
    card = replace(style.card, net_pixels=320 * 180)
    for batch in network_inputs(photos[4:], card):
        whole, after = _run(style.model, batch), _run(to_symmetric(quantized), batch)
        assert np.abs(after - whole).mean() * 127.5 < 2.0  # codes of 255
