"""Generators from noise and their discriminators, in float64, against the papers' equations."""

from __future__ import annotations

import math

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.attention import SelfAttention
from animevid_trainer.discriminators import make_discriminator
from animevid_trainer.generators import NOISE_GENERATOR_NAMES, make_generator
from animevid_trainer.generators.noise import truncated
from animevid_trainer.style_layers import EqualConv, EqualLinear, adain, add_deviation, blur, enlarge, modulated_conv
from torch.nn import functional

SMALL = {
    "dcgan": {"size_px": 16, "latent": 6, "width": 4},
    "sagan": {"size_px": 16, "latent": 6, "width": 8, "attention_px": 8},
    "stylegan2": {"size_px": 16, "latent": 12, "mapping_layers": 2, "channel_base": 128, "channel_max": 8},
}
SMALL_DISCRIMINATORS = {
    "dcgan": {"size_px": 16, "width": 4},
    "sagan": {"size_px": 16, "width": 8, "attention_px": 8},
    "stylegan2": {"size_px": 16, "channel_base": 128, "channel_max": 8},
}


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_small_network_of_each_is_tried():
    assert tuple(SMALL) == NOISE_GENERATOR_NAMES


@pytest.mark.parametrize("name", SMALL)
def test_latents_become_images_and_every_weight_has_a_gradient(name):
    generator = make_generator(name, **SMALL[name])
    latents = generator.draw_latents(4)
    images = generator(latents)
    assert images.shape == (4, 3, 16, 16)
    (images * torch.randn_like(images)).sum().backward()
    assert [key for key, parameter in generator.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", SMALL_DISCRIMINATORS)
def test_a_judge_gives_one_logit_an_image_and_every_weight_and_pixel_has_a_gradient(name):
    discriminator = make_discriminator(name, **SMALL_DISCRIMINATORS[name])
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    logits = discriminator(images)
    assert logits.shape == (4, 1)
    logits.square().sum().backward()
    assert [key for key, parameter in discriminator.named_parameters() if parameter.grad is None] == []
    assert images.grad.abs().sum(1).gt(0).all()


@pytest.mark.parametrize("name", SMALL)
def test_a_size_that_is_no_power_of_two_is_refused(name):
    with pytest.raises(TrainingError, match="size_px = 48: a power of two"):
        make_generator(name, **SMALL[name] | {"size_px": 48})


# ---------------------------------------------------------------------------------------------------------- DCGAN


def test_dcgan_has_the_released_codes_layers():
    generator, discriminator = make_generator("dcgan"), make_discriminator("dcgan")
    assert sum(parameter.numel() for parameter in generator.parameters()) == 3_576_704
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 2_765_568
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    assert kinds == ["Conv2d", "LeakyRelu"] + ["Conv2d", "BatchNorm2d", "LeakyRelu"] * 3 + ["Conv2d"]
    assert not any(isinstance(module, torch.nn.Linear) for module in (*generator.modules(), *discriminator.modules()))
    for network in (generator, discriminator):
        weights = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim == 4])
        assert float(weights.std()) == pytest.approx(0.02, rel=0.01)


def test_dcgans_noise_is_uniform_and_the_others_is_normal():
    uniform = make_generator("dcgan", **SMALL["dcgan"]).draw_latents(2000)
    assert uniform.abs().max() <= 1.0
    assert float(uniform.std()) == pytest.approx(1 / math.sqrt(3), rel=0.03)
    for name in ("sagan", "stylegan2"):
        assert make_generator(name, **SMALL[name]).draw_latents(2000).std() == pytest.approx(1.0, rel=0.03)


# ---------------------------------------------------------------------------------------------------------- SAGAN


def test_attention_is_the_softmax_of_the_paper_written_out():
    attention = SelfAttention(16)
    with torch.no_grad():
        attention.gamma.fill_(0.7)
    x = torch.randn(2, 16, 3, 5)
    f, g, h, v = (network.weight.squeeze() for network in (attention.f, attention.g, attention.h, attention.v))
    expected = torch.empty_like(x).flatten(2)
    for n, places in enumerate(x.flatten(2)):
        for j in range(15):
            s = torch.stack([(f @ places[:, i]) @ (g @ places[:, j]) for i in range(15)])
            beta = s.exp() / s.exp().sum()
            o = v @ sum(beta[i] * (h @ places[:, i]) for i in range(15))
            expected[n, :, j] = 0.7 * o + places[:, j]
    torch.testing.assert_close(attention(x), expected.view_as(x))


