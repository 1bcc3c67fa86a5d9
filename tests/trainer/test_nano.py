"""The generator for live use."""

from __future__ import annotations

import pytest
import torch
from animevid_trainer.generators import make_generator
from animevid_trainer.generators.nano import Nano
from torch import nn


def _small(*, trained: bool, deep_blocks: int = 2) -> Nano:
    """A narrow network; ``trained``: its zero-initialized layers are filled, so that it changes the image."""
    torch.manual_seed(3)
    network = Nano(width=8, deep_width=8, head_width=12, deep_blocks=deep_blocks).eval()
    if trained:
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.2)
    return network


def test_the_untrained_network_is_the_identity() -> None:
    packed = torch.randn(2, 24, 6, 10)
    assert torch.equal(_small(trained=False)(packed), packed)


def test_the_default_network_has_the_size_that_its_docstring_states() -> None:
    network = make_generator("nano")
    assert sum(parameter.numel() for parameter in network.parameters()) == 297_336
    assert "297,336" in str(Nano.__doc__)


@pytest.mark.parametrize("deep_blocks", [0, 1, 3])
def test_no_pixel_reaches_farther_than_the_receptive_field(deep_blocks: int) -> None:
    network = _small(trained=True, deep_blocks=deep_blocks)
    packed = torch.randn(1, 24, 64, 64)
    centre = 33
    changed = packed.clone()
    changed[:, :, centre, centre] += 1.0
    with torch.inference_mode():
        touched = (network(changed) != network(packed))[0].any(0)
    cells = (network.receptive_field_px // 4 - 1) // 2
    rows, columns = torch.nonzero(touched, as_tuple=True)
    assert (rows - centre).abs().max() <= cells
    assert (columns - centre).abs().max() <= cells


def test_a_tile_with_a_margin_equals_that_part_of_the_whole() -> None:
    network = _small(trained=True, deep_blocks=1)
    packed = torch.randn(1, 24, 48, 48)
    margin = 2 * (network.receptive_field_px // 16 + 1)  # even: cells of the coarse grid do not move
    with torch.inference_mode():
        whole, tile = network(packed), network(packed[:, :, : 24 + margin])
    torch.testing.assert_close(tile[:, :, :24], whole[:, :, :24], atol=1e-5, rtol=0)


def test_every_parameter_is_trained() -> None:
    network = _small(trained=True)
    network(torch.randn(1, 24, 16, 16)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
