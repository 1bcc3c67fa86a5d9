"""The half-precision pass: the precision of each node, and the error in the frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from animevid.errors import BackendError, StyleError
from animevid.gpu import float32_nodes
from animevid.gpu.float32_nodes import FLOAT32_OPS
from animevid.gpu.parity import BOUNDS, Bound, Parity, check_parity, measure_parity
from animevid.gpu.precision import spell_out_rounding, to_half
from animevid.parity import check_half_precision, read_frames
from animevid.pixels import pack_yuv420, rgb_to_planes
from animevid.styles import list_styles
from animevid.styles.card import ColourOrder, Layout, StyleCard, read_card, write_card
from exported import exported
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from small_networks import Builder, cartoongan, packed_network, rgb_network


def _types_at(model: bytes) -> dict[str, set[tuple[int, ...]]]:
    """Operator -> the element types of the floating-point inputs of all its nodes."""
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), check_type=True, strict_mode=True)
    graph = proto.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    found: dict[str, set[tuple[int, ...]]] = {}
    for node in graph.node:
        kinds = tuple(types[name] for name in node.input if name and types[name] in (1, 10))
        found.setdefault(node.op_type, set()).add(kinds)
    return found


def _reference(model: bytes, batch: np.ndarray) -> np.ndarray:
    """ONNX's reference evaluator rounds after every node, like strongly typed hardware; ONNX Runtime may not."""
    return ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"input": batch})[0]


def _decomposed_norm(*, amplitude: float = 1.0) -> bytes:
    """Layer norm over C, H, W written out: (x - mean) / sqrt(mean((x - mean)^2) + 1e-6) * 0.5, between two layers."""
    net = Builder()
    x = net.op("Mul", net.conv("input", 3, 8), net.constant(np.float32([amplitude])))
    centred = net.op("Sub", x, net.op("ReduceMean", x, axes=[1, 2, 3]))
    variance = net.op("ReduceMean", net.op("Mul", centred, centred), axes=[1, 2, 3])
    deviation = net.op("Sqrt", net.op("Add", variance, net.constant(np.float32([1e-6]))))
    y = net.op("Mul", net.op("Div", centred, deviation), net.constant(np.float32([0.5])))
    return _rgb(net, net.conv(net.op("Relu", net.op("Add", y, x)), 8, 3))


def _flattened(*, floor: float = 1e-3, pow4: bool = False) -> bytes:
    """A generalized Kuwahara filter on one channel of a convolution: the mean of the most uniform of four squares.

    If none is uniform, their weights are (floor / variance)^4 = 10^-12, too small for half precision.
    """
    net = Builder()
    drawn = net.op("Clip", net.conv("input", 3, 1, size=1), net.constant(np.float32(-1)), net.constant(np.float32(1)))
    padded = net.op("Pad", drawn, net.constant(np.int64([0, 0, 3, 3, 0, 0, 3, 3])), mode="edge")
    mean, square = (
        net.op("AveragePool", x, kernel_shape=[4, 4], strides=[1, 1]) for x in (padded, net.op("Mul", padded, padded))
    )
    variance = net.op("Relu", net.op("Sub", square, net.op("Mul", mean, mean)))
    small = net.constant(np.float32(floor))
    weight = net.op("Div", small, net.op("Add", variance, small))
    for _ in range(0 if pow4 else 2):
        weight = net.op("Mul", weight, weight)
    if pow4:
        weight = net.op("Pow", weight, net.constant(np.float32(4)))

    def of_four(field: str) -> str:
        for axis in (2, 3):
            ends = [
                net.op("Slice", field, *(net.constant(np.int64([value])) for value in (start, end, axis)))
                for start, end in ((0, -3), (3, 2**31))
            ]
            field = net.op("Add", *ends)
        return field

    flat = net.op("Div", of_four(net.op("Mul", weight, mean)), of_four(weight))
    grey = net.op("Concat", flat, flat, flat, axis=1)
    return _rgb(net, net.conv(net.op("Relu", net.conv(grey, 3, 8)), 8, 3))


def _rgb(net: Builder, output: str) -> bytes:
    return net.model(output, ["N", 3, "H", "W"])


