"""Several processes learn the same as one process with the same global batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.checkpoint import load_checkpoint
from animevid_trainer.data.sampler import SeededSampler
from animevid_trainer.distributed import World
from animevid_trainer.plan import make_plan
from animevid_trainer.recipes import load_recipe
from animevid_trainer.run_data import DataSettings, RunData, make_source
from small_runs import images, tiny_plan, tiny_source, tiny_trainer

_PROGRAM = Path(__file__).resolve().parent.parent / "small_runs.py"


# (folder, logged terms of one process, of two)
_Runs = tuple[Path, list[dict[str, float]], list[dict[str, float]]]


def _start(folder: Path, *launcher: str, **environment: object) -> subprocess.Popen[str]:
    words = [*launcher, str(_PROGRAM), str(folder), "animegan-still", "6", "0"]
    variables = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *words], stdout=pipe, stderr=pipe, text=True, env=variables)


def _end(run: subprocess.Popen[str]) -> None:
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0, said  # all of it: the cause precedes the launcher's message


def _logged(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["terms"] for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> _Runs:
    folder = tmp_path_factory.mktemp("processes")
    two = _start(folder / "two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    # Meanwhile, the same run in this process.
    assert tiny_trainer(folder / "one", "animegan-still", steps=6, checkpoint_every=2).run().finished
    _end(two)
    return folder, _logged(folder / "one"), _logged(folder / "two")


def test_two_gloo_processes_log_the_losses_of_one(runs: _Runs) -> None:
    _, one, two = runs
    assert len(one) == len(two) == 6
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=2e-3, abs=1e-4)


def test_two_gloo_processes_end_with_the_weights_of_one(runs: _Runs) -> None:
    folder, _, _ = runs
    states = [load_checkpoint(folder / name / "checkpoints/step-00000006")[1] for name in ("one", "two")]
    for name in ("generator", "discriminator"):
        first, second = (state["networks"][name] for state in states)
        for key, value in first.items():
            assert torch.allclose(value, second[key], atol=2e-3), f"{name}.{key}"


def test_a_run_of_two_processes_keeps_the_random_state_of_both(
    runs: _Runs,
) -> None:
    folder, _, _ = runs
    _, state = load_checkpoint(folder / "two/checkpoints/step-00000006")
    first, second = state["random"]
    assert not torch.equal(first["torch"], second["torch"])


def test_a_run_of_two_processes_resumes(runs: _Runs) -> None:
    folder, _, _ = runs
    # As if both had been killed after step 5: the checkpoint of step 4 is the last.
    checkpoints = folder / "two" / "checkpoints"
    before = load_checkpoint(checkpoints / "step-00000006")[1]["networks"]["generator"]
    for file in (checkpoints / "step-00000006").iterdir():
        file.unlink()
    (checkpoints / "step-00000006").rmdir()
    # Without torchrun, which takes seconds to start.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for run in [_start(folder / "two", RANK=rank, LOCAL_RANK=rank, **place) for rank in (0, 1)]:
        _end(run)
    after = load_checkpoint(checkpoints / "step-00000006")[1]["networks"]["generator"]
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize("step", [0, 1, 2, 5])
def test_the_shares_of_two_processes_make_up_the_batch_of_one(step: int) -> None:
    plan = tiny_plan("animegan", 8)
    whole = tiny_source(plan).batch(step)
    shares = [tiny_source(plan, World(rank, 2)).batch(step) for rank in (0, 1)]
    for name in ("photo", "target", "art", "art_gray", "smooth", "smooth_gray"):
        together = torch.cat([getattr(share, name) for share in shares])
        assert torch.equal(together, getattr(whole, name)), name


def test_set_epoch_begins_the_epoch_that_drawing_on_would_reach() -> None:
    drawn, jumped = (SeededSampler(10, 4, 3, "photos", rank=1, world=2) for _ in range(2))
    for _ in range(5):
        drawn.draw()
    jumped.set_epoch(2)
    assert drawn.epoch == jumped.epoch == 2
    assert [drawn.index_of(n) for n in drawn.draw()] == [jumped.index_of(n) for n in jumped.draw()]


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    recipe = load_recipe("cyclegan")
    plan = make_plan(recipe.phases, photos=5, batch=1, crop_px=64)
    data = RunData(images(5, 1), [])
    with pytest.raises(TrainingError, match=r"a batch of 1 cannot be split over 2 processes; change data.batch"):
        make_source(recipe, data, plan, DataSettings(Path("photos")), world=World(0, 2))
