"""Adaptive discriminator augmentation: no change at p = 0, exact transformations, and p follows overfitting."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.augment import (
    AdaController,
    AdaptiveAugment,
    AugmentKinds,
    apply_colour,
    apply_geometry,
    augment,
    sample_colour,
    sample_geometry,
)
from animevid_trainer.recipes import load_recipe, with_lengths, with_overrides
from animevid_trainer.run_data import make_plan_of
from animevid_trainer.run_networks import make_augment
from hypothesis import given, settings
from hypothesis import strategies as st

BLIT = AugmentKinds(blit=True, geometric=False, colour=False)
GEOMETRIC = AugmentKinds(blit=False, geometric=True, colour=False)
COLOUR = AugmentKinds(blit=False, geometric=False, colour=True)


def images(n: int = 2, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(5)) * 2 - 1


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_p_of_zero_returns_the_very_images():
    given_images = images()
    assert augment(given_images, 0.0) is given_images


def test_the_same_generator_state_gives_the_same_images_and_another_gives_others():
    first = augment(images(), 1.0, generator=seeded(1))
    assert torch.equal(first, augment(images(), 1.0, generator=seeded(1)))
    assert not torch.equal(first, augment(images(), 1.0, generator=seeded(2)))


def test_images_of_a_batch_are_transformed_independently():
    one = images(1)
    both = augment(one.repeat(2, 1, 1, 1), 1.0, generator=seeded(3))
    assert not torch.equal(both[0], both[1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([(16, 16), (16, 24), (20, 12)]))
def test_blitting_moves_pixels_and_invents_none(seed, size):
    given_images = images(1, *size).double()
    got = apply_geometry(given_images, sample_geometry(1, *size, 1.0, generator=seeded(seed), kinds=BLIT))
    before = given_images.flatten(2)[0].T
    after = got.flatten(2)[0].T
    assert torch.cdist(after, before).min(dim=1).values.max() < 1e-6  # cdist takes a root


def test_a_rotation_by_any_angle_keeps_the_centre():
    given_images = torch.zeros(1, 3, 17, 17, dtype=torch.float64)
    given_images[..., 8, 8] = 1.0
    angle = torch.tensor(0.7, dtype=torch.float64)
    matrix = torch.eye(3, dtype=torch.float64).unsqueeze(0)
    matrix[0, :2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    assert apply_geometry(given_images, matrix)[..., 8, 8].allclose(torch.ones(1, 3, dtype=torch.float64))


def test_a_shift_is_counted_in_pixels_on_an_image_that_is_not_square():
    given_images = images(1, 8, 12)
    matrix = torch.eye(3, dtype=torch.float64).unsqueeze(0)
    matrix[0, 0, 2], matrix[0, 1, 2] = 2.0, 1.0
    assert torch.allclose(apply_geometry(given_images, matrix)[..., :7, :10], given_images[..., 1:, 2:], atol=1e-5)


def test_colour_changes_keep_greys_grey_except_for_their_brightness():
    grey = torch.full((64, 3, 2, 2), 0.25, dtype=torch.float64)
    got = apply_colour(grey, sample_colour(64, 1.0, generator=seeded(4), kinds=COLOUR))
    assert (got.amax(1) - got.amin(1)).max() < 1e-9
    assert got[:, 0, 0, 0].std() > 0.1


def test_each_transformation_is_left_out_with_probability_one_minus_p():
    matrices = sample_colour(4000, 0.25, generator=seeded(6), kinds=COLOUR)
    untouched = (matrices == torch.eye(4, dtype=torch.float64)).flatten(1).all(1).double().mean()
    # four transformations; a chosen luma flip flips only half the time
    assert float(untouched) == pytest.approx(0.75**3 * (1 - 0.125), abs=0.03)


def test_the_two_rotations_together_happen_with_probability_p():
    matrices = sample_geometry(4000, 16, 16, 0.4, generator=seeded(7), kinds=GEOMETRIC)
    rotated = (matrices[:, 0, 1].abs() > 1e-12).double().mean()
    assert float(rotated) == pytest.approx(0.4, abs=0.03)


def test_augmented_images_pass_gradients_on():
    given_images = images(1, 6, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, 1.0, generator=seeded(8)), (given_images,))


def test_p_outside_zero_to_one_is_refused():
    with pytest.raises(TrainingError, match="0 to 1"):
        augment(images(), 1.5)


# ---- the controller


def test_p_rises_while_d_is_sure_of_real_images_and_falls_when_it_is_not():
    controller = AdaController(kind="bce", interval_steps=2, images_to_full=100)
    for _ in range(2):
        controller.update(torch.full((5, 1, 4, 4), 3.0))
    assert controller.p == pytest.approx(0.1)
    assert controller.overfitting == 1.0
    for _ in range(2):
        controller.update(torch.full((5, 1, 4, 4), -3.0))
    assert controller.p == pytest.approx(0.0)


def test_p_stays_within_its_bounds():
    controller = AdaController(kind="bce", interval_steps=1, images_to_full=2, largest_p=0.8)
    for logit, expected in ((1.0, 0.5), (1.0, 0.8), (1.0, 0.8), (-1.0, 0.3), (-1.0, 0.0), (-1.0, 0.0)):
        controller.update(torch.full((1,), logit))
        assert controller.p == pytest.approx(expected)


def test_lsgans_boundary_lies_between_its_targets():
    unsure = torch.full((4,), 0.4)
    for kind, expected in (("lsgan", -1.0), ("bce", 1.0)):
        controller = AdaController(kind=kind, interval_steps=1)
        controller.update(unsure)
        assert controller.overfitting == expected


def test_a_resumed_controller_goes_on_as_if_it_had_not_stopped():
    def make() -> AdaptiveAugment:
        return AdaptiveAugment(AdaController(kind="lsgan", interval_steps=3, images_to_full=50))

    logits = [torch.randn(4, 1, 2, 2, generator=seeded(i)) + 0.8 for i in range(10)]
    whole, first, second = make(), make(), make()
    for step, logit in enumerate(logits):
        whole.update(logit)
        (first if step < 5 else second).update(logit)
        if step == 4:
            second.load_state_dict(first.state_dict())
    assert second.state_dict() == whole.state_dict()
    torch.manual_seed(0)
    assert second(images()).shape == images().shape


def test_a_recipe_chooses_what_is_augmented() -> None:
    recipe = load_recipe("animegan2+ada")
    plan = make_plan_of(recipe, photos=10)
    assert make_augment(load_recipe("animegan2"), plan) is None
    chosen = make_augment(replace(recipe, ada=replace(recipe.ada, geometric=False, colour=False)), plan)
    assert chosen is not None
    assert chosen.kinds == AugmentKinds(blit=True, geometric=False, colour=False)


def test_adaptation_is_sized_to_the_run_unless_the_recipe_says_otherwise():
    recipe = with_lengths(load_recipe("animegan2-nano+ada"), steps=1000)
    plan = make_plan_of(recipe, photos=100)
    assert make_augment(recipe, plan).controller._images_to_full == 1000 * 8 // 5
    fixed = with_overrides(recipe, {"ada.images_to_full": 77})
    assert make_augment(fixed, plan).controller._images_to_full == 77
