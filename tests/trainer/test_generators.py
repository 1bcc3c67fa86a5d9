"""Generators have their published size, keep the image's size, and refuse sizes that they cannot process."""

from __future__ import annotations

import pytest
import torch
from animevid.errors import TrainingError
from animevid.styles.card import Layout
from animevid_trainer.generators import GENERATOR_NAMES, make_generator
from animevid_trainer.generators.base import upsample

PUBLISHED_COUNTS = {
    "animegan": 3_956_096,
    "animegan2": 2_143_552,
    "animegan2-lite": 698_240,
    "cartoongan": 11_129_667,
    "cyclegan": 11_378_179,
}
RGB_GENERATORS = tuple(PUBLISHED_COUNTS)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", RGB_GENERATORS)
def test_the_parameter_count_is_the_published_one(name):
    assert parameters(make_generator(name)) == PUBLISHED_COUNTS[name]


@pytest.mark.parametrize("name", RGB_GENERATORS)
def test_any_multiple_of_the_stated_number_keeps_its_size(name):
    generator = make_generator(name).eval()
    assert generator.layout is Layout.NCHW
    multiple = generator.size_multiple
    with torch.inference_mode():
        for height, width in ((4 * multiple, 5 * multiple), (7 * multiple, 4 * multiple)):
            assert generator(torch.zeros(2, 3, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize("name", RGB_GENERATORS)
def test_outputs_lie_within_the_range_of_an_image(name):
    torch.manual_seed(0)
    with torch.inference_mode():
        output = make_generator(name).eval()(torch.rand(1, 3, 32, 32) * 2 - 1)
    assert output.isfinite().all()
    assert output.abs().max() <= 1.0


@pytest.mark.parametrize("name", RGB_GENERATORS)
def test_every_parameter_receives_a_gradient(name):
    torch.manual_seed(0)
    generator = make_generator(name)
    generator(torch.rand(1, 3, 32, 32) * 2 - 1).square().sum().backward()
    without = [key for key, parameter in generator.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("name", RGB_GENERATORS)
def test_a_size_that_is_no_multiple_is_refused_with_the_multiple(name):
    generator = make_generator(name)
    with pytest.raises(TrainingError, match=f"multiples of {generator.size_multiple}"):
        generator(torch.zeros(1, 3, 8 * generator.size_multiple, 8 * generator.size_multiple + 1))


def test_batch_norm_cartoongan_sees_no_further_than_its_stated_receptive_field():
    generator = make_generator("cartoongan").eval()
    assert generator.tileable
    for module in generator.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())  # nothing cancels or saturates
    columns = (96, 97, 98, 99)  # every phase of its stride
    images = torch.full((4, 3, 8, 192), 1e-3, requires_grad=True)
    outputs = generator(images)
    (gradient,) = torch.autograd.grad(sum(outputs[i, ..., column].sum() for i, column in enumerate(columns)), images)
    reach = []
    for column, seen in zip(columns, gradient.abs().sum((1, 2)), strict=True):
        reach += [column - int(seen.nonzero().min()), int(seen.nonzero().max()) - column]
    assert 2 * max(reach) + 1 == generator.receptive_field_px


def test_instance_norm_cartoongan_is_not_tileable():
    assert not make_generator("cartoongan", norm="instance").tileable


def test_the_plus_switches_change_only_what_they_name():
    plain, leaky = make_generator("cartoongan"), make_generator("cartoongan", activation="leaky_relu")
    leaky.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 16, 16)
    assert not torch.equal(plain(x), leaky(x))
    assert parameters(make_generator("cartoongan", norm="instance")) == PUBLISHED_COUNTS["cartoongan"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("half_pixel", [0.0, 0.25, 0.75, 1.25, 1.75, 2.0]),
        ("align_corners", [0.0, 0.4, 0.8, 1.2, 1.6, 2.0]),
        ("asymmetric", [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]),
    ],
)
def test_upsampling_puts_samples_where_the_mode_says(mode, expected):
    ramp = torch.tensor([0.0, 1.0, 2.0]).expand(1, 1, 3, 3)
    row = upsample(ramp, mode)[0, 0, 0]
    assert torch.allclose(row, torch.tensor(expected), atol=1e-6)


def test_an_unknown_generator_is_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match="animegan2-lite"):
        make_generator("animegan4")


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match="upsampling"):
        make_generator("animegan2", widht=3)


def test_the_registry_names_every_recipe_generator():
    assert set(RGB_GENERATORS) | {"nano", "luma-unet"} == set(GENERATOR_NAMES)
