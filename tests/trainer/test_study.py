"""The study resumes, and explains its numbers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from animevid.errors import AnimevidError
from animevid_trainer.cli.train import TRAIN, recipe_from_args
from animevid_trainer.data.images import read_image
from animevid_trainer.files import write_png
from small_runs import images, tiny_perceptual

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import study
from benchmarks.study import METHODS, Cost, Method, with_section


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study of two networks whose training is a stub, on 40 small images of each kind."""
    for what, seed in (("photos", 1), ("art", 2)):
        for index, image in enumerate(images(40, seed=seed, side_px=40)):
            write_png(tmp_path / what / f"{what}-{index}.png", image)
    monkeypatch.setattr(study, "METHODS", (Method("First", "cyclegan"), Method("Second", "cyclegan+edge"), METHODS[-1]))
    monkeypatch.setattr(study, "make_perceptual", lambda *_, **__: tiny_perceptual())
    where = ["--photos", str(tmp_path / "photos"), "--art", str(tmp_path / "art"), "--out", str(tmp_path / "out")]
    return [*where, "--perceptual", "vgg16", "--crop", "32", "--judged", "6"]


def _inverted(folder: Path, photos: dict) -> None:
    for name, photo in photos.items():
        write_png(folder / "drawn" / f"{name}.png", 255 - photo)


def test_an_ended_study_goes_on_with_what_is_missing_and_names_its_distance(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def train(method: Method, *_: object) -> Cost:
        if method.title == "Second" and len(trained) == 1:
            raise KeyboardInterrupt
        (tmp_path / "out" / method.recipe).mkdir(exist_ok=True)
        trained.append(method.title)
        return Cost(init_seconds=float("nan"), step_seconds=0.5)

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "draw", _inverted)
    args = study.parse([*command, "--into", str(tmp_path / "notes.md")])
    (tmp_path / "notes.md").write_text("before\n<!-- study -->\nold\n<!-- study -->\nafter\n")
    with pytest.raises(KeyboardInterrupt):
        study.study(args)
    trained.append("ended")
    study.study(args)
    assert trained == ["First", "ended", "Second", "CartoonGAN-plus without ResNet-50"]

    notes = (tmp_path / "notes.md").read_text()
    assert notes.startswith("before\n<!-- study -->\n")
    assert notes.endswith("<!-- study -->\nafter\n")
    assert "old" not in notes
    assert "| network | Fréchet in VGG16, with ani | Fréchet in VGG16, with photo |" in notes
    assert "there is no FID" in notes
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in notes.splitlines() if line.startswith("| ")]
    lines = {title: cells for title, *cells in rows}
    assert float(lines["the photos themselves"][1]) == pytest.approx(0.0, abs=0.01)
    assert float(lines["First"][1]) > 0.1
    learnt = len(list((tmp_path / "out" / "images" / "photos").glob("*.png")))
    assert 20 < learnt < 40
    assert lines["First"][2:] == ["–", f"{0.5 * -(-learnt // 2):,.0f}"]
    assert read_image(tmp_path / "out" / "study.jpg").shape[0] > 4 * 32


def test_a_study_is_not_gone_on_with_in_other_settings(command: list[str]) -> None:
    study.check_settings(study.parse(command))
    study.check_settings(study.parse(command))
    with pytest.raises(AnimevidError, match="was started with steps 100, not 50; give another --out"):
        study.check_settings(study.parse([*command, "--steps", "50"]))


def test_no_image_is_learnt_from_and_judged_by(command: list[str]) -> None:
    args = study.parse(command)
    prepared = study.prepare(args)
    for folder, aside in ((prepared.photos, prepared.photos_aside), (prepared.art, prepared.art_aside)):
        learnt = {read_image(path).tobytes() for path in folder.glob("*.png")}
        assert 20 < len(learnt) + len(aside) <= 40
        assert not learnt & {image.tobytes() for image in aside.values()}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.recipe)
def test_every_network_of_the_study_is_one_that_train_knows(method: Method, command: list[str], tmp_path: Path) -> None:
    args = study.parse([*command, "--resnet-weights", "resnet.pth", "--perceptual-weights", "vgg.pth"])
    images_of = study.Images(tmp_path / "photos", tmp_path / "art", {}, {})
    parser = argparse.ArgumentParser()
    TRAIN.fill(parser)
    asked = study.train_command(method, images_of, args)
    recipe = recipe_from_args(parser.parse_args(asked[1:]))
    resnet = "resnet" in method.recipe or "plus" in method.recipe
    assert recipe.perceptual.network == ("resnet50" if resnet else "vgg16")
    assert recipe.perceptual.weights == ("resnet.pth" if resnet else "vgg.pth")
    assert (recipe.data.crop_px, recipe.data.batch) == (32, 2)
    assert sum(phase.length_steps for phase in recipe.phases if not phase.content_only) == args.steps


def test_a_file_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(AnimevidError, match="two lines `<!-- study -->`"):
        with_section("no place\n", "table\n")