def test_attention_begins_as_nothing():
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(SelfAttention(8)(x), x)


@pytest.mark.parametrize("make", [make_generator, make_discriminator])
def test_spectral_norm_holds_every_matrix_of_sagan_at_one(make):
    network = make("sagan", **(SMALL if make is make_generator else SMALL_DISCRIMINATORS)["sagan"]).train()
    matrices = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for _ in range(40):  # one power iteration each
        weights = [module.weight for module in matrices]
    assert any(isinstance(module, SelfAttention) for module in network.modules())
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2) == pytest.approx(1.0, abs=0.02)


def test_sagan_walks_along_the_sphere():
    generator = make_generator("sagan", **SMALL["sagan"])
    first, second = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    middle = generator.between(first, second, 0.5)
    torch.testing.assert_close(middle, torch.full((1, 2), math.sqrt(2.0)))
    torch.testing.assert_close(generator.between(first, first, 0.3), first)


# ------------------------------------------------------------------------------------------------------ StyleGAN2


@pytest.mark.parametrize("demodulate", [True, False])
def test_a_modulated_convolution_is_one_by_each_images_own_weights(demodulate):
    x, weight, scales = torch.randn(3, 4, 6, 5), torch.randn(2, 4, 3, 3), torch.randn(3, 4)
    for n in range(3):
        own = weight * scales[n].view(1, 4, 1, 1)
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = functional.conv2d(x[n : n + 1], own, padding=1)
        got = modulated_conv(x, weight, scales, demodulate=demodulate)[n : n + 1]
        torch.testing.assert_close(got, expected)


def test_a_modulated_convolution_that_doubles_puts_zeros_between_convolves_and_filters():
    x, weight, scales = torch.randn(2, 3, 4, 4), torch.randn(5, 3, 3, 3), torch.randn(2, 3)
    apart = torch.zeros(2, 3, 7, 7)
    apart[:, :, ::2, ::2] = x * scales[:, :, None, None]
    # a transposed convolution is one with the mirrored kernel
    drawn = functional.conv2d(apart, weight.flip(2, 3), padding=2)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    filtered = functional.conv2d(
        drawn.flatten(0, 1).unsqueeze(1), (4 * torch.outer(taps, taps)).view(1, 1, 4, 4), padding=1
    ).view(2, 5, 8, 8)
    energy = (weight * scales.view(2, 1, 3, 1, 1)).square().sum((2, 3, 4))
    expected = filtered / (energy + 1e-8).sqrt()[:, :, None, None]
    torch.testing.assert_close(modulated_conv(x, weight, scales, up=True), expected)


def test_filters_keep_an_even_area_even_and_place_pixels_symmetrically():
    even = torch.full((1, 2, 12, 12), 0.3)
    torch.testing.assert_close(enlarge(even)[..., 4:-4, 4:-4], torch.full((1, 2, 16, 16), 0.3))
    torch.testing.assert_close(blur(even, pad=1)[..., 3:-3, 3:-3], torch.full((1, 2, 5, 5), 0.3))
    x = torch.randn(1, 1, 6, 6)
    torch.testing.assert_close(enlarge(x.flip(3)), enlarge(x).flip(3))
    half = EqualConv(1, 1, 3, bias=False, down=True)
    symmetric = half.weight.data.add_(half.weight.data.flip(3))
    assert half(x).shape == (1, 1, 3, 3)
    torch.testing.assert_close(half(x.flip(3)), half(x).flip(3))
    assert symmetric is half.weight.data or torch.equal(symmetric, half.weight.data)


