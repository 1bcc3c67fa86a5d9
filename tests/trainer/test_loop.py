"""The loop: resuming is exact, a failed check names its term, a run folder is complete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.checkpoint import changed_past, list_checkpoints
from animevid_trainer.data.batches import Batch
from animevid_trainer.loop import Term, Trainer, Update
from animevid_trainer.objectives import CycleObjective, FeatureCache, ImagePool, StylizeObjective
from animevid_trainer.plan import make_plan
from animevid_trainer.precision import choose_precision
from animevid_trainer.progress import ProgressLine
from animevid_trainer.recipes import Phase
from small_runs import KINDS, differing, tiny_objective, tiny_plan, tiny_source, tiny_trainer, weights_of
from torch import Tensor

_PROGRAM = Path(__file__).resolve().parent.parent / "small_runs.py"


class _Killed(BaseException):
    """Not an Exception, so that nothing catches it, as with SIGKILL."""


def _kill_at(step: int) -> Callable[[ProgressLine], None]:
    def on_line(line: ProgressLine) -> None:
        if line.step == step:
            raise _Killed

    return on_line


@pytest.fixture(scope="module", params=KINDS)
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Tensor]]:
    trainer = tiny_trainer(tmp_path_factory.mktemp("unbroken"), request.param)
    trainer.run()
    return request.param, weights_of(trainer)


@pytest.mark.parametrize("step", range(1, 9))
def test_a_run_killed_at_any_step_and_resumed_ends_with_bit_equal_weights(
    unbroken: tuple[str, dict[str, Tensor]], step: int, tmp_path: Path
) -> None:
    kind, expected = unbroken
    with pytest.raises(_Killed):
        tiny_trainer(tmp_path, kind, on_line=_kill_at(step)).run()
    resumed = tiny_trainer(tmp_path, kind)
    assert resumed.run().finished
    assert resumed.step == 8
    assert differing(weights_of(resumed), expected) == []


def test_training_moves_every_network(unbroken: tuple[str, dict[str, Tensor]], tmp_path: Path) -> None:
    kind, after = unbroken
    before = weights_of(tiny_trainer(tmp_path, kind))
    changed = {name.split(".")[0] for name in differing(before, after)}
    assert changed == {name.split(".")[0] for name in before}


def test_a_process_killed_by_the_system_resumes_bit_equal(tmp_path: Path) -> None:
    command = [sys.executable, str(_PROGRAM), str(tmp_path / "broken"), "animegan", "6", "0.3"]
    broken = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # Meanwhile, the same run without interruption in this process.
    assert tiny_trainer(tmp_path / "whole", steps=6, checkpoint_every=2).run().finished
    assert broken.stdout is not None
    for line in broken.stdout:
        if line.strip() == "5":
            os.kill(broken.pid, signal.SIGKILL)
            break
    assert broken.wait() == -signal.SIGKILL
    broken.stdout.close()
    assert list_checkpoints(tmp_path / "broken" / "checkpoints")[-1].name == "step-00000004"
    steps: list[int] = []
    resumed = tiny_trainer(
        tmp_path / "broken", steps=6, checkpoint_every=2, on_line=lambda line: steps.append(line.step)
    )
    assert resumed.run().finished
    assert steps == [5, 6]
    files = [tmp_path / name / "checkpoints/step-00000006/tensors.safetensors" for name in ("whole", "broken")]
    assert files[0].read_bytes() == files[1].read_bytes()


_TERMINATES_ITSELF = """
import os, signal, sys
from pathlib import Path
import torch
from small_runs import tiny_trainer

def on_line(line):
    if line.step == 4:
        os.kill(os.getpid(), signal.SIGTERM)

