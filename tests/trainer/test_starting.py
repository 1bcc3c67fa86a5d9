"""Foreign weights initialize a run or teach it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.cli import main
from animevid_trainer.generators import make_generator
from animevid_trainer.recipes import Recipe, load_recipe
from animevid_trainer.starting import OnnxTeacher, open_any_teacher
from animevid_trainer.stored_runs import starting_weights
from safetensors.torch import save_file
from small_networks import rgb_network
from small_runs import images
from torch import nn


def _generator(recipe: Recipe) -> nn.Module:
    return make_generator(recipe.generator, **recipe.generator_options)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return make_generator("animegan2").state_dict()


@pytest.mark.parametrize("kind", ["pt", "pth", "npy", "safetensors"])
def test_published_weights_of_every_form_start_a_run(
    kind: str, published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    source = tmp_path / ("weights" if kind == "npy" else f"weights.{kind}")
    if kind == "npy":
        source.mkdir()
        for name, value in published.items():
            np.save(source / f"{name}.npy", value.numpy())
    elif kind == "safetensors":
        save_file(published, source)
    else:
        torch.save({"state_dict": {f"module.{name}": value for name, value in published.items()}}, source)
    recipe = load_recipe("animegan2")
    found = starting_weights(source, recipe, _generator(recipe))
    assert all(torch.equal(found[name], value) for name, value in published.items())


def test_weights_of_another_network_name_both(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(published, tmp_path / "v2.safetensors")
    recipe = load_recipe("animegan2-nano")
    with pytest.raises(
        TrainingError, match="holds animegan2, recipe 'animegan2-nano' trains nano; give weights of nano"
    ):
        starting_weights(tmp_path / "v2.safetensors", recipe, _generator(recipe))


@pytest.mark.shared
def test_the_published_cartoongan_starts_the_variant_with_its_norm(shared: Path) -> None:
    weights = shared / "weights/cartoongan_shinkai_fp16.safetensors"
    plain, fitting = load_recipe("cartoongan"), load_recipe("cartoongan+instance")
    with pytest.raises(TrainingError, match=r"has instance norm: train cartoongan\+instance"):
        starting_weights(weights, plain, _generator(plain))
    generator = _generator(fitting)
    generator.load_state_dict(starting_weights(weights, fitting, generator))


def test_any_onnx_stylizer_teaches(tmp_path: Path) -> None:
    file = tmp_path / "theirs.onnx"
    file.write_bytes(rgb_network())
    teacher = open_any_teacher(str(file))
    assert isinstance(teacher, OnnxTeacher)
    (photo,) = images(1, 3, side_px=65)
    drawn = teacher(photo)
    assert (drawn.shape, drawn.dtype) == (photo.shape, np.uint8)
    assert np.abs(drawn.astype(int) - photo).mean() > 5
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, image in enumerate(images(3, 1, side_px=64)):
        cv2.imwrite(str(photos / f"{index}.png"), image)
    numbers = ("losses.perceptual=0", "generator_options.width=8", "data.crop_px=32", "data.batch=2")
    flags = [flag for number in numbers for flag in ("--set", number)]
    command = ["train", "distill+pix2pix", "--teacher", str(file), "--steps", "4", "--photos", str(photos)]
    assert main([*command, "--validation", "0", "--out", str(tmp_path / "run"), *flags]) == 0


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"teacher .*absent\.onnx.: no such file"):
        open_any_teacher(str(tmp_path / "absent.onnx"))
