"""The training loop of a student. After a kill at any moment, the same command resumes from the last saved state.

The learning rate is constant, so a run can have any length. ``decay_steps`` ends a run: the rate falls to zero over
that many steps. The exported weights are a running mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from animevid.errors import TrainingError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from animevid_trainer.colourspace import packed_to_rgb, rgb_to_packed
from animevid_trainer.conv_muon import ConvMuon
from animevid_trainer.data.images import Image
from animevid_trainer.distill.damage import as_next_frame, damaged
from animevid_trainer.distill.losses import (
    PairDiscriminator,
    StudentWeights,
    perceptual_term,
    pixel_terms,
    steady_term,
)
from animevid_trainer.distill.pairs import Emphasis, read_pairs
from animevid_trainer.distill.widen import widen
from animevid_trainer.generators.luma_unet import LumaUNet, count_layers
from animevid_trainer.perceptual import make_perceptual
from animevid_trainer.precision import has_bf16

#: Widths of the two sizes that ship.
SIZES: dict[str, dict[str, int]] = {
    "fast": {},
    "high": {"top": 64, "middle": 128, "bottom": 128, "head": 96, "line": 32},  # 3.4 times the work
}
FLAT_SHARE = 0.1  # of crops come from even colours and gradients
_WARM_UP, _ADVERSARIAL_WARM_UP = 100, 300  # steps
_MEAN_RATE, _MEAN_RATE_EARLY, _EARLY_STEPS = 0.002, 0.02, 2000
_REPORT_STEPS, _REFRESH_STEPS, _SAVE_SECONDS = 100, 400, 120.0


@dataclass(frozen=True, slots=True)
class DistillSettings:
    """One run.

    Args:
        look (str): name of the look.
        size (str): ``fast`` or ``high``. Default: ``"fast"``.
        batch (int): crops a step. Default: 8.
        crop_px (int): side of a crop, a multiple of 16. Default: 160.
        rate (float): learning rate of :class:`ConvMuon`. Default: 5e-4.
        steps (int): stop at this step; 0 runs until interrupted. Default: 0.
        decay_steps (int): let the rate fall to zero over this many steps, then stop; 0 keeps it constant. Default: 0.
        threads (int): CPU threads. Default: 1.
        weights (StudentWeights): weights of the loss terms.
        emphasis (Emphasis): how far the targets exaggerate the teacher.
    """

    look: str
    size: str = "fast"
    batch: int = 8
    crop_px: int = 160
    rate: float = 5e-4
    steps: int = 0
    decay_steps: int = 0
    threads: int = 1
    weights: StudentWeights = field(default_factory=StudentWeights)
    emphasis: Emphasis = field(default_factory=Emphasis)

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise TrainingError(f"size = {self.size!r}: allowed are {', '.join(SIZES)}")
        if self.crop_px < 64 or self.crop_px % 16:
            raise TrainingError(f"crop_px = {self.crop_px}: give 64 or more, a multiple of 16")
        if self.batch < 1:
            raise TrainingError(f"batch = {self.batch}: give 1 crop or more")
        if not 0.0 < self.rate < math.inf:
            raise TrainingError(f"rate = {self.rate}: give a learning rate above 0, such as 5e-4")

    @property
    def repeated(self) -> int:
        """Crops of a batch that are seen twice, as two frames of a still scene: a quarter."""
        return self.batch // 4 if self.weights.steady else 0


def distill(
    pairs: Path,
    out: Path,
    settings: DistillSettings,
    *,
    start_from: Path | None = None,
    perceptual_weights: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> int:
    """Train until the steps of ``settings`` are done or Ctrl-C is pressed, and return the last step.

    ``out/state.pt`` is the state, saved every two minutes; ``out/student.safetensors`` has the mean weights, which
    ``animevid import`` reads.

    Args:
        pairs (Path): folder that ``paint_pairs`` filled.
        out (Path): folder of the run; a run in it is resumed.
        settings (DistillSettings): the settings of the run.
        start_from (Path): initial weights of a new run (``.safetensors``), which also determine the depth of its luma
            branch; weights of a narrower network are widened. Default: random weights.
        perceptual_weights (str): VGG16's weights, for the perceptual term. Default: ``None``.
        on_line (Callable): called with each line of the log. Default: no log.

    Raises:
        TrainingError: no pairs, or a state or weights of another network.
    """
    say = on_line or (lambda line: None)
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    random = np.random.default_rng()
    weights = settings.weights
    state = _load_state(out / "state.pt")
    begin = state.get("student") or _load_start(start_from)
    # The luma branch is as deep as in the initial weights: aozora's has one convolution, the others' two.
    depth = {"line_convs": count_layers(begin, "lines")} if begin else {}
    student = LumaUNet(**{**SIZES[settings.size], **depth})
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = ConvMuon(student, settings.rate)
    discriminator = PairDiscriminator() if weights.adversarial else None
    their_optimizer = None if discriminator is None else torch.optim.Adam(discriminator.parameters(), 4e-4, (0.5, 0.9))
    perceptual = make_perceptual("vgg16", weights=perceptual_weights, bf16=True) if weights.perceptual else None
    step = first = int(state.get("step", 0))
    try:
        if state:
            student.load_state_dict(state["student"])
            if "muon" in state["optimizer"]:
                optimizer.load_state_dict(state["optimizer"])
            else:
                say("the saved run used AdamW; the optimizer starts anew")
            if discriminator is not None and their_optimizer is not None and "discriminator" in state:
                discriminator.load_state_dict(state["discriminator"])
                their_optimizer.load_state_dict(state["their_optimizer"])
        elif begin:
            if all(value.shape == begin[name].shape for name, value in student.state_dict().items()):
                student.load_state_dict(begin)
            else:
                widen(begin, student)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        where = start_from if not state and start_from else out / "state.pt"
        raise TrainingError(f"{str(where)!r} is of another network ({str(error).splitlines()[0]})") from error
    mean = state.get("mean") or {name: value.clone() for name, value in student.state_dict().items()}
    known: dict[str, tuple[Image, Image]] = {}
    read_pairs(pairs, settings.look, crop_px=settings.crop_px, known=known, emphasis=settings.emphasis)
    say(f"{len(known)} pairs, step {step}")

    def save() -> None:
        out.mkdir(parents=True, exist_ok=True)
        content = {"student": student.state_dict(), "optimizer": optimizer.state_dict(), "mean": mean, "step": step}
        if discriminator is not None and their_optimizer is not None:
            content |= {"discriminator": discriminator.state_dict(), "their_optimizer": their_optimizer.state_dict()}
        torch.save(content, out / "state.part")
        (out / "state.part").replace(out / "state.pt")
        halves = {name: value.half().contiguous() for name, value in mean.items()}
        save_file(halves, out / "student.part")
        (out / "student.part").replace(out / "student.safetensors")

    log: list[list[float]] = []
    started = saved = time.monotonic()
    try:
        while not (settings.steps and step >= settings.steps):
            if settings.decay_steps and step - first >= settings.decay_steps:
                break
            rate = settings.rate * min(1.0, (step + 1) / _WARM_UP)
            if settings.decay_steps:
                rate = settings.rate * max(0.01, 1.0 - (step - first) / settings.decay_steps)
            optimizer.set_rate(rate)
            photo, teacher = _draw_batch(known, settings, random)
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(photo.device)):
                drawn = student(photo.contiguous(memory_format=torch.channels_last)).float()
            plain, gradient, flat = pixel_terms(drawn, teacher, photo)
            total = plain + weights.gradient * gradient + weights.flat * flat
            numbers = [plain.item(), gradient.item(), flat.item()]
            if settings.repeated:
                steady = steady_term(drawn[: settings.repeated], drawn[-settings.repeated :])
                total = total + weights.steady * steady
                numbers.append(steady.item())
            # The two expensive terms alternate, at twice their weight.
            if perceptual is not None and step % 2 == 0:
                total = total + 2 * weights.perceptual * perceptual_term(perceptual, drawn, teacher, random)
            if discriminator is not None and step % 2 == 1:
                share = min(1.0, (step - first) / _ADVERSARIAL_WARM_UP)
                seen, ours = packed_to_rgb(photo), packed_to_rgb(drawn)
                discriminator.requires_grad_(False)
                total = total - 2 * weights.adversarial * share * discriminator(seen, ours).mean()
                discriminator.requires_grad_(True)
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            if discriminator is not None and their_optimizer is not None and step % 2 == 1:
                real = discriminator(seen, packed_to_rgb(teacher))
                fake = discriminator(seen, ours.detach())
                loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()  # hinge
                their_optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                their_optimizer.step()
            step += 1
            keep = _MEAN_RATE if step > _EARLY_STEPS else _MEAN_RATE_EARLY
            for name, value in student.state_dict().items():
                mean[name].lerp_(value, keep)
            log.append(numbers)
            if step % _REPORT_STEPS == 0:
                means = zip(("L1", "gradients", "flatness", "steadiness"), np.mean(log, axis=0), strict=False)
                terms = ", ".join(f"{name} {value:.4f}" for name, value in means)
                say(f"step {step}, {time.monotonic() - started:.0f} s: {terms}")
                log.clear()
            if step % _REFRESH_STEPS == 0:  # there may be new pairs
                read_pairs(pairs, settings.look, crop_px=settings.crop_px, known=known, emphasis=settings.emphasis)
            if time.monotonic() - saved > _SAVE_SECONDS:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        say(f"stopped after step {step}; the same command resumes there")
    save()
    return step


def _load_start(path: Path | None) -> dict[str, Tensor]:
    if path is None:
        return {}
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{str(path)!r} cannot be read ({str(error).splitlines()[0]})") from error


def _load_state(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except Exception as error:  # torch raises RuntimeError, or errors of pickle and zipfile
        raise TrainingError(f"{str(path)!r} cannot be read ({str(error).splitlines()[0]}); remove it") from error


def _draw_batch(
    known: dict[str, tuple[Image, Image]], settings: DistillSettings, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Packed (damaged photo, teacher's image), ``(N, 24, crop / 4, crop / 4)`` each."""
    flats = [name for name in known if name.startswith("flat")]
    scenes = [name for name in known if not name.startswith("flat")]
    photos: list[np.ndarray] = []
    images: list[np.ndarray] = []
    for _ in range(settings.batch - settings.repeated):
        pool = flats if not scenes or (flats and random.random() < FLAT_SHARE) else scenes
        photo, image = known[pool[random.integers(len(pool))]]
        top, left = (int(random.integers(side - settings.crop_px + 1)) for side in photo.shape[:2])
        window = slice(top, top + settings.crop_px), slice(left, left + settings.crop_px)
        turn = slice(None, None, -1 if random.random() < 0.5 else 1)
        photos.append(damaged(np.ascontiguousarray(photo[window][:, turn]), random))
        images.append(image[window][:, turn].astype(np.float32) / 255)
    photos += [as_next_frame(photo, random) for photo in photos[: settings.repeated]]
    images += images[: settings.repeated]
    photo_tensor, image_tensor = (
        torch.from_numpy(np.ascontiguousarray(np.stack(part).transpose(0, 3, 1, 2))) * 2 - 1
        for part in (photos, images)
    )
    return rgb_to_packed(photo_tensor), rgb_to_packed(image_tensor)
