"""Losses equal values computed by hand, and gradients those of the equations."""

from __future__ import annotations

import math

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer import losses


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def image(red: float, green: float, blue: float, *, height: int = 2, width: int = 3) -> torch.Tensor:
    return tensor(red, green, blue).view(1, 3, 1, 1).expand(1, 3, height, width).clone()


def close(got: torch.Tensor, expected: float) -> None:
    assert got.ndim == 0
    assert float(got) == pytest.approx(expected, rel=1e-12, abs=1e-12)


# ---- adversarial: logits 2 and -1


def test_lsgan_is_the_mean_square_from_its_target():
    logits = tensor(2.0, -1.0)
    close(losses.real_loss(logits, kind="lsgan"), (1 + 4) / 2)
    close(losses.fake_loss(logits, kind="lsgan"), (4 + 1) / 2)
    close(losses.generator_adversarial_loss(logits, kind="lsgan"), (1 + 4) / 2)


def test_bce_is_the_mean_negative_log_likelihood():
    logits = tensor(2.0, -1.0)
    real = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    fake = (math.log(1 + math.exp(2)) + math.log(1 + math.exp(-1))) / 2
    close(losses.real_loss(logits, kind="bce"), real)
    close(losses.fake_loss(logits, kind="bce"), fake)
    close(losses.generator_adversarial_loss(logits, kind="bce"), real)


def test_bce_stays_finite_for_logits_that_overflow_the_exponential():
    close(losses.fake_loss(tensor(1000.0), kind="bce"), 1000.0)
    close(losses.fake_loss(tensor(-1000.0), kind="bce"), 0.0)


def test_hinge_charges_only_what_is_inside_its_margin():
    logits = tensor(2.0, -1.0, 0.5)
    close(losses.real_loss(logits, kind="hinge"), (0 + 2 + 0.5) / 3)
    close(losses.fake_loss(logits, kind="hinge"), (3 + 0 + 1.5) / 3)
    close(losses.generator_adversarial_loss(logits, kind="hinge"), -0.5)


def test_an_unknown_adversarial_kind_is_refused():
    with pytest.raises(TrainingError, match="lsgan, bce, hinge"):
        losses.real_loss(tensor(1.0), kind="wgan")


def test_only_what_is_called_real_should_be_called_real_by_d():
    logits = {"real": tensor(3.0), "fake": tensor(2.0), "gray": tensor(1.0), "smooth": tensor(-3.0)}
    found = losses.discriminator_terms(logits, kind="lsgan")
    assert {name: float(value) for name, value in found.items()} == {
        "real": 4.0,
        "fake": 4.0,
        "gray": 1.0,
        "smooth": 9.0,
    }
    even = losses.discriminator_terms({"real": tensor(0.0), "smooth": tensor(0.0)}, kind="bce")
    assert [float(value) for value in even.values()] == pytest.approx([math.log(2)] * 2)


# ---- content and style


def test_content_is_the_mean_absolute_difference_of_features():
    first = tensor(1.0, -2.0, 3.0, 4.0).view(1, 2, 1, 2)
    close(losses.content_loss(first, torch.zeros_like(first)), 10 / 4)


def test_a_gram_matrix_is_normalized_by_channels_times_pixels():
    features = tensor(1.0, 2.0, 3.0, 4.0).view(1, 2, 1, 2)  # F = [[1, 2], [3, 4]], C H W = 4
    expected = torch.tensor([[[5.0, 11.0], [11.0, 25.0]]], dtype=torch.float64) / 4
    assert torch.allclose(losses.gram_matrix(features), expected, rtol=1e-12)


def test_a_gram_matrix_does_not_grow_with_the_image():
    features = torch.rand(2, 4, 5, 6, dtype=torch.float64)
    tiled = features.repeat(1, 1, 3, 2)
    assert torch.allclose(losses.gram_matrix(features), losses.gram_matrix(tiled), rtol=1e-12)


def test_style_is_the_mean_absolute_difference_of_gram_matrices():
    gram = tensor(1.0, 2.0, 3.0, 4.0).view(1, 2, 2)
    close(losses.style_loss(gram, tensor(2.0, 2.0, 1.0, 0.0).view(1, 2, 2)), (1 + 0 + 2 + 4) / 4)


# ---- colour


def test_yuv_of_white_black_and_red_are_bt601s():
    # white's chroma is 1e-8, the rounding of the published matrix
    for rgb, yuv in (
        ((1, 1, 1), (1, 0, 0)),
        ((-1, -1, -1), (0, 0, 0)),
        ((1, -1, -1), (0.299, -0.14714119, 0.61497538)),
    ):
        got = losses.rgb_to_yuv(image(*rgb))[0, :, 0, 0]
        assert torch.allclose(got, tensor(*yuv), atol=5e-8)