def _photos(shared: Path, count: int = 3) -> list[np.ndarray]:
    files = sorted((shared / "photos").glob("coco-*"))[:count]
    return [np.ascontiguousarray(cv2.resize(cv2.imread(str(file)), (160, 128))[..., ::-1]) for file in files]


def test_layers_are_half_and_the_ends_float32_under_their_names():
    model = to_half(packed_network())
    proto = onnx.load_from_string(model)
    assert [(v.name, v.type.tensor_type.elem_type) for v in (*proto.graph.input, *proto.graph.output)] == [
        ("input", TensorProto.FLOAT), ("output", TensorProto.FLOAT)]  # fmt: skip
    types = _types_at(model)
    assert types["Conv"] == {(TensorProto.FLOAT16,) * 3}
    assert types["Relu"] == {(TensorProto.FLOAT16,)}
    assert types["Resize"] == {(TensorProto.FLOAT16, TensorProto.FLOAT)}  # the scales are not frame data
    assert proto.opset_import[0].version == 17


def test_half_ends_are_half_without_a_cast():
    proto = onnx.load_from_string(to_half(packed_network(), half_io=True))
    ends = [value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)]
    assert ends == [TensorProto.FLOAT16] * 2
    assert "Cast" not in {node.op_type for node in proto.graph.node}


def test_norm_layers_stay_in_float32_and_their_neighbours_do_not():
    net = Builder()
    scale, shift = net.constant(np.ones(8, np.float32)), net.constant(np.zeros(8, np.float32))
    x = net.op("InstanceNormalization", net.conv("input", 3, 8), scale, shift, epsilon=1e-5)
    x = net.op("Add", x, net.conv(net.op("Relu", x), 8, 8))
    types = _types_at(to_half(_rgb(net, net.conv(x, 8, 3))))
    assert types["InstanceNormalization"] == {(TensorProto.FLOAT,) * 3}
    assert types["Add"] == {(TensorProto.FLOAT16,) * 2}
    assert types["Conv"] == {(TensorProto.FLOAT16,) * 3}


def test_a_norm_written_out_stays_whole_in_float32_up_to_the_residual_sum():
    types = _types_at(to_half(_decomposed_norm()))
    full, half = TensorProto.FLOAT, TensorProto.FLOAT16
    for operator in ("ReduceMean", "Sqrt"):
        assert types[operator] == {(full,)}
    for operator in ("Sub", "Div"):
        assert types[operator] == {(full, full)}
    assert types["Add"] == {(full, full), (half, half)}  # variance + epsilon; the residual sum
    assert types["Relu"] == {(half,)}


def test_squares_beyond_half_precision_do_not_overflow():
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    loud = _decomposed_norm(amplitude=2000.0)
    expected, got = _reference(loud, batch), _reference(to_half(loud), batch)
    scale = np.abs(expected).max()
    assert np.isfinite(got).all()
    assert np.abs(got - expected).max() < 0.01 * scale


@pytest.mark.parametrize("pow4", [False, True], ids=["squared-twice", "pow"])
def test_a_kuwahara_filter_stays_whole_in_float32_and_ends_at_the_next_layer(pow4):
    types = _types_at(to_half(_flattened(pow4=pow4)))
    full, half = TensorProto.FLOAT, TensorProto.FLOAT16
    for operator in ("AveragePool", "Slice", "Pad"):
        assert types[operator] == {(full,)}
    for operator in ("Mul", "Sub", "Div", "Add"):
        assert types[operator] == {(full, full)}
    assert types["Concat"] == {(full,) * 3}
    assert types["Conv"] == {(half,) * 3}
    assert types["Relu"] == {(full,), (half,)}  # the variance; the layer after the filter


def test_a_kuwahara_filter_over_noise_draws_what_it_draws_in_float32():
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 3, 40, 56)).astype(np.float32)
    model = _flattened()
    check_parity(measure_parity(model, to_half(model), [noise]), Bound(2e-2, 1e-3), what="the filter")


def test_without_the_rule_for_filters_their_weights_vanish_and_the_gate_closes(monkeypatch):
    """Shows that the test above can fail."""
    monkeypatch.setattr(float32_nodes, "_is_box_filter", lambda node: False)
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 3, 40, 56)).astype(np.float32)
    model = _flattened()
    parity = measure_parity(model, to_half(model), [noise])
    assert not parity.within(BOUNDS["fp16"])
    assert parity.largest > 0.1