def test_adain_gives_each_channel_the_styles_mean_and_deviation():
    x, scale, shift = torch.randn(2, 3, 8, 8) * 5 + 1, torch.randn(2, 3), torch.randn(2, 3)
    expected = torch.empty_like(x)
    for n in range(2):
        for c in range(3):
            plane = x[n, c]
            expected[n, c] = scale[n, c] * (plane - plane.mean()) / plane.std(unbiased=False) + shift[n, c]
    torch.testing.assert_close(adain(x, scale, shift), expected, rtol=1e-6, atol=1e-7)


def test_the_deviation_channel_is_the_mean_deviation_of_a_group():
    x = torch.randn(8, 3, 2, 2)
    y = add_deviation(x)
    torch.testing.assert_close(y[:, :3], x)
    for first in (0, 1):  # groups take every second image: 8 images, 4 a group
        group = x[first::2]
        expected = (group.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[first::2, 3], expected.expand(4, 2, 2))
    torch.testing.assert_close(add_deviation(x[:1])[0, 3], torch.full((2, 2), 1e-4))


def test_equalized_weights_are_scaled_where_they_are_used():
    linear = EqualLinear(9, 4, bias=0.5, rate=0.01)
    x = torch.randn(2, 9)
    torch.testing.assert_close(linear(x), x @ linear.weight.T * 0.01 / 3 + 0.5)
    assert linear.weight.std() > 30  # N(0, 1 / rate^2)
    conv = EqualConv(4, 2, 3)
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(conv(x), functional.conv2d(x, conv.weight / 6, padding=1))


def test_the_mapping_sees_only_a_latents_direction():
    generator = make_generator("stylegan2", **SMALL["stylegan2"]).eval()
    z = generator.draw_latents(3)
    torch.testing.assert_close(generator.map(z), generator.map(5.0 * z), rtol=1e-6, atol=1e-7)


def test_styles_are_mixed_in_training_alone_and_from_one_layer_on():
    generator = make_generator("stylegan2", **SMALL["stylegan2"], style_mixing=1.0)
    assert generator.layers == 6
    z = generator.draw_latents(64)
    own = generator.map(z).unsqueeze(1)
    same = (generator.train().styles(z) == own).all(2)  # N, layers
    assert same[:, 0].all()
    assert not same[:, -1].any()
    assert (same.int().diff(dim=1) <= 0).all()  # after the crossover, all styles of the other latent
    assert len(set(same.sum(1).tolist())) == 5  # every crossover point
    torch.testing.assert_close(generator.eval().styles(z), own.expand(-1, 6, -1))


def test_truncation_pulls_styles_to_the_mean_that_training_followed():
    generator = make_generator("stylegan2", **SMALL["stylegan2"], style_mixing=0.0).train()
    z = generator.draw_latents(64)
    for _ in range(1200):
        generator.styles(z)
    mean = generator.map(z).mean(0)
    torch.testing.assert_close(generator.mean, mean, rtol=0.01, atol=1e-3)
    styles = generator.eval().styles(z)
    torch.testing.assert_close(truncated(generator, styles, 0.0), generator.mean.expand_as(styles))
    half = truncated(generator, styles, 0.5)
    torch.testing.assert_close(half - generator.mean, 0.5 * (styles - generator.mean))
    assert torch.equal(truncated(generator, styles, 1.0), styles)


def test_noise_is_fresh_in_training_and_still_in_evaluation():
    generator = make_generator("stylegan2", **SMALL["stylegan2"], style_mixing=0.0)
    with torch.no_grad():
        for conv in generator.convs:
            conv.noise_strength.fill_(1.0)
    z = generator.draw_latents(1)
    assert not torch.equal(generator.train()(z), generator(z))
    assert torch.equal(generator.eval()(z), generator(z))


def test_adain_and_weights_are_two_ways_to_normalize():
    weights = make_generator("stylegan2", **SMALL["stylegan2"])
    adaptive = make_generator("stylegan2", **SMALL["stylegan2"], modulation="adain")
    assert adaptive(adaptive.draw_latents(2)).shape == (2, 3, 16, 16)
    assert adaptive.convs[0].affine.weight.shape == (16, 12)  # a scale and a shift for each channel
    assert weights.convs[0].affine.weight.shape == (8, 12)
    with pytest.raises(TrainingError, match="modulation = 'group': allowed are weights, adain"):
        make_generator("stylegan2", modulation="group")
