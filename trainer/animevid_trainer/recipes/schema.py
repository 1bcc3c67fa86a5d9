"""The schema of recipes: frozen dataclasses with a default, meaning and range for every number.

Types define valid ranges (``NonNegative``, ``Rate`` ...); pydantic checks them, whether a recipe was written in Python,
in TOML or on the command line. ``Recipe.validated`` adds checks that involve several values.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Literal

from animevid.errors import TrainingError
from pydantic import ConfigDict, Field

Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, gt=0, lt=1)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Decay = Annotated[float, Field(strict=True, ge=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Option = Annotated[bool, Field(strict=True)] | Annotated[int, Field(strict=True)] | Number | str
Options = Mapping[str, Option]

#: for every table of a recipe: unknown keys are errors
_CLOSED = ConfigDict(extra="forbid")
_SMALLEST_CROP_PX = 32


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the terms of G's loss; 0 disables a term and the passes that only it needs.

    Each term is a function with this name in ``objectives.terms``, except ``adversarial``, ``cycle`` and ``identity``,
    which the objectives compute themselves. Equations: ``losses``.
    """

    __pydantic_config__ = _CLOSED

    adversarial: NonNegative = 0.0  # D's logits of G(p)
    content: NonNegative = 0.0  # features of G(p) compared with the photo's
    perceptual: NonNegative = 0.0  # with the teacher's image, at ``perceptual.teacher_layer``
    init_content: NonNegative = 0.0  # content weight in content-only phases; 0: ``content``
    style: NonNegative = 0.0  # Gram matrices of G(p) compared with the art's (``style_on``: gray or colour)
    colour: NonNegative = 0.0  # Y'UV of G(p) compared with the photo
    total_variation: NonNegative = 0.0
    gradient: NonNegative = 0.0  # Sobel gradients compared with the teacher's image or, without a teacher, the photo
    flatness: NonNegative = 0.0  # variation of G(p) where the photo has no edge
    pixel: NonNegative = 0.0  # L1 distance to the teacher's image
    cycle: NonNegative = 0.0  # both directions, each with this weight
    identity: NonNegative = 0.0  # both directions, each with this weight (CycleGAN's 0.5 is relative: 0.5 x 10)
    temporal: NonNegative = 0.0  # flicker: see Temporal


