"""Chooses the floating-point type of convolutions.

Processors without bfloat16 instructions emulate it, ten times slower than float32, so it is used only if the processor
has them or the user requests it.
"""

from __future__ import annotations

from typing import Literal

import torch
from animevid.errors import TrainingError

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def has_bf16(device: torch.device) -> bool:
    """Whether ``device`` has instructions for bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(
        getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
        or getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    )


def choose_precision(name: Precision, device: torch.device) -> torch.dtype:
    """Return the type of convolutions; ``"auto"`` is bf16 if ``device`` supports it, else fp32 (CUDA: fp16).

    Raises:
        TrainingError: fp16 on a CPU.
    """
    if name == "auto":
        if has_bf16(device):
            return torch.bfloat16
        return torch.float16 if device.type == "cuda" else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise TrainingError(f"precision {name} needs a GPU; on a CPU there are fp32 and bf16")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
