"""The trainer's commands, as typed by a user."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from animevid.cli import main as engine_main
from animevid.styles.card import CARD_KEY, StyleCard, read_card
from animevid_trainer.cli import main
from animevid_trainer.evaluate import measure
from small_runs import images

_NUMBERS = ("generator_options.width=8", "generator_options.deep_width=8", "data.crop_px=32", "data.batch=2")
_TINY = [
    *(flag for number in _NUMBERS for flag in ("--set", number)),
    *("--log-every", "1", "--checkpoint-every", "2", "--samples-every", "2", "--validation", "0.2"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folders")
    for name, count, seed in (("photos", 12, 1), ("art", 3, 2)):
        (folder / name).mkdir()
        for index, image in enumerate(images(count, seed, side_px=96)):
            cv2.imwrite(str(folder / name / f"{index}.png"), image)
    return folder


def _flags(folders: Path, out: Path) -> list[str]:
    return ["--photos", str(folders / "photos"), "--art", str(folders / "art"), "--out", str(out)]


@pytest.fixture(scope="module")
def run(folders: Path) -> Path:
    """A distillation of four steps, without a perceptual network, whose weights are a large download."""
    out = folders / "runs" / "tiny"
    command = ["train", "distill", "--teacher", "bilateral", "--steps", "4", "--set", "losses.perceptual=0", *_TINY]
    assert main([*command, *_flags(folders, out)]) == 0
    return out


def test_the_recipes_are_listed_and_printed_as_toml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list-recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("animegan2-nano", "cyclegan", "cartoongan-plus", "distill", "+edge"))
    assert main(["train", "animegan2", "--steps", "7", "--set", "losses.content=9.5", "--print-recipe"]) == 0
    printed = capsys.readouterr().out
    assert "content = 9.5" in printed
    assert "length_steps = 7" in printed


def test_a_run_leaves_a_log_samples_checkpoints_and_says_what_it_is(run: Path, folders: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["config"]["recipe"] == "distill"
    assert about["data"]["photos"] == str((folders / "photos").resolve())
    assert about["data"]["photos_kept_for_validation"] > 0
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "terms" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "validation" in line] == [2, 4]
    best = json.loads((run / "checkpoints/best.json").read_text())
    assert best["score"] == min(line["validation"]["score"] for line in lines if "validation" in line)
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["step-00000002.png", "step-00000004.png"]
    assert (run / "checkpoints/step-00000004/tensors.safetensors").stat().st_size > 0


def test_the_same_command_with_other_numbers_is_refused_in_one_line(
    run: Path, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "distill", "--teacher", "bilateral", "--steps", "4", "--set", "losses.perceptual=0", *_TINY]
    assert main([*command, "--set", "losses.pixel=3.5", *_flags(folders, run)]) == 8
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("animevid: error: the run in")
    assert "numbers.losses.pixel: 10.0 -> 3.5" in error
    assert error.endswith("give the same ones, another --out, or --accept-changes")


def test_the_same_command_with_more_steps_goes_on(run: Path, folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folders / "runs" / "longer"
    shutil.copytree(run, out)
    command = ["train", "distill", "--teacher", "bilateral", "--set", "losses.perceptual=0", *_TINY]
    assert main([*command, "--steps", "6", *_flags(folders, out)]) == 0
    assert "done: step 6" in capsys.readouterr().out
    assert main([*command, "--steps", "6", *_flags(folders, out)]) == 0
    assert (out / "checkpoints/step-00000006").is_dir()


def test_another_recipe_in_the_same_folder_is_refused_in_one_line(
    run: Path, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "train",
        "distill+colour",
        "--teacher",
        "bilateral",
        "--steps",
        "4",
        "--set",
        "losses.perceptual=0",
        *_TINY,
    ]
    assert main([*command, *_flags(folders, run)]) == 8
    assert "holds a run of recipe 'distill', not 'distill+colour'; give another --out" in capsys.readouterr().err


def test_a_run_becomes_a_style_that_onnx_runtime_draws(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    style = run / "tiny.onnx"
    assert (
        main(["export", str(run), str(style), "--licence", "CC0-1.0", "--net-pixels", "57600", "--quality", "high"])
        == 0
    )
    assert "torch and ONNX Runtime differ by max" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(style.read_bytes(), providers=["CPUExecutionProvider"])
    card = StyleCard.from_json(session.get_modelmeta().custom_metadata_map[CARD_KEY])
    assert (card.name, card.licence, card.recipe) == ("tiny", "CC0-1.0", "distill")
    assert (card.net_pixels, card.quality) == (57600, "high")
    (output,) = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 24, 10, 14), np.float32)})
    assert output.shape == (1, 24, 10, 14)


def test_the_best_checkpoint_can_be_exported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), str(run / "best.onnx"), "--best"]) == 0
    assert main(["export", str(run), str(run / "none.onnx"), "--step", "3"]) == 8
    assert "has no checkpoint of step 3; there are 2, 4" in capsys.readouterr().err


def test_a_run_can_start_from_another_runs_generator(run: Path, folders: Path) -> None:
    out = folders / "runs" / "second"
    command = ["train", "distill", "--teacher", "bilateral", "--steps", "1", "--set", "losses.perceptual=0", *_TINY]
    command += ["--set", "phases.distill.generator_lr=1e-9", "--start-from", str(run)]
    assert main([*command, *_flags(folders, out)]) == 0
    from animevid_trainer.stored_runs import load_generator

    first, second = (load_generator(folder).state_dict() for folder in (run, out))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 8, "no recipe is given; animevid train --list-recipes lists them"),
        (["train", "animegan3"], 8, "did you mean"),
        (["train", "animegan"], 8, "--photos is missing: animevid train RECIPE --photos DIR --art DIR --out RUN"),
        (["train", "animegan", "--photos", "nowhere", "--out", "x"], 8, "is not a folder; give a folder of images"),
        (["train", "animegan", "--set", "losses.contnt=1"], 8, "did you mean 'content'?"),
        (["export", "nowhere", "x.onnx", "--int8", "--precision", "fp16"], 8, "leave --precision out"),
        (["export", "nowhere", "x.onnx"], 8, "holds no checkpoint; give the folder that was --out"),
        (["evaluate", "photo", "--photos", "nowhere", "--out", "x.html"], 8, "is not a folder"),
        (["import", "nowhere.pt", "x.onnx"], 8, "give a folder with --photos"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("animevid: error: ")
    assert message in lines[0]
    assert not list(tmp_path.iterdir())


def test_the_engines_command_line_knows_the_trainers_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_main(["train", "--list-recipes"]) == 0
    assert "animegan2-nano" in capsys.readouterr().out


def test_the_module_runs_and_does_not_load_torch_to_list_recipes() -> None:
    program = (
        "import sys; from animevid_trainer.cli import main; code = main(['train', '--list-recipes']); "
        "sys.exit(code or ('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
    done = subprocess.run([sys.executable, "-m", "animevid_trainer", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("train", "export", "evaluate", "import"))


def test_export_with_int8_writes_a_quantized_style_beside_the_float_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style = tmp_path / "tiny.onnx"
    assert main(["export", str(run), str(style), "--int8", "--calibration", "3"]) == 0
    assert "tiny-int8.onnx" in capsys.readouterr().out
    for name, precision in (("tiny.onnx", "fp32"), ("tiny-int8.onnx", "int8")):
        card = read_card((tmp_path / name).read_bytes())
        assert card is not None
        assert card.precision == precision


@pytest.mark.shared
def test_evaluation_writes_a_page_and_prints_a_table(
    shared: Path,
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Meaningful figures need 224 px; the network is a real VGG.
    monkeypatch.setattr(measure, "_FEATURE_PX", 64)
    weights = shared / "weights/vgg16_conv1_1-conv4_3_fp16.safetensors"
    page = tmp_path / "report.html"
    command = ["evaluate", "photo", "filter=teacher:bilateral", "--photos", str(folders / "photos"), "--all"]
    command += ["--art", str(folders / "art"), "--limit", "3", "--longest", "96", "--shown", "2"]
    assert main([*command, "--network-weights", str(weights), "--out", str(page)]) == 0
    assert "| figure | photo | filter |" in capsys.readouterr().out
    assert "vgg16, relu4_3" in page.read_text()
