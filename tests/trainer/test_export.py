"""Exported styles equal PyTorch's output at any size and have a card; others are refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from animevid.errors import OutputError, TrainingError
from animevid.styles.card import ColourOrder, Layout, StyleCard, read_card
from animevid_trainer import export
from animevid_trainer.export import (
    OPSET,
    Bound,
    Parity,
    check_parity,
    export_style,
    make_card,
    measure_parity,
    parity_inputs,
    to_onnx,
    weights_sha256,
)
from animevid_trainer.generators import make_generator
from torch import nn


class Small(nn.Module):
    """A tiny generator with every kind of layer of the real ones."""

    size_multiple = 4

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.GroupNorm(1, 8),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(8, 3, 1),
            nn.InstanceNorm2d(3, affine=True),
            nn.Tanh(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class SmallPacked(nn.Module):
    """One convolution on packed YUV 4:2:0."""

    size_multiple = 8
    layout = Layout.PACKED_YUV420
    tileable = True
    receptive_field_px = 12

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(24, 24, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * self.convolution(x)


@pytest.fixture(scope="module")
def small() -> Small:
    torch.manual_seed(0)
    generator = Small()
    generator.train()
    for _ in range(3):  # batch-norm statistics that are not the initial ones
        generator(torch.rand(2, 3, 16, 16))
    return generator


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[np.ndarray]:
    """Two real photos of different shape, uint8 RGB."""
    files = sorted((shared / "photos").glob("coco-*"))[:2]
    sizes = ((120, 88), (90, 140))
    return [cv2.resize(cv2.imread(str(file)), size)[..., ::-1] for file, size in zip(files, sizes, strict=True)]


@pytest.fixture(scope="module")
def card(small: Small) -> StyleCard:
    return make_card(small, name="small", licence="CC-BY-4.0", recipe="animegan2-lite")


@pytest.fixture(scope="module")
def exported(small: Small, card: StyleCard) -> bytes:
    return to_onnx(small, card=card)


@dataclass(frozen=True)
class InHalf:
    """The result of an export in half precision, and the generator's state before and after."""

    model: bytes
    before: tuple[object, ...]
    after: tuple[object, ...]


@pytest.fixture(scope="module")
def in_half(small: Small) -> InHalf:
    def state() -> tuple[object, ...]:
        weight = next(small.parameters())
        return small.training, weights_sha256(small), weight.dtype, weight.requires_grad

    small.train()
    before = state()
    model = to_onnx(small, card=make_card(small, name="small", precision="fp16"), precision="fp16")
    return InHalf(model, before, state())


