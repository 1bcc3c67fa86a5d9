"""Every term of every recipe: its images, sign, weight, phase and order.

Recipes are built as in a run, but from stub networks with known output, on batches of one colour each. Expected numbers
are arithmetic on those colours and on the publications' weights, which are repeated here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from animevid_trainer import build, run_data, run_networks
from animevid_trainer.data.batches import Batch
from animevid_trainer.objectives import CycleObjective, StylizeObjective, stylize
from animevid_trainer.objectives import terms as generator_terms
from animevid_trainer.objectives.disturbance import Disturbance
from animevid_trainer.recipes import LossWeights, Recipe, load_recipe, with_overrides
from small_runs import tiny_trainer
from torch import Tensor, nn

Colour = tuple[float, float, float]

PHOTO: Colour = (0.30, -0.20, 0.10)
TARGET: Colour = (-0.40, 0.25, 0.05)
ART: Colour = (0.60, 0.15, -0.35)
ART_GRAY: Colour = (0.22, 0.22, 0.22)
SMOOTH: Colour = (0.50, 0.05, -0.25)
SMOOTH_GRAY: Colour = (0.12, 0.12, 0.12)

SIDE = 32
FORWARD, BACKWARD = (0.5, 0.1), (-0.7, 0.2)  # G(x) = a x + b
D_WEIGHTS, PHOTO_D = (0.3, 0.9, -0.4), (-0.2, 0.5, 0.8)  # D(x) = w . x, one logit per pixel
CONTENT_GAIN, TEACHER_GAIN = 3.0, 5.0  # features: the image times this


class _Affine(nn.Module):
    """``a x + b``, plus a horizontal ramp of ``slope`` if given."""

    def __init__(self, gain: float, offset: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.offset = nn.Parameter(torch.tensor(offset))
        self.slope = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x + self.offset + self.slope * torch.arange(x.shape[-1], dtype=x.dtype)


class _LinearD(nn.Module):
    def __init__(self, weights: Colour) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weights * x).sum(1, keepdim=True)


class _Features(nn.Module):
    """Images times a constant of each layer."""

    default_layer = "content"

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        return {layer: images * (TEACHER_GAIN if layer == "conv2_2" else CONTENT_GAIN) for layer in layers}


def _of(colour: Colour) -> Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(2, 3, SIDE, SIDE).clone()


def batch_at(step: int) -> Batch:
    return Batch(step, _of(PHOTO), _of(TARGET), _of(ART), _of(ART_GRAY), _of(SMOOTH), _of(SMOOTH_GRAY))


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe], StylizeObjective | CycleObjective]:
    """The objective of a recipe, on stub networks."""

    def objective_of(recipe: Recipe) -> StylizeObjective | CycleObjective:
        generators, discriminators = iter((FORWARD, BACKWARD)), iter((D_WEIGHTS, PHOTO_D))
        monkeypatch.setattr(run_networks, "make_generator", lambda *_, **__: _Affine(*next(generators)))
        monkeypatch.setattr(run_networks, "make_discriminator", lambda *_, **__: _LinearD(next(discriminators)))
        monkeypatch.setattr(run_networks, "make_perceptual_of", lambda *_, **__: _Features())
        plan = run_data.make_plan_of(recipe, photos=10)
        return run_networks.make_objective(recipe, plan, device=torch.device("cpu"))

    return objective_of


def _found(objective: StylizeObjective | CycleObjective, step: int) -> list[tuple[str, dict[str, float]]]:
    return [
        (update.optimizer, {name: term.weighted.item() for name, term in update.compute().items()})
        for update in objective.updates(batch_at(step))
    ]


def _train_step(recipe: Recipe, phase: str) -> int:
    plan = run_data.make_plan_of(recipe, photos=10)
    return next(place.first_step for place in plan.spans if place.phase.name == phase)


# ------------------------------------------------------------------------------------------ by hand, without tensors


def drawn(colour: Colour, by: tuple[float, float] = FORWARD) -> Colour:
    red, green, blue = (by[0] * channel + by[1] for channel in colour)
    return red, green, blue


def logit(colour: Colour, weights: Colour = D_WEIGHTS) -> float:
    return sum(weight * channel for weight, channel in zip(weights, colour, strict=True))


def l1(first: Colour, second: Colour) -> float:
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / 3


def gram_l1(first: Colour, second: Colour) -> float:
    # F F^T / (C H W) of a map of one colour c is c c^T / 3.
    pairs = [(i, j) for i in range(3) for j in range(3)]
    return sum(abs(first[i] * first[j] - second[i] * second[j]) / 3 for i, j in pairs) / 9


def yuv(colour: Colour) -> Colour:
    red, green, blue = ((channel + 1) / 2 for channel in colour)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma, 0.492110 * (blue - luma), 0.877283 * (red - luma)


def colour_distance(first: Colour, second: Colour) -> float:
    (y1, u1, v1), (y2, u2, v2) = yuv(first), yuv(second)
    return abs(y1 - y2) + (u1 - u2) ** 2 / 2 + (v1 - v2) ** 2 / 2


def lsgan(value: float, *, real: bool) -> float:
    return (value - 1) ** 2 if real else value**2


def bce(value: float, *, real: bool) -> float:
    return math.log1p(math.exp(-value)) if real else math.log1p(math.exp(value))


def times(colour: Colour, gain: float) -> Colour:
    red, green, blue = colour
    return gain * red, gain * green, gain * blue


def approx(expected: dict[str, float]) -> object:
    return pytest.approx(expected, rel=2e-5, abs=2e-6)


# --------------------------------------------------------------------------------------------------------- AnimeGANs

#: adversarial; content, style, colour, total variation; D: overall; real, fake, gray, smooth
ANIMEGANS = {
    "animegan": (300, (1.5, 3, 10, 0), 300, (1, 1, 1, 0.1)),
    "animegan2": (300, (1.5, 2.5, 15, 1), 300, (1.2, 1.2, 1.2, 0.8)),
    "animegan2-lite": (300, (1.5, 2.5, 15, 1), 300, (1.2, 1.2, 1.2, 0.8)),
    "animegan2-shinkai": (300, (1.2, 2, 10, 1), 300, (1.7, 1.7, 1.7, 1)),
    "animegan2-paprika": (300, (2, 0.6, 50, 0.1), 300, (1, 1, 1, 0.005)),
}


def _discriminator_terms(overall: float, weights: Sequence[float]) -> dict[str, float]:
    real, fake, gray, smooth = weights
    return {
        "real": overall * real * lsgan(logit(ART), real=True),
        "fake": overall * fake * lsgan(logit(drawn(PHOTO)), real=False),
        "gray": overall * gray * lsgan(logit(ART_GRAY), real=False),
        "smooth": overall * smooth * lsgan(logit(SMOOTH_GRAY), real=False),
    }


@pytest.mark.parametrize("name", ANIMEGANS)
def test_an_animegan_trains_d_on_its_four_kinds_of_images_then_g_on_its_terms(name, make):
    adversarial, (content, style, colour, variation), overall, d_weights = ANIMEGANS[name]
    recipe = load_recipe(name)
    (first, d), (second, g) = _found(make(recipe), _train_step(recipe, "train"))
    ours = drawn(PHOTO)
    assert (first, second) == ("D", "G")
    assert d == approx(_discriminator_terms(overall, d_weights))
    expected = {
        "adversarial": adversarial * lsgan(logit(ours), real=True),
        "content": content * CONTENT_GAIN * l1(ours, PHOTO),
        "style": style * CONTENT_GAIN**2 * gram_l1(ours, ART_GRAY),
        "colour": colour * colour_distance(ours, PHOTO),
    }
    assert g == approx(expected | ({"total_variation": 0.0} if variation else {}))


def test_style_and_smooth_negatives_may_be_taken_from_art_in_colour(make):
    recipe = with_overrides(load_recipe("animegan2"), {"style_on": "colour", "smooth_negatives": "colour"})
    (_, d), (_, g) = _found(make(recipe), _train_step(recipe, "train"))
    assert g["style"] == pytest.approx(2.5 * CONTENT_GAIN**2 * gram_l1(drawn(PHOTO), ART), rel=1e-4)
    assert d["smooth"] == pytest.approx(300 * 0.8 * lsgan(logit(SMOOTH), real=False), rel=1e-4)


@pytest.mark.parametrize("name", ANIMEGANS)
def test_an_animegan_begins_with_the_content_loss_alone_at_its_own_weight(name, make):
    content = ANIMEGANS[name][1][0]
    found = _found(make(load_recipe(name)), 0)
    assert [optimizer for optimizer, _ in found] == ["G_init"]
    assert found[0][1] == approx({"content": content * CONTENT_GAIN * l1(drawn(PHOTO), PHOTO)})


def test_nano_has_animegan2s_terms_from_its_first_step_and_the_temporal_term_at_ten(make, monkeypatch):
    monkeypatch.setattr(generator_terms, "draw_disturbance", lambda *_: Disturbance(0, 0, 1.1, 0.0))
    (_, d), (_, g) = _found(make(load_recipe("animegan2-nano")), 0)
    assert d == approx(_discriminator_terms(300, (1.2, 1.2, 1.2, 0.8)))
    # T p = 1.1 (p + 1) - 1 in both: |G(T p) - T G(p)| = 0.1 |a - b - 1|
    gain, offset = FORWARD
    assert g["temporal"] == pytest.approx(10 * 0.1 * abs(gain - offset - 1), rel=1e-4)
    assert set(g) == {"adversarial", "content", "style", "colour", "total_variation", "temporal"}


# -------------------------------------------------------------------------------------------------------- CartoonGAN


def test_cartoongan_is_bce_with_coloured_smooth_negatives_at_full_weight(make):
    recipe = load_recipe("cartoongan")
    objective = make(recipe)
    (first, d), (second, g) = _found(objective, _train_step(recipe, "train"))
    ours = drawn(PHOTO)
    assert (first, second) == ("D", "G")
    assert d == approx(
        {
            "real": bce(logit(ART), real=True),
            "fake": bce(logit(ours), real=False),
            "smooth": bce(logit(SMOOTH), real=False),
        }
    )
    assert g == approx({"adversarial": bce(logit(ours), real=True), "content": 10 * CONTENT_GAIN * l1(ours, PHOTO)})
    assert _found(objective, 0)[0][1] == approx({"content": 10 * CONTENT_GAIN * l1(ours, PHOTO)})


def test_cartoongan_plus_discriminates_by_least_squares(make):
    recipe = load_recipe("cartoongan-plus")
    (_, d), (_, g) = _found(make(recipe), _train_step(recipe, "train"))
    assert d["smooth"] == pytest.approx(lsgan(logit(SMOOTH), real=False), rel=1e-4)
    assert g["adversarial"] == pytest.approx(lsgan(logit(drawn(PHOTO)), real=True), rel=1e-4)


def test_batch_norm_sees_each_kind_of_image_alone(make, monkeypatch):
    recipe = load_recipe("cartoongan")
    objective = make(recipe)
    objective.networks["discriminator"] = nn.Sequential(nn.BatchNorm2d(3), _LinearD(D_WEIGHTS))
    objective.discriminates_apart = stylize.has_batch_norm(objective.networks["discriminator"])
    (_, d), _ = _found(objective, _train_step(recipe, "train"))
    # instance-normalized, an image of one colour has logit 0
    assert d == pytest.approx(dict.fromkeys(("real", "fake", "smooth"), math.log(2)), rel=1e-4)


# ---------------------------------------------------------------------------------------------------------- CycleGAN


def test_cyclegan_trains_both_gs_then_both_ds_at_half_weight(make):
    (first, g), (second, d) = _found(make(load_recipe("cyclegan")), 0)
    fake_art, fake_photo = drawn(PHOTO, FORWARD), drawn(ART, BACKWARD)
    assert (first, second) == ("G", "D")
    assert g == approx(
        {
            "adversarial": lsgan(logit(fake_art), real=True),
            "adversarial_backward": lsgan(logit(fake_photo, PHOTO_D), real=True),
            "cycle": 10 * l1(drawn(fake_art, BACKWARD), PHOTO),
            "cycle_backward": 10 * l1(drawn(fake_photo, FORWARD), ART),
            "identity": 5 * l1(drawn(ART, FORWARD), ART),
            "identity_backward": 5 * l1(drawn(PHOTO, BACKWARD), PHOTO),
        }
    )
    assert d == approx(
        {
            "real": 0.5 * lsgan(logit(ART), real=True),
            "fake": 0.5 * lsgan(logit(fake_art), real=False),
            "photo_real": 0.5 * lsgan(logit(PHOTO, PHOTO_D), real=True),
            "photo_fake": 0.5 * lsgan(logit(fake_photo, PHOTO_D), real=False),
        }
    )


def test_cyclegan_with_edges_adds_coloured_smooth_negatives_to_the_art_discriminator_only(make):
    _, (_, d) = _found(make(load_recipe("cyclegan+edge")), 0)
    assert d["smooth"] == pytest.approx(0.5 * lsgan(logit(SMOOTH), real=False), rel=1e-4)
    assert set(d) == {"real", "fake", "photo_real", "photo_fake", "smooth"}


def test_cyclegan_with_an_initial_phase_teaches_both_generators_the_content_of_their_own_input(make):
    ((name, terms),) = _found(make(load_recipe("cyclegan+init")), 0)
    assert name == "G_init"
    assert terms == approx(
        {
            "content": 10 * CONTENT_GAIN * l1(drawn(PHOTO, FORWARD), PHOTO),
            "content_backward": 10 * CONTENT_GAIN * l1(drawn(ART, BACKWARD), ART),
        }
    )


def test_cyclegan_shows_each_discriminator_older_fakes_of_its_own_domain(make, monkeypatch):
    objective = make(load_recipe("cyclegan"))
    older = {"art": _of(SMOOTH), "photo": _of(TARGET)}
    for name, pool in objective.pools.items():
        monkeypatch.setattr(pool, "exchange", lambda _, name=name: older[name])
    _, (_, d) = _found(objective, 0)
    assert d["fake"] == pytest.approx(0.5 * lsgan(logit(SMOOTH), real=False), rel=1e-4)
    assert d["photo_fake"] == pytest.approx(0.5 * lsgan(logit(TARGET, PHOTO_D), real=False), rel=1e-4)


# ------------------------------------------------------------------------------------------------------------ distill


def test_a_student_is_compared_with_its_teachers_image(make):
    ((name, g),) = _found(make(load_recipe("distill")), 0)
    ours = drawn(PHOTO)
    assert name == "G"
    assert g == approx({"pixel": 10 * l1(ours, TARGET), "perceptual": CONTENT_GAIN * l1(ours, TARGET), "gradient": 0.0})


def test_a_student_may_be_compared_at_a_layer_of_its_own(make):
    recipe = with_overrides(load_recipe("distill"), {"perceptual.teacher_layer": "conv2_2"})
    ((_, g),) = _found(make(recipe), 0)
    assert g["perceptual"] == pytest.approx(TEACHER_GAIN * l1(drawn(PHOTO), TARGET), rel=1e-4)


def test_a_student_with_a_gan_meets_it_in_its_last_phase_only(make):
    recipe = load_recipe("distill+gan+colour")
    objective = make(recipe)
    ((only, early),) = _found(objective, 0)
    (first, d), (second, late) = _found(objective, _train_step(recipe, "adversarial"))
    ours = drawn(PHOTO)
    assert (only, first, second) == ("G", "D", "G")
    assert "adversarial" not in early
    assert late["adversarial"] == pytest.approx(lsgan(logit(ours), real=True), rel=1e-4)
    assert early["colour"] == pytest.approx(10 * colour_distance(ours, PHOTO), rel=1e-4)
    assert d == approx(_discriminator_terms(1, (1, 1, 1, 0.5)))


def test_a_phase_without_content_has_all_terms_but_that(make):
    recipe = load_recipe("animegan2")
    free = replace(recipe, phases=(replace(recipe.phases[1], content=False),))
    *_, (_, g) = _found(make(free), 0)
    assert set(g) == {"adversarial", "style", "colour", "total_variation"}


def test_pix2pix_discriminates_the_photo_together_with_the_teachers_image_and_with_ours(make, monkeypatch):
    recipe = load_recipe("distill+pix2pix")
    objective = make(recipe)
    pair_weights = torch.tensor((*PHOTO_D, *D_WEIGHTS)).view(1, 6, 1, 1)
    discriminator = objective.networks["discriminator"]
    monkeypatch.setattr(discriminator, "forward", lambda x: (pair_weights * x).sum(1, keepdim=True))
    (_, d), (_, g) = _found(objective, _train_step(recipe, "adversarial"))
    of_photo, ours = logit(PHOTO, PHOTO_D), drawn(PHOTO)
    assert d == approx(
        {
            "real": 0.5 * lsgan(of_photo + logit(TARGET), real=True),
            "fake": 0.5 * lsgan(of_photo + logit(ours), real=False),
        }
    )
    assert g["adversarial"] == pytest.approx(lsgan(of_photo + logit(ours), real=True), rel=1e-4)


def test_a_conditional_discriminator_takes_six_channels_and_needs_no_art():
    recipe = load_recipe("distill+pix2pix")
    assert (recipe.needs_art, recipe.needs_teacher) == (False, True)
    recipe = with_overrides(recipe, {"losses.perceptual": 0.0})
    objective = run_networks.make_objective(
        recipe, run_data.make_plan_of(recipe, photos=10), device=torch.device("cpu")
    )
    assert objective.networks["discriminator"].layers[0].weight.shape[1] == 6


def test_each_weight_of_a_loss_has_a_term_or_belongs_to_an_objective():
    weights = {field.name for field in fields(LossWeights)}
    assert weights == {*generator_terms.GENERATOR_TERMS, "adversarial", "init_content", "cycle", "identity"}


def test_a_weighted_term_is_logged_beside_its_raw_value(tmp_path):
    seen = []
    tiny_trainer(tmp_path, steps=3, on_line=seen.append).run()
    terms = seen[-1].terms
    assert terms["G/style"] == pytest.approx(3.0 * terms["G/style/raw"])
    assert "G/total_variation/raw" not in terms  # its weight is 1
    assert f"G/style {terms['G/style']:.4g} ({terms['G/style/raw']:.4g})" in str(seen[-1])


# ----------------------------------------------------------------------- terms that vanish on images of one colour


def _ramped(make: Callable[[Recipe], StylizeObjective], name: str, **losses: float) -> dict[str, float]:
    """G's terms if it adds a ramp of 0.01 per pixel."""
    recipe = load_recipe(name)
    recipe = replace(recipe, losses=replace(recipe.losses, **losses))
    objective = make(recipe)
    objective.networks["generator"].slope = 0.01
    return _found(objective, _train_step(recipe, recipe.phases[-1].name))[-1][1]


