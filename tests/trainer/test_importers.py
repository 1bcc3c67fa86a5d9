"""Generators with imported weights equal their originals; other files are refused in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.importers import import_weights, read_state
from exported import exported
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

SHINKAI = "cartoongan_shinkai_fp16.safetensors"


def animegan2_state() -> dict[str, torch.Tensor]:
    """The PyTorch port's names and shapes, listed independently of our generator; random weights."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        spread = (2.0 / (inputs * kernel**2)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * spread

    def block(name: str, outputs: int, inputs: int, kernel: int = 3) -> None:
        convolution(f"{name}.1", outputs, inputs, kernel)
        state[f"{name}.2.weight"], state[f"{name}.2.bias"] = torch.ones(outputs), torch.zeros(outputs)

    def inverted(name: str, outputs: int, inputs: int) -> None:
        hidden = 2 * inputs
        block(f"{name}.layers.0", hidden, inputs, 1)
        block(f"{name}.layers.1", hidden, 1)
        state[f"{name}.layers.1.1.bias"] = torch.zeros(hidden)
        convolution(f"{name}.layers.2", outputs, hidden, 1)
        state[f"{name}.layers.3.weight"], state[f"{name}.layers.3.bias"] = torch.ones(outputs), torch.zeros(outputs)

    for i, (outputs, inputs, kernel) in enumerate(((32, 3, 7), (64, 32, 3), (64, 64, 3))):
        block(f"block_a.{i}", outputs, inputs, kernel)
    for i, (outputs, inputs) in enumerate(((128, 64), (128, 128))):
        block(f"block_b.{i}", outputs, inputs)
    block("block_c.0", 128, 128)
    inverted("block_c.1", 256, 128)
    for i in (2, 3, 4):
        inverted(f"block_c.{i}", 256, 256)
    block("block_c.5", 128, 256)
    for i in (0, 1):
        block(f"block_d.{i}", 128, 128)
    for i, (outputs, inputs, kernel) in enumerate(((64, 128, 3), (64, 64, 3), (32, 64, 7))):
        block(f"block_e.{i}", outputs, inputs, kernel)
    convolution("out_layer.0", 3, 32, 1)
    return state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("published") / "style.pt"
    torch.save(animegan2_state(), file)
    return file


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Path:
    """An ONNX reference of ``checkpoint`` that enlarges with aligned corners: our graph, other weights and resizes."""
    model = onnx.load_from_string(exported("animegan2")[2])
    state, taken = torch.load(checkpoint, weights_only=True), set()
    for weight in model.graph.initializer:
        if weight.name in state:
            weight.CopyFrom(onnx.numpy_helper.from_array(state[weight.name].numpy(), weight.name))
            taken.add(weight.name)
    # Weights and biases of norms are 1 and 0 in both, and folded.
    assert {name for name, value in state.items() if value.unique().numel() > 1} <= taken
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert len(resizes) == 2
    for node in resizes:
        (mode,) = (entry for entry in node.attribute if entry.name == "coordinate_transformation_mode")
        assert mode.s == b"half_pixel"
        mode.s = b"align_corners"
    file = checkpoint.with_suffix(".onnx")
    file.write_bytes(model.SerializeToString())
    return file


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[np.ndarray]:
    file = sorted((shared / "photos").glob("coco-*"))[0]
    return [cv2.resize(cv2.imread(str(file)), (70, 66), interpolation=cv2.INTER_AREA)[..., ::-1]]


def test_the_ports_checkpoint_loads_without_renaming(checkpoint):
    imported = import_weights(checkpoint)
    assert imported.name == "animegan2"
    assert imported.parity is None
    loaded = imported.generator.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in animegan2_state().items())
    assert not imported.generator.training


@pytest.mark.parametrize("wrapper", ["params_ema", "state_dict"])
def test_a_training_scripts_checkpoint_is_unwrapped(tmp_path, wrapper):
    state = {f"module.{key}": value for key, value in animegan2_state().items()}
    torch.save({wrapper: state, "epoch": 12}, tmp_path / "run.pth")
    assert set(read_state(tmp_path / "run.pth")) == set(animegan2_state())


@pytest.mark.shared
def test_a_reference_decides_how_the_network_enlarges(checkpoint, reference, photos):
    imported = import_weights(checkpoint, reference=reference, images=photos)
    assert imported.options == {"upsampling": "align_corners"}
    assert imported.reference_colour_order == "RGB"
    assert imported.parity.largest < 1e-3