@pytest.fixture
def exports_nothing_anew(exported: bytes, in_half: InHalf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the export, which takes seconds, by the existing one of ``small``."""
    made = {"fp32": exported, "fp16": in_half.model}
    monkeypatch.setattr(export, "to_onnx", lambda generator, *, card, precision: made[precision])


def run(model: bytes, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": batch})[0]


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 3, 16, 44), (2, 3, 60, 20)])
def test_batch_height_and_width_are_free(exported, small, shape):
    batch = torch.rand(shape) * 2 - 1
    with torch.inference_mode():
        expected = small.eval()(batch).numpy()
    assert np.abs(run(exported, batch.numpy()) - expected).max() < 1e-4


def test_the_graph_names_its_tensors_dimensions_and_opset(exported):
    model = onnx.load_from_string(exported)
    assert [entry.name for entry in (*model.graph.input, *model.graph.output)] == ["input", "output"]
    for entry in (*model.graph.input, *model.graph.output):
        dimensions = entry.type.tensor_type.shape.dim
        assert [dimension.dim_param or dimension.dim_value for dimension in dimensions] == ["N", 3, "H", "W"]
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", OPSET)}


def test_batch_norm_is_folded_into_its_convolution(exported):
    operators = {node.op_type for node in onnx.load_from_string(exported).graph.node}
    assert "BatchNormalization" not in operators
    assert "Conv" in operators


def test_exporting_leaves_the_generator_as_it_was(in_half):
    training, _, dtype, requires_grad = in_half.before
    assert (training, dtype, requires_grad) == (True, torch.float32, True)
    assert in_half.after == in_half.before


def test_a_card_has_the_generators_limits():
    generator = make_generator("animegan2-lite")
    card = make_card(generator, name="lite", licence="CC-BY-4.0", recipe="animegan2-lite")
    assert (card.size_multiple, card.layout, card.colour_order) == (8, Layout.NCHW, ColourOrder.RGB)
    assert (card.licence, card.recipe, len(card.weights_sha256)) == ("CC-BY-4.0", "animegan2-lite", 64)


def test_the_card_travels_in_the_metadata(exported, card):
    assert (card.size_multiple, card.licence, card.recipe) == (4, "CC-BY-4.0", "animegan2-lite")
    assert read_card(exported) == card


def test_half_precision_halves_the_weights_and_keeps_norms_in_float32(in_half):
    model = onnx.load_from_string(in_half.model)
    kind_of = {initializer.name: initializer.data_type for initializer in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert kind_of[node.input[1]] == onnx.TensorProto.FLOAT16
        if node.op_type == "InstanceNormalization":
            assert kind_of[node.input[1]] == onnx.TensorProto.FLOAT
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_float32_norms_save_half_precision_from_overflow():
    generator = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 3, 1), nn.Tanh())
    nn.init.constant_(generator[0].weight, 300.0)  # squares near 10^6: beyond half precision's 65504
    generator.size_multiple = 4
    inputs = [torch.rand(1, 3, 16, 16) * 2 - 1]
    model = to_onnx(generator, card=make_card(generator, name="loud"), precision="fp16")
    assert measure_parity(generator, model, inputs).largest < 0.02


def test_packed_layout_is_exported_at_a_quarter_of_the_size():
    generator = SmallPacked()
    card = make_card(generator, name="packed")
    assert (card.layout, card.colour_order) == (Layout.PACKED_YUV420, ColourOrder.YUV)
    assert (card.tileable, card.receptive_field_px) == (True, 12)
    model = to_onnx(generator, card=card)
    shape = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim
    assert [dimension.dim_param or dimension.dim_value for dimension in shape] == ["N", 24, "H/4", "W/4"]
    assert measure_parity(generator, model, [torch.rand(2, 24, 10, 6)]).largest < 1e-5


@pytest.mark.shared
def test_a_style_is_written_with_its_parity_on_real_photos(small, photos, tmp_path):
    report = export_style(small, tmp_path / "new" / "small.onnx", card=make_card(small, name="small"), images=photos)
    assert report.parity.frames == 2
    assert report.parity.largest < 1e-3
    assert report.path.stat().st_size == report.bytes_written
    assert [file.name for file in report.path.parent.iterdir()] == ["small.onnx"]


@pytest.mark.shared
@pytest.mark.usefixtures("exports_nothing_anew")
def test_a_style_above_the_bound_is_refused_and_not_written(small, photos, tmp_path):
    target = tmp_path / "small.onnx"
    with pytest.raises(TrainingError, match="max"):
        export_style(
            small, target, card=make_card(small, name="small"), images=photos, precision="fp16", bound=Bound(0.0, 0.0)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.shared
def test_photos_are_cropped_to_multiples_for_either_layout(photos):
    rgb = parity_inputs(photos, StyleCard(name="x", size_multiple=32))
    assert [tuple(batch.shape) for batch in rgb] == [(1, 3, 64, 96), (1, 3, 128, 64)]
    assert all(batch.abs().max() <= 1.0 for batch in rgb)
    packed_card = StyleCard(name="x", size_multiple=8, layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV)
    packed = parity_inputs(photos, packed_card)
    assert [tuple(batch.shape) for batch in packed] == [(1, 24, 22, 30), (1, 24, 34, 22)]


@pytest.mark.shared
@pytest.mark.usefixtures("exports_nothing_anew")
def test_a_folder_that_cannot_be_written_is_an_output_error(small, photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        export_style(small, tmp_path / "file" / "x.onnx", card=make_card(small, name="small"), images=photos)


def test_not_a_number_never_passes_for_equal(small, exported):
    poisoned = Small()
    poisoned.load_state_dict(small.state_dict())
    nn.init.constant_(poisoned.layers[1].weight, float("nan"))
    parity = measure_parity(poisoned, exported, [torch.rand(1, 3, 16, 16)])
    with pytest.raises(TrainingError, match="differs"):
        check_parity(parity, Bound(1e9, 1e9), what="poisoned")


def test_parity_without_images_is_refused(small, exported):
    with pytest.raises(TrainingError, match="at least one image"):
        measure_parity(small, exported, [])


def test_an_unknown_precision_is_refused(small):
    with pytest.raises(TrainingError, match="fp32, fp16"):
        to_onnx(small, card=make_card(small, name="small"), precision="int4")


def test_a_generator_that_fixes_its_size_is_refused():
    class Fixed(nn.Module):
        size_multiple = 4

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.zeros(1, 3, 64, 96)

    with pytest.raises(TrainingError):
        to_onnx(Fixed(), card=StyleCard(name="fixed", size_multiple=4))


def test_parity_prints_both_numbers_and_the_range():
    assert str(Parity(0.5, 0.25, 3)) == "max 5.00e-01, mean 2.50e-01 over 3 frames (range [-1, 1])"
