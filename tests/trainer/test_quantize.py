"""An INT8 style equals its FP32 style, declares so in its card, and is refused otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from animevid.backends import open_backend
from animevid.errors import StyleError, TrainingError
from animevid.styles import ColourOrder, Layout, StyleCard, load_style, read_card, write_card
from animevid_trainer.quantize import (
    BOUND,
    Distance,
    largest_neighbours,
    measure_distance,
    network_inputs,
    quantize_file,
    quantize_style,
)
from small_networks import packed_network

CARD = StyleCard(
    name="ink", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8, net_pixels=320 * 180
)


def _photos(shared: Path, start: int, count: int) -> list[np.ndarray]:
    paths = sorted((shared / "photos").glob("scene-*.jpg"))[start::20][:count]
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]


def _style(*, change: float = 0.25) -> bytes:
    """``input + change * network(input)``: a change of some dozens of codes, like that of a trained style."""
    proto = onnx.load_from_string(packed_network(width=24))
    proto.graph.node.pop()  # Identity to "output"
    # The scale is in the last layer's weights, as after training: a separate Mul would stay in float32.
    tail = proto.graph.node[-1]
    for weight in proto.graph.initializer:
        if weight.name in tail.input:
            values = onnx.numpy_helper.to_array(weight) * np.float32(change)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    proto.graph.node.append(onnx.helper.make_node("Add", ["input", tail.output[0]], ["output"], name="sum"))
    return write_card(proto.SerializeToString(), CARD)


@pytest.fixture(scope="module")
def style() -> bytes:
    return _style()


@pytest.fixture(scope="module")
def quantized(style, shared) -> bytes:
    return quantize_style(style, _photos(shared, 0, 8))


@pytest.mark.shared
def test_on_photos_that_it_was_not_calibrated_on_it_differs_by_less_than_the_bound(style, quantized, shared):
    distance = measure_distance(style, quantized, _photos(shared, 7, 6))
    assert distance.mean <= BOUND.mean
    assert distance.high <= BOUND.high
    assert distance.mean > 0  # it is another network


@pytest.mark.shared
def test_its_card_says_int8_and_nothing_else_changed(quantized):
    assert read_card(quantized) == replace(CARD, precision="int8")


@pytest.mark.shared
def test_every_convolution_but_the_last_works_on_eight_bits_and_no_pair_of_products_saturates(quantized):
    graph = onnx.load_from_string(quantized).graph
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    values = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 5
    assert convolutions[-1].input[1] in values, "the last layer draws within cells: in float"
    for conv in convolutions[:-1]:
        assert conv.input[0] in dequantized
        weight = values[dequantized[conv.input[1]].input[0]]
        assert weight.dtype == np.int8
        # Unsigned activations are at most 255; two products are added in 16 bits.
        assert 255 * largest_neighbours(weight.astype(int)).max() < 2**15
        assert np.abs(weight.astype(int)).max() > 64, "the eighth bit is used if it fits"


@pytest.mark.shared
def test_onnx_runtime_runs_it_in_eight_bits(quantized, tmp_path):
    """A quantized convolution that it cannot fuse runs in float, more slowly than the float32 file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    options.log_severity_level = 3  # it warns that the file is for this machine only
    onnxruntime.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]
    written = sum(node.op_type == "Conv" for node in onnx.load_from_string(quantized).graph.node)
    assert kinds.count("QLinearConv") == written - 1, "all but the last"


@pytest.mark.shared
def test_layers_that_are_named_stay_in_float(style, shared):
    graph = onnx.load_from_string(style).graph
    first = next(node for node in graph.node if node.op_type == "Conv").input[1]
    kept = onnx.load_from_string(quantize_style(style, _photos(shared, 0, 2), keep_float=[first])).graph
    floats = {weight.name for weight in kept.initializer if weight.data_type == onnx.TensorProto.FLOAT}
    inputs = {node.input[1] for node in kept.node if node.op_type == "Conv"}
    assert first in floats & inputs
    assert len(floats & inputs) == 2, "it and the last"


