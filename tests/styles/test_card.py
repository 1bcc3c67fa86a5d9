"""The card in a model's metadata: written, read, and refused if it is invalid."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import replace

import onnx
import pytest
from animevid.errors import StyleError
from animevid.styles.card import CARD_KEY, CARD_VERSION, ColourOrder, Layout, StyleCard, read_card, write_card
from animevid.styles.onnx_file import FLOAT32, read_graph, read_metadata
from hypothesis import given
from hypothesis import strategies as st
from small_networks import packed_network, rgb_network

PACKED = StyleCard(
    name="ehon",
    title="Picture book – 絵本",
    layout=Layout.PACKED_YUV420,
    colour_order=ColourOrder.YUV,
    size_multiple=8,
    tileable=True,
    receptive_field_px=120,
    net_pixels=640 * 360,
    quality="high",
    precision="int8",
    fixed_size_px=(360, 640),
)

MARKED = write_card(rgb_network(), StyleCard(name="x"))


def test_a_card_written_into_a_model_is_read_back_and_leaves_the_network_as_it_was():
    model = packed_network()
    marked = write_card(model, PACKED)
    assert read_card(marked) == PACKED
    assert onnx.load_from_string(marked).graph == onnx.load_from_string(model).graph


def test_a_second_card_replaces_the_first_and_other_metadata_stays():
    proto = onnx.load_from_string(packed_network())
    onnx.helper.set_model_props(proto, {"author": "somebody"})
    twice = write_card(write_card(proto.SerializeToString(), PACKED), replace(PACKED, name="cel"))
    assert read_metadata(twice).keys() == {"author", CARD_KEY}
    card = read_card(twice)
    assert card is not None
    assert card.name == "cel"


def test_a_model_without_a_card_has_none():
    assert read_card(rgb_network()) is None


def test_reading_a_card_imports_neither_onnx_nor_a_runtime():
    code = (
        "import sys, animevid.styles as s; s.list_styles(); "
        "print([m for m in ('onnx', 'onnxruntime', 'google.protobuf', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_keys_that_a_later_animevid_may_add_are_ignored():
    text = json.dumps({**json.loads(PACKED.to_json()), "mood": "calm"})
    assert StyleCard.from_json(text) == PACKED


@pytest.mark.parametrize(
    "change",
    [
        {"layout": "CHWN"},
        {"size_multiple": 0},
        {"size_multiple": "eight"},
        {"input_range": [0, 0]},
        {"output_range": [0]},
        {"name": ""},
        {"quality": "best"},
        {"precision": "int4"},
        {"colour_order": "RGB"},
        {"upsample_epsilon": 0},
        {"fixed_size_px": [0, 5]},
        {"receptive_field_px": -1},
        {"card_version": CARD_VERSION + 1},
    ],
    ids=str,
)
def test_a_card_that_no_network_can_have_is_refused(change):
    with pytest.raises(StyleError) as caught:
        StyleCard.from_json(json.dumps({**json.loads(PACKED.to_json()), **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "null", "[]", '"card"', "{", "{}"])
def test_text_that_is_not_a_card_is_refused(text):
    with pytest.raises(StyleError):
        StyleCard.from_json(text)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_layout_knows_the_shape_of_a_batch(layout):
    order = ColourOrder.YUV if layout is Layout.PACKED_YUV420 else ColourOrder.RGB
    shape = StyleCard(name="x", layout=layout, colour_order=order).tensor_shape(2, 16, 24)
    expected = {Layout.NCHW: (2, 3, 16, 24), Layout.NHWC: (2, 16, 24, 3), Layout.PACKED_YUV420: (2, 24, 4, 6)}
    assert shape == expected[layout]


@pytest.mark.parametrize("model", [packed_network(), rgb_network(nhwc=True, n=1)], ids=["packed", "nhwc"])
def test_the_graph_that_is_read_is_the_graph_that_onnx_reads(model):
    graph, proto = read_graph(model), onnx.load_from_string(model).graph
    assert [node.op_type for node in graph.nodes] == [node.op_type for node in proto.node]
    assert [node.inputs for node in graph.nodes] == [tuple(node.input) for node in proto.node]
    assert graph.weights == {weight.name: tuple(weight.dims) for weight in proto.initializer}
    assert not graph.has_external_weights
    for mine, theirs in ((graph.inputs[0], proto.input[0]), (graph.outputs[0], proto.output[0])):
        dimensions = [d.dim_value or d.dim_param for d in theirs.type.tensor_type.shape.dim]
        assert (mine.name, mine.element_type, mine.shape) == (theirs.name, FLOAT32, tuple(dimensions))


def _read_or_refused(read, data: bytes) -> None:
    """Any other exception than StyleError fails the test."""
    with contextlib.suppress(StyleError):
        read(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_a_style(data):
    for read in (read_metadata, read_graph):
        _read_or_refused(read, data)


@given(st.data())
def test_a_damaged_model_is_read_or_refused_as_a_style(data):
    model = bytearray(MARKED)
    for _ in range(data.draw(st.integers(1, 4))):
        # The first and last kilobyte hold the structure; most of the rest is weights.
        position = data.draw(st.integers(0, 1000) | st.integers(len(model) - 1000, len(model) - 1))
        model[position] = data.draw(st.integers(0, 255))
    for read in (read_card, read_graph):
        _read_or_refused(read, bytes(model))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_model_that_is_cut_short_is_refused(share):
    model = packed_network()
    with pytest.raises(StyleError, match="not a whole ONNX model"):
        read_metadata(model[: int(len(model) * share)])


def test_a_card_that_was_written_before_a_field_was_renamed_is_read():
    before = json.loads(StyleCard(name="old").to_json())
    before["lift_epsilon"] = before.pop("upsample_epsilon") * 4
    assert StyleCard.from_json(json.dumps(before)).upsample_epsilon == pytest.approx(4e-4)