def test_a_mean_that_only_makes_a_frame_smaller_is_half():
    net = Builder()
    x = net.op("AveragePool", net.conv("input", 3, 8), kernel_shape=[2, 2], strides=[2, 2])
    model = net.model(net.conv(net.twice_as_large(x), 8, 3), ["N", 3, "H", "W"])
    assert _types_at(to_half(model))["AveragePool"] == {(TensorProto.FLOAT16,)}


@pytest.mark.parametrize("style", list_styles(), ids=lambda style: style.path.stem)
def test_every_shipped_style_may_be_half(style):
    if style.card.precision == "fp32":
        check_half_precision(style.model, style.card, read_frames(count=2))


def test_every_float32_operator_is_one_that_onnx_knows():
    # A misspelt name would be ignored and run in half precision.
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    assert FLOAT32_OPS - known <= {"SimplifiedLayerNormalization", "RMSNormalization"}


def test_a_weight_beyond_half_precision_keeps_its_node_in_float32():
    net = Builder()
    x = net.op("Mul", net.conv("input", 3, 3), net.constant(np.float32([1e5])))
    x = net.op("Mul", x, net.constant(np.float32([1e-5])))
    model = _rgb(net, net.conv(x, 3, 3))
    assert _types_at(to_half(model))["Mul"] == {(TensorProto.FLOAT,) * 2}
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    assert np.abs(_reference(model, batch) - _reference(to_half(model), batch)).max() < 0.01


@pytest.mark.parametrize(
    "model", [packed_network(), rgb_network(), rgb_network(nhwc=True)], ids=["packed", "nchw", "nhwc"]
)
def test_rounding_after_every_node_costs_less_than_a_code_on_average(model):
    shape = (2, 24, 8, 12) if model == packed_network() else (2, 3, 32, 48)
    if model == rgb_network(nhwc=True):
        shape = (2, 32, 48, 3)
    batch = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    parity = Parity.between([(_reference(model, batch), _reference(to_half(model), batch))])
    assert parity.within(BOUNDS["fp16"])
    assert parity.largest > 0.0  # float32 throughout would give no difference


def test_an_output_that_is_read_inside_too_reaches_both():
    net = Builder()
    first = net.conv("input", 3, 3)
    proto = onnx.load_from_string(_rgb(net, net.op("Relu", first)))
    proto.graph.output.append(helper.make_tensor_value_info(first, TensorProto.FLOAT, ["N", 3, "H", "W"]))
    model = proto.SerializeToString()
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    for expected, got in zip(
        ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"input": batch}),
        ReferenceEvaluator(onnx.load_from_string(to_half(model))).run(None, {"input": batch}),
        strict=True,
    ):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=5e-3)


@pytest.mark.parametrize("make", [packed_network, rgb_network], ids=["packed", "rgb"])
def test_rounding_that_is_spelled_out_gives_what_onnx_says_of_half_precision(make):
    channels = 24 if make is packed_network else 3
    batch = np.random.default_rng(0).uniform(-1, 1, (1, channels, 8, 12)).astype(np.float32)
    half = to_half(make())
    spelled = spell_out_rounding(half)
    assert all(tensor.data_type != TensorProto.FLOAT16 for tensor in onnx.load_from_string(spelled).graph.initializer)
    session = onnxruntime.InferenceSession(spelled, providers=["CPUExecutionProvider"])
    drawn = session.run(None, {"input": batch})[0]
    exact = _reference(half, batch)
    # A convolution sums in float32 here, and in half precision in the reference.
    assert np.abs(drawn - exact).max() < np.abs(exact).max() * 4e-3
    assert drawn.astype(np.float16).astype(np.float32).tolist() == drawn.tolist()
    assert spell_out_rounding(make()) == make()


def test_parity_sees_what_overflows_half_precision_though_onnx_runtime_would_not():
    net = Builder()
    x = "input"
    for factor in (300.0, 300.0, 1 / 300.0, 1 / 300.0):
        x = net.op("Mul", x, net.constant(np.float32(factor)))
    model = net.model(x, ["N", 3, "H", "W"])
    batch = np.full((1, 3, 4, 4), 0.9, np.float32)
    assert measure_parity(model, to_half(model), [batch]).largest == np.inf