@dataclass(frozen=True, slots=True)
class DiscriminatorWeights:
    """Terms of D's loss: ``overall (real D(a) + fake D(G(p)) + gray D(x) + smooth D(y))``; 0 disables a term."""

    __pydantic_config__ = _CLOSED

    overall: NonNegative = 1.0
    real: NonNegative = 1.0
    fake: NonNegative = 1.0
    gray: NonNegative = 0.0  # gray art counts as fake, which enforces colour
    smooth: NonNegative = 0.0  # edge-smoothed art counts as fake, which enforces lines


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of training with its own rates. Exactly one of ``length_steps`` and ``length_epochs`` is positive.

    ``content_only``: the initialization phase of CartoonGAN and AnimeGAN (only the content loss, without D).
    ``adversarial`` False: without D, but with all other terms. ``content`` False: no content term, which would keep a
    student from learning its teacher's colours. ``crop_px`` and ``batch`` of 0: as in the recipe.
    """

    __pydantic_config__ = _CLOSED

    name: str
    length_steps: Count = 0
    length_epochs: NonNegative = 0.0
    generator_lr: Rate = 2e-4
    discriminator_lr: Rate = 2e-4
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # linear and cosine end at final_lr_factor
    final_lr_factor: Share = 0.0
    warmup_steps: Count = 0
    content_only: Flag = False
    adversarial: Flag = True
    content: Flag = True
    crop_px: Count = 0
    batch: Count = 0

    def steps(self, *, photos: int, batch: int) -> int:
        """Return the number of optimizer steps for ``photos`` photos and ``batch`` images per step."""
        if self.length_steps > 0:
            return self.length_steps
        return max(1, round(self.length_epochs * math.ceil(photos / (self.batch or batch))))

    def lr_factor(self, step: int, *, steps: int) -> float:
        """Return the factor of the phase's learning rates at ``step`` (0-based) of ``steps``."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0
        if self.schedule == "constant":
            return warmup
        done = step / max(1, steps)
        remaining = 0.5 * (1.0 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1.0 - done
        return warmup * (self.final_lr_factor + (1.0 - self.final_lr_factor) * remaining)


@dataclass(frozen=True, slots=True)
class PerceptualChoice:
    """The network that measures content and style. ``unit``: the unit of its features (see ``perceptual``).

    ``weights``: a file; empty: download the published weights and check their checksum. ``content_layer``: empty for
    the network's default (VGG19 conv4_4, VGG16 conv4_3, ResNet-50 layer3). ``teacher_layer``: the layer that compares a
    student with its teacher; empty: the content layer.
    """

    __pydantic_config__ = _CLOSED

    network: Literal["vgg19", "vgg16", "resnet50"] = "vgg19"
    weights: str = ""
    content_layer: str = ""
    teacher_layer: str = ""
    style_layers: tuple[str, ...] = ()  # empty: the content layer
    unit: Literal["caffe", "normalized"] = "caffe"
    bf16: Flag = False  # compute in bfloat16 if the processor supports it
    scale: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0  # the network's inputs are shrunk by this factor


@dataclass(frozen=True, slots=True)
class Temporal:
    """How the temporal term (``losses.temporal``) changes a crop: shift, noise, exposure."""

    __pydantic_config__ = _CLOSED

    largest_shift_px: Count = 8
    noise_std: NonNegative = 0.02  # on [-1, 1]
    largest_exposure: NonNegative = 0.1  # the gain is within 1 +- this


@dataclass(frozen=True, slots=True)
class Ada:
    """Adaptive discriminator augmentation, Karras et al. 2020 (arXiv:2006.06676)."""

    __pydantic_config__ = _CLOSED

    enabled: Flag = False
    target: NonNegative = 0.6  # target of E[sign(D(real))], section 3
    interval_steps: Positive = 4
    images_to_full: Count = 0  # p moves from 0 to 1 over this many real images; 0: a fifth of the run's
    largest_p: Share = 0.85  # above this, augmentations leak into G's images (section 2, figure 3)
    blit: Flag = True  # mirror, quarter turns, shifts
    geometric: Flag = True  # scale, rotation, stretch
    colour: Flag = True  # brightness, contrast, luma flip, hue


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Adam's settings, gradient clipping, weight averaging, and the ratio of D and G steps."""

    __pydantic_config__ = _CLOSED

    beta1: Decay = 0.5
    beta2: Decay = 0.999
    gradient_clip_norm: NonNegative = 0.0  # 0: no clipping
    ema_decay: Decay = 0.999  # of G's weights; 0: no average
    discriminator_every: Positive = 1  # G steps per D step
    discriminator_steps: Positive = 1  # D steps per G step (GAN's k), all on the same batch


@dataclass(frozen=True, slots=True)
class Regularizers:
    """Lazy regularization of GANs from noise: separate optimizer steps every ``*_every`` steps, weighted by that number
    (Karras et al. 2020, arXiv:1912.04958, appendix B). Equations: ``regularizers``."""

    __pydantic_config__ = _CLOSED

    r1: NonNegative = 0.0  # gamma, weight of D's gradient at real images; 0: off
    r1_every: Positive = 16
    path_length: NonNegative = 0.0  # weight of the path length in W (stylegan2); 0: off
    path_length_every: Positive = 8


@dataclass(frozen=True, slots=True)
class Data:
    """How batches are made from images. Scale 1 crops an image's own pixels, 0.5 twice as much of the image."""

    __pydantic_config__ = _CLOSED

    batch: Positive = 4
    crop_px: Annotated[int, Field(strict=True, ge=_SMALLEST_CROP_PX)] = 256
    crop_scale_low: NonNegative = 0.4
    crop_scale_high: NonNegative = 1.0
    balance_art: Flag = True  # remove the set's overall colour cast (the authors' data_mean)
    whole: Flag = False  # use the largest square of an image (the authors' images are square) and no scales
    flip: Flag = True  # mirror every other crop
    flat_images: Count = 0  # with a teacher: add uniform colours and gradients to the photos (``data.flats``)
    lowest_art_brightness: Annotated[float, Field(strict=True, ge=0, le=255)] = 0.0  # brighten darker art to it; 0: off


@dataclass(frozen=True)
class Recipe:
    """One training configuration. Every number is here or in a dataclass named here."""

    __pydantic_config__ = _CLOSED

    name: str
    summary: str
    generator: str
    deviations: tuple[str, ...] = ()  # differences from the publication after which the recipe is named
    generator_options: Options = field(default_factory=dict)
    objective: str = "stylize"  # or "cycle", "noise" (faces from noise), or from another package (``objectives``)
    objective_options: Options = field(default_factory=dict)  # for objectives of other packages
    discriminator: Literal["patch", "vit", "cyclegan", "projected", "dcgan", "sagan", "stylegan2", "none"] = "patch"
    discriminator_options: Options = field(default_factory=dict)
    conditional: Flag = False  # D gets photo and image; real images are the teacher's (pix2pix)
    adversarial: Literal["lsgan", "bce", "hinge", "minimax"] = "lsgan"  # bce: non-saturating; minimax: GAN eq. 1
    smooth_negatives: Literal["gray", "colour"] = "gray"  # AnimeGAN's y or CartoonGAN's e
    style_on: Literal["gray", "colour"] = "gray"
    image_pool: Count = 0  # number of earlier outputs kept for D; 50 in CycleGAN
    teacher: str = ""  # a teacher's weights (.onnx, .safetensors, .npy folder, .pth); distill only
    colour_pool_px: Positive = 1  # the colour term averages over blocks of this side first
    #: of G and D; "auto": bf16 if the processor supports it; fp16 (CUDA) uses a gradient scaler
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    losses: LossWeights = LossWeights()
    discriminator_losses: DiscriminatorWeights = DiscriminatorWeights()
    perceptual: PerceptualChoice = PerceptualChoice()
    phases: tuple[Phase, ...] = ()
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    temporal: Temporal = Temporal()
    ada: Ada = Ada()
    regularizers: Regularizers = Regularizers()

    def __post_init__(self) -> None:
        # read-only copies, so that a recipe is completely immutable
        for name in ("generator_options", "objective_options", "discriminator_options"):
            object.__setattr__(self, name, types.MappingProxyType(dict(getattr(self, name))))

    # ---------------------------------------------------------------------------------------------------- properties

    @property
    def is_cycle(self) -> bool:
        """Whether the run trains two generators and two discriminators (CycleGAN)."""
        return self.objective == "cycle"

    @property
    def from_noise(self) -> bool:
        """Whether G draws from noise; the batch's photos are then the training data."""
        return self.objective == "noise"

    @property
    def needs_art(self) -> bool:
        if self.from_noise:
            return False
        return (self.uses_discriminator and not self.conditional) or self.losses.style > 0.0

    @property
    def uses_discriminator(self) -> bool:
        return self.discriminator != "none" and self.losses.adversarial > 0.0

    @property
    def uses_perceptual(self) -> bool:
        weights = self.losses
        features = weights.content + weights.perceptual + weights.style
        if self.discriminator == "projected" and self.uses_discriminator:
            return True
        return features > 0.0 or any(phase.content_only for phase in self.phases)

    @property
    def init_content_weight(self) -> float:
        """Weight of the content loss in content-only phases."""
        return self.losses.init_content or self.losses.content

    @property
    def needs_teacher(self) -> bool:
        return self.losses.pixel > 0.0 or self.losses.perceptual > 0.0 or self.conditional

    def to_dict(self) -> dict[str, object]:
        """Return plain dictionaries, lists and scalars, for JSON and for ``recipe_from_dict``."""
        value = plain(self)
        assert isinstance(value, dict)
        return value

    def to_toml(self) -> str:
        """Return the whole recipe as TOML; ``recipe_from_toml`` reads it back to an equal recipe."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())

    def __str__(self) -> str:
        return self.to_toml()

    # ---------------------------------------------------------------------------------------------------- validation

    def validated(self) -> Recipe:
        """Check the whole recipe and return it.

        Raises:
            TrainingError: the first invalid value, with what is allowed.
        """
        from animevid_trainer.recipes.noise import check_noise
        from animevid_trainer.recipes.reading import check_types

        check_types(self.to_dict())
        self._check_names()
        self._check_phases()
        data, ada = self.data, self.ada
        scales = (data.crop_scale_low, data.crop_scale_high)
        require(0.0 < scales[0] <= scales[1], "data.crop_scale_low, crop_scale_high", scales, "0 < low <= high")
        require(
            data.flat_images == 0 or self.needs_teacher,
            "data.flat_images",
            data.flat_images,
            "0 without a teacher, which draws them",
        )
        steps, weights = self.optimizer.discriminator_steps, self.losses
        require(not (self.is_cycle and steps > 1), "optimizer.discriminator_steps", steps, '1 with objective = "cycle"')
        augmented = ada.enabled and not self.from_noise
        features_twice = self.discriminator == "projected" and (augmented or self.is_cycle)
        require(not features_twice, "discriminator", self.discriminator, "patch, vit or cyclegan with ada or cycle")
        require(
            not self.conditional
            or (self.discriminator in ("patch", "cyclegan") and self.uses_discriminator and not self.is_cycle),
            "conditional",
            self.conditional,
            "false, unless there is one generator, discriminator patch or cyclegan, and an adversarial weight",
        )
        require(
            self.discriminator != "none" or weights.adversarial == 0.0,
            "losses.adversarial",
            weights.adversarial,
            "0 without a discriminator",
        )
        require(
            self.is_cycle or weights.cycle == weights.identity == 0.0,
            "losses.cycle, losses.identity",
            (weights.cycle, weights.identity),
            '0 unless objective = "cycle"',
        )
        check_noise(self)
        own = self.objective in ("stylize", "cycle")
        if own and all(weight == 0.0 for weight in asdict(weights).values()):
            raise TrainingError("losses are all 0; give at least one a positive weight")
        return self

    def _check_names(self) -> None:
        from animevid_trainer.generators import GENERATOR_NAMES, NOISE_GENERATOR_NAMES
        from animevid_trainer.objectives.registry import objective_names
        from animevid_trainer.perceptual import layer_names

        generators = NOISE_GENERATOR_NAMES if self.from_noise else GENERATOR_NAMES
        require(self.generator in generators, "generator", self.generator, ", ".join(generators))
        objectives = objective_names()
        require(self.objective in objectives, "objective", self.objective, ", ".join(objectives))
        if self.uses_perceptual:
            known = tuple(layer_names(self.perceptual.network))
            choice = self.perceptual
            for layer in (*choice.style_layers, choice.content_layer or known[0], choice.teacher_layer or known[0]):
                require(layer in known, "perceptual layers", layer, f"for {choice.network}: {', '.join(known)}")

    def _check_phases(self) -> None:
        require(bool(self.phases), "phases", [], "at least one phase")
        names = [phase.name for phase in self.phases]
        require(len(set(names)) == len(names), "phases", names, "different names")
        for phase in self.phases:
            where = f"phases.{phase.name}"
            lengths = (phase.length_steps, phase.length_epochs)
            require(
                (lengths[0] > 0) != (lengths[1] > 0), f"{where}.length_steps, length_epochs", lengths,
                "exactly one positive",
            )  # fmt: skip
            crop = phase.crop_px
            require(crop == 0 or crop >= _SMALLEST_CROP_PX, f"{where}.crop_px", crop, "0 or at least 32")
            if phase.content_only:
                require(self.init_content_weight > 0, "losses.content", self.losses.content, "> 0 with a content phase")


def plain(value: object) -> object:
    """Convert dataclasses, mappings and tuples to dictionaries and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field_.name: plain(getattr(value, field_.name)) for field_ in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    if not condition:
        raise TrainingError(f"{key} = {value!r}: allowed is {allowed}")