def test_total_variation_gradient_and_flatness_charge_a_ramp_by_its_slope(make):
    assert _ramped(make, "animegan2")["total_variation"] == pytest.approx(0.5 * 0.01**2, rel=1e-3)
    assert _ramped(make, "animegan2-paprika")["total_variation"] == pytest.approx(0.1 * 0.5 * 0.01**2, rel=1e-3)
    assert _ramped(make, "distill")["gradient"] == pytest.approx(20 * 0.01, rel=1e-3)
    assert _ramped(make, "animegan2", flatness=7.0)["flatness"] == pytest.approx(7 * 0.01, rel=1e-3)


def test_a_gradient_term_with_a_teacher_looks_at_its_image_and_not_at_the_photo(make):
    objective = make(load_recipe("distill"))
    ramp = 0.5 * torch.arange(SIDE) / SIDE
    batch = replace(batch_at(0), target=_of(TARGET) + ramp)
    (update,) = objective.updates(batch)
    # G's output for a uniform photo is uniform; the teacher's image has a slope of 0.5 / 32
    assert update.compute()["gradient"].weighted.item() == pytest.approx(20 * 0.5 / SIDE, rel=1e-3)


def test_a_gradient_term_without_a_teacher_looks_at_the_photo(make):
    recipe = load_recipe("animegan2")
    objective = make(replace(recipe, losses=replace(recipe.losses, gradient=2.0)))
    step = _train_step(recipe, "train")
    ramp = 0.5 * torch.arange(SIDE) / SIDE
    batch = replace(batch_at(step), photo=_of(PHOTO) + ramp, target=None)
    found = list(objective.updates(batch))[-1].compute()["gradient"].weighted
    # G halves the slope of 0.5 / 32
    assert found.item() == pytest.approx(2 * 0.5 * 0.5 / SIDE, rel=1e-3)


