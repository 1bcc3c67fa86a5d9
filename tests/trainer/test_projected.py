"""The discriminator on features."""

from __future__ import annotations

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.discriminators import make_discriminator
from animevid_trainer.discriminators.projected import ProjectedDiscriminator
from animevid_trainer.perceptual import Vgg
from torch import nn


@pytest.fixture(scope="module")
def small_vgg() -> Vgg:
    """VGG16's first four convolutions with random weights, which respond to edges."""
    torch.manual_seed(5)
    state: dict[str, torch.Tensor] = {}
    for name, inputs, outputs in (("1_1", 3, 64), ("1_2", 64, 64), ("2_1", 64, 128), ("2_2", 128, 128)):
        conv = nn.Conv2d(inputs, outputs, 3)
        state[f"conv{name}.weight"], state[f"conv{name}.bias"] = conv.weight.detach(), conv.bias.detach()
    return Vgg("vgg16", state, unit="normalized", bf16=False)


def test_it_gives_a_logit_for_each_layer_and_place(small_vgg: Vgg) -> None:
    discriminator = make_discriminator("projected", perceptual=small_vgg, layers="conv1_2 conv2_2")
    logits = discriminator(small_vgg.features(torch.rand(2, 3, 32, 48), ("conv1_2", "conv2_2")))
    assert logits.shape == (2, 2, 16, 24)


def test_it_trains_its_heads_and_leaves_the_features_alone(small_vgg: Vgg) -> None:
    discriminator = make_discriminator("projected", perceptual=small_vgg, layers="conv2_2")
    assert sum(weight.numel() for weight in discriminator.parameters()) < 128 * 64 * 2
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    discriminator(small_vgg.features(images, ("conv2_2",))).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in small_vgg.parameters())


def test_it_learns_to_tell_lines_from_noise(small_vgg: Vgg) -> None:
    torch.manual_seed(0)
    lines, noise = torch.full((4, 3, 32, 32), 0.5), torch.rand(4, 3, 32, 32) - 0.5
    lines[..., ::8, :] = -1.0
    discriminator = make_discriminator("projected", perceptual=small_vgg, layers="conv2_2")
    adam = torch.optim.Adam(discriminator.parameters(), 1e-2)
    real, fake = (small_vgg.features(images, ("conv2_2",)) for images in (lines, noise))
    for _ in range(100):
        adam.zero_grad()
        ((discriminator(real) - 1.0).square().mean() + discriminator(fake).square().mean()).backward()
        adam.step()
    assert discriminator(real).mean() > discriminator(fake).mean() + 0.3


@pytest.mark.parametrize(("layers", "says"), [("", "at least one layer"), ("conv9_9", "the weights loaded have")])
def test_a_layer_that_is_not_there_is_refused(small_vgg: Vgg, layers: str, says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        ProjectedDiscriminator(perceptual=small_vgg, layers=layers)
