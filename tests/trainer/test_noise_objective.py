"""Faces from noise: each term against its equation, with its images, weights and steps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer import losses, regularizers
from animevid_trainer.build import latent_grid
from animevid_trainer.data.batches import Batch
from animevid_trainer.discriminators.projected import ProjectedDiscriminator
from animevid_trainer.generators.noise import NoiseGenerator
from animevid_trainer.loop import LoopSettings, Trainer, seed_everything
from animevid_trainer.objectives import NoiseObjective, Parts
from animevid_trainer.plan import make_plan
from animevid_trainer.progress import Progress
from animevid_trainer.recipes import Regularizers, load_recipe, with_lengths, with_overrides
from animevid_trainer.run_data import DataSettings, RunData, make_source
from animevid_trainer.run_networks import make_objective
from small_runs import differing, images, tiny_perceptual, weights_of
from torch import nn

NOISE = ("dcgan", "sagan", "stylegan2")
_NARROW = {
    "dcgan": {"generator_options.width": 4, "discriminator_options.width": 4},
    "sagan": {
        "generator_options.width": 2, "discriminator_options.width": 2,
        "generator_options.attention_px": 16, "discriminator_options.attention_px": 8,
    },
    "stylegan2": {
        "generator_options.channel_base": 128, "generator_options.latent": 16,
        "discriminator_options.channel_base": 128,
        "regularizers.r1_every": 2, "regularizers.path_length_every": 2,
    },
}  # fmt: skip


def small(name, **overrides):
    recipe = load_recipe(name)
    narrow = dict(_NARROW[name.split("+")[0]])
    if recipe.discriminator == "vit":
        del narrow["discriminator_options.channel_base"]
        narrow |= {"discriminator_options.width": 16, "discriminator_options.depth": 1}
    return with_lengths(
        with_overrides(recipe, {"data.crop_px": 32, "data.batch": 4, "precision": "fp32", **narrow, **overrides}),
        steps=4,
    )


# ------------------------------------------------------------------------------------------------------- equations


def test_minimax_is_the_first_gans_equation_and_bce_its_non_saturating_form():
    logits = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
    d = logits.sigmoid()
    for kind in ("bce", "minimax"):
        torch.testing.assert_close(losses.real_loss(logits, kind=kind), -d.log().mean())
        torch.testing.assert_close(losses.fake_loss(logits, kind=kind), -(1 - d).log().mean())
    torch.testing.assert_close(losses.generator_adversarial_loss(logits, kind="minimax"), (1 - d).log().mean())
    torch.testing.assert_close(losses.generator_adversarial_loss(logits, kind="bce"), -d.log().mean())


def test_r1_of_a_linear_discriminator_is_half_its_squared_length():
    weight = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    images = torch.randn(6, 3, 4, 5, dtype=torch.float64)
    penalty = regularizers.gradient_penalty(lambda x: (x * weight).sum((1, 2, 3)), images)
    torch.testing.assert_close(penalty, 0.5 * weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(weight.grad, weight)


def test_r1_is_the_mean_over_images_of_what_autograd_gives_for_each():
    torch.manual_seed(0)
    discriminator = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(16, 1)).double()
    images = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    each = []
    for image in images:
        (gradient,) = torch.autograd.grad(discriminator(x := image[None].requires_grad_()).sum(), x)
        each.append(0.5 * gradient.square().sum())
    torch.testing.assert_close(regularizers.gradient_penalty(discriminator, images), torch.stack(each).mean())


def test_path_lengths_are_those_of_the_jacobian_times_noise():
    torch.manual_seed(0)
    jacobian = torch.randn(3 * 2 * 4, 5 * 7, dtype=torch.float64)  # pixels x (layers x length)
    styles = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    images = (styles.flatten(1) @ jacobian.T).view(2, 3, 2, 4)
    noise = torch.randn_like(images)
    expected = []
    for y in noise.flatten(1):
        rows = (jacobian.T @ (y / math.sqrt(2 * 4))).view(5, 7)
        expected.append((sum(row @ row for row in rows) / 5).sqrt())
    lengths = regularizers.path_lengths(images, styles, noise)
    torch.testing.assert_close(lengths, torch.stack(expected))
    penalty = regularizers.path_length_penalty(lengths, torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(penalty, sum((length - 2.0) ** 2 for length in lengths) / 2)


# ---------------------------------------------------------------------------------------------------------- wiring


class _Level(NoiseGenerator):
    """Images of one level: a weight, initially 3, for all latents."""

    latent, size_px = 2, 32

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(3.0))
        self.drawn = 0

    def draw(self, styles):
        self.drawn += 1
        return self.level.expand(len(styles), 3, 4, 4) + 0.0 * styles.sum()


class _Slope(nn.Module):
    """Its logit is 1.5 times the mean of an image."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.5))

    def forward(self, images):
        return self.slope * images.mean((1, 2, 3), keepdim=True).flatten(1)


