"""Discriminators see patches, have a gradient, and respect their Lipschitz bound, if any."""

from __future__ import annotations

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.discriminators import make_discriminator
from animevid_trainer.discriminators.vit import positions

# those on images; test_projected.py tests the one on features
COUNTS = {"patch": 1_128_800, "vit": 2_475_649, "cyclegan": 2_764_737}


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_documented_one(name):
    assert sum(parameter.numel() for parameter in make_discriminator(name).parameters()) == COUNTS[name]


@pytest.mark.parametrize(("name", "rows", "columns"), [("patch", 16, 24), ("vit", 4, 6), ("cyclegan", 6, 10)])
def test_logits_are_a_map_of_the_documented_size(name, rows, columns):
    with torch.inference_mode():
        assert make_discriminator(name)(torch.zeros(2, 3, 64, 96)).shape == (2, 1, rows, columns)


@pytest.mark.parametrize("name", COUNTS)
def test_images_receive_a_gradient_everywhere(name):
    torch.manual_seed(0)
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    make_discriminator(name)(images).sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.abs().sum(1).gt(0).float().mean() > 0.9


def test_spectral_norm_holds_every_convolution_of_the_patch_discriminator_at_one():
    torch.manual_seed(0)
    discriminator = make_discriminator("patch", width=16).train()
    with torch.no_grad():
        for _ in range(30):  # one power iteration per pass
            discriminator(torch.zeros(1, 3, 8, 8))
    for module in discriminator.modules():
        if isinstance(module, torch.nn.Conv2d):
            norm = torch.linalg.matrix_norm(module.weight.detach().flatten(1), ord=2)
            assert norm == pytest.approx(1.0, abs=0.05)


def test_a_discriminator_step_separates_two_simple_classes():
    torch.manual_seed(0)
    discriminator = make_discriminator("patch", width=16)
    adam = torch.optim.Adam(discriminator.parameters(), 3e-3)
    real, fake = torch.rand(2, 3, 16, 16) * 0.2 + 0.8, torch.rand(2, 3, 16, 16) * 0.2 - 0.8
    for _ in range(20):
        adam.zero_grad()
        loss = (discriminator(real) - 1).square().mean() + discriminator(fake).square().mean()
        loss.backward()
        adam.step()
    assert discriminator(real).mean() > discriminator(fake).mean() + 0.5


def test_a_vision_transformer_logit_sees_the_whole_image():
    torch.manual_seed(0)
    discriminator = make_discriminator("vit", width=32, depth=2, heads=2).eval()
    images = torch.rand(1, 3, 64, 64)
    changed = images.clone()
    changed[..., 48:, 48:] = 0.0
    with torch.inference_mode():
        assert not torch.equal(discriminator(images)[..., 0, 0], discriminator(changed)[..., 0, 0])


def test_positions_of_a_grid_are_all_different():
    grid = positions(9, 13, 32, like=torch.zeros(()))
    assert grid.shape == (117, 32)
    assert torch.cdist(grid, grid).add(torch.eye(117)).min() > 0.05


def test_a_vision_transformer_refuses_sizes_that_are_no_multiple_of_its_patch():
    with pytest.raises(TrainingError, match="multiples of 16"):
        make_discriminator("vit")(torch.zeros(1, 3, 64, 65))


def test_an_unknown_discriminator_is_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match="patch, vit, cyclegan"):
        make_discriminator("wgan")
