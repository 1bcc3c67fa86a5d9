"""Muon on kernels, AdamW on biases: the size and direction of a step, and resumed runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from animevid_trainer.conv_muon import ConvMuon
from torch import nn


def conv(outputs: int = 8, inputs: int = 6) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(inputs, outputs, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def test_a_kernels_step_is_orthogonal_and_as_large_as_adamws() -> None:
    network = conv()
    before = network.weight.detach().clone()
    network.weight.grad = torch.randn_like(network.weight)
    ConvMuon(network, 0.01, weight_decay=0.0).step()
    step = (before - network.weight.detach()).flatten(1)
    sizes = torch.linalg.svdvals(step)
    expected = 0.01 * 0.2 * 54**0.5  # rate x 0.2 x the root of the longer side (Liu et al. 2025, equation 4)
    assert sizes.min() > 0.6 * expected, "every direction learns"
    assert sizes.max() < 1.3 * expected
    assert step.square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.2), "AdamW's usual root mean square"
    assert (step * network.weight.grad.flatten(1)).sum() > 0, "downhill"


def test_a_bias_gets_adamw_at_twice_the_rate() -> None:
    network = conv()
    assert network.bias is not None
    before = network.bias.detach().clone()
    network.bias.grad = torch.linspace(-1, 1, 8)
    optimizer = ConvMuon(network, 0.5)
    optimizer.set_rate(0.01)
    optimizer.step()
    assert torch.allclose((before - network.bias).abs(), torch.full((8,), 0.02), rtol=0.05), (
        "Adam's first step: its rate"
    )
    assert torch.equal(network.weight, conv().weight), "no gradient, no step"


def test_the_same_steps_follow_a_restored_state(tmp_path: Path) -> None:
    def train(network: nn.Conv2d, optimizer: ConvMuon, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            network(torch.ones(1, 6, 5, 5)).square().sum().backward()
            optimizer.step()

    whole, parts = conv(), conv()
    train(whole, ConvMuon(whole, 0.01), 6)
    first = ConvMuon(parts, 0.01)
    train(parts, first, 3)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = ConvMuon(parts, 0.01)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(parts, second, 3)
    assert torch.equal(whole.weight, parts.weight)
    assert whole.bias is not None
    assert parts.bias is not None
    assert torch.equal(whole.bias, parts.bias)
    cold = conv()
    train(cold, ConvMuon(cold, 0.01), 3)
    train(cold, ConvMuon(cold, 0.01), 3)
    assert not torch.equal(whole.weight, cold.weight), "without the state the steps differ"
