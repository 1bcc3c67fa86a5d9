"""Perceptual networks: features equal a plain reference for each file format, without torchvision."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer import perceptual
from animevid_trainer.perceptual import layer_names, make_perceptual
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

VGG16 = "vgg16_conv1_1-conv4_3_fp16.safetensors"


@pytest.fixture(scope="module")
def vgg16_file(shared: Path) -> Path:
    return shared / "weights" / VGG16


@pytest.fixture(scope="module")
def photo(shared: Path) -> torch.Tensor:
    """The 64 x 96 centre of a real photo, RGB in [-1, 1], (1, 3, H, W)."""
    file = sorted((shared / "photos").glob("coco-*"))[0]
    rgb = cv2.resize(cv2.imread(str(file))[..., ::-1], (96, 64), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1.0


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG19 checkpoint with torchvision's names and shapes up to conv4_4, and random weights."""
    generator = torch.Generator().manual_seed(0)
    state, channels, index = {}, 3, 0
    for width, convs in ((64, 2), (128, 2), (256, 4), (512, 4)):
        for _ in range(convs):
            spread = (2.0 / (9 * channels)) ** 0.5
            state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * spread
            state[f"features.{index}.bias"] = torch.randn(width, generator=generator) * 0.1
            channels, index = width, index + 2
        index += 1
    state["classifier.0.weight"] = torch.zeros(2, 2)
    file = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save(state, file)
    return file


@pytest.mark.shared
def test_caffe_vgg16_is_the_readmes_recipe_on_a_real_photo(vgg16_file, photo):
    state = {key: value.float() for key, value in load_file(vgg16_file).items()}
    bgr = (photo.flip(1) + 1.0) * 127.5 - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    expected, x = {}, bgr
    for block, convs in ((1, 2), (2, 2), (3, 3), (4, 3)):
        for i in range(1, convs + 1):
            name = f"conv{block}_{i}"
            expected[name] = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
            x = expected[name].relu()
        x = F.max_pool2d(x, 2)
    network = make_perceptual("vgg16", weights=vgg16_file)
    found = network.features(photo, ("conv1_1", "conv3_3", "conv4_3", "relu4_3"))
    for name in ("conv1_1", "conv3_3", "conv4_3"):
        assert torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-2 * expected[name].abs().max())
    assert torch.equal(found["relu4_3"], found["conv4_3"].relu())
    assert network.default_layer == "conv4_3"


@pytest.mark.shared
def test_bfloat16_features_differ_by_about_a_percent_and_come_back_as_float32(vgg16_file, photo):
    exact = make_perceptual("vgg16", weights=vgg16_file)(photo)
    rounded = make_perceptual("vgg16", weights=vgg16_file, bf16=True)(photo)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.02 * exact.abs().mean()


@pytest.mark.shared
def test_the_normalized_unit_divides_caffe_features_by_a_constant(vgg16_file, photo):
    caffe = make_perceptual("vgg16", weights=vgg16_file)(photo)
    normalized = make_perceptual("vgg16", weights=vgg16_file, unit="normalized")(photo)
    assert torch.allclose(normalized * 57.63, caffe, rtol=1e-4)


@pytest.mark.shared
def test_gradients_reach_the_image_and_never_the_weights(vgg16_file, photo):
    network = make_perceptual("vgg16", weights=vgg16_file).train()
    assert not network.training
    images = photo.clone().requires_grad_()
    network(images).abs().mean().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_torchvision_vgg19_is_a_plain_sequence_of_its_layers(vgg19_file):
    state = torch.load(vgg19_file, weights_only=True)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    x = ((images + 1) / 2 - mean) / std
    index = 0
    for block, convs in enumerate((2, 2, 4, 4), start=1):
        for i in range(1, convs + 1):
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
            if (block, i) == (4, 4):
                break
            x = x.relu()
            index += 2
        if block < 4:
            x = F.max_pool2d(x, 2)
            index += 1
    network = make_perceptual("vgg19", weights=vgg19_file, unit="normalized")
    assert network.default_layer == "conv4_4"
    assert torch.allclose(network(images), x, rtol=1e-3, atol=1e-4)
    assert torch.allclose(make_perceptual("vgg19", weights=vgg19_file)(images), x * 57.63, rtol=1e-3, atol=1e-2)


def test_several_layers_come_from_one_pass_and_nothing_deeper_is_computed(vgg19_file):
    network = make_perceptual("vgg19", weights=vgg19_file)
    passes = []
    for name, module in network.convs.items():
        module.register_forward_hook(lambda *_, name=name: passes.append(name))
    found = network.features(torch.zeros(1, 3, 16, 16), ("relu2_1", "conv1_2"))
    assert set(found) == {"relu2_1", "conv1_2"}
    assert passes == ["conv1_1", "conv1_2", "conv2_1"]


def test_resnet50_is_the_published_architecture():
    torch.manual_seed(0)
    state = resnet50_state()
    network = perceptual.ResNet50(state, bf16=False)
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032 - 2_049_000  # without classifier
    found = network.features(torch.rand(1, 3, 64, 96) * 2 - 1, ("stem", "layer1", "layer2", "layer3", "layer4"))
    shapes = [tuple(found[layer].shape[1:]) for layer in ("stem", "layer1", "layer2", "layer3", "layer4")]
    assert shapes == [(64, 32, 48), (256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 2, 3)]
    assert network.default_layer == "layer3"
    before = network.bn1.running_mean.clone()
    network.train()(torch.rand(1, 3, 32, 32))
    assert torch.equal(network.bn1.running_mean, before)


def resnet50_state() -> dict[str, torch.Tensor]:
    """torchvision's names and shapes, spelled out independently of the module under test."""
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (1.0 / (inputs * kernel**2)) ** 0.5

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(channels), torch.zeros(channels)
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = torch.zeros(channels), torch.ones(channels)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes = ((width, inputs, 1), (width, width, 3), (4 * width, width, 1))
            for i, (out, into, kernel) in enumerate(shapes, start=1):
                convolution(f"{name}.conv{i}", out, into, kernel)
                norm(f"{name}.bn{i}", out)
            if block == 0:
                convolution(f"{name}.downsample.0", 4 * width, inputs, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    return state


# ---- broken files


def test_a_layer_the_weights_do_not_reach_is_refused(vgg19_file):
    with pytest.raises(TrainingError, match="conv5_1"):
        make_perceptual("vgg19", weights=vgg19_file).features(torch.zeros(1, 3, 16, 16), ("conv5_1",))


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match="vgg19, vgg16, resnet50"):
        make_perceptual("vgg11")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(TrainingError, match=r"none\.pth"):
        make_perceptual("vgg19", weights=tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path, suffix):
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(b"not a checkpoint at all")
    with pytest.raises(TrainingError) as caught:
        make_perceptual("vgg19", weights=file)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(8, 3, 3, 3), "features.0.bias": torch.zeros(8)}, file)
    with pytest.raises(TrainingError, match="64"):
        make_perceptual("vgg19", weights=file)


def test_every_layer_name_can_be_known_without_weights():
    assert "conv4_4" in layer_names("vgg19")
    assert "conv4_4" not in layer_names("vgg16")
    assert "layer3" in layer_names("resnet50")
