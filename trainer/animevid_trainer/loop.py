"""The training loop, independent of losses and recipes.

An *objective* (see ``objectives``) owns the networks and defines the updates for each batch: an optimizer's name and a
function that computes its loss terms. The loop does the rest: precision, guards, clipping, averaging over processes,
EMA, schedules, log, sample grids, checkpoints, and stopping on request.

A run is a folder::

    run.json          the configuration, settings, versions, revision, seed and machine
    log.jsonl         one line for each logged step
    samples/          photo | output for the fixed validation photos
    checkpoints/      step-XXXXXXXX: the last K and the best
    tensorboard/      the same figures, where TensorBoard is installed
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.agreement import check_resumed, failing_together
from animevid_trainer.cadence import Cadence, Every
from animevid_trainer.checkpoint import (
    State,
    changed_past,
    changed_settings,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    note_score,
    prune_checkpoints,
    save_checkpoint,
    step_of,
)
from animevid_trainer.data.batches import Batch, BatchSource, Prefetcher
from animevid_trainer.data.images import Image
from animevid_trainer.distributed import SINGLE, World, average, average_gradients, broadcast_weights, gather
from animevid_trainer.ema import Ema, EmaState
from animevid_trainer.files import write_file
from animevid_trainer.precision import Precision, choose_precision
from animevid_trainer.progress import RAW, Progress
from animevid_trainer.sample_grid import write_photo_grid
from animevid_trainer.stopping import StopRequest

log = logging.getLogger(__name__)

#: Configuration keys that a resumed run may change: its length (but see ``changed_past``) and the recipe's description.
_LENGTHS = frozenset({"length_steps", "length_epochs", "plan", "summary", "deviations"})


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a loss: a scalar and its weight."""

    raw: Tensor
    weight: float = 1.0

    @property
    def weighted(self) -> Tensor:
        """The loss: the weighted sum of its terms."""
        return self.weight * self.raw


Terms = Mapping[str, Term]
#: writes the sample grid of the current generator to a path
WriteSampleGrid = Callable[[Path, Callable[[Tensor], Tensor]], Image]

_LOG_EVERY = Every(seconds=30.0)
_CHECKPOINT_EVERY = Every(seconds=600.0)
_SAMPLES_EVERY = Every(seconds=600.0, first_seconds=60.0)


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """Adam for the parameters of some networks. ``rate_at(step)`` is a pure function, so schedules have no state."""

    networks: tuple[str, ...]
    rate_at: Callable[[int], float]
    betas: tuple[float, float] = (0.5, 0.999)


@dataclass(frozen=True, slots=True)
class Update:
    """One optimizer step. ``compute`` gives the loss terms; their weighted sum is minimized."""

    optimizer: str
    compute: Callable[[], Terms]


class Objective(Protocol):
    """A training objective. ``networks``: all trained networks by name; "generator" is shown, averaged and exported.
    ``compute_dtype``: the type for computations, set by the loop."""

    networks: dict[str, nn.Module]
    optimizers: dict[str, OptimizerSettings]
    compute_dtype: torch.dtype

    def updates(self, batch: Batch) -> Iterator[Update]:
        """The updates for this batch, in order. The loop performs each one before requesting the next."""
        ...

    def stylize(self, photo: Tensor) -> Tensor:
        """Run the generator: (N, 3, H, W) RGB in [-1, 1] -> the same shape; H and W are multiples of 32. For a
        generator from noise: latents -> images."""
        ...

    def state_dict(self) -> dict[str, State]:
        """State other than the networks (an image pool, an augmentation probability)."""
        ...

    def load_state_dict(self, state: Mapping[str, State]) -> None: ...


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How a run is carried out. ``steps`` is the total; a resumed run may have more.

    ``precision``: "auto" is bf16 where the processor has instructions for it, else fp32 (GPUs without bf16: fp16).
    ``ema_decay`` 0 keeps no average; ``clip_norm`` 0 clips nothing; ``threads`` 0 leaves torch's choice. Periodic
    output is scheduled by steps or time (:class:`Every`); the first and last steps are always logged.
    """

    steps: int
    seed: int = 1
    precision: Precision = "fp32"
    device: str = "auto"
    threads: int = 0
    ema_decay: float = 0.999
    clip_norm: float = 0.0
    log_every: int | Every = _LOG_EVERY
    checkpoint_every: int | Every = _CHECKPOINT_EVERY
    keep_last: int = 2
    samples_every: int | Every = _SAMPLES_EVERY
    prefetch: int = 3


@dataclass(frozen=True, slots=True)
class TrainReport:
    """How a run ended. ``finished``: False if it was stopped; it can be resumed from ``checkpoint``."""

    step: int
    finished: bool
    checkpoint: Path
    terms: dict[str, float]
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class StepRequests:
    """A process's requests after a step. All processes must follow them, so they are sent along with the terms."""

    stop: bool = False
    save: bool = False


