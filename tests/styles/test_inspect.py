"""ONNX files without a card: their input is inferred, and networks that are not stylizers are refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from animevid.errors import StyleError
from animevid.styles import CardHints, ColourOrder, Layout, infer_card
from onnx import TensorProto
from small_networks import Builder, cartoongan, packed_network, rgb_network


def _near_copy(*, low: float, high: float, strength: float = 0.05) -> bytes:
    """Keeps the image, like a stylizer, only if black is ``low`` and white ``high``: it clips there, nonlinearly."""
    net = Builder()
    constant = lambda value: net.constant(np.float32(value))  # noqa: E731
    span = high - low
    x = net.op("Clip", "input", constant(low), constant(high))
    unit = net.op("Div", net.op("Sub", x, constant(low)), constant(span))
    waved = net.op("Add", unit, net.op("Mul", net.op("Sin", net.op("Mul", unit, constant(9.0))), constant(strength)))
    out = net.op("Add", net.op("Mul", net.op("Clip", waved, constant(0), constant(1)), constant(span)), constant(low))
    return net.model(out, ["N", 3, "H", "W"])


def _animegan_v2(*, last: str = "Tanh", size: tuple[object, object] = ("H", "W")) -> bytes:
    """A small AnimeGANv2 as TensorFlow exports it: ``1, H, W, 3``, reflection padding, a quarter of the size inside."""
    net = Builder(3)
    x = net.op("Transpose", "input", perm=[0, 3, 1, 2])
    x = net.op("Pad", x, net.constant(np.int64([0, 0, 3, 3, 0, 0, 3, 3])), mode="reflect")
    x = net.op("LeakyRelu", net.conv(x, 3, 8, size=7), alpha=0.2)
    x = net.op("Slice", x, *(net.constant(np.int64(v)) for v in ([3, 3], [-3, -3], [2, 3])))
    x = net.op("LeakyRelu", net.conv(x, 8, 16, stride=2), alpha=0.2)
    x = net.op("LeakyRelu", net.conv(x, 16, 16, stride=2), alpha=0.2)
    x = net.conv(net.twice_as_large(net.twice_as_large(x)), 16, 3)
    x = net.op("Transpose", net.op(last, x), perm=[0, 2, 3, 1])
    return net.model(x, [1, *size, 3])


def test_an_animegan_v2_file_is_nhwc_rgb_from_minus_one_to_one_in_multiples_of_four():
    card = infer_card(_animegan_v2(), name="hayao")
    assert (card.name, card.layout, card.colour_order) == ("hayao", Layout.NHWC, ColourOrder.RGB)
    assert (card.input_range, card.output_range, card.size_multiple) == ((-1, 1), (-1, 1), 4)
    assert card.fixed_size_px is None
    assert not card.tileable


@pytest.mark.shared
def test_the_published_cartoongan_is_nchw_bgr_from_minus_one_to_one_in_multiples_of_four(shared):
    card = infer_card(cartoongan(shared / "weights" / "cartoongan_shinkai_fp16.safetensors"), name="shinkai")
    assert (card.layout, card.colour_order) == (Layout.NCHW, ColourOrder.BGR)
    assert (card.input_range, card.output_range, card.size_multiple) == ((-1, 1), (-1, 1), 4)


def test_a_packed_network_is_known_by_its_24_channels():
    card = infer_card(packed_network(), name="packed")
    assert (card.layout, card.colour_order, card.size_multiple) == (Layout.PACKED_YUV420, ColourOrder.YUV, 8)


def test_a_graph_that_names_no_channels_takes_a_hint():
    proto = onnx.load_from_string(rgb_network())
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[1].ClearField("dim_value")
    model = proto.SerializeToString()
    with pytest.raises(StyleError, match="layout"):
        infer_card(model, name="free")
    assert infer_card(model, name="free", hints=CardHints(layout=Layout.NCHW)).layout is Layout.NCHW


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)], ids=str)
def test_the_value_range_is_found_by_looking_at_an_image(value_range):
    card = infer_card(_near_copy(low=value_range[0], high=value_range[1]), name="near")
    assert (card.input_range, card.output_range) == (value_range, value_range)


def test_a_sigmoid_at_the_end_gives_zero_to_one():
    assert infer_card(rgb_network(last="Sigmoid"), name="x").output_range == (0.0, 1.0)


def test_a_model_of_one_size_says_so():
    card = infer_card(_animegan_v2(size=(64, 96)), name="fixed")
    assert card.fixed_size_px == (64, 96)


def test_what_the_user_says_is_taken():
    hints = CardHints(colour_order=ColourOrder.BGR, input_range=(0.0, 255.0), output_range=(0.0, 1.0), size_multiple=32)
    card = infer_card(rgb_network(), name="x", hints=hints)
    assert (card.colour_order, card.input_range, card.output_range, card.size_multiple) == (
        ColourOrder.BGR,
        (0.0, 255.0),
        (0.0, 1.0),
        32,
    )


def _classifier() -> bytes:
    net = Builder()
    x = net.op("Flatten", net.op("GlobalAveragePool", net.conv("input", 3, 10)))
    return net.model(x, ["N", 3, "H", "W"], ["N", 10])


def _two_inputs() -> bytes:
    proto = onnx.load_from_string(rgb_network())
    extra = proto.graph.input.add()
    extra.CopyFrom(proto.graph.input[0])
    extra.name = "mask"
    return proto.SerializeToString()


def _two_outputs() -> bytes:
    proto = onnx.load_from_string(rgb_network())
    extra = proto.graph.output.add()
    extra.CopyFrom(proto.graph.output[0])
    extra.name = proto.graph.node[0].output[0]
    return proto.SerializeToString()


def _shrinks() -> bytes:
    net = Builder()
    return net.model(net.conv("input", 3, 3, stride=2), ["N", 3, "H", "W"], ["N", 3, "H2", "W2"])


def _channels(into: int, out: int) -> bytes:
    net = Builder()
    return net.model(net.conv("input", into, out), ["N", into, "H", "W"], ["N", out, "H", "W"])


def _of_type(kind: int) -> bytes:
    net = Builder()
    return net.model(net.op("Abs", "input"), ["N", 3, "H", "W"], kind=kind)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (_classifier(), "(N, 10)"),
        (_two_inputs(), "2 inputs"),
        (_two_outputs(), "2 outputs"),
        (_shrinks(), "same size"),
        (_channels(1, 1), "3 channels"),
        (_channels(3, 1), "gives"),
        (_channels(4, 3), "4"),
        (_of_type(TensorProto.DOUBLE), "float32"),
        (_of_type(TensorProto.INT8), "float32"),
        (b"\x89PNG\r\n", "ONNX"),
    ],
    ids=["classifier", "inputs", "outputs", "shrinks", "gray", "mask-maker", "rgba", "double", "int8", "png"],
)
def test_what_is_not_a_stylizer_is_refused_in_one_line_that_says_why(model, said):
    with pytest.raises(StyleError) as caught:
        infer_card(model, name="odd")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_in_a_second_file_are_refused(tmp_path):
    proto = onnx.load_from_string(rgb_network())
    onnx.save(proto, str(tmp_path / "x.onnx"), save_as_external_data=True, location="x.bin", size_threshold=0)
    with pytest.raises(StyleError, match="second file"):
        infer_card((tmp_path / "x.onnx").read_bytes(), name="split")
