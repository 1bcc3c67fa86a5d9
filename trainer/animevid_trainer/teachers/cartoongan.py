"""A published CartoonGAN generator as a teacher (Chen, Lai and Liu 2018, "CartoonGAN", section 3.1).

The layer names (``conv01_1`` ... ``deconv03_1``, ``in01_1`` ...) are those of the public conversions of its weights.
Input and output are BGR in [-1, 1]; instance norm has eps 1e-9.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from animevid.errors import TrainingError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from animevid_trainer.precision import has_bf16

INSTANCE_NORM_EPS = 1e-9
SIZE_MULTIPLE = 4


class CartoonGanTeacher:
    """Runs the published weights on the CPU: convolutions in bfloat16 if supported, norms in float32."""

    def __init__(self, weights: Path) -> None:
        """Raises:
        TrainingError: the file is missing or holds other weights.
        """
        try:
            data = weights.read_bytes()
            self._weights = {name: value.float() for name, value in load_file(weights).items()}
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"teacher weights {str(weights)!r} cannot be read ({error})") from error
        missing = {"conv01_1.weight", "in13_1.shift", "deconv03_1.weight"} - self._weights.keys()
        if missing:
            raise TrainingError(
                f"{str(weights)!r} is not a CartoonGAN generator (no {min(missing)}); give the published weights"
            )
        self.key = f"cartoongan 1 {hashlib.sha256(data).hexdigest()}"

    @torch.inference_mode()
    def __call__(self, photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """``(H, W, 3)`` uint8 RGB -> the same shape."""
        height, width = photo.shape[:2]
        bgr = torch.from_numpy(np.ascontiguousarray(photo[..., ::-1])).permute(2, 0, 1)[None].float() / 127.5 - 1.0
        pad = (0, -width % SIZE_MULTIPLE, 0, -height % SIZE_MULTIPLE)
        bgr = functional.pad(bgr, pad, mode="reflect").contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bf16(bgr.device)):
            drawn = self._forward(bgr)[:, :, :height, :width]
        rgb = (drawn.float()[0].flip(0).permute(1, 2, 0) + 1.0) * 127.5
        return rgb.round().clamp(0, 255).byte().contiguous().numpy()

    def _conv(self, x: Tensor, name: str, *, stride: int = 1, reflect: int = 0) -> Tensor:
        if reflect:
            x = functional.pad(x, (reflect,) * 4, mode="reflect")
        return functional.conv2d(
            x,
            self._weights[f"{name}.weight"],
            self._weights[f"{name}.bias"],
            stride=stride,
            padding=0 if reflect else 1,
        )

    def _norm(self, x: Tensor, name: str) -> Tensor:
        # viewed as (pixels, channels), the order of channels-last memory: ten times faster than over H and W
        pixels = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        mean = pixels.mean(0, dtype=torch.float32)
        variance = (pixels.float() - mean).square_().mean(0)
        scale = self._weights[f"{name}.scale"] * torch.rsqrt(variance + INSTANCE_NORM_EPS)
        shift = self._weights[f"{name}.shift"] - mean * scale
        return x * scale.to(x.dtype).view(1, -1, 1, 1) + shift.to(x.dtype).view(1, -1, 1, 1)

    def _forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self._norm(self._conv(x, "conv01_1", reflect=3), "in01_1"))
        for stage in ("02", "03"):
            x = self._conv(self._conv(x, f"conv{stage}_1", stride=2), f"conv{stage}_2")
            x = functional.relu(self._norm(x, f"in{stage}_1"))
        for block in range(4, 12):
            y = functional.relu(self._norm(self._conv(x, f"conv{block:02d}_1", reflect=1), f"in{block:02d}_1"))
            x = x + self._norm(self._conv(y, f"conv{block:02d}_2", reflect=1), f"in{block:02d}_2")
        for stage, norm in (("01", "in12_1"), ("02", "in13_1")):
            weight, bias = (self._weights[f"deconv{stage}_1.{part}"] for part in ("weight", "bias"))
            x = functional.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
            x = functional.relu(self._norm(self._conv(x, f"deconv{stage}_2"), norm))
        return torch.tanh(self._conv(x, "deconv03_1", reflect=3))
