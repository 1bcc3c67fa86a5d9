"""The layer that flattens areas and inks outlines over what a packed generator paints."""

from __future__ import annotations

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.build import as_rgb
from animevid_trainer.colourspace import packed_to_rgb, rgb_to_packed
from animevid_trainer.generators.nano import Nano
from animevid_trainer.generators.painted import Painted, PaintedNano, ends_kept, ink_lines, kuwahara
from torch import Tensor, nn


def luma_step(noise: float = 0.0) -> Tensor:
    """Dark on the left, light on the right, ``(1, 1, 32, 32)``."""
    luma = torch.full((1, 1, 32, 32), -0.5)
    luma[..., 16:] = 0.5
    return luma + noise * torch.randn(luma.shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("diagonal", [True, False])
def test_flattening_removes_noise_and_leaves_the_step_where_it_is(diagonal: bool) -> None:
    noisy = luma_step(noise=0.03)
    flat = kuwahara(noisy, distance_px=2, diagonal=diagonal)
    left, right = flat[..., :14], flat[..., 18:]
    assert left.std() < 0.5 * noisy[..., :14].std()
    assert right.std() < 0.5 * noisy[..., 18:].std()
    assert (flat[..., 15].mean() + 0.5).abs() < 0.05
    assert (flat[..., 16].mean() - 0.5).abs() < 0.05


@pytest.mark.parametrize("diagonal", [True, False])
def test_flattening_treats_all_four_directions_alike(diagonal: bool) -> None:
    luma = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(2)) * 2 - 1
    flat = kuwahara(luma, distance_px=2, diagonal=diagonal)
    turned = kuwahara(torch.rot90(luma, 1, (2, 3)), distance_px=2, diagonal=diagonal)
    assert flat.shape == luma.shape
    assert torch.allclose(torch.rot90(flat, 1, (2, 3)), turned, atol=1e-5)


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


def busy_generator(seed: int = 0) -> PaintedNano:
    """Untrained, but it changes every picture a lot."""
    torch.manual_seed(seed)
    generator = PaintedNano(width=8, deep_width=8, head_width=8, deep_blocks=1).eval()
    nn.init.normal_(generator.generator.tail.weight, std=0.3)
    bias = generator.generator.tail.bias
    assert bias is not None
    nn.init.normal_(bias, std=0.3)
    return generator


@pytest.mark.parametrize("level", [-1.0, 1.0])
def test_black_and_white_stay_whatever_the_generator_does(level: float) -> None:
    packed = rgb_to_packed(torch.full((1, 3, 48, 64), level))
    generator = busy_generator()
    with torch.no_grad():
        assert (generator.generator(packed) - packed).abs().mean() > 0.05
        assert torch.allclose(generator(packed), packed, atol=1e-5)


def test_a_lift_brightens_tones_and_keeps_their_order_and_the_ends() -> None:
    packed = torch.zeros((1, 24, 6, 8))
    generator = Painted(Nano(width=8, deep_width=8, head_width=8, deep_blocks=1).eval(), lift=0.3)
    tones = []
    with torch.no_grad():
        for level in (-1.0, -0.5, 0.0, 0.5, 1.0):
            packed[:, :16] = level
            tones.append(float(generator(packed)[0, 0, 3, 4]))
    assert tones == pytest.approx([-1.0, -0.275, 0.3, 0.725, 1.0], abs=1e-5)


def test_a_change_counts_whole_away_from_black_and_white() -> None:
    photo, change = torch.full((1, 24, 4, 4), 0.3), torch.full((1, 24, 4, 4), -0.2)
    assert torch.allclose(ends_kept(photo, change), photo + change)


def test_pictures_come_with_their_ground_where_it_is_asked_for() -> None:
    photo = torch.rand((2, 3, 48, 64), generator=torch.Generator().manual_seed(1)) * 2 - 1
    generator = as_rgb(busy_generator())
    with torch.no_grad():
        picture, ground = generator(photo, with_ground=True).chunk(2)
        assert torch.equal(picture, generator(photo))
    assert picture.shape == ground.shape == photo.shape
    assert (picture - ground).abs().mean() > 0.05  # of noise: the filters flatten and ink it


def test_no_gradient_goes_through_the_place_of_ink() -> None:
    packed = rgb_to_packed(luma_step().repeat(1, 3, 1, 1))
    generator = busy_generator()
    generator.rounds = 0
    ground = packed.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(generator.over(packed, ground).square().sum(), ground)
    luma = torch.nn.functional.pixel_shuffle(gradient[:, :16], 4)
    assert (luma[..., 15] == 0).all()  # under ink: nothing that the generator does there can be seen
    assert torch.allclose(luma[..., 17], torch.tensor(2 * 0.5), atol=1e-5)  # beside it: as if there were no ink


def test_a_line_that_covers_in_part_is_a_dark_tone_of_its_ground() -> None:
    packed = rgb_to_packed(luma_step().repeat(1, 3, 1, 1))
    generator = busy_generator()
    generator.rounds = 0
    with torch.no_grad():
        whole = generator.over(packed, packed)
        generator.set_filters(opacity=0.6, thin_opacity=0.6)
        part = generator.over(packed, packed)
    assert torch.allclose(part[:, :16] + 1.0, torch.maximum(whole + 1.0, 0.4 * (packed + 1.0))[:, :16], atol=1e-6)


def test_a_generator_of_another_layout_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"packed Y'CbCr"):
        Painted(nn.Identity())


def test_a_style_may_be_exported_with_other_filters_than_it_was_trained_under() -> None:
    generator = busy_generator()
    reach = generator.receptive_field_px
    generator.set_filters(ink_px=1, threshold=0.01, rounds=generator.rounds + 1)
    assert (generator.ink_px, generator.threshold) == (1, 0.01)
    assert generator.receptive_field_px > reach  # or tiles would overlap by too little


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"inks": 1}, r"inks = 1: allowed are numbers for flatten_px"),
        ({"rounds": 9}, r"rounds are 0 to 4"),
        ({"opacity": 1.5}, r"opacity 0 to 1"),
    ],
    ids=["unknown", "out of range", "more than all"],
)
def test_filters_that_there_are_not_are_refused_and_nothing_is_changed(numbers: dict[str, int], said: str) -> None:
    generator = busy_generator()
    before = generator.settings
    with pytest.raises(TrainingError, match=said):
        generator.set_filters(**numbers)
    assert generator.settings == before


def test_tones_and_colours_are_amplified_apart() -> None:
    packed = torch.rand(1, 24, 8, 8, generator=torch.Generator().manual_seed(3)) - 0.5
    generator = busy_generator()
    before = generator.generator.change(packed)
    generator.amplify(0.5, chroma_gain=2.0)
    after = generator.generator.change(packed)
    assert torch.allclose(after[:, :16], 0.5 * before[:, :16], atol=1e-6)
    assert torch.allclose(after[:, 16:], 2.0 * before[:, 16:], atol=1e-6)


def test_the_rim_of_an_even_picture_is_nearer_to_its_inside_than_zero_padding_leaves_it() -> None:
    even = torch.full((1, 24, 24, 24), 0.1)
    generator = busy_generator()
    with torch.no_grad():
        repeated, zeros = generator.ground(even), even + generator.generator.change(even)

    def off(ground: torch.Tensor) -> float:
        return float((ground[..., :2, 12] - ground[..., 12, 12:13]).abs().mean())

    assert off(repeated) < 0.8 * off(zeros)
