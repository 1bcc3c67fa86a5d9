"""The layer that flattens areas and inks outlines over what a packed generator paints."""

from __future__ import annotations

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.colourspace import packed_to_rgb, rgb_to_packed
from animevid_trainer.generators.nano import Nano
from animevid_trainer.generators.painted import Painted, ink_lines, kuwahara
from torch import Tensor, nn


def luma_step(noise: float = 0.0) -> Tensor:
    """Dark on the left, light on the right, ``(1, 1, 32, 32)``."""
    luma = torch.full((1, 1, 32, 32), -0.5)
    luma[..., 16:] = 0.5
    return luma + noise * torch.randn(luma.shape, generator=torch.Generator().manual_seed(3))


def test_flattening_removes_noise_and_leaves_the_step_where_it_is() -> None:
    noisy = luma_step(noise=0.03)
    flat = kuwahara(noisy, radius_px=3)
    left, right = flat[..., :14], flat[..., 18:]
    assert left.std() < 0.5 * noisy[..., :14].std()
    assert right.std() < 0.5 * noisy[..., 18:].std()
    assert (flat[..., 15].mean() + 0.5).abs() < 0.05
    assert (flat[..., 16].mean() - 0.5).abs() < 0.05


def test_ink_lies_on_the_dark_side_of_an_edge_and_nowhere_else() -> None:
    line = ink_lines(luma_step(), radius_px=2, threshold=0.05, slope=50.0, calm=0.5)
    assert (line[..., 14:16] == 1).all()
    assert (line[..., :13] == 0).all()
    assert (line[..., 16:] == 0).all()


@pytest.mark.parametrize("level", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_an_even_picture_stays_as_the_generator_paints_it(level: float) -> None:
    packed = rgb_to_packed(torch.full((1, 3, 48, 64), level))
    with torch.no_grad():
        painted = Painted(Nano(width=8, deep_width=8, head_width=8, deep_blocks=1).eval())(packed)
    assert torch.allclose(packed_to_rgb(painted), torch.full((1, 3, 48, 64), level), atol=2e-5)


def test_a_line_of_one_pixel_that_flattening_eats_is_inked() -> None:
    rgb = torch.full((1, 3, 48, 64), 0.6)
    rgb[..., 30] = 0.2
    with torch.no_grad():
        painted = packed_to_rgb(
            Painted(Nano(width=8, deep_width=8, head_width=8, deep_blocks=1).eval())(rgb_to_packed(rgb))
        )
    assert painted[..., 30].mean() < -0.5
    assert (painted[..., 24].mean() - 0.6).abs() < 0.02


def test_a_generator_of_another_layout_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"packed Y'CbCr"):
        Painted(nn.Identity())