def test_luma_keeps_the_range_of_the_image_and_gray_repeats_it():
    images = image(1.0, -1.0, -1.0)
    assert torch.allclose(losses.luma(images), torch.full((1, 1, 2, 3), 0.299 - 0.587 - 0.114, dtype=torch.float64))
    assert losses.gray(images).shape == images.shape
    assert torch.equal(losses.gray(images)[:, 0], losses.gray(images)[:, 2])


def test_colour_is_l1_on_luma_and_huber_on_chroma():
    # black against red: dY = 0.299, dU = 0.14714119, dV = 0.61497538; Huber below its delta of 1 is half the square
    expected = 0.299 + 0.14714119**2 / 2 + 0.61497538**2 / 2
    close(losses.colour_loss(image(-1, -1, -1), image(1, -1, -1)), expected)


def test_pooled_colour_leaves_the_drawing_free_but_not_the_mean():
    flat = image(0.0, 0.0, 0.0, height=8, width=8)
    stripes = flat.clone()
    stripes[..., ::2], stripes[..., 1::2] = 0.5, -0.5
    close(losses.colour_loss(stripes, flat, pool_px=8), 0.0)
    assert losses.colour_loss(stripes, flat) > 0.2


# ---- priors


def test_total_variation_is_half_the_mean_square_of_neighbour_differences():
    images = tensor(0.0, 1.0, 3.0, 3.0, 1.0, 0.0).view(1, 1, 2, 3)  # rows 0 1 3 / 3 1 0
    down = (9 + 0 + 9) / 3
    right = (1 + 4 + 4 + 1) / 4
    close(losses.total_variation_loss(images), down / 2 + right / 2)


def test_sobel_of_a_ramp_is_its_slope():
    ramp = torch.arange(5, dtype=torch.float64).mul(0.25).expand(1, 2, 4, 5)
    across, down = losses.sobel(ramp)
    assert across.shape == (1, 2, 2, 3)
    assert torch.allclose(across, torch.full_like(across, 0.25))
    assert torch.allclose(down, torch.zeros_like(down))


def test_gradient_loss_sees_lines_and_not_brightness():
    ramp = torch.arange(6, dtype=torch.float64).mul(0.1).expand(1, 3, 4, 6)
    close(losses.gradient_loss(ramp + 0.3, ramp), 0.0)
    close(losses.gradient_loss(ramp, torch.zeros_like(ramp)), 0.1)


def test_flatness_charges_texture_on_flat_photos_and_spares_edges():
    flat = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    step = flat.clone()
    step[..., 2:] = 1.0
    close(losses.flatness_loss(step, flat), 1 / 3)  # one of three neighbour pairs across, none down
    close(losses.flatness_loss(step, step, edge_scale=10.0), math.exp(-10.0) / 3)


# ---- pairs


def test_cycle_and_identity_are_mean_absolute_differences():
    first, second = image(0.5, 0.0, -0.5), image(0.0, 0.0, 0.5)
    close(losses.cycle_loss(first, second), 0.5)
    close(losses.identity_loss(first, second), 0.5)
    close(losses.pixel_loss(first, second), 0.5)


def test_temporal_consistency_counts_only_valid_pixels():
    outputs, expected = image(1.0, 1.0, 1.0), image(0.0, 0.0, 0.0)
    expected[..., 0] = 1.0
    valid = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    close(losses.temporal_consistency_loss(outputs, expected), 2 / 3)
    valid[..., 1] = False
    close(losses.temporal_consistency_loss(outputs, expected, valid=valid), 1 / 2)
    close(losses.temporal_consistency_loss(outputs, expected, valid=valid & False), 0.0)


# ---- gradients

A = torch.rand(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
B = torch.rand(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: losses.real_loss(x, kind="lsgan"),
        lambda x: losses.fake_loss(x, kind="bce"),
        lambda x: losses.generator_adversarial_loss(x, kind="hinge"),
        lambda x: losses.content_loss(x, B),
        lambda x: losses.style_loss(losses.gram_matrix(x), losses.gram_matrix(B)),
        lambda x: losses.colour_loss(x, B),
        lambda x: losses.colour_loss(x, B, pool_px=2),
        losses.total_variation_loss,
        lambda x: losses.gradient_loss(x, B),
        lambda x: losses.flatness_loss(x, B),
        lambda x: losses.cycle_loss(x, B),
        lambda x: losses.temporal_consistency_loss(x, B, valid=B[:, :1] > 0),
    ],
    ids=[
        "lsgan", "bce", "hinge", "content", "style", "colour", "pooled-colour", "total-variation", "gradient",
        "flatness", "cycle", "temporal",
    ],
)  # fmt: skip
def test_the_gradient_is_that_of_the_equation(loss):
    assert torch.autograd.gradcheck(loss, (A.clone().requires_grad_(),))