def _objective(**changes):
    recipe = replace(load_recipe("dcgan"), **changes)
    return NoiseObjective(recipe, Parts(make_plan(recipe.phases, photos=4, batch=4, crop_px=64), _Level, _Slope))


def _updates(objective, step=0, level=-2.0):
    """(optimizer, terms) of each update; no weight changes."""
    batch = Batch(step, torch.full((4, 3, 4, 4), level))
    return [(update.optimizer, update.compute()) for update in objective.updates(batch)]


def test_d_calls_real_images_real_and_drawn_ones_fake_and_g_wants_the_opposite():
    (first, d_terms), (second, drawn) = _updates(_objective())
    assert (first, second) == ("D", "G")
    softplus = nn.functional.softplus
    torch.testing.assert_close(d_terms["real"].weighted, softplus(torch.tensor(3.0)))  # -log sigmoid(1.5 * -2)
    torch.testing.assert_close(d_terms["fake"].weighted, softplus(torch.tensor(4.5)))  # -log(1 - sigmoid(1.5 * 3))
    torch.testing.assert_close(drawn["adversarial"].weighted, softplus(torch.tensor(-4.5)))


def test_d_teaches_g_nothing_and_g_has_a_gradient_of_its_own():
    objective = _objective()
    (_, d_terms), (_, drawn) = _updates(objective)
    sum(term.weighted for term in d_terms.values()).backward()
    assert objective.networks["generator"].level.grad is None
    assert objective.networks["discriminator"].slope.grad is not None
    drawn["adversarial"].weighted.backward()
    assert objective.networks["generator"].level.grad < 0  # brighter is more real: the loss falls


def test_each_update_draws_latents_of_its_own_and_k_of_d_go_before_one_of_g():
    objective = _objective(optimizer=replace(load_recipe("dcgan").optimizer, discriminator_steps=3))
    assert [name for name, _ in _updates(objective)] == ["D", "D", "D", "G"]
    assert objective.networks["generator"].drawn == 4


def test_r1_comes_every_so_many_steps_counted_as_often_and_adam_is_corrected():
    objective = _objective(regularizers=Regularizers(r1=0.8, r1_every=4))
    assert [len(_updates(objective, step)) for step in range(6)] == [3, 2, 2, 2, 3, 2]
    (name, terms) = _updates(objective)[1]
    assert name == "D"
    # the gradient of 1.5 * mean is 1.5 / 48 at each of 48 pixels
    torch.testing.assert_close(terms["r1"].raw, torch.tensor(0.5 * 1.5**2 / 48))
    assert terms["r1"].weight == pytest.approx(0.8 * 4)
    plain, corrected = _objective().optimizers["D"], objective.optimizers["D"]
    assert corrected.rate_at(0) == pytest.approx(0.8 * plain.rate_at(0))
    assert corrected.betas == pytest.approx((0.5**0.8, 0.999**0.8))
    assert objective.optimizers["G"].betas == _objective().optimizers["G"].betas == (0.5, 0.999)


def test_the_path_length_follows_its_running_mean_and_moves_g_alone():
    objective = make_objective(small("stylegan2"), make_plan(small("stylegan2").phases, photos=4, batch=4, crop_px=32),
                               device=torch.device("cpu"))  # fmt: skip
    torch.manual_seed(0)
    terms = objective._path_terms(torch.zeros(4, 3, 32, 32))
    mean = objective.path_mean
    assert mean > 0.0
    lengths_mean = mean / 0.01  # from 0, one hundredth of the way
    # (l - a)^2 is at least the squared distance of the means
    assert terms["path_length"].raw >= (lengths_mean - mean).square() * 0.999
    assert terms["path_length"].weight == 2.0 * 2
    terms["path_length"].weighted.backward()
    assert all(parameter.grad is None for parameter in objective.networks["discriminator"].parameters())
    assert objective.networks["generator"].constant.grad.abs().sum() > 0
    assert torch.equal(objective.state_dict()["path_mean"], mean)


def test_both_real_and_drawn_images_are_augmented_and_real_ones_steer_it():
    class Augment:
        def __init__(self):
            self.seen, self.logits = [], 0.0

        def __call__(self, images):
            self.seen.append(float(images.detach().mean()))
            return images + 1.0

        def update(self, logits):
            self.logits = float(logits.mean())

    objective = _objective(regularizers=Regularizers(r1=1.0, r1_every=1))
    objective.augment = augment = Augment()
    _updates(objective)
    assert augment.seen == [-2.0, 3.0, -2.0, 3.0]  # real, drawn; real again for R1; drawn for G
    assert augment.logits == pytest.approx(1.5 * (-2.0 + 1.0))


