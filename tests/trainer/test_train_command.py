"""The messages of `animevid train`: missing inputs, estimates, and the response to a stop."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer import perceptual, run_data
from animevid_trainer.cadence import Cadence, Every, parse_every
from animevid_trainer.cli import main
from animevid_trainer.loop import Means
from animevid_trainer.progress import ProgressLine
from animevid_trainer.stopping import StopRequest
from safetensors.torch import save_file
from small_runs import images, tiny_trainer

_DISTILL = ["train", "distill", "--teacher", "bilateral", "--set", "losses.perceptual=0", "--validation", "0.2"]
_SMALL = ["generator_options.width=8", "generator_options.deep_width=8", "data.crop_px=32", "data.batch=2"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train_command")
    for name, count, seed in (("photos", 12, 1), ("art", 3, 2)):
        (folder / name).mkdir()
        for index, image in enumerate(images(count, seed, side_px=96)):
            cv2.imwrite(str(folder / name / f"{index}.png"), image)
    return folder


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("images were read first")

    monkeypatch.setattr(run_data, "open_images", fail)


def _command(folders: Path, *flags: str) -> list[str]:
    return ["train", *flags, "--photos", str(folders / "photos"), "--out", str(folders / "run")]


def test_missing_perceptual_weights_are_reported_before_any_photo_is_read_with_the_remedy(
    folders: Path, no_reading: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = perceptual.PublishedWeights("http://127.0.0.1:9/vgg19-00000000.pth", "00000000", 575)
    monkeypatch.setitem(perceptual.PUBLISHED, "vgg19", absent)
    monkeypatch.setenv("ANIMEVID_CACHE", str(tmp_path / "cache"))
    assert main(_command(folders, "animegan2-nano", "--art", str(folders / "art"))) == 8
    error = capsys.readouterr().err
    for part in (absent.url, "575 MB", "+vgg16 --perceptual-weights FILE", perceptual.PUBLISHED["vgg16"].url, "553 MB"):
        assert part in error


def test_weights_of_the_other_vgg_name_the_variant_that_takes_them(
    folders: Path, no_reading: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vgg.safetensors"
    save_file({name: torch.zeros(1) for name in ("conv1_1.weight", "conv3_3.weight", "conv4_1.weight")}, file)
    flags = ("animegan2", "--art", str(folders / "art"), "--perceptual-weights", str(file))
    assert main(_command(folders, *flags)) == 8
    assert "holds vgg16, not vgg19: add +vgg16 to the recipe's name" in capsys.readouterr().err


def test_one_folder_for_photos_and_art_is_refused(
    folders: Path, no_reading: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_command(folders, "animegan2-nano", "--art", str(folders / "art" / ".." / "photos"))) == 8
    assert "--photos and --art are the same folder" in capsys.readouterr().err


def test_a_run_begins_with_what_it_will_do_and_soon_says_how_long_that_takes(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    numbers = [flag for number in _SMALL for flag in ("--set", number)]
    command = [*_DISTILL, *numbers, "--steps", "5", "--photos", str(folders / "photos"), "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("distill: a student learns")
    assert any(line.split()[:2] == ["steps", "5,"] for line in said)
    assert any(str(out / "samples") in line and "after 1 min, then every 10 min" in line for line in said)
    assert any(str(out / "checkpoints") in line and "Ctrl-C" in line for line in said)
    steps = [line for line in said if "eta" in line]
    assert [line.split("/")[0] for line in steps] == ["1", "3", "5"]
    assert said.index(steps[1]) - 1 == next(i for i, line in enumerate(said) if line.startswith("  expected"))


def test_dark_drawings_and_few_photos_bring_the_authors_advice(tmp_path: Path) -> None:
    from animevid_trainer.cli.train import banner

    trainer = tiny_trainer(tmp_path, steps=1)
    data = {"photos_trained_on": 400, "photos_kept_for_validation": 20, "art_images": 60, "art_dark": 0}
    trainer.about = {"data": data}
    assert "3,000 photos of people" in banner(trainer)
    assert "are dark" not in banner(trainer)
    trainer.about = {"data": {**data, "photos_trained_on": 3000, "art_dark": 7}}
    assert "for portraits" not in banner(trainer)
    assert "7 drawings are dark" in banner(trainer)
    assert "--set data.lowest_art_brightness=100" in banner(trainer)


def test_dark_drawings_are_counted(folders: Path, tmp_path: Path) -> None:
    from animevid_trainer.recipes import load_recipe

    for index, level in enumerate((20, 40, 128)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((300, 300, 3), level, np.uint8))
    settings = run_data.DataSettings(folders / "photos", tmp_path)
    assert run_data.open_data(load_recipe("animegan2"), settings).statistics.dark == 2


# ------------------------------------------------------------------------------------------------------------- cadence


def test_by_the_clock_the_gaps_double_up_to_the_longest() -> None:
    cadence = Cadence(Every(seconds=600, first_seconds=60), start=1000.0)
    happened = []
    for now in range(1000, 4000, 10):
        if cadence.is_due(1, float(now)):
            happened.append(now - 1000)
            cadence.done(float(now))
    assert happened == [60, 180, 420, 900, 1500, 2100, 2700]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500", Every(steps=500)),
        ("90s", Every(seconds=90.0, first_seconds=60.0)),
        ("10min", Every(seconds=600.0, first_seconds=60.0)),
        ("30s", Every(seconds=30.0, first_seconds=30.0)),
        ("0.5h", Every(seconds=1800.0, first_seconds=60.0)),
    ],
)
def test_how_often_is_steps_or_a_time(text: str, expected: Every) -> None:
    assert parse_every(text, first_seconds=60.0) == expected


@pytest.mark.parametrize("text", ["", "0", "1.5", "ten", "-3", "5 days"])
def test_what_is_neither_steps_nor_a_time_is_refused(text: str) -> None:
    with pytest.raises(TrainingError, match=r"give steps \(500\) or a time"):
        parse_every(text)


def test_a_run_saves_and_draws_by_the_clock(tmp_path: Path) -> None:
    often = Every(seconds=1e-9)
    tiny_trainer(tmp_path, "distill", steps=3, checkpoint_every=often, samples_every=often, keep_last=9).run()
    for folder in ("checkpoints", "samples"):
        names = sorted(path.stem for path in (tmp_path / folder).glob("step-*"))
        assert names == [f"step-{step:08d}" for step in (1, 2, 3)]


# --------------------------------------------------------------------------------------------------------------- means


def test_a_term_is_averaged_over_the_steps_in_which_it_occurred() -> None:
    means = Means()
    for figures in ({"G/content": 4.0, "D/real": 6.0}, {"G/content": 2.0}, {"G/content": 3.0, "D/real": 2.0}):
        means.add(figures)
    assert means.take() == {"G/content": 3.0, "D/real": 4.0}
    assert means.take() == {}


# ------------------------------------------------------------------------------------------------------------ stopping


def test_a_stop_is_answered_while_one_long_computation_still_runs() -> None:
    events: list[str] = []
    with StopRequest(lambda: events.append("answered")) as stop:
        killer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        killer.start()
        hashlib.pbkdf2_hmac("sha512", b"a", b"b", 1_500_000)  # one long call, like a backward pass
        events.append("computed")
        killer.join()
    assert events == ["answered", "computed"]
    assert stop.asked
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_at_once() -> None:
    with StopRequest():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_stopping_run_says_what_it_is_finishing(tmp_path: Path) -> None:
    notices: list[str] = []

    def interrupt(line: ProgressLine) -> None:
        if line.step == 1:
            signal.raise_signal(signal.SIGINT)

    trainer = tiny_trainer(tmp_path, steps=50, on_line=interrupt)
    trainer.progress._on_notice = notices.append
    report = trainer.run()
    assert not report.finished
    assert len(notices) == 1
    # On a busy machine the answer may come during the next step or even during the checkpoint.
    assert re.match(r"stopping: finishing (step [12]|the checkpoint), then saving to ", notices[0])
    assert report.step == 2
    assert "Ctrl-C again ends at once" in notices[0]