class RandomStates(TypedDict):
    """The state of each random generator."""

    python: tuple[object, ...]
    numpy: tuple[str, npt.NDArray[np.uint32], int, int, float]
    torch: Tensor
    cuda: NotRequired[Tensor]


class RunState(TypedDict):
    """What a checkpoint holds; ``random`` has an entry for each process."""

    config: Mapping[str, State]
    networks: dict[str, dict[str, Tensor]]
    ema: EmaState | None
    optimizers: dict[str, dict[str, State]]
    scaler: dict[str, State]
    objective: dict[str, State]
    random: list[RandomStates]
    data: dict[str, int]


class Means:
    """Means of terms, each over the steps in which it occurred."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: value / self._counts[name] for name, value in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def choose_device(name: str, world: World) -> torch.device:
    """ "auto": this process's CUDA device where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda", world.local_rank) if torch.cuda.is_available() else torch.device("cpu")
    return torch.device(name)


def random_states() -> RandomStates:
    """The state of the random generators of Python, NumPy, torch and CUDA."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    states: RandomStates = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: RandomStates) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python, NumPy and torch; each process of a run on its own."""
    random.seed(seed + 7919 * rank)
    np.random.seed((seed + 7919 * rank) % 2**32)
    torch.manual_seed(seed + 7919 * rank)


