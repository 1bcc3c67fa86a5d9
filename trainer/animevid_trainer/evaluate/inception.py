"""The Inception network that defines FID, KID and the Inception Score.

This is the network of 2015-12-05 that the TensorFlow code of Heusel et al. and Salimans et al. loads, as ported to
PyTorch by pytorch-fid and torch-fidelity. It differs from torchvision's InceptionV3 in three places:

- images are resized to 299 px by TensorFlow 1's bilinear resize, whose grid begins at the corner of the first pixel
- average pooling ignores the padding
- the last block uses max pooling

It is implemented here because torch-fidelity needs torchvision, which requires a specific release of torch.
``tests/trainer/test_inception.py`` compares it with torch-fidelity's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from animevid.errors import TrainingError
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from animevid_trainer.layers import rectify
from animevid_trainer.weight_files import PublishedWeights, copy_into, fetch_weights, read_weights

#: torch-fidelity's file; pytorch-fid publishes the same weights as ``pt_inception-2015-12-05-6726825d.pth``.
PUBLISHED_INCEPTION = PublishedWeights(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
    96,
)
#: the value of ``--inception-weights`` that downloads the file
DOWNLOAD = "download"

_SIDE_PX = 299
_FEATURES, _CLASSES = 2048, 1008
_BATCH = 8

Pool = Literal["average", "maximum", "halve"]


@dataclass(frozen=True, slots=True)
class _Conv:
    """``name``: as in the weights file; ``kernel``: (height, width). Padded to keep the size, unless it halves it."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    halves: bool = False


#: convolutions in sequence; those of an inner tuple get the same input and are concatenated
_Branch = tuple["_Conv | tuple[_Conv, _Conv]", ...]


class _ConvNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], *, stride: int, padding: tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return rectify(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """Parallel branches and a pooling of the input, concatenated: one block of Szegedy et al. 2016, figures 5 to 7."""

    def __init__(self, inputs: int, branches: Sequence[_Branch], *, pool: Pool, pool_outputs: int = 0) -> None:
        super().__init__()
        self._branches: list[list[tuple[str, ...]]] = []
        self._pool = pool
        self.outputs = pool_outputs or inputs
        for branch in branches:
            channels, steps = inputs, []
            for step in branch:
                convs = step if isinstance(step, tuple) else (step,)
                for conv in convs:
                    self.add_module(conv.name, _conv_norm(channels, conv))
                channels = sum(conv.outputs for conv in convs)
                steps.append(tuple(conv.name for conv in convs))
            self._branches.append(steps)
            self.outputs += channels
        if pool_outputs:
            self.branch_pool = _conv_norm(inputs, _Conv("branch_pool", pool_outputs))

    def forward(self, x: Tensor) -> Tensor:
        joined = []
        for branch in self._branches:
            y = x
            for names in branch:
                found = [self.get_submodule(name)(y) for name in names]
                y = found[0] if len(found) == 1 else torch.cat(found, 1)
            joined.append(y)
        if self._pool == "halve":
            joined.append(F.max_pool2d(x, 3, stride=2))
        elif self._pool == "maximum":
            joined.append(self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1)))
        else:
            joined.append(self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)))
        return torch.cat(joined, 1)


def _conv_norm(inputs: int, conv: _Conv) -> _ConvNorm:
    height, width = conv.kernel
    padding = (0, 0) if conv.halves else (height // 2, width // 2)
    return _ConvNorm(inputs, conv.outputs, conv.kernel, stride=2 if conv.halves else 1, padding=padding)


def _grid_35(inputs: int, pool_outputs: int) -> _Mixed:
    branches: list[_Branch] = [
        (_Conv("branch1x1", 64),),
        (_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, (5, 5))),
        (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, (3, 3)), _Conv("branch3x3dbl_3", 96, (3, 3))),
    ]
    return _Mixed(inputs, branches, pool="average", pool_outputs=pool_outputs)


def _to_17(inputs: int) -> _Mixed:
    halved = _Conv("branch3x3dbl_3", 96, (3, 3), halves=True)
    branches: list[_Branch] = [
        (_Conv("branch3x3", 384, (3, 3), halves=True),),
        (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, (3, 3)), halved),
    ]
    return _Mixed(inputs, branches, pool="halve")


def _grid_17(inputs: int, width: int) -> _Mixed:
    across, down = (1, 7), (7, 1)
    names = [f"branch7x7dbl_{number}" for number in range(1, 6)]
    branches: list[_Branch] = [
        (_Conv("branch1x1", 192),),
        (_Conv("branch7x7_1", width), _Conv("branch7x7_2", width, across), _Conv("branch7x7_3", 192, down)),
        (
            _Conv(names[0], width),
            _Conv(names[1], width, down),
            _Conv(names[2], width, across),
            _Conv(names[3], width, down),
            _Conv(names[4], 192, across),
        ),
    ]
    return _Mixed(inputs, branches, pool="average", pool_outputs=192)


def _to_8(inputs: int) -> _Mixed:
    branches: list[_Branch] = [
        (_Conv("branch3x3_1", 192), _Conv("branch3x3_2", 320, (3, 3), halves=True)),
        (
            _Conv("branch7x7x3_1", 192),
            _Conv("branch7x7x3_2", 192, (1, 7)),
            _Conv("branch7x7x3_3", 192, (7, 1)),
            _Conv("branch7x7x3_4", 192, (3, 3), halves=True),
        ),
    ]
    return _Mixed(inputs, branches, pool="halve")