@pytest.mark.shared
def test_a_network_that_differs_from_its_reference_is_refused_with_the_difference(checkpoint, reference, photos):
    with pytest.raises(TrainingError, match="max"):
        import_weights(checkpoint, reference=reference, images=photos, upsampling="half_pixel")


@pytest.mark.shared
def test_cartoongan_draws_in_rgb_what_its_published_weights_draw_in_bgr(shared, photos):
    file = shared / "weights" / SHINKAI
    imported = import_weights(file)
    assert imported.name == "cartoongan"
    rgb = torch.from_numpy(photos[0][:48, :64].copy()).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1.0
    state = {key: value.float() for key, value in load_file(file).items()}
    with torch.inference_mode():
        expected = published_cartoongan(state, rgb.flip(1)).flip(1)
        got = imported.generator(rgb)
    assert (got - expected).abs().max() < 2e-3
    assert (expected - rgb).abs().mean() > 0.02  # it changes the image


def published_cartoongan(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The published network as a plain function: BGR in, BGR out."""

    def convolution(x: torch.Tensor, name: str, *, stride: int = 1, reflect: int = 0, zeros: int = 0) -> torch.Tensor:
        x = F.pad(x, (reflect,) * 4, mode="reflect") if reflect else x
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride, padding=zeros)

    def enlarge(x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
        scale, shift = state[f"{name}.scale"].view(1, -1, 1, 1), state[f"{name}.shift"].view(1, -1, 1, 1)
        return (x - mean) / (variance + 1e-9).sqrt() * scale + shift

    x = norm(convolution(x, "conv01_1", reflect=3), "in01_1").relu()
    for i in (2, 3):
        x = convolution(convolution(x, f"conv0{i}_1", stride=2, zeros=1), f"conv0{i}_2", zeros=1)
        x = norm(x, f"in0{i}_1").relu()
    for i in range(4, 12):
        y = norm(convolution(x, f"conv{i:02d}_1", reflect=1), f"in{i:02d}_1").relu()
        x = x + norm(convolution(y, f"conv{i:02d}_2", reflect=1), f"in{i:02d}_2")
    x = norm(convolution(enlarge(x, "deconv01_1"), "deconv01_2", zeros=1), "in12_1").relu()
    x = norm(convolution(enlarge(x, "deconv02_1"), "deconv02_2", zeros=1), "in13_1").relu()
    return convolution(x, "deconv03_1", reflect=3).tanh()


@pytest.mark.shared
def test_a_folder_of_arrays_is_the_same_network_as_its_safetensors(shared, tmp_path):
    file = shared / "weights" / SHINKAI
    for name, value in load_file(file).items():
        np.save(tmp_path / f"{name}.npy", value.float().numpy())
    first, second = import_weights(tmp_path).generator.state_dict(), import_weights(file).generator.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in second)


# ---- broken files


class Payload:
    """Stands for the code in a hostile pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("never"),)


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match="run code"):
        read_state(tmp_path / "evil.pt")
    assert not (tmp_path / "never").exists()


def test_an_array_that_would_run_code_is_not_opened(tmp_path):
    np.save(tmp_path / "conv01_1.weight.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TrainingError, match="not an array of numbers"):
        read_state(tmp_path)


def test_a_missing_weight_is_named(tmp_path):
    state = animegan2_state()
    del state["block_c.3.layers.2.weight"]
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(TrainingError, match=r"block_c\.3\.layers\.2\.weight.*missing"):
        import_weights(tmp_path / "short.safetensors")


def test_a_superfluous_weight_is_named(tmp_path):
    save_file({**animegan2_state(), "block_f.0.1.weight": torch.zeros(1)}, tmp_path / "long.safetensors")
    with pytest.raises(TrainingError, match=r"block_f\.0\.1\.weight"):
        import_weights(tmp_path / "long.safetensors")


def test_unknown_layer_names_are_refused_with_the_known_ones(tmp_path):
    save_file({"unet.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match=r"unet\.0\.weight"):
        import_weights(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["absent.pt", "empty"])
def test_nothing_to_read_is_refused_in_one_line(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError) as caught:
        import_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    (tmp_path / "notes.pt").write_text("not weights")
    with pytest.raises(TrainingError) as caught:
        import_weights(tmp_path / "notes.pt")
    assert "\n" not in str(caught.value)


def test_a_reference_without_images_is_refused(checkpoint, tmp_path):
    with pytest.raises(TrainingError, match="image"):
        import_weights(checkpoint, reference=tmp_path / "reference.onnx")
