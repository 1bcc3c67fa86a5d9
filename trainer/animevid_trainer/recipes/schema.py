"""What a recipe is: frozen dataclasses, every number with one default, its meaning and what it may be.

Types say what a value may be (``NonNegative``, ``Rate`` ...); pydantic holds a recipe to them, whether it was written
in Python, in TOML or on the command line. ``Recipe.validated`` adds what concerns several values at once.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

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

#: of every table of a recipe: a key that it does not have is a mistake
_CLOSED = ConfigDict(extra="forbid")
_SMALLEST_CROP_PX = 32


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What each term of G's loss is multiplied with; 0 leaves the term out, with the passes that only it needs.

    A term is a function of its name in ``objectives.terms``; ``adversarial``, ``cycle`` and ``identity`` are the
    objectives' own. Equations: ``losses``.
    """

    __pydantic_config__ = _CLOSED

    adversarial: NonNegative = 0.0  # D's opinion of G(p)
    content: NonNegative = 0.0  # features of G(p) against those of the photo
    perceptual: NonNegative = 0.0  # features of G(p) against those of the teacher's, at ``perceptual.teacher_layer``
    init_content: NonNegative = 0.0  # content in content-only phases; 0 takes ``content``
    style: NonNegative = 0.0  # Gram matrices of G(p) against those of art (``style_on``: gray or colour)
    colour: NonNegative = 0.0  # Y'UV of G(p) against the photo
    total_variation: NonNegative = 0.0
    gradient: NonNegative = 0.0  # Sobel of G(p) against the teacher's image, or the photo where there is no teacher
    flatness: NonNegative = 0.0  # variation where the photo has no edge
    pixel: NonNegative = 0.0  # L1 against the teacher's image
    cycle: NonNegative = 0.0  # both directions, each with this weight
    identity: NonNegative = 0.0  # both directions, each with this weight (CycleGAN's 0.5 is relative: 0.5 x 10)
    temporal: NonNegative = 0.0  # flicker: see Temporal


@dataclass(frozen=True, slots=True)
class DiscriminatorWeights:
    """Terms of D's loss: ``overall (real D(a) + fake D(G(p)) + gray D(x) + smooth D(y))``; 0 leaves a term out."""

    __pydantic_config__ = _CLOSED

    overall: NonNegative = 1.0
    real: NonNegative = 1.0
    fake: NonNegative = 1.0
    gray: NonNegative = 0.0  # art without colour is fake: forces colour
    smooth: NonNegative = 0.0  # art with smoothed edges is fake: forces lines


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with its own rates. Exactly one of ``length_steps`` and ``length_epochs`` is positive.

    ``content_only``: the initialization phase of CartoonGAN and AnimeGAN (content loss alone, D rests). ``adversarial``
    False: D rests too, all other terms count. ``content`` False: no content term, which would hold a student back to
    the photo while it learns its teacher's colours. ``crop_px`` and ``batch`` of 0 take the recipe's.
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
        """Number of optimizer steps with ``photos`` photos and ``batch`` images a step; an epoch sees each once."""
        if self.length_steps > 0:
            return self.length_steps
        return max(1, round(self.length_epochs * math.ceil(photos / (self.batch or batch))))

    def lr_factor(self, step: int, *, steps: int) -> float:
        """What the phase's rates are multiplied with at ``step`` (0-based) of ``steps``."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0
        if self.schedule == "constant":
            return warmup
        done = step / max(1, steps)
        remaining = 0.5 * (1.0 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1.0 - done
        return warmup * (self.final_lr_factor + (1.0 - self.final_lr_factor) * remaining)


@dataclass(frozen=True, slots=True)
class PerceptualChoice:
    """Which network measures content and style. ``unit`` is the unit of its features (see ``perceptual``).

    ``teacher_layer``: where a student is compared with its teacher; empty takes the content layer.
    ``weights``: a file; empty downloads the published one with a checksum. ``content_layer`` empty: the network's own
    (VGG19 conv4_4, VGG16 conv4_3, ResNet-50 layer3).
    """

    __pydantic_config__ = _CLOSED

    network: Literal["vgg19", "vgg16", "resnet50"] = "vgg19"
    weights: str = ""
    content_layer: str = ""
    teacher_layer: str = ""
    style_layers: tuple[str, ...] = ()  # empty: the content layer
    unit: Literal["caffe", "normalized"] = "caffe"
    bf16: Flag = False  # compute in bfloat16 where the processor has instructions for it
    scale: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0  # images are shrunk to this before they are seen


@dataclass(frozen=True, slots=True)
class Temporal:
    """How a crop is changed for the temporal term (``losses.temporal``): moved, noised, re-lit."""

    __pydantic_config__ = _CLOSED

    largest_shift_px: Count = 8
    noise_std: NonNegative = 0.02  # on [-1, 1]
    largest_exposure: NonNegative = 0.1  # gain in 1 +- this


@dataclass(frozen=True, slots=True)
class Ada:
    """Adaptive discriminator augmentation, Karras et al. 2020 (arXiv:2006.06676)."""

    __pydantic_config__ = _CLOSED

    enabled: Flag = False
    target: NonNegative = 0.6  # of E[sign(D(real))], section 3
    interval_steps: Positive = 4
    images_to_full: Count = 0  # p moves from 0 to 1 over this many real images; 0: a fifth of the run's
    largest_p: Share = 0.85  # leaks above this (section 2, figure 3)
    blit: Flag = True  # mirror, quarter turns, shifts
    geometric: Flag = True  # scale, rotation, stretch
    colour: Flag = True  # brightness, contrast, luma flip, hue


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Adam, and what guards it."""

    __pydantic_config__ = _CLOSED

    beta1: Decay = 0.5
    beta2: Decay = 0.999
    gradient_clip_norm: NonNegative = 0.0  # 0: no clipping
    ema_decay: Decay = 0.999  # of G's weights; 0: no average is kept
    discriminator_every: Positive = 1  # G steps a D step
    discriminator_steps: Positive = 1  # D steps a G step (GAN's k), each on the same batch