def test_a_discriminator_of_features_sees_them_of_augmented_images_and_teaches_g_through_them():
    recipe = load_recipe("stylegan2+projected")
    assert (recipe.regularizers.r1, recipe.ada.enabled, recipe.losses.adversarial) == (0.0, True, 1.0)
    perceptual = tiny_perceptual()
    plan = make_plan(recipe.phases, photos=4, batch=4, crop_px=64)
    discriminator = ProjectedDiscriminator(perceptual=perceptual, layers="conv1_1 conv1_2", width=4)
    objective = NoiseObjective(
        recipe, Parts(plan, _Level, lambda: discriminator, perceptual, lambda images: images * 0.5)
    )
    expected = discriminator(perceptual.features(torch.full((2, 3, 4, 4), -1.0), discriminator.layers))
    torch.testing.assert_close(objective._discriminate(torch.full((2, 3, 4, 4), -2.0)), expected, rtol=1e-3, atol=1e-4)
    objective._generator_terms(torch.zeros(2, 3, 4, 4))["adversarial"].weighted.backward()
    assert objective.networks["generator"].level.grad != 0.0


# ------------------------------------------------------------------------------------------------------------ runs


def _trainer(recipe, folder: Path, faces=None) -> Trainer:
    seed_everything(1)
    faces = faces or images(5, seed=1, side_px=40)
    data = RunData(faces, [])
    plan = make_plan(recipe.phases, photos=len(faces), batch=4, crop_px=32)
    objective = make_objective(recipe, plan, device=torch.device("cpu"))
    settings = LoopSettings(
        steps=plan.steps, device="cpu", ema_decay=0.9, log_every=50, checkpoint_every=3, samples_every=4
    )
    return Trainer(
        objective, make_source(recipe, data, plan, DataSettings(Path("unused"))), folder, settings,
        config={"recipe": recipe.name, "numbers": recipe.to_dict()}, progress=Progress(tensorboard=False),
        write_sample_grid=latent_grid(objective.networks["generator"], 1, count=16),
    )  # fmt: skip


@pytest.mark.parametrize("name", [*NOISE, "stylegan2+vit", "stylegan2+adain"])
def test_a_recipe_trains_moves_every_network_draws_a_grid_and_resumes_exactly(name, tmp_path):
    trainer = _trainer(small(name), tmp_path)
    before = weights_of(trainer)
    assert trainer.run().finished
    after = weights_of(trainer)
    assert {key.split(".")[0] for key in differing(before, after)} == {"generator", "discriminator", "ema"}
    assert (tmp_path / "samples/step-00000004.png").exists()

    (tmp_path / "checkpoints/step-00000004").rename(tmp_path / "kept")
    resumed = _trainer(small(name), tmp_path)
    assert resumed.run().finished
    assert differing(weights_of(resumed), after) == []


def test_dcgan_comes_to_draw_in_the_colours_of_what_it_learns_from(tmp_path):
    reds = [np.full((32, 32, 3), colour, np.uint8) for colour in ((230, 60, 40), (200, 90, 60), (210, 70, 70))]
    fast = {"phases.train.generator_lr": 2e-3, "phases.train.discriminator_lr": 2e-3}
    recipe = with_lengths(small("dcgan", **fast), steps=180)
    trainer = _trainer(recipe, tmp_path, reds)
    latents = trainer.objective.generator.draw_latents(32)

    def colours():
        return (trainer.stylize(latents).mean((0, 2, 3)) + 1.0) * 127.5

    assert colours().tolist() == pytest.approx([127.5] * 3, abs=10)
    trainer.settings = replace(trainer.settings, checkpoint_every=1000, samples_every=1000)
    assert trainer.run().finished
    red, green, blue = colours().tolist()
    assert red > 145
    assert max(green, blue) < 115, (red, green, blue)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"losses.content": 1.0}, "losses = 'content': allowed is adversarial only"),
        ({"data.crop_px": 48}, "data.crop_px = 48: allowed is a power of two"),
        ({"discriminator_losses.gray": 1.0}, "discriminator_losses = 'gray or smooth'"),
        (
            {"regularizers.path_length": 1.0},
            'regularizers.path_length = 1.0: allowed is 0 unless generator = "stylegan2"',
        ),
        ({"phases.train.crop_px": 32}, "phases.train.crop_px = 32: allowed is data.crop_px"),
        ({"generator": "nano"}, "generator = 'nano': allowed is dcgan, sagan, stylegan2"),
    ],
)
def test_what_a_recipe_from_noise_cannot_have_is_reported_in_one_line(overrides, message):
    with pytest.raises(TrainingError) as told:
        with_overrides(load_recipe("dcgan"), overrides)
    assert message in str(told.value)


def test_what_only_a_recipe_from_noise_can_have_is_refused_elsewhere():
    for overrides in ({"regularizers.r1": 1.0}, {"discriminator": "stylegan2"}):
        with pytest.raises(TrainingError, match=r"regularizers|discriminator = 'stylegan2'"):
            with_overrides(load_recipe("animegan2"), overrides)