torch.set_num_threads(1)
report = tiny_trainer(Path(sys.argv[1]), on_line=on_line, checkpoint_every=100).run()
print(report.finished, report.step, report.checkpoint.is_dir(), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


def test_sigterm_saves_and_ends_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    # In a separate process: libraries of other tests may have changed signal handlers.
    done = subprocess.run(
        [sys.executable, "-c", _TERMINATES_ITSELF, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_PROGRAM.parent), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        text=True,
    )
    # The current step (5) is finished and saved; the earlier handler is restored.
    assert done.stdout.split() == ["False", "5", "True", "True"]
    assert tiny_trainer(tmp_path, checkpoint_every=100).run().finished


class _BadTerm(StylizeObjective):
    """Its style term (or the gradient) is NaN at step 5."""

    bad_gradient = False

    def updates(self, batch: Batch) -> Iterator[Update]:
        for update in super().updates(batch):
            yield Update(update.optimizer, lambda update=update: self._spoil(batch.step, update))

    def _spoil(self, step: int, update: Update) -> dict[str, Term]:
        terms = dict(update.compute())
        if step == 5 and update.optimizer == "G":
            zero = terms["content"].raw * 0.0
            # The square root of 0 is 0, but its derivative there (infinity) times 0 is NaN.
            terms["style"] = Term(zero + (torch.sqrt(zero) * 0.0 if self.bad_gradient else float("nan")))
        return terms


@pytest.mark.parametrize(
    ("bad_gradient", "message"),
    [
        (False, r"step 5: loss term 'style' of 'G' is nan; the checkpoint of step 3 is kept; resume with a lower"),
        (True, r"step 5: the gradient of 'G' is nan; the checkpoint of step 3 is kept; resume with a lower"),
    ],
)
def test_a_loss_that_is_no_number_stops_the_run_with_its_step_and_name(
    tmp_path: Path, bad_gradient: bool, message: str
) -> None:
    plan = tiny_plan("animegan", 8)
    objective = tiny_objective("animegan", plan)
    objective.__class__ = _BadTerm
    objective.bad_gradient = bad_gradient
    trainer = tiny_trainer(tmp_path, objective=objective)
    before: dict[str, Tensor] = {}
    trainer.progress._on_line = lambda line: before.update(weights_of(trainer))
    with pytest.raises(TrainingError, match=message):
        trainer.run()
    generator = {name for name in before if name.startswith(("generator", "ema"))}
    after = weights_of(trainer)
    assert [name for name in generator if not torch.equal(before[name], after[name])] == []


def test_a_full_disk_in_the_middle_of_a_run_is_one_clear_error_and_the_run_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    tiny_trainer(tmp_path, steps=3).run()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 10, limits[1]))
    try:
        with pytest.raises(TrainingError, match="step 3 is kept: free some space and resume"):
            tiny_trainer(tmp_path, steps=8, accept_changes=True, samples_every=100).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tiny_trainer(tmp_path, steps=8, accept_changes=True).run().step == 8


def test_a_checkpoint_of_another_recipe_is_refused_by_name(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, "distill", steps=2).run()
    with pytest.raises(TrainingError, match=r"holds a run of recipe 'distill', not 'animegan'; give another --out"):
        tiny_trainer(tmp_path, "animegan", steps=2).run()


def test_a_checkpoint_of_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=2).run()
    trainer = tiny_trainer(tmp_path, steps=2)
    trainer.objective.networks["generator"] = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(TrainingError, match=r"of another network than Sequential \(.* do not fit, first '") as caught:
        trainer.run()
    assert "\n" not in str(caught.value)


def test_a_changed_setting_is_refused_by_name_unless_accepted(tmp_path: Path) -> None:
    def config(weight: float) -> dict[str, object]:
        return {"recipe": "animegan", "numbers": {"losses": {"content": weight}}}

    tiny_trainer(tmp_path, steps=3, config=config(1.5)).run()
    with pytest.raises(TrainingError, match=r"other settings \(numbers.losses.content: 1.5 -> 2.0\); give the same"):
        tiny_trainer(tmp_path, steps=4, config=config(2.0)).run()
    assert tiny_trainer(tmp_path, steps=4, config=config(2.0), accept_changes=True).run().step == 4


def test_a_finished_run_started_again_changes_nothing(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=3).run()
    before = (tmp_path / "checkpoints/step-00000003/tensors.safetensors").read_bytes()
    report = tiny_trainer(tmp_path, steps=3).run()
    assert report.finished
    assert (tmp_path / "checkpoints/step-00000003/tensors.safetensors").read_bytes() == before


def test_the_run_folder_explains_itself(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=4).run()
    tiny_trainer(tmp_path, steps=5, accept_changes=True).run()
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["config"]["recipe"] == "animegan"
    assert run["settings"]["seed"] == 1
    assert run["parameters"].keys() == {"generator", "discriminator"}
    assert [session["from_step"] for session in run["sessions"]] == [0, 4]
    assert run["sessions"][0]["versions"].keys() >= {"python", "torch", "numpy"}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert {"D/real", "D/smooth", "G/content", "G/style", "G/adversarial", "G/gradient_norm"} <= lines[4][
        "terms"
    ].keys()
    assert set(lines[0]["terms"]) == {"G_init/content", "G_init/gradient_norm"}