@dataclass(frozen=True, slots=True)
class Regularizers:
    """Of GANs from noise, each in an optimizer step of its own every so many steps, as often counted as left out
    (Karras et al. 2020, arXiv:1912.04958, appendix B). Equations: ``regularizers``."""

    __pydantic_config__ = _CLOSED

    r1: NonNegative = 0.0  # gamma: D's gradient at real images; 0 leaves it out
    r1_every: Positive = 16
    path_length: NonNegative = 0.0  # how far an image moves for a step in W (stylegan2); 0 leaves it out
    path_length_every: Positive = 8


@dataclass(frozen=True, slots=True)
class Data:
    """How images become batches. Scale 1 shows an image's own pixels in a crop, 0.5 twice as much of it."""

    __pydantic_config__ = _CLOSED

    batch: Positive = 4
    crop_px: Annotated[int, Field(strict=True, ge=_SMALLEST_CROP_PX)] = 256
    crop_scale_low: NonNegative = 0.4
    crop_scale_high: NonNegative = 1.0
    balance_art: Flag = True  # remove the set's overall colour cast (the authors' data_mean)
    whole: Flag = False  # crops are the largest square of an image (the authors' sets are of squares); no scales
    flip: Flag = True  # mirror every other crop
    flat_images: Count = 0  # with a teacher: even colours and gradients among the photos (``data.flats``)
    lowest_art_brightness: Annotated[float, Field(strict=True, ge=0, le=255)] = 0.0  # lift darker art to this; 0: never


@dataclass(frozen=True)
class Recipe:
    """One training configuration. Every number is here or in a dataclass named here."""

    __pydantic_config__ = _CLOSED

    name: str
    summary: str
    generator: str
    deviations: tuple[str, ...] = ()  # what differs from the publication that the recipe is named after
    generator_options: Options = field(default_factory=dict)
    objective: str = "stylize"  # or "cycle", "noise" (faces from noise), or one of another package (``objectives``)
    objective_options: Options = field(default_factory=dict)  # of one of another package
    discriminator: Literal["patch", "vit", "cyclegan", "projected", "dcgan", "sagan", "stylegan2", "none"] = "patch"
    discriminator_options: Options = field(default_factory=dict)
    conditional: Flag = False  # D sees pairs, photo and image; the real ones are a teacher's (pix2pix)
    adversarial: Literal["lsgan", "bce", "hinge", "minimax"] = "lsgan"  # bce: non-saturating; minimax: GAN eq. 1
    smooth_negatives: Literal["gray", "colour"] = "gray"  # AnimeGAN's y or CartoonGAN's e
    style_on: Literal["gray", "colour"] = "gray"
    image_pool: Count = 0  # images kept to show D older output; CycleGAN's 50
    teacher: str = ""  # a teacher's weights (.onnx, .safetensors, .npy folder, .pth); distill only
    colour_pool_px: Positive = 1  # colour is compared after averaging over blocks of this side
    #: of G and D; "auto" is bf16 where the processor has it; fp16 (CUDA) brings a gradient scaler
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
        # read-only copies, so that a frozen recipe is frozen to the bottom
        for name in ("generator_options", "objective_options", "discriminator_options"):
            object.__setattr__(self, name, types.MappingProxyType(dict(getattr(self, name))))

    # ------------------------------------------------------------------------------------------------- what it says

    @property
    def is_cycle(self) -> bool:
        """Whether two generators and two discriminators are trained (CycleGAN)."""
        return self.objective == "cycle"

    @property
    def from_noise(self) -> bool:
        """Whether G draws from noise; what it learns from then takes the place of photos."""
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

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and scalars, for JSON and for ``recipe_from_dict``."""
        value = plain(self)
        assert isinstance(value, dict)
        return value

    def to_toml(self) -> str:
        """The whole recipe as TOML that ``recipe_from_toml`` reads back to an equal recipe."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())

    def __str__(self) -> str:
        return self.to_toml()

    # ------------------------------------------------------------------------------------------------ what it checks

    def validated(self) -> Recipe:
        """Itself, if everything in it can be trained.

        Raises:
            TrainingError: the first value that cannot, with what is allowed.
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
            "0 without a teacher, who draws them",
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
            "false, but with one generator, discriminator patch or cyclegan and an adversarial weight",
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
        if own and all(weight == 0.0 for weight in plain(weights).values()):
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
        require(len(set(names)) == len(names), "phases", names, "names that differ")
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


def plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as dictionaries and lists."""
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
