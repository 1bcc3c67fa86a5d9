"""Adaptive discriminator augmentation: Karras et al. 2020, "Training GANs with Limited Data" (arXiv:2006.06676).

All inputs of D, real and generated, are transformed at random, each transformation with probability p, which is adapted
to how much D overfits. The transformations and their distributions are those of the paper's appendix B: pixel
blitting, general geometric, and colour. Differences: one bilinear resampling instead of the wavelet-filtered one, and
no saturation change, since these recipes use gray art as a negative for D.

All transformations are differentiable in the images. Random numbers come from a ``torch.Generator`` that is stored in
the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from animevid.errors import TrainingError
from torch import Tensor
from torch.nn import functional as F

from animevid_trainer.losses import AdversarialKind

_LN2 = math.log(2.0)


@dataclass(frozen=True, slots=True)
class AugmentKinds:
    """Which groups of transformations are used."""

    blit: bool = True  # mirror, quarter turns, whole-pixel shift
    geometric: bool = True  # scale, rotation, stretch, sub-pixel shift
    colour: bool = True  # brightness, contrast, luma flip, hue


def augment(
    images: Tensor, p: float, *, generator: torch.Generator | None = None, kinds: AugmentKinds = AugmentKinds()
) -> Tensor:
    """``images`` (RGB in [-1, 1], ``N, 3, H, W``), each transformed independently; ``p`` of 0 returns them untouched.

    Raises:
        TrainingError: ``p`` outside 0 to 1.
    """
    if not 0.0 <= p <= 1.0:
        raise TrainingError(f"{p = }: 0 to 1")
    if p == 0.0:
        return images
    n, _, height, width = images.shape
    geometry = sample_geometry(n, height, width, p, generator=generator, kinds=kinds)
    colour = sample_colour(n, p, generator=generator, kinds=kinds)
    return apply_colour(apply_geometry(images, geometry.to(images.device)), colour.to(images.device))


def sample_geometry(
    n: int, height: int, width: int, p: float, *, generator: torch.Generator | None = None, kinds: AugmentKinds
) -> Tensor:
    """Matrices ``n, 3, 3`` (float64) from output to input positions, in pixels from the image's centre."""
    draw = _Draws(n, generator)
    matrix = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    if kinds.blit:
        flipped = draw.whole(2, p)
        matrix = matrix @ _scale(1.0 - 2.0 * flipped, torch.ones(n, dtype=torch.float64))
        turns = draw.whole(4 if height == width else 2, p)
        matrix = matrix @ _rotation(turns * (math.pi / 2 if height == width else math.pi))
        shift_x, shift_y = draw.uniform(-0.125, 0.125, p, together=2)
        matrix = matrix @ _shift((shift_x * width).round(), (shift_y * height).round())
    if kinds.geometric:
        # Two rotations, each with this probability, leave an image unrotated with probability 1 - p (appendix B).
        p_rotate = 1.0 - math.sqrt(1.0 - p)
        scale = draw.lognormal(0.2 * _LN2, p)
        matrix = matrix @ _scale(scale, scale)
        matrix = matrix @ _rotation(draw.uniform(-math.pi, math.pi, p_rotate)[0])
        stretch = draw.lognormal(0.2 * _LN2, p)
        matrix = matrix @ _scale(stretch, 1.0 / stretch)
        matrix = matrix @ _rotation(draw.uniform(-math.pi, math.pi, p_rotate)[0])
        shift_x, shift_y = draw.normal(0.125, p, together=2)
        matrix = matrix @ _shift(shift_x * width, shift_y * height)
    return matrix


