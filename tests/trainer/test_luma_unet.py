"""``luma-unet``: the identity before training, its receptive field as declared, and weights from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.generators import make_generator
from animevid_trainer.generators.luma_unet import LumaUNet
from animevid_trainer.importers import import_weights
from safetensors.torch import save_file

SMALL = {
    "top": 8, "middle": 8, "bottom": 16, "head": 8, "line": 8, "line_convs": 1, "middle_blocks": 2, "deep_blocks": 1,
}  # fmt: skip


def randomized(**options: int) -> LumaUNet:
    torch.manual_seed(3)
    network = LumaUNet(**options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    return network.eval()


def test_an_untrained_network_changes_nothing() -> None:
    packed = torch.rand(2, 24, 8, 12) * 2 - 1
    assert torch.equal(make_generator("luma-unet")(packed), packed)


def test_every_parameter_that_is_not_behind_a_zero_receives_a_gradient() -> None:
    network = randomized(**SMALL)
    network(torch.rand(1, 24, 8, 8) * 2 - 1).square().sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


@pytest.mark.parametrize("options", [{}, SMALL])
def test_it_sees_no_further_than_its_stated_receptive_field(options: dict[str, int]) -> None:
    network = randomized(**options)
    cells = network.receptive_field_px // 4
    first = torch.rand(1, 24, 8, 4 * (cells // 4 + 4)) * 2 - 1
    second = first.clone()
    second[..., -1] += 1.0
    with torch.inference_mode():
        changed = (network(first) != network(second)).any(dim=(0, 1, 2)).nonzero()
    reach = first.shape[-1] - 1 - int(changed.min())
    assert reach <= cells // 2, "tiles would be visible"
    assert reach >= cells // 2 - 12, "a much wider overlap than needed costs time"


def test_weights_in_a_file_say_which_widths_they_are_of(tmp_path: Path) -> None:
    network = randomized(**SMALL)
    save_file(dict(network.state_dict()), tmp_path / "style.safetensors")
    imported = import_weights(tmp_path / "style.safetensors")
    assert imported.name == "luma-unet"
    assert imported.options == SMALL
    packed = torch.rand(1, 24, 8, 8) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(imported.generator(packed), network(packed))


def test_weights_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    weights = dict(randomized(**SMALL).state_dict())
    del weights["down2.weight"]
    save_file(weights, tmp_path / "style.safetensors")
    with pytest.raises(TrainingError, match=r"not a whole luma-unet: 'down2.weight' is missing"):
        import_weights(tmp_path / "style.safetensors")