def test_the_sample_grid_shows_each_photo_beside_its_output(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, steps=4)
    trainer.run()
    samples = cv2.cvtColor(cv2.imread(str(tmp_path / "samples/step-00000004.png")), cv2.COLOR_BGR2RGB)
    photo = trainer.sample_photos[0]
    assert (samples[:64, :64] == photo).all()
    output = samples[:64, 70:134]
    assert output.shape == photo.shape
    assert (output != photo).any()


def test_drawing_samples_and_saving_do_not_change_what_is_learned(tmp_path: Path) -> None:
    often = tiny_trainer(tmp_path / "often", checkpoint_every=1, samples_every=1)
    often.run()
    seldom = tiny_trainer(tmp_path / "seldom", checkpoint_every=100, samples_every=100)
    seldom.run()
    assert differing(weights_of(often), weights_of(seldom)) == []


def test_looking_at_a_network_with_batch_norm_teaches_it_nothing(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, ema_decay=0.0)
    generator = trainer.objective.networks["generator"]
    generator[1] = torch.nn.BatchNorm2d(8)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    trainer.stylize(torch.randn(2, 3, 32, 32))
    assert [name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])] == []
    assert generator.training


def test_the_best_checkpoint_by_validation_is_kept(tmp_path: Path) -> None:
    scores = iter((3.0, 1.0, 2.0, 4.0))
    trainer = tiny_trainer(
        tmp_path, steps=8, checkpoint_every=2, keep_last=1, validate=lambda _: {"score": next(scores)}
    )
    trainer.run()
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-00000004", "step-00000008"]


def test_a_run_may_be_made_longer_but_its_other_numbers_stay(tmp_path: Path) -> None:
    def config(steps: int, rate: float = 1e-3) -> dict[str, object]:
        phases = [{"name": "train", "length_steps": steps, "generator_lr": rate}]
        return {"recipe": "distill", "numbers": {"phases": phases}, "plan": [["train", steps]]}

    tiny_trainer(tmp_path, "distill", steps=3, config=config(3)).run()
    assert tiny_trainer(tmp_path, "distill", steps=5, config=config(5)).run().step == 5
    with pytest.raises(TrainingError, match=r"other settings \(numbers.phases.train.generator_lr: 0.001 -> 0.002\)"):
        tiny_trainer(tmp_path, "distill", steps=6, config=config(6, 2e-3)).run()


def test_a_run_made_longer_ends_as_one_that_was_so_long_from_the_start(tmp_path: Path) -> None:
    def trainer(name: str, steps: int) -> Trainer:
        plan = make_plan([Phase("train", length_steps=steps, generator_lr=2e-3)], photos=5, batch=4, crop_px=32)
        torch.manual_seed(3)
        objective = tiny_objective("distill", plan)
        return tiny_trainer(tmp_path / name, "distill", steps=steps, objective=objective, config={"recipe": "distill"})

    trainer("grown", 3).run()
    (grown := trainer("grown", 7)).run()
    (whole := trainer("whole", 7)).run()
    assert differing(weights_of(grown), weights_of(whole)) == []


@pytest.mark.parametrize(
    ("now", "step", "message"),
    [
        ([["init", 10], ["train", 90]], 30, ""),
        ([["init", 10], ["train", 40]], 60, ""),
        ([["init", 20], ["train", 50]], 8, ""),
        ([["init", 20], ["train", 50]], 10, ""),
        ([["init", 20], ["train", 50]], 11, "phase 'init', which is over: 10 steps -> 20"),
        ([["init", 5], ["train", 55]], 8, "phase 'init', which is over: 10 steps -> 5"),
    ],
)
def test_only_a_phase_that_is_not_over_may_change_its_length(now: list[list[object]], step: int, message: str) -> None:
    found = changed_past([["init", 10], ["train", 50]], now, step)
    assert found == ([message] if message else [])
    assert changed_past([], now, step) == []  # a run of an earlier version


def test_rates_follow_the_phase_and_its_schedule(tmp_path: Path) -> None:
    lines: list[ProgressLine] = []
    tiny_trainer(tmp_path, on_line=lines.append).run()
    assert [line.learning_rates["G_init"] for line in lines[:2]] == [1e-3, 1e-3]
    rates = [line.learning_rates["G"] for line in lines[2:]]
    assert rates[0] == pytest.approx(2e-3)
    assert rates == sorted(rates, reverse=True)
    assert rates[3] == pytest.approx(1e-3)  # half of the cosine