def test_what_moves_between_frames_moves_in_the_image(make, monkeypatch):
    monkeypatch.setattr(generator_terms, "draw_disturbance", lambda *_: Disturbance(0, 3, 1.0, 0.0))
    # G's ramp stays in place when the photo moves by 3 pixels; it should move, too.
    assert _ramped(make, "animegan2-nano")["temporal"] == pytest.approx(10 * 3 * 0.01, rel=1e-3)


# ------------------------------------------------------------------------------------------------- which side learns


def _gradients(objective: StylizeObjective | CycleObjective, optimizer: str, step: int) -> dict[str, bool]:
    for update in objective.updates(batch_at(step)):
        terms = update.compute()
        if update.optimizer == optimizer:
            torch.stack([term.weighted for term in terms.values()]).sum().backward()
            break
    return {name: any(p.grad is not None for p in network.parameters()) for name, network in objective.networks.items()}


def test_ds_loss_reaches_no_generator(make):
    for name in ("animegan2", "cartoongan", "cyclegan"):
        recipe = load_recipe(name)
        learns = _gradients(make(recipe), "D", _train_step(recipe, "train"))
        assert {network for network, learning in learns.items() if learning} == {
            network for network in learns if network.endswith("discriminator")
        }


def test_ds_loss_reaches_no_generator_of_cyclegan_without_a_pool_either(make):
    learns = _gradients(make(with_overrides(load_recipe("cyclegan"), {"image_pool": 0})), "D", 0)
    assert not learns["generator"]
    assert not learns["backward_generator"]


