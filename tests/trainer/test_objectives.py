"""Objectives from other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import cv2
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer import run_data, run_networks, stored_runs
from animevid_trainer.cli import main
from animevid_trainer.objectives import registry
from animevid_trainer.recipes import Phase, Recipe
from small_runs import images

_TOML = """
name = "tinted"
summary = "one colour"
generator = "nano"
objective = "tinted"
[generator_options]
width = 8
deep_width = 8
[objective_options]
strength = 3.0
[data]
batch = 2
crop_px = 32
[[phases]]
name = "train"
length_steps = 3
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("tinted", "own_objective:Tinted", "animevid.objectives"),
        EntryPoint("headless", "own_objective:without_generator", "animevid.objectives"),
        EntryPoint("absent", "no_such_module:make", "animevid.objectives"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "animevid.objectives" else [])


def test_an_objective_of_another_package_is_trained_from_a_recipe_file_and_exported(
    installed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(images(4, 1, side_px=64)):
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), image)
    (tmp_path / "tinted.toml").write_text(_TOML)
    run = tmp_path / "run"
    command = ["train", str(tmp_path / "tinted.toml"), "--photos", str(tmp_path / "photos"), "--out", str(run)]
    assert main([*command, "--validation", "0"]) == 0
    last = capsys.readouterr().out.splitlines()[-2]
    weighted, raw = (float(last.split("G/tint ")[1].split()[index].strip("()")) for index in (0, 1))
    assert weighted == pytest.approx(3.0 * raw, rel=1e-2)
    assert type(stored_runs.load_generator(run)).__name__ == "Nano"


def _objective(name: str) -> object:
    recipe = Recipe(
        name=name, summary="", generator="nano", objective=name, objective_options={"strength": 1.0},
        phases=(Phase("train", length_steps=1),),
    )  # fmt: skip
    return run_networks.make_objective(
        recipe.validated(), run_data.make_plan_of(recipe, photos=2), device=torch.device("cpu")
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown", "objective = 'unknown': allowed is stylize, cycle, noise, tinted, headless, absent"),
        ("absent", "objective 'absent' .* cannot be imported: No module named 'no_such_module'"),
        ("headless", "objective 'headless' .* has no network called 'generator'"),
    ],
)
def test_an_objective_that_cannot_be_had_is_refused_by_name(installed: None, name: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        _objective(name)