def test_clipping_bounds_the_step_that_a_large_gradient_makes(tmp_path: Path) -> None:
    lines: list[ProgressLine] = []
    trainer = tiny_trainer(tmp_path, "distill", steps=1, clip_norm=1e-3, on_line=lines.append)
    trainer.run()
    assert lines[0].terms["G/gradient_norm"] > 1e-3  # the logged norm is that before clipping
    norm = torch.linalg.vector_norm(
        torch.cat([p.grad.flatten() for p in trainer.objective.networks["generator"].parameters()])
    )
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_bf16_runs_the_networks_and_leaves_weights_and_losses_in_float32(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []
    trainer = tiny_trainer(tmp_path, steps=3, precision="bf16")
    trainer.objective.networks["generator"][0].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    assert trainer.run().finished
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in trainer.objective.networks["generator"].parameters()} == {torch.float32}


def test_fp16_without_a_gpu_is_refused_with_what_there_is() -> None:
    with pytest.raises(TrainingError, match="needs a GPU; on a CPU there are fp32 and bf16"):
        choose_precision("fp16", torch.device("cpu"))


def test_features_of_crops_that_return_are_computed_once() -> None:
    cache = FeatureCache(1 << 20)
    calls: list[int] = []

    def compute(images: Tensor) -> tuple[Tensor, ...]:
        calls.append(len(images))
        return (images * 2.0,)

    images = torch.randn(3, 3, 4, 4)
    keys = ((0, 0), (1, 0), (0, 0))
    first = cache.get("photo", keys, images, compute)
    again = cache.get("photo", keys, images, compute)
    other = cache.get("photo", ((1, 0), (5, 0)), images[1:], compute)
    assert calls == [3, 1]
    assert torch.equal(again[0][:2], first[0][:2])
    assert torch.equal(other[0], images[1:] * 2.0)


def test_the_feature_cache_stays_within_its_budget() -> None:
    cache = FeatureCache(4 * 3 * 16 * 4)
    for index in range(20):
        cache.get("photo", ((index, 0),), torch.randn(1, 3, 4, 4), lambda images: (images,))
    assert len(cache._kept) == 4


def test_cached_features_train_the_same_network_as_computed_ones(tmp_path: Path) -> None:
    runs = []
    for name, budget in (("cached", 1 << 24), ("computed", 0)):
        plan = tiny_plan("animegan", 6)
        trainer = tiny_trainer(tmp_path / name, steps=6)
        trainer.source = tiny_source(plan, photo_crops=2, art_crops=2)
        trainer.objective.looking.cache.budget_bytes = budget
        trainer.run()
        runs.append((trainer.objective.looking.cache.hits, weights_of(trainer)))
    (cached_hits, cached), (computed_hits, computed) = runs
    assert cached_hits > 0
    assert computed_hits == 0
    for name, value in cached.items():
        assert torch.allclose(value, computed[name], atol=1e-5), name


def test_the_image_pool_gives_back_older_images_and_no_more_than_it_holds() -> None:
    pool = ImagePool(4)
    given = torch.cat([pool.exchange(torch.full((2, 1, 1, 1), float(index))) for index in range(40)]).flatten()
    expected = torch.arange(40.0).repeat_interleave(2)
    assert torch.equal(given[:4], expected[:4])
    assert 0.3 < float((given != expected).float().mean()) < 0.7
    assert len(pool._images) == 4


def test_a_term_without_its_images_names_the_folder_to_give() -> None:
    plan = tiny_plan("distill", 2)
    objective = tiny_objective("distill", plan)
    assert not isinstance(objective, CycleObjective)
    source = tiny_source(plan)
    source.photos.targets = None
    (update,) = objective.updates(source.batch(0))
    with pytest.raises(TrainingError, match="a term has a weight but the run has no targets; give the folder or set"):
        update.compute()


def test_a_phase_may_leave_the_content_term_out() -> None:
    phases = [Phase("colours", length_steps=1, content=False, adversarial=False), Phase("all", length_steps=1)]
    plan = make_plan(phases, photos=5, batch=4, crop_px=32)
    objective = tiny_objective("animegan-still", plan)
    source = tiny_source(plan)
    terms = [list(objective.updates(source.batch(step)))[-1].compute() for step in (0, 1)]
    assert "content" not in terms[0]
    assert "content" in terms[1]
