"""Recipes have the published numbers, can be printed and read, and refuse invalid overrides."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
from animevid.errors import TrainingError
from animevid_trainer.recipes import (
    RECIPES,
    VARIANTS,
    LossWeights,
    Phase,
    difference,
    list_recipes,
    load_recipe,
    parse_assignment,
    recipe_from_dict,
    recipe_from_toml,
    with_lengths,
    with_overrides,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = (
    "animegan",
    "animegan2",
    "animegan2-shinkai",
    "animegan2-paprika",
    "animegan2-lite",
    "animegan2-nano",
    "cartoongan",
    "cartoongan-plus",
    "cyclegan",
    "distill",
    "dcgan",
    "sagan",
    "stylegan2",
)
FROM_NOISE = ("dcgan", "sagan", "stylegan2")
#: variants that apply only to stylizing photos
_OF_PHOTOS = ("edge", "init", "gan", "pix2pix", "temporal", "colour")


def test_every_recipe_of_the_table_exists_and_can_be_trained():
    assert tuple(RECIPES) == NAMES
    for name in NAMES:
        assert load_recipe(name).name == name


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_changes_a_recipe_into_one_that_can_be_trained(variant):
    changed, refused = [], []
    for base in NAMES:
        try:
            changed.append(len(difference(load_recipe(base), load_recipe(f"{base}+{variant}"))) > 1)
        except TrainingError:
            refused.append(base)
    assert any(changed)  # not only the name differs
    assert refused == [
        *(["cyclegan"] if variant in ("pix2pix", "projected") else []),
        *(FROM_NOISE if variant in _OF_PHOTOS else ()),
    ]


def test_animegan_has_the_papers_numbers():
    recipe = load_recipe("animegan")
    weights = recipe.losses
    assert (weights.adversarial, weights.content, weights.style, weights.colour) == (300.0, 1.5, 3.0, 10.0)
    assert (weights.total_variation, weights.temporal) == (0.0, 0.0)
    d_weights = recipe.discriminator_losses
    assert (d_weights.overall, d_weights.real, d_weights.fake, d_weights.gray, d_weights.smooth) == (
        300.0,
        1.0,
        1.0,
        1.0,
        0.1,
    )
    init, train = recipe.phases
    assert (init.content_only, init.length_epochs, init.generator_lr) == (True, 1.0, 1e-4)
    assert (train.length_epochs, train.generator_lr, train.discriminator_lr) == (100.0, 8e-5, 1.6e-4)
    assert (recipe.data.batch, recipe.data.crop_px, recipe.adversarial) == (4, 256, "lsgan")
    assert (recipe.smooth_negatives, recipe.style_on, recipe.perceptual.network) == ("gray", "gray", "vgg19")


def test_animegan2_has_the_releases_numbers():
    recipe = load_recipe("animegan2")
    weights = recipe.losses
    assert (weights.content, weights.style, weights.colour, weights.total_variation) == (1.5, 2.5, 15.0, 1.0)
    d_weights = recipe.discriminator_losses
    assert (d_weights.overall, d_weights.real, d_weights.fake, d_weights.gray, d_weights.smooth) == (
        300.0,
        1.2,
        1.2,
        1.2,
        0.8,
    )
    assert [phase.generator_lr for phase in recipe.phases] == [2e-4, 2e-5]


@pytest.mark.parametrize(
    ("name", "to_photo_and_art", "to_discriminator"),
    [
        ("animegan2-shinkai", (1.2, 2.0, 10.0, 1.0), (300.0, 1.7, 1.7, 1.7, 1.0)),
        ("animegan2-paprika", (2.0, 0.6, 50.0, 0.1), (300.0, 1.0, 1.0, 1.0, 0.005)),
    ],
)
def test_animegan2_has_the_releases_other_two_columns(name, to_photo_and_art, to_discriminator):
    recipe = load_recipe(name)
    weights, d_weights = recipe.losses, recipe.discriminator_losses
    assert (weights.content, weights.style, weights.colour, weights.total_variation) == to_photo_and_art
    assert (
        d_weights.overall,
        d_weights.real,
        d_weights.fake,
        d_weights.gray,
        d_weights.smooth,
    ) == to_discriminator
    assert recipe.phases == load_recipe("animegan2").phases


PUBLISHED = (
    "animegan",
    "animegan2",
    "animegan2-shinkai",
    "animegan2-paprika",
    "animegan2-lite",
    "cartoongan",
    "cyclegan",
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_sees_whole_images_exports_no_average_and_names_what_differs(name):
    recipe = load_recipe(name)
    assert (recipe.data.whole, recipe.data.crop_px, recipe.optimizer.ema_decay) == (True, 256, 0.0)
    assert recipe.data.flip == (name == "cyclegan")
    assert recipe.data.balance_art == (name == "animegan")  # v1's data_mean
    assert recipe.deviations
    assert all(deviation in recipe.to_toml() for deviation in recipe.deviations)


def test_each_published_discriminator_has_its_own_normalization():
    options = {name: dict(load_recipe(name).discriminator_options) for name in ("animegan", "animegan2", "cartoongan")}
    assert options == {
        "animegan": {"norm": "instance"},
        "animegan2": {},
        "cartoongan": {"norm": "batch", "spectral": False},
    }


def test_flat_images_without_a_teacher_are_refused():
    with pytest.raises(TrainingError, match="flat_images = 5: allowed is 0 without a teacher"):
        with_overrides(load_recipe("animegan2"), {"data.flat_images": 5})


def test_former_names_of_keys_are_read():
    recipe = with_overrides(load_recipe("distill"), {"data.flat_pictures": 3, "ada": {"pictures_to_full": 7}})
    assert (recipe.data.flat_images, recipe.ada.images_to_full) == (3, 7)
    raw = recipe.to_dict()
    raw["data"]["flat_pictures"] = raw["data"].pop("flat_images") + 1
    assert recipe_from_dict(raw).data.flat_images == 4


def test_nano_has_no_initialization_phase_since_it_starts_as_the_identity():
    assert [phase.name for phase in load_recipe("animegan2-nano").phases] == ["train"]


def test_cartoongan_is_bce_with_coloured_smooth_edges_and_ten_initial_epochs():
    recipe = load_recipe("cartoongan")
    assert (recipe.adversarial, recipe.smooth_negatives, recipe.losses.content) == ("bce", "colour", 10.0)
    assert (recipe.discriminator_losses.gray, recipe.discriminator_losses.smooth) == (0.0, 1.0)
    assert (recipe.phases[0].content_only, recipe.phases[0].length_epochs) == (True, 10.0)


def test_cartoongan_plus_is_cartoongan_with_its_four_switches():
    plus = load_recipe("cartoongan-plus")
    switched = load_recipe("cartoongan+instance+leaky+resnet+lsgan")
    assert [line.split(":")[0] for line in difference(plus, switched)] == ["name", "summary"]
    assert plus.generator_options == {"norm": "instance", "activation": "leaky_relu"}
    assert (plus.perceptual.network, plus.adversarial) == ("resnet50", "lsgan")


def test_cyclegan_has_the_papers_numbers_and_its_variants_add_one_thing_each():
    recipe = load_recipe("cyclegan")
    assert (recipe.losses.cycle, recipe.losses.identity, recipe.image_pool, recipe.data.batch) == (10.0, 5.0, 50, 1)
    assert not recipe.uses_perceptual
    assert load_recipe("cyclegan+edge").discriminator_losses.smooth == 0.5
    init = load_recipe("cyclegan+init")
    assert init.phases[0].content_only
    assert (init.uses_perceptual, init.init_content_weight, init.losses.content) == (True, 10.0, 0.0)


def test_distill_needs_a_teacher_and_no_art_until_a_discriminator_is_added():
    plain, adversarial = load_recipe("distill"), load_recipe("distill+gan")
    assert (plain.needs_teacher, plain.needs_art, plain.uses_discriminator) == (True, False, False)
    assert (adversarial.needs_art, adversarial.uses_discriminator) == (True, True)
    assert [phase.adversarial for phase in adversarial.phases] == [False, True]


# ---- printing and reading back


@pytest.mark.parametrize("name", [*NAMES, "cyclegan+edge+init", "distill+gan+ada+vit+colour"])
def test_a_printed_recipe_reads_back_equal(name):
    recipe = load_recipe(name)
    assert recipe_from_toml(str(recipe)) == recipe
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@settings(max_examples=25, deadline=None)
@given(
    content=st.floats(0, 1e6),
    summary=st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
    rate=st.floats(1e-9, 0.5),
    width=st.integers(-5, 5),
)
def test_any_number_and_any_text_survive_printing(content, summary, rate, width):
    recipe = replace(
        load_recipe("animegan2-nano"),
        summary=summary,
        generator_options={"width": width, "flag": True, "word": summary},
        losses=LossWeights(adversarial=1.0, content=content),
        phases=(Phase("train", length_steps=3, generator_lr=rate),),
    )
    assert recipe_from_toml(recipe.to_toml()) == recipe


def test_the_list_names_every_recipe_and_variant():
    listing = list_recipes()
    assert all(name in listing for name in (*RECIPES, *VARIANTS))


def test_listing_recipes_does_not_import_torch():
    code = "import sys, animevid_trainer.recipes as r; r.list_recipes(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_is_frozen_to_the_bottom():
    recipe = load_recipe("cartoongan-plus")
    with pytest.raises(TypeError):
        recipe.generator_options["norm"] = "batch"


# ---- overrides


def test_nested_dotted_and_phase_overrides_say_the_same():
    recipe = load_recipe("animegan2")
    nested = with_overrides(recipe, {"losses": {"content": 2}, "phases": {"train": {"generator_lr": 1e-4}}})
    dotted = with_overrides(recipe, {"losses.content": 2.0, "phases.train.generator_lr": 1e-4})
    assert nested == dotted
    assert difference(recipe, dotted) == [
        "losses.content: 1.5 -> 2.0",
        "phases.train.generator_lr: 2e-05 -> 0.0001",
    ]


def test_a_toml_file_may_name_a_recipe_and_only_what_differs():
    recipe = recipe_from_toml(
        'recipe = "animegan2+ada"\n[data]\nbatch = 2\n[generator_options]\nupsampling = "half_pixel"'
    )
    assert (recipe.ada.enabled, recipe.data.batch, recipe.data.crop_px) == (True, 2, 256)
    assert recipe.generator_options == {"upsampling": "half_pixel"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.b=2", ("a.b", 2)), ("a=1e-4", ("a", 1e-4)), ("a = true", ("a", True)), ("a=vgg16", ("a", "vgg16"))],
)
def test_an_assignment_is_read_as_toml_or_a_bare_word(text, expected):
    assert parse_assignment(text) == expected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"losses.contnet": 1.0}, "did you mean 'content'"),
        ({"loses.content": 1.0}, "did you mean 'losses'"),
        ({"losses.content": -1.0}, "losses.content = -1.0"),
        ({"losses.content": math.nan}, "losses.content"),
        ({"losses.content": "much"}, "a valid number"),
        ({"data.batch": 0}, "data.batch = 0"),
        ({"data.batch": 2.5}, "a valid integer"),
        ({"data.batch": True}, "a valid integer"),
        ({"perceptual.network": "vgg11"}, "'vgg19', 'vgg16' or 'resnet50'"),
        ({"perceptual.content_layer": "conv9_9"}, "conv4_4"),
        ({"generator": "unet"}, "animegan2-lite"),
        ({"phases.trian.generator_lr": 1e-4}, "init, train"),
        ({"phases.train.generator_lr": 0.0}, "generator_lr = 0.0"),
        ({"phases.train.length_steps": 10}, "exactly one positive"),
        ({"phases": []}, "at least one phase"),
        ({"losses": 3}, "allowed is a dictionary"),
        ({"losses.cycle": 1.0}, '0 unless objective = "cycle"'),
        ({"discriminator": "none"}, "without a discriminator"),
        ({"data.crop_scale_low": 2.0}, "low <= high"),
        ({"ada.largest_p": 1.5}, "less than or equal to 1"),
    ],
)
def test_an_override_that_cannot_be_trained_is_refused_in_one_line(overrides, message):
    with pytest.raises(TrainingError, match=message.replace("(", r"\(")) as caught:
        with_overrides(load_recipe("animegan2"), overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["animegan4", "animegan2+rainbow", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(TrainingError, match="is none of"):
        load_recipe(name)


def test_a_file_that_is_not_toml_is_refused():
    with pytest.raises(TrainingError, match="not TOML"):
        recipe_from_toml("losses = [")


def test_an_assignment_without_a_value_is_refused():
    with pytest.raises(TrainingError, match="KEY=VALUE"):
        parse_assignment("losses.content")


# ---- phases


def test_lengths_in_steps_are_shared_out_over_the_phases_in_proportion():
    recipe = with_lengths(load_recipe("cyclegan+init"), steps=300, init_steps=7)
    assert [(phase.name, phase.length_steps) for phase in recipe.phases] == [
        ("init", 7),
        ("train", 150),
        ("decay", 150),
    ]
    assert recipe.validated() is recipe


def test_no_initial_steps_leave_the_initialization_out():
    assert [phase.name for phase in with_lengths(load_recipe("animegan"), init_steps=0).phases] == ["train"]


@pytest.mark.parametrize(
    ("name", "lengths"),
    [("animegan", {"steps": -1}), ("animegan", {"steps": 0, "init_steps": 0}), ("cyclegan", {"init_steps": 5})],
)
def test_lengths_that_leave_nothing_or_name_no_phase_are_refused(name, lengths):
    with pytest.raises(TrainingError, match="steps"):
        with_lengths(load_recipe(name), **lengths)


def test_an_epoch_sees_each_photo_once():
    phase = Phase("train", length_epochs=2.0)
    assert phase.steps(photos=10, batch=4) == 6
    assert replace(phase, batch=5).steps(photos=10, batch=4) == 4
    assert Phase("train", length_steps=9).steps(photos=10, batch=4) == 9


def test_schedules_start_at_one_and_end_where_they_say():
    for schedule, end in (("constant", 1.0), ("linear", 0.1), ("cosine", 0.1)):
        phase = Phase("train", length_steps=100, schedule=schedule, final_lr_factor=0.1)
        assert phase.lr_factor(0, steps=100) == pytest.approx(1.0)
        assert phase.lr_factor(100, steps=100) == pytest.approx(end)
    assert Phase("t", schedule="cosine").lr_factor(50, steps=100) == pytest.approx(0.5)
    warm = Phase("t", warmup_steps=4)
    assert [warm.lr_factor(step, steps=100) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