def test_the_generator_is_led_towards_what_d_calls_real(make):
    recipe = load_recipe("animegan2")
    recipe = replace(recipe, losses=replace(recipe.losses, content=0.0, style=0.0, colour=0.0, total_variation=0.0))
    recipe = replace(recipe, phases=recipe.phases[1:])
    objective = make(recipe)
    *_, update = objective.updates(batch_at(0))
    update.compute()["adversarial"].weighted.backward()
    # D's logit grows with 0.8 times G's offset and is below 1: the loss falls as the offset grows.
    assert logit(drawn(PHOTO)) < 1
    assert float(objective.networks["generator"].offset.grad) < 0


def test_d_may_take_several_steps_a_step_of_g_or_rest_in_some(make):
    recipe = load_recipe("animegan2")
    step = _train_step(recipe, "train")
    often = make(with_overrides(recipe, {"optimizer.discriminator_steps": 3}))
    assert [name for name, _ in _found(often, step)] == ["D", "D", "D", "G"]
    seldom = make(with_overrides(recipe, {"optimizer.discriminator_every": 2}))
    assert [[name for name, _ in _found(seldom, step + k)] for k in (0, 1)] in (
        [["D", "G"], ["G"]],
        [["G"], ["D", "G"]],
    )


@pytest.mark.slow
def test_a_few_mutations_of_losses_and_objectives_are_caught():
    import mutations

    assert mutations.main(["--every", "12"]) == 0


def test_every_mutation_still_finds_its_place_in_the_source():
    import mutations

    source = Path(build.__file__).parent
    assert len(mutations.MUTATIONS) >= 30
    missing = [m.old for m in mutations.MUTATIONS if (source / m.file).read_text().count(m.old) != 1]
    assert missing == []
