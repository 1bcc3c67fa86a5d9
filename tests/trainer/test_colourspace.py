"""The trainer's packed Y'CbCr is the engine's: a student is trained on what it gets at run time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from animevid.pixels import Colour, ColourRange, Matrix, pack_yuv420, rgb_to_planes
from animevid_trainer.colourspace import packed_to_rgb, rgb_to_packed, rgb_to_ycbcr, ycbcr_to_rgb
from small_runs import images


@pytest.fixture
def photo() -> np.ndarray:
    """``(64, 96, 3)`` uint8 RGB."""
    return np.ascontiguousarray(images(1, 7, side_px=96)[0][:64])


def _tensor(photo: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def test_rgb_comes_back_from_ycbcr() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rgb", [(-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), (0.2, 0.2, 0.2), (0.9, -0.3, 0.4)])
def test_an_even_colour_survives_packing(rgb: tuple[float, float, float]) -> None:
    image = torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 16, 24)
    torch.testing.assert_close(packed_to_rgb(rgb_to_packed(image)), image, atol=1e-5, rtol=0)


def test_primaries_reach_the_ends_of_the_chroma_range() -> None:
    blue, red = torch.tensor([-1.0, -1.0, 1.0]).view(1, 3, 1, 1), torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    assert rgb_to_ycbcr(blue)[0, 1].item() == pytest.approx(1.0)
    assert rgb_to_ycbcr(red)[0, 2].item() == pytest.approx(1.0)


def test_each_luma_channel_is_one_pixel_of_its_cell() -> None:
    rgb = torch.full((1, 3, 8, 12), -1.0)
    rgb[:, :, 4 + 2, 8 + 3] = 1.0
    luma = rgb_to_packed(rgb)[0, :16]
    assert luma[4 * 2 + 3, 1, 2] == pytest.approx(1.0)
    assert (luma > 0).sum() == 1


def test_packed_tensors_equal_the_engines_on_a_full_range_bt601_image(photo: np.ndarray) -> None:
    planes = rgb_to_planes(photo, colour=Colour(matrix=Matrix.BT601, range=ColourRange.FULL))
    packed = rgb_to_packed(_tensor(photo))[0].numpy()
    # Planes are rounded to 8 bits (2 / 255 per code), once in the conversion and once for chroma.
    np.testing.assert_allclose(pack_yuv420(planes), packed, atol=2.1 * 2 / 255, rtol=0)
    assert np.abs(pack_yuv420(planes) - packed).mean() < 0.75 * 2 / 255


def test_gradients_flow_through_both_layers(photo: np.ndarray) -> None:
    rgb = _tensor(photo).requires_grad_()
    packed_to_rgb(rgb_to_packed(rgb)).square().sum().backward()
    assert rgb.grad is not None
    assert torch.isfinite(rgb.grad).all()
    assert (rgb.grad != 0).float().mean() > 0.9