class Trainer:
    """One run of one objective in one folder.

    ``config``: the configuration as plain JSON; a resumed run must have the same, except for the length of unfinished
    phases. ``about``: further entries of ``run.json``. ``validate`` gets ``stylize`` and returns metrics for the log;
    the one named "score" (lower is better) selects the best checkpoint. ``sample_photos`` are the fixed photos of the
    sample grid; ``write_sample_grid`` draws one without photos.
    """

    def __init__(
        self,
        objective: Objective,
        source: BatchSource,
        folder: Path,
        settings: LoopSettings,
        *,
        config: Mapping[str, State],
        about: Mapping[str, State] | None = None,
        world: World = SINGLE,
        sample_photos: Iterable[Image] = (),
        write_sample_grid: WriteSampleGrid | None = None,
        validate: Callable[[Callable[[Tensor], Tensor]], Mapping[str, float]] | None = None,
        progress: Progress | None = None,
        accept_changes: bool = False,
    ) -> None:
        self.objective = objective
        self.source = source
        self.folder = folder
        self.settings = settings
        self.config = dict(config)
        self.about = dict(about or {})
        self.world = world
        self.sample_photos = list(sample_photos)
        if write_sample_grid is None and self.sample_photos:
            write_sample_grid = functools.partial(write_photo_grid, photos=self.sample_photos)
        self.write_sample_grid = write_sample_grid
        self.validate = validate
        self.progress = progress or Progress()
        self.accept_changes = accept_changes
        self.step = 0
        self._doing = ""

        self.device = choose_device(settings.device, world)
        self.dtype = choose_precision(settings.precision, self.device)
        objective.compute_dtype = self.dtype
        if settings.threads:
            torch.set_num_threads(settings.threads)
        for network in objective.networks.values():
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        broadcast_weights(objective.networks.values(), world)
        self.optimizers = {
            name: torch.optim.Adam(self._parameters(item), lr=item.rate_at(0), betas=item.betas)
            for name, item in objective.optimizers.items()
        }
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        generator = objective.networks["generator"]
        self.ema = Ema(generator, settings.ema_decay) if settings.ema_decay else None

    # ---- state

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def _parameters(self, item: OptimizerSettings) -> list[nn.Parameter]:
        return [p for name in item.networks for p in self.objective.networks[name].parameters()]

    def state(self) -> RunState:
        """Return everything that the next step depends on."""
        return {
            "config": self.config,
            "networks": {name: dict(network.state_dict()) for name, network in self.objective.networks.items()},
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "objective": self.objective.state_dict(),
            "random": gather(random_states(), self.world),
            "data": {"next_step": self.step},
        }

    def load_state(self, step: int, state: RunState) -> None:
        """Restore a checkpoint's state.

        Raises:
            TrainingError: it belongs to another recipe, or its configuration differs and changes are not accepted.
        """
        self._check_config(step, state["config"])
        for name, network in self.objective.networks.items():
            load_weights(network, state["networks"][name], where=f"{str(self.folder)!r} ({name})")
        if self.ema and state["ema"]:
            self.ema.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.objective.load_state_dict(state["objective"])
        if self.world.rank < len(state["random"]):
            restore_random_states(state["random"][self.world.rank])
        else:
            seed_everything(self.settings.seed + step, self.world.rank)
        self.step = int(state["data"]["next_step"])

    def _check_config(self, step: int, before: Mapping[str, State]) -> None:
        if before.get("recipe") != self.config.get("recipe"):
            raise TrainingError(
                f"{str(self.folder)!r} holds a run of recipe {before.get('recipe')!r}, "
                f"not {self.config.get('recipe')!r}; give another --out, or the recipe it was started with"
            )
        changes = changed_settings(before, self.config, leaving_out=_LENGTHS)
        changes += changed_past(before.get("plan", ()), self.config.get("plan", ()), step)
        if changes and not self.accept_changes:
            raise TrainingError(
                f"the run in {str(self.folder)!r} was started with other settings ({'; '.join(changes)}); "
                "give the same ones, another --out, or --accept-changes"
            )
        for change in changes:
            log.warning("from step %d on: %s", step, change)
        for change in changed_settings(before, self.config):
            if change not in changes:
                log.info("from step %d on: %s", step, change)

    # ---- the loop

    def run(self) -> TrainReport:
        """Train from the folder's latest checkpoint, or from the start, to ``settings.steps``.

        Raises:
            TrainingError: a loss or gradient is not finite (step and term named; the last checkpoint is kept), a
                checkpoint that does not belong to this run, or a disk that is full.
        """
        with failing_together(self.world):
            found = latest_checkpoint(self.checkpoints)
            if found is not None:
                self.load_state(*load_checkpoint(found))
                log.info("resuming after step %d", self.step)
        check_resumed(self.step, self.folder, self.world)
        first_step = self.step
        if self.world.is_first:
            self._describe_run(resumed_from=first_step)
        started = last_time = time.perf_counter()
        means = Means()
        shown: dict[str, float] = {}
        saved_step = self.step if found else -1
        images = last_images = 0
        log_due, samples_due, save_due = (
            Cadence(every, start=started)
            for every in (self.settings.log_every, self.settings.samples_every, self.settings.checkpoint_every)
        )
        with (
            StopRequest(self._say_stopping) as stop,
            self.progress.open(self.folder if self.world.is_first else None, first_step, self.settings.steps),
            Prefetcher(self.source, first_step=self.step, depth=self.settings.prefetch) as batches,
        ):
            for batch in batches if self.step < self.settings.steps else ():
                self._doing = f"step {self.step + 1}"
                requests = StepRequests(stop=stop.asked, save=save_due.is_due(self.step + 1, time.perf_counter()))
                terms, requests = self._train_step(batch.to(self.device), requests)
                self.step += 1
                images += len(batch.photo)
                means.add(terms)
                # a single process stops right after the step in which the signal arrived
                asked = requests.stop or (stop.asked and self.world.size == 1)
                ends = self.step >= self.settings.steps or asked
                now = time.perf_counter()
                # log the first steps, to show at once that it runs and how fast
                if log_due.is_due(self.step, now) or ends or self.step - first_step in (1, 3):
                    shown = means.take()
                    rate = (images - last_images) * self.world.size / max(now - last_time, 1e-9)
                    self.progress.report(self.step, shown, self._learning_rates(), images_per_second=rate)
                    last_time, last_images = now, images
                    log_due.done(now)
                if self.world.is_first and (samples_due.is_due(self.step, now) or self.step == self.settings.steps):
                    self._doing = "the sample grid"
                    self._draw_samples()
                    samples_due.done(time.perf_counter())
                if requests.save or ends:
                    self._doing = "the checkpoint"
                    self._save()
                    save_due.done(time.perf_counter())
                    saved_step = self.step
                if ends:
                    break
        if saved_step < 0:
            self._save()
        seconds = time.perf_counter() - started
        return TrainReport(
            self.step,
            self.step >= self.settings.steps,
            self.checkpoints / f"step-{self.step:08d}",
            shown,
            seconds,
            images * self.world.size / max(seconds, 1e-9),
        )

    def _say_stopping(self) -> None:
        self.progress.notice(
            f"stopping: finishing {self._doing}, then saving to {self.checkpoints}; "
            "Ctrl-C again ends at once and loses what came after the last checkpoint"
        )

    def _train_step(self, batch: Batch, requests: StepRequests) -> tuple[dict[str, float], StepRequests]:
        """Perform one batch's updates. Returns the terms, averaged over processes, and the requests of all
        processes."""
        figures: dict[str, float] = {}
        for update in self.objective.updates(batch):
            requests = self._make_update(update, figures, requests)
        if self.ema is not None:
            self.ema.update(self.objective.networks["generator"])
        return figures, requests

    def _make_update(self, update: Update, figures: dict[str, float], requests: StepRequests) -> StepRequests:
        item = self.objective.optimizers[update.optimizer]
        optimizer = self.optimizers[update.optimizer]
        rate = item.rate_at(self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        others = [n for name, n in self.objective.networks.items() if name not in item.networks]
        with _frozen(others):
            terms = update.compute()
            names = list(terms)
            values = [terms[name].weighted for name in names]
            wished = values[0].new_tensor([float(requests.stop), float(requests.save)])
            seen = torch.cat((torch.stack([value.detach() for value in values]), wished))
            # One small copy to the CPU per update, for both the log and the guard.
            numbers = average(seen, self.world).tolist()
            for name, number in zip(names, numbers[:-2], strict=True):
                figures[f"{update.optimizer}/{name}"] = number
                if (weight := terms[name].weight) not in (0.0, 1.0):
                    figures[f"{update.optimizer}/{name}{RAW}"] = number / weight
                if not math.isfinite(number):
                    raise self._not_finite(f"loss term {name!r} of {update.optimizer!r} is {number}")
            optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(torch.stack(values).sum()).backward()  # type: ignore[no-untyped-call]
        parameters = self._parameters(item)
        average_gradients(parameters, self.world)
        self.scaler.unscale_(optimizer)
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        total = torch.nn.utils.get_total_norm(grads)
        if self.settings.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, total)
        norm = float(total)
        figures[f"{update.optimizer}/gradient_norm"] = norm
        # fp16 overflows occasionally by design: the scaler skips that step and lowers its scale.
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise self._not_finite(f"the gradient of {update.optimizer!r} is {norm}")
        self.scaler.step(optimizer)
        self.scaler.update()
        return StepRequests(stop=numbers[-2] > 0.0, save=numbers[-1] > 0.0)

    def _not_finite(self, what: str) -> TrainingError:
        last = latest_checkpoint(self.checkpoints)
        kept = f"the checkpoint of step {step_of(last)} is kept" if last else "no checkpoint was made yet"
        return TrainingError(
            f"step {self.step}: {what}; {kept}; resume with a lower learning rate, "
            "--set optimizer.gradient_clip_norm=1, or --precision fp32 (--accept-changes)"
        )

    def _learning_rates(self) -> dict[str, float]:
        return {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in self.optimizers.items()}

    def stylize(self, photo: Tensor) -> Tensor:
        """Run (N, 3, H, W) in [-1, 1] through the averaged generator, without gradients; returns float32 on the CPU."""
        generator = self.objective.networks["generator"]
        applied = self.ema.applied_to(generator) if self.ema else contextlib.nullcontext()
        # Evaluation mode: batch norm behaves as in an export, and its statistics are not updated.
        generator.eval()
        try:
            with torch.no_grad(), applied:
                return self.objective.stylize(photo.to(self.device)).cpu()
        finally:
            generator.train()

    def _draw_samples(self) -> None:
        if self.write_sample_grid is None:
            return
        # Samples must not change the run's random state.
        states = random_states()
        samples = self.write_sample_grid(self.folder / "samples" / f"step-{self.step:08d}.png", self.stylize)
        self.progress.image("samples", samples, self.step)
        restore_random_states(states)

    def _save(self) -> None:
        state = self.state()
        if not self.world.is_first:
            return
        path = save_checkpoint(self.checkpoints, self.step, state)
        if self.validate is not None:
            states = random_states()
            figures = dict(self.validate(self.stylize))
            restore_random_states(states)
            self.progress.report_validation(self.step, figures)
            if "score" in figures:
                note_score(self.checkpoints, path, figures["score"])
        prune_checkpoints(self.checkpoints, keep_last=self.settings.keep_last)

    def _describe_run(self, *, resumed_from: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "run.json"
        history: list[dict[str, object]] = []
        if path.exists():
            with contextlib.suppress(ValueError, KeyError):
                history = json.loads(path.read_text())["sessions"]
        sizes = {
            name: sum(p.numel() for p in network.parameters()) for name, network in self.objective.networks.items()
        }
        history.append({"from_step": resumed_from, **describe_session(self.settings.threads)})
        description = {
            **self.about,
            "config": self.config,
            "settings": asdict(self.settings),
            "precision": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "processes": self.world.size,
            "parameters": sizes,
            "sessions": history,
        }
        write_file(path, json.dumps(description, indent=2, sort_keys=True) + "\n")


@contextlib.contextmanager
def _frozen(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Disable gradients for these networks' weights inside the block, which saves time."""
    frozen = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def describe_session(threads: int = 0) -> dict[str, object]:
    """When, where and with which versions a session of a run began."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in ("animevid", "torch", "numpy", "opencv-python-headless", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "git_revision": git_revision(),
        "versions": versions,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {threads or torch.get_num_threads()} threads",
    }


@functools.cache
def git_revision() -> str:
    """The revision of the trainer's own source, "+changes" where it differs, "" outside a repository."""
    here = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(here), "status", "--porcelain", "--", str(here)],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return revision + ("+changes" if dirty else "")