def test_neighbours_are_pairs_along_channels_or_along_the_window():
    weight = np.zeros((3, 2, 2, 2))
    weight[0, 0, 0, 0], weight[0, 1, 0, 0] = 60, 50  # along the channels
    weight[1, 0, 0, 0], weight[1, 0, 0, 1] = -60, -50  # along the window
    weight[2, 0, 0, 0], weight[2, 1, 0, 0] = 60, -50  # of two signs: they cannot overflow
    assert largest_neighbours(weight).tolist() == [110, 110, 60]


@pytest.mark.shared
def test_no_place_within_a_cell_is_lighter_than_in_float(style, quantized, shared):
    means = []
    for model in (style, quantized):
        with open_backend(model, read_card(model)) as backend:
            drawn = [backend.run(tensor) for tensor in network_inputs(_photos(shared, 0, 8), CARD)]
        means.append(np.mean([each.mean((0, 2, 3), dtype=np.float64) for each in drawn], axis=0))
    # In codes; without corrected biases, some pixels are off by 0.3.
    assert np.abs(means[1] - means[0]).max() * 127.5 < 0.05


@pytest.mark.shared
def test_a_gray_ramp_gets_no_steps_that_the_source_has_not(style, shared):
    calm = _style(change=0.0)
    ramp = np.repeat(np.linspace(0, 255, 320).astype(np.uint8)[np.newaxis, :, np.newaxis], 64, axis=0).repeat(3, axis=2)
    int8 = quantize_style(calm, _photos(shared, 0, 4))
    (tensor,) = network_inputs([ramp], CARD)
    with open_backend(int8, replace(CARD, precision="int8")) as backend:
        # The network changes nothing, so the input must pass the sum unrounded.
        np.testing.assert_allclose(backend.run(tensor), tensor, atol=1e-6)


@pytest.mark.shared
def test_the_file_stands_beside_its_style_where_the_registry_finds_it(style, shared, tmp_path, monkeypatch):
    from animevid.styles import registry

    monkeypatch.setattr(registry, "_SHIPPED", tmp_path)
    (tmp_path / "ink.onnx").write_bytes(style)
    report = quantize_file(tmp_path / "ink.onnx", photos=_photos(shared, 0, 6), held_out=_photos(shared, 7, 4))
    assert report.path == tmp_path / "ink-int8.onnx"
    assert report.bytes_written == report.path.stat().st_size
    assert load_style("ink", precision="int8").card.precision == "int8"
    assert load_style("ink").card.precision == "fp32"


@pytest.mark.shared
def test_a_result_that_is_too_far_is_not_written(style, shared, tmp_path):
    (tmp_path / "ink.onnx").write_bytes(style)
    strict = Distance(mean=1e-4, high=1e-3, largest=1e-2, images=1)
    with pytest.raises(TrainingError, match="too far"):
        quantize_file(tmp_path / "ink.onnx", photos=_photos(shared, 0, 4), held_out=_photos(shared, 7, 2), bound=strict)
    assert [path.name for path in tmp_path.iterdir()] == ["ink.onnx"]


@pytest.mark.parametrize(
    ("model", "photos", "said"),
    [
        (packed_network(), [np.zeros((64, 64, 3), np.uint8)], "card"),
        (write_card(packed_network(), replace(CARD, precision="int8")), [np.zeros((64, 64, 3), np.uint8)], "fp32"),
        (write_card(packed_network(), CARD), [], "photos"),
        (write_card(packed_network(), CARD), [np.zeros((64, 64), np.uint8)], "RGB"),
    ],
    ids=["no-card", "int8", "no-photos", "gray"],
)
def test_what_cannot_be_quantized_is_refused(model, photos, said):
    with pytest.raises(TrainingError, match=said):
        quantize_style(model, photos)


def test_a_style_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StyleError, match="cannot be read"):
        quantize_file(tmp_path / "none.onnx", photos=[], held_out=[])
