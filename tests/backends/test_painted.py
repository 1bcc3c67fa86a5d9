"""Painted styles on the CPU: the compiled filters draw what the graph's own operators draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from animevid.backends import backend_class, open_backend
from animevid.backends.painted import PaintedBackend, below_the_filters
from animevid.errors import StyleError, UsageError
from animevid.pixels import native
from animevid.styles.card import StyleCard, read_card
from animevid.styles.onnx_file import cut_at, read_graph, read_metadata

pytest.importorskip("torch", reason="pip install animevid[train]")
needs_kernels = pytest.mark.skipif(not native.is_native(), reason="no compiled kernels: see plugins/cpu")


@pytest.fixture(scope="module")
def model() -> bytes:
    import torch
    from animevid_trainer.export import make_card, to_onnx
    from animevid_trainer.generators.painted import PaintedNano

    torch.manual_seed(4)
    generator = PaintedNano(width=8, deep_width=8, head_width=8, deep_blocks=1, rounds=3, lift=0.2).eval()
    torch.nn.init.normal_(generator.generator.tail.weight, std=0.1)
    return to_onnx(generator, card=make_card(generator, name="painted"))


@pytest.fixture(scope="module")
def card(model: bytes) -> StyleCard:
    found = read_card(model)
    assert found is not None
    return found


def _batch(count: int = 2, height: int = 10, width: int = 14) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (count, 24, height, width)).astype(np.float32)


@needs_kernels
@pytest.mark.parametrize("name", ["onnxruntime"])
def test_the_compiled_filters_draw_what_the_graph_draws(model: bytes, card: StyleCard, name: str):
    with (
        open_backend(model, card, backend=name, device="cpu") as fast,
        backend_class(name).open(model, card, device="cpu") as whole,
    ):
        assert isinstance(fast, PaintedBackend)
        assert fast.name == name
        np.testing.assert_allclose(fast.run(_batch()), whole.run(_batch()), atol=5e-4)


def test_without_compiled_kernels_the_graph_runs_whole(model: bytes, card: StyleCard, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "kernels", None)
    with open_backend(model, card, backend="onnxruntime", device="cpu") as backend:
        assert not isinstance(backend, PaintedBackend)


def test_a_style_whose_card_tells_of_no_filters_runs_whole(model: bytes, card: StyleCard):
    assert below_the_filters(model, replace(card, paint=None)) is None


def test_a_card_keeps_its_filters_in_the_file(card: StyleCard):
    assert card.paint is not None
    assert (card.paint.rounds, card.paint.lift, card.paint.thin.calm) == (3, 0.2, 3.0)
    assert StyleCard.from_json(card.to_json()) == card


def test_a_card_with_filters_that_no_kernel_has_is_refused(card: StyleCard):
    with pytest.raises(StyleError, match=r"rounds = 9: allowed are 0 to 4"):
        StyleCard.from_json(card.to_json().replace('"rounds": 3', '"rounds": 9'))


def test_a_graph_that_ends_earlier_keeps_its_input_and_metadata(model: bytes):
    cut = cut_at(model, "ground")
    assert cut is not None
    before, after = read_graph(model), read_graph(cut)
    assert [item.name for item in after.outputs] == ["ground"]
    assert after.inputs == before.inputs
    assert set(after.nodes) < set(before.nodes)
    assert read_metadata(cut) == read_metadata(model)


def test_a_tensor_that_no_operator_makes_cuts_nothing(model: bytes):
    assert cut_at(model, "nowhere") is None


def test_a_graph_with_graphs_in_it_is_not_cut():
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["ground"], ["below"])], "inner",
        [], [onnx.helper.make_tensor_value_info("below", onnx.TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        onnx.helper.make_node("Abs", ["input"], ["ground"]),
        onnx.helper.make_node("If", ["yes"], ["output"], then_branch=inner, else_branch=inner),
    ]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("input", "output")]
    yes = onnx.numpy_helper.from_array(np.array(True), "yes")
    graph = onnx.helper.make_graph(nodes, "outer", values[:1], values[1:], [yes])
    assert cut_at(onnx.helper.make_model(graph).SerializeToString(), "ground") is None


def test_the_kernels_refuse_other_shapes(card: StyleCard):
    from animevid.pixels import paint

    assert card.paint is not None
    with pytest.raises(UsageError, match="one shape"):
        paint(_batch()[0], _batch(height=12)[0], card.paint)