def test_the_card_says_fp16_and_a_second_pass_changes_nothing():
    card = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
    once = to_half(write_card(packed_network(), card))
    assert read_card(once).precision == "fp16"
    assert to_half(once) == once


def test_quantized_foreign_and_broken_models_are_refused_in_one_line():
    net = Builder()
    scale, zero = net.constant(np.float32(0.1)), net.constant(np.uint8(128))
    quantized = net.op("DequantizeLinear", net.op("QuantizeLinear", "input", scale, zero), scale, zero)
    for model, what in (
        (net.model(quantized, ["N", 3, "H", "W"]), "quantized"),
        (b"not a model" * 10, "not a valid ONNX"),
        (_with_foreign_operator(), r"unknown result \(com\.example\.Glow\)"),
    ):
        with pytest.raises(StyleError, match=what) as caught:
            to_half(model)
        assert "\n" not in str(caught.value)


def _with_foreign_operator() -> bytes:
    net = Builder()
    proto = onnx.load_from_string(net.model(net.op("Relu", net.conv("input", 3, 3)), ["N", 3, "H", "W"]))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "Glow", "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    return proto.SerializeToString()


@pytest.mark.shared
def test_a_published_network_with_norms_keeps_its_frame_on_real_photos(shared: Path):
    model = cartoongan(shared / "weights" / "cartoongan_shinkai_fp16.safetensors")
    batches = [photo.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1 for photo in _photos(shared, 2)]
    half = to_half(model)
    check_parity(measure_parity(model, half, batches), BOUNDS["fp16"], what="CartoonGAN")
    assert len(half) < 0.55 * len(model)


@pytest.mark.shared
def test_a_packed_network_keeps_its_frame_on_real_photos(shared: Path):
    batches = [pack_yuv420(rgb_to_planes(photo))[None] for photo in _photos(shared)]
    model = packed_network()
    check_parity(measure_parity(model, to_half(model), batches), BOUNDS["fp16"], what="packed")


def test_the_gate_closes_above_the_bound_and_on_nan():
    zeros, spoilt = np.zeros((1, 3, 4, 4), np.float32), np.zeros((1, 3, 4, 4), np.float32)
    spoilt[0, 0, 0, 0] = np.nan
    for parity in (Parity.between([(zeros, zeros + 0.2)]), Parity.between([(zeros, spoilt)])):
        with pytest.raises(BackendError, match="differs from float32"):
            check_parity(parity, Bound(0.1, 0.1), what="a style")
    assert Parity.between([(zeros, zeros + 25.5)], unit=127.5).within(Bound(0.21, 0.21))


def test_a_few_strays_are_let_through_but_no_more_and_no_infinity():
    zeros, strays, more, endless = (np.zeros((1, 3, 100, 200), np.float32) for _ in "1234")
    strays.flat[:6], more.flat[:7], endless[0, 0, 0, 0] = 0.5, 0.5, np.inf
    bound = Bound(0.1, 0.1, 1e-4)  # 6 of 60 000
    assert Parity.between([(zeros, strays), (zeros, zeros)]).within(bound)
    assert Parity.between([(zeros, strays)]).within(bound)
    assert not Parity.between([(zeros, strays)]).within(Bound(0.1, 0.1))
    assert not Parity.between([(zeros, more)]).within(bound)
    assert not Parity.between([(zeros, endless)]).within(bound)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["animegan2", "animegan2-lite"])
def test_generators_with_layer_norms_keep_their_frame_on_real_photos(shared: Path, name):
    pytest.importorskip("torch")
    _, _, model = exported(name)
    half = to_half(model)
    types = _types_at(half)
    assert types["Conv"] <= {(TensorProto.FLOAT16,) * 2, (TensorProto.FLOAT16,) * 3}
    assert types["InstanceNormalization"] == {(TensorProto.FLOAT,) * 3}
    batches = [photo.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1 for photo in _photos(shared, 2)]
    parity = measure_parity(model, half, batches)
    check_parity(parity, BOUNDS["fp16"], what=name)
    assert parity.largest > 0.0
