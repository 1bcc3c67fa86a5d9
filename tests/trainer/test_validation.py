"""The figure that selects the best checkpoint, on images of known quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.build import make_validation
from animevid_trainer.checkpoint import best_checkpoint
from animevid_trainer.data.batches import tensor_of
from animevid_trainer.recipes import LossWeights, load_recipe, with_lengths, with_overrides
from animevid_trainer.run_data import DataSettings, RunData, make_plan_of
from animevid_trainer.run_networks import make_objective
from animevid_trainer.stored_runs import load_generator
from animevid_trainer.validation import StudentValidation, StyleValidation, Validate, middle, middles, spread
from small_runs import differing, images, tiny_perceptual, tiny_trainer, weights_of

_PHOTOS = tensor_of(images(5, seed=1))
_ART = tensor_of(images(6, seed=2)) * 0.3 + 0.6


@pytest.fixture
def validate() -> Validate:
    return StyleValidation(_PHOTOS, _ART, tiny_perceptual(), "conv1_2", ("conv1_2",), on_gray=False)


def test_an_untouched_photo_costs_nothing_in_content_and_one_in_style(validate: Validate) -> None:
    figures = validate(lambda photos: photos)
    assert figures == pytest.approx({"content": 0.0, "style": 1.0, "score": 1.0}, abs=1e-6)


def test_unrelated_art_costs_one_in_content_and_little_in_style(validate: Validate) -> None:
    drawn = iter(_ART[:5].split(4))
    figures = validate(lambda photos: next(drawn))
    assert figures["content"] == pytest.approx(1.0)
    assert figures["style"] < 0.5


def test_the_scene_in_the_arts_colours_beats_both_and_noise_is_worse_than_either(validate: Validate) -> None:
    styled = validate(lambda photos: photos * 0.3 + 0.6)
    noise = validate(lambda photos: torch.randn_like(photos))
    assert styled["score"] < 1.0 < noise["score"]


def test_photos_that_are_the_art_are_refused() -> None:
    validate = StyleValidation(_ART, _ART, tiny_perceptual(), "conv1_2", ("conv1_2",), on_gray=True)
    with pytest.raises(TrainingError, match="the same features as the art"):
        validate(lambda photos: photos)


def test_a_student_scores_its_distance_to_the_teacher() -> None:
    weights = LossWeights(pixel=10.0, gradient=5.0, perceptual=0.1)
    validate = StudentValidation(_PHOTOS, -_PHOTOS, weights, tiny_perceptual(), "conv1_2")
    assert validate(lambda photos: -photos)["score"] == 0.0
    far, near = (validate(lambda photos, k=k: -k * photos) for k in (0.5, 0.9))
    assert far["pixel"] == pytest.approx(10.0 * 0.5 * float(_PHOTOS.abs().mean()), rel=1e-5)
    assert 0.0 < near["score"] < far["score"]
    assert far["score"] == pytest.approx(far["pixel"] + far["gradient"] + far["perceptual"])


def test_middles_are_squares_and_cut_alike() -> None:
    photo = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
    assert middle(photo, 32).shape == (32, 32, 3)
    assert middle(photo, 64).shape == (64, 64, 3)
    ours, theirs = middles(photo, 255 - photo, 32)
    assert (ours == photo[4:36, 14:46]).all()
    assert (theirs == 255 - ours).all()


def test_images_are_taken_from_the_whole_set() -> None:
    assert spread([*range(10)], 5) == [0, 2, 4, 6, 8]
    assert spread([*range(3)], 5) == [0, 1, 2]


def test_validating_does_not_change_what_is_learned(validate: Validate, tmp_path: Path) -> None:
    with_it = tiny_trainer(tmp_path / "with", checkpoint_every=2, validate=validate)
    with_it.run()
    without = tiny_trainer(tmp_path / "without", checkpoint_every=2)
    without.run()
    assert differing(weights_of(with_it), weights_of(without)) == []
    best = best_checkpoint(with_it.checkpoints)
    assert best is not None
    log = (tmp_path / "with/log.jsonl").read_text()
    assert log.count('"validation"') == 4
    assert f'"score": {best[1]}' in log


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("animegan2", StyleValidation),
        ("cartoongan", StyleValidation),
        ("cyclegan", StyleValidation),
        ("distill", StudentValidation),
    ],
)
def test_every_kind_of_recipe_is_validated(name: str, kind: type, shared: Path) -> None:
    weights = shared / "weights/vgg16_conv1_1-conv4_3_fp16.safetensors"
    overrides: dict[str, object] = {"data.crop_px": 32, "perceptual.weights": str(weights)}
    overrides |= {"perceptual.network": "vgg16", "perceptual.content_layer": "conv2_2"}
    overrides |= {f"phases.{phase.name}.crop_px": 32 for phase in load_recipe(name).phases}
    recipe = with_lengths(with_overrides(load_recipe(name), overrides), steps=2)
    plan = make_plan_of(recipe, photos=3)
    objective = make_objective(recipe, plan, device=torch.device("cpu"))
    data = RunData(images(3, 1), images(4, 5), art=images(2, 2))
    settings = DataSettings(Path("unused"))
    looked_at = (plan, objective.looking.perceptual, torch.device("cpu"))
    validate = make_validation(recipe, data, *looked_at, settings, teacher=lambda photo: 255 - photo)
    assert isinstance(validate, kind)
    assert validate(objective.stylize if name == "distill" else lambda photos: photos)["score"] > 0.0
    assert make_validation(recipe, RunData(images(3, 1), []), *looked_at, settings) is None


def test_cyclegan_without_a_perceptual_network_is_not_validated() -> None:
    recipe = with_overrides(load_recipe("cyclegan"), {"generator_options.width": 8, "generator_options.blocks": 1})
    plan = make_plan_of(recipe, photos=3)
    data = RunData(images(3, 1), images(4, 5), art=images(2, 2))
    assert make_validation(recipe, data, plan, None, torch.device("cpu"), DataSettings(Path("unused"))) is None


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=4, checkpoint_every=2).run()
    with pytest.raises(TrainingError, match=r"no best checkpoint \(nothing was validated\); leave --best out"):
        load_generator(tmp_path, step="best")
    with pytest.raises(TrainingError, match=r"has no checkpoint of step 3; there are 2, 4"):
        load_generator(tmp_path, step=3)
