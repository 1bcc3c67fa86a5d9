"""``python -m animevid_trainer.cuda_check``: checks that a student learns the same on the GPU as on the CPU, and
measures the speed.

Prints one JSON object per line: ``text`` and ``agrees`` (the result of a comparison; null for a measurement), or
``skipped``.
``animevid doctor --gpu`` runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from animevid_trainer.colourspace import packed_to_rgb
from animevid_trainer.distill.losses import StudentWeights, pixel_terms
from animevid_trainer.generators.luma_unet import LumaUNet

_STEPS, _CROP_PX, _BATCH = 12, 96, 2
#: The batch for timing, large enough for a GPU.
_TIMED_BATCH, _TIMED_CROP_PX = 16, 256
#: Codes of 8 bits, mean over all samples, after ``_STEPS`` steps; mixed precision rounds every activation.
_ALLOWED_CODES = {"float32": 0.05, "mixed precision": 1.0}
#: The teacher is a fixed change of tones, large compared with the tolerance.
_GAIN, _SHIFT = 0.8, 0.12


def crops(count: int, crop_px: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Packed (photo, teacher's frame), ``(count, 24, crop_px / 4, crop_px / 4)`` on [-1, 1]."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 24, crop_px // 16, crop_px // 16), generator=random) * 1.6 - 0.8
    photo = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
    return photo, (photo * _GAIN + _SHIFT).clamp(-1, 1)


def train(device: str, *, steps: int, mixed: bool, batch: int = _BATCH, crop_px: int = _CROP_PX) -> LumaUNet:
    """A student after ``steps`` steps, from the same start on every device."""
    torch.manual_seed(0)
    student = LumaUNet()
    student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = stepper(student, device, mixed=mixed, batch=batch, crop_px=crop_px)
    for _ in range(steps):
        step()
    return student


def stepper(student: LumaUNet, device: str, *, mixed: bool, batch: int, crop_px: int) -> Callable[[], None]:
    """A function that makes one step: forward, the objective of ``distill``, backward, AdamW."""
    photo, teacher = (part.to(device).contiguous(memory_format=torch.channels_last) for part in crops(batch, crop_px))
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    weights, kind = StudentWeights(), torch.device(device).type
    has_bf16 = kind == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)
    half = torch.bfloat16 if has_bf16 else torch.float16
    # A small initial scale, so that no step overflows and is skipped.
    scaler = torch.amp.GradScaler(kind, init_scale=256.0, enabled=mixed and not has_bf16)

    def step() -> None:
        with torch.autocast(kind, half, enabled=mixed):
            drawn = student(photo)
        plain, gradient, flat = pixel_terms(drawn.float(), teacher, photo)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(plain + weights.gradient * gradient + weights.flat * flat).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()

    return step


def findings(device: str, seconds: float) -> Iterator[dict[str, str | bool | None]]:
    """The findings, in order."""
    photo, _ = crops(_BATCH, _CROP_PX, seed=1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    expected = _drawn(train("cpu", steps=_STEPS, mixed=False), photo)
    moved = _codes(expected, packed_to_rgb(photo))
    yield {"text": f"{_STEPS} steps on the CPU move a frame by {moved:.2f} codes", "agrees": None}
    for name, mixed in (("float32", False), ("mixed precision", True)):
        drawn = _drawn(train(device, steps=_STEPS, mixed=mixed), photo.to(device))
        apart, allowed = _codes(drawn, expected), _ALLOWED_CODES[name]
        text = f"{name}, {_STEPS} steps: the student's frames are {apart:.3f} codes from the CPU's, {allowed} allowed"
        yield {"text": text, "agrees": apart <= allowed and moved > 3 * allowed}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    rate = _images_a_second(device, seconds)
    text = f"mixed precision, channels last, {_TIMED_BATCH} crops of {_TIMED_CROP_PX} px: {rate:.0f} images a second"
    yield {"text": text, "agrees": None}


def _images_a_second(device: str, seconds: float) -> float:
    student = LumaUNet()
    student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = stepper(student, device, mixed=True, batch=_TIMED_BATCH, crop_px=_TIMED_CROP_PX)

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(3):  # warm-up: cuDNN selects algorithms, the allocator reserves memory
        step()
    wait()
    begun, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - begun < seconds:
        step()
        steps += 1
        if steps % 8 == 0:
            wait()
    wait()
    return steps * _TIMED_BATCH / (time.perf_counter() - begun)


@torch.inference_mode()
def _drawn(student: LumaUNet, photo: Tensor) -> Tensor:
    return packed_to_rgb(student(photo).float()).cpu()


def _codes(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean()) * 127.5


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of the speed measurement (default 2)")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:N or cpu")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        said = f"torch {torch.__version__} finds no GPU here"
        sys.stdout.write(json.dumps({"skipped": said}) + "\n")
        return 0
    for finding in findings(args.device, args.seconds):
        sys.stdout.write(json.dumps(finding) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