def _grid_8(inputs: int, pool: Pool) -> _Mixed:
    def fork(name: str) -> tuple[_Conv, _Conv]:
        return _Conv(f"{name}a", 384, (1, 3)), _Conv(f"{name}b", 384, (3, 1))

    branches: list[_Branch] = [
        (_Conv("branch1x1", 320),),
        (_Conv("branch3x3_1", 384), fork("branch3x3_2")),
        (_Conv("branch3x3dbl_1", 448), _Conv("branch3x3dbl_2", 384, (3, 3)), fork("branch3x3dbl_3")),
    ]
    return _Mixed(inputs, branches, pool=pool, pool_outputs=192)


class Inception(nn.Module):
    """The network, with the weights file's names. ``forward`` takes uint8 RGB (N, 3, H, W) of any size.

    It returns float32 features (N, 2048) of the last pooling for FID and KID, and logits (N, 1008) without bias for the
    Inception Score.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _conv_norm(3, _Conv("", 32, (3, 3), halves=True))
        self.Conv2d_2a_3x3 = _ConvNorm(32, 32, (3, 3), stride=1, padding=(0, 0))
        self.Conv2d_2b_3x3 = _conv_norm(32, _Conv("", 64, (3, 3)))
        self.Conv2d_3b_1x1 = _conv_norm(64, _Conv("", 80))
        self.Conv2d_4a_3x3 = _ConvNorm(80, 192, (3, 3), stride=1, padding=(0, 0))
        blocks: list[tuple[str, Callable[[int], _Mixed]]] = [
            ("Mixed_5b", lambda inputs: _grid_35(inputs, 32)),
            ("Mixed_5c", lambda inputs: _grid_35(inputs, 64)),
            ("Mixed_5d", lambda inputs: _grid_35(inputs, 64)),
            ("Mixed_6a", _to_17),
            ("Mixed_6b", lambda inputs: _grid_17(inputs, 128)),
            ("Mixed_6c", lambda inputs: _grid_17(inputs, 160)),
            ("Mixed_6d", lambda inputs: _grid_17(inputs, 160)),
            ("Mixed_6e", lambda inputs: _grid_17(inputs, 192)),
            ("Mixed_7a", _to_8),
            ("Mixed_7b", lambda inputs: _grid_8(inputs, "average")),
            ("Mixed_7c", lambda inputs: _grid_8(inputs, "maximum")),
        ]
        channels = 192
        for name, make in blocks:
            block = make(channels)
            self.add_module(name, block)
            channels = block.outputs
        self._blocks = [name for name, _ in blocks]
        self.fc = nn.Linear(channels, _CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = (resize_like_tensorflow1(images.float(), _SIDE_PX) - 128.0) / 128.0
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        for name in self._blocks:
            x = self.get_submodule(name)(x)
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T

    @torch.no_grad()
    def look_at(self, images: Iterable[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute features (n, 2048) and logits (n, 1008) of uint8 RGB images (H, W, 3), all of one size."""
        batch: list[NDArray[np.uint8]] = []
        found: list[tuple[Tensor, Tensor]] = []

        def flush() -> None:
            if batch:
                found.append(self(torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)))
                batch.clear()

        for image in images:
            batch.append(image)
            if len(batch) == _BATCH:
                flush()
        flush()
        if not found:
            return np.empty((0, _FEATURES), np.float32), np.empty((0, _CLASSES), np.float32)
        return tuple(torch.cat(part).numpy() for part in zip(*found, strict=True))  # type: ignore[return-value]


def resize_like_tensorflow1(images: Tensor, side_px: int) -> Tensor:
    """Resize bilinearly without antialiasing: float32 (N, C, H, W) -> (N, C, side_px, side_px).

    Output pixel i samples the input at i * length / side_px, like TensorFlow 1's ``resize_bilinear`` with
    ``align_corners=False``, which places samples at pixel corners.
    """

    def neighbours(length: int) -> tuple[Tensor, Tensor, Tensor]:
        at = torch.arange(side_px, dtype=torch.float32) * torch.tensor(length / side_px, dtype=torch.float32)
        low = at.long()
        return low, (low + 1).clamp_max(length - 1), at - low

    top, bottom, down = neighbours(images.shape[2])
    left, right, across = neighbours(images.shape[3])
    columns = images[..., left] + (images[..., right] - images[..., left]) * across
    upper, lower = columns[:, :, top], columns[:, :, bottom]
    return upper + (lower - upper) * down[:, None]


def open_inception(weights: Path | str, *, on_progress: Callable[[int, int], None] | None = None) -> Inception:
    """Load the network with the weights of a file or, with ``"download"``, those that torch-fidelity publishes.

    Args:
        weights: a ``.pth`` or ``.safetensors`` file with the names of torch-fidelity's or pytorch-fid's file
        on_progress: called with the downloaded megabytes and the total

    Raises:
        TrainingError: a missing file, weights of another network, a failed download, or a wrong checksum.
    """
    source = PUBLISHED_INCEPTION
    if str(weights) == DOWNLOAD:
        weights = fetch_weights(
            source,
            what="Inception's weights, which define FID, KID and the Inception Score,",
            flag="--inception-weights",
            way_out=f"fetch {source.url} ({source.megabytes} MB) elsewhere and give it with --inception-weights FILE, "
            "or omit the option: the other figures do not need Inception",
            on_progress=on_progress,
        )
    path = Path(weights).expanduser()
    network = Inception()
    state = read_weights(path, what="Inception weights")
    try:
        for key, target in network.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                copy_into(target, state, key)
    except TrainingError as error:
        raise TrainingError(
            f"{str(path)!r} is not the Inception network of FID ({error}); torchvision's inception_v3 differs from it: "
            f"take {source.url}"
        ) from error
    return network.requires_grad_(False).eval()