def apply_geometry(images: Tensor, matrices: Tensor) -> Tensor:
    """``images`` resampled by ``matrices`` (``sample_geometry``): bilinear, reflected beyond the border."""
    n, _, height, width = images.shape
    # grid_sample counts in halves of the size, and so must both sides of the matrix.
    to_unit = torch.tensor([2.0 / width, 2.0 / height, 1.0], dtype=torch.float64, device=matrices.device)
    theta = (to_unit.unsqueeze(1) * matrices / to_unit)[:, :2].to(images.dtype)
    grid = F.affine_grid(theta, [n, 3, height, width], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def sample_colour(n: int, p: float, *, generator: torch.Generator | None = None, kinds: AugmentKinds) -> Tensor:
    """Matrices ``n, 4, 4`` (float64) on (R, G, B, 1), RGB in [-1, 1]."""
    draw = _Draws(n, generator)
    matrix = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    if not kinds.colour:
        return matrix
    grey = torch.full((3,), 1.0 / math.sqrt(3.0), dtype=torch.float64)
    brightness = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    brightness[:, :3, 3] = draw.normal(0.2, p)[0].unsqueeze(1)
    contrast = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    contrast[:, :3, :3] *= draw.lognormal(0.5 * _LN2, p).view(n, 1, 1)
    flip = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    flip[:, :3, :3] -= 2.0 * torch.outer(grey, grey) * draw.whole(2, p).view(n, 1, 1)
    hue = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    hue[:, :3, :3] = _rotation_about(grey, draw.uniform(-math.pi, math.pi, p)[0])
    return hue @ flip @ contrast @ brightness


def apply_colour(images: Tensor, matrices: Tensor) -> Tensor:
    """``images`` with ``matrices`` (``sample_colour``) applied to each pixel; clamping would stop gradients."""
    matrix = matrices.to(images.dtype)
    return torch.einsum("nkc,nchw->nkhw", matrix[:, :3, :3], images) + matrix[:, :3, 3].view(-1, 3, 1, 1)


class AdaController:
    """Steers p by the overfitting heuristic r_t = E[sign(D(real))] (section 3 of the paper).

    ``update`` takes D's logits of augmented real images after each D step; every ``interval_steps`` p moves towards
    making r_t equal ``target``, so fast that 0 to 1 takes ``images_to_full`` real images.
    """

    def __init__(
        self,
        *,
        kind: AdversarialKind,
        target: float = 0.6,
        interval_steps: int = 4,
        images_to_full: int = 500_000,
        largest_p: float = 0.85,
    ) -> None:
        if interval_steps < 1 or images_to_full < 1 or not 0.0 <= largest_p <= 1.0:
            raise TrainingError(f"{interval_steps = }, {images_to_full = }: 1 or more; {largest_p = }: 0 to 1")
        # LSGAN's targets for real and fake are 1 and 0: its decision boundary is between them.
        self._boundary = 0.5 if kind == "lsgan" else 0.0
        self._target = target
        self._interval_steps = interval_steps
        self._images_to_full = images_to_full
        self._largest_p = largest_p
        self.p = 0.0
        self.overfitting = 0.0
        self._sign_sum = 0.0
        self._steps = 0
        self._images = 0

    def update(self, real_logits: Tensor) -> float:
        """Account for one D step (logits ``N, ...``) and return p for the next."""
        self._sign_sum += float((real_logits.detach().float() - self._boundary).sign().mean())
        self._steps += 1
        self._images += real_logits.shape[0]
        if self._steps >= self._interval_steps:
            self.overfitting = self._sign_sum / self._steps
            change = self._images / self._images_to_full
            direction = math.copysign(1.0, self.overfitting - self._target) if self.overfitting != self._target else 0.0
            self.p = min(self._largest_p, max(0.0, self.p + direction * change))
            self._sign_sum, self._steps, self._images = 0.0, 0, 0
        return self.p

    def state_dict(self) -> dict[str, float]:
        """Plain numbers, for a checkpoint's JSON."""
        return {
            "p": self.p,
            "overfitting": self.overfitting,
            "sign_sum": self._sign_sum,
            "steps": self._steps,
            "images": self._images,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.p = float(state["p"])
        self.overfitting = float(state["overfitting"])
        self._sign_sum = float(state["sign_sum"])
        self._steps = int(state["steps"])
        self._images = int(state.get("images", state.get("pictures", 0)))  # older checkpoints say "pictures"


class AdaptiveAugment:
    """``augment`` with the p of an ``AdaController``, for a training loop; has a state for the checkpoint.

    Draws from torch's global random state, which a checkpoint keeps anyway.
    """

    def __init__(self, controller: AdaController, *, kinds: AugmentKinds = AugmentKinds()) -> None:
        self.controller = controller
        self.kinds = kinds

    def __call__(self, images: Tensor) -> Tensor:
        """The augmented images for D; shapes as in ``augment``."""
        return augment(images, self.controller.p, kinds=self.kinds)

    def update(self, real_logits: Tensor) -> None:
        """Pass D's logits of augmented real images, once per D step."""
        self.controller.update(real_logits)

    def state_dict(self) -> dict[str, float]:
        return self.controller.state_dict()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.controller.load_state_dict(state)


class _Draws:
    """Random parameters, each the identity's with probability 1 - p; always drawn, so that streams stay aligned."""

    def __init__(self, n: int, generator: torch.Generator | None) -> None:
        self._n = n
        self._generator = generator

    def _uniform(self) -> Tensor:
        return torch.rand(self._n, generator=self._generator, dtype=torch.float64)

    def _applied(self, p: float) -> Tensor:
        return (self._uniform() < p).double()

    def whole(self, below: int, p: float) -> Tensor:
        """Draw an integer from 0 to ``below - 1``, or 0."""
        return (self._uniform() * below).floor() * self._applied(p)

    def uniform(self, low: float, high: float, p: float, *, together: int = 1) -> tuple[Tensor, ...]:
        """Draw ``together`` values that are applied or omitted together."""
        values = [low + (high - low) * self._uniform() for _ in range(together)]
        applied = self._applied(p)
        return tuple(value * applied for value in values)

    def normal(self, std: float, p: float, *, together: int = 1) -> tuple[Tensor, ...]:
        values = [std * torch.randn(self._n, generator=self._generator, dtype=torch.float64) for _ in range(together)]
        applied = self._applied(p)
        return tuple(value * applied for value in values)

    def lognormal(self, std: float, p: float) -> Tensor:
        """Draw exp of a normal variable, or 1."""
        return self.normal(std, p)[0].exp()


def _scale(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack((x, y, torch.ones_like(x)), dim=1))


def _shift(x: Tensor, y: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return matrix


def _rotation(angle: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 1, 0] = angle.sin()
    matrix[:, 0, 1] = -angle.sin()
    return matrix


def _rotation_about(axis: Tensor, angle: Tensor) -> Tensor:
    """Rodrigues' formula: ``n, 3, 3`` about a unit ``axis``."""
    x, y, z = axis.tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    sine, cosine = angle.sin().view(-1, 1, 1), angle.cos().view(-1, 1, 1)
    return torch.eye(3, dtype=torch.float64) * cosine + cross * sine + torch.outer(axis, axis) * (1.0 - cosine)
