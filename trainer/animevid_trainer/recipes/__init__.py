"""Recipes: every number of a training run in one frozen, named, self-printing configuration.

A name is a base recipe and any number of variants: ``animegan2``, ``cyclegan+edge+init``, ``animegan2-nano+ada+vit``.
``recipe.to_toml()`` is the whole configuration as TOML; ``recipe_from_toml`` reads it back, and a TOML file that names
only what differs (``recipe = "animegan2"`` and a few keys) is an override. On the command line the same keys are
dotted: ``--set losses.content=2.0 --set phases.train.generator_lr=1e-4``.

Sources of the numbers: AnimeGAN: the paper (ISICA 2019). AnimeGANv2 and lite: the authors' released code (Hayao
column; Shinkai and Paprika are recipes of their own). CartoonGAN: the paper (CVPR 2018); it states no learning rate,
2e-4 is its family's. CycleGAN:
arXiv:1703.10593, section 7. ``nano`` and ``distill``: ours, reasons beside the numbers.

This module does not import torch.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from animevid.errors import TrainingError

Option = bool | int | float | str
Options = Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What each term of G's loss is multiplied with; 0 leaves the term out. Equations: ``losses``."""

    adversarial: float = 0.0  # D's opinion of G(p)
    content: float = 0.0  # features of G(p) against those of the photo
    perceptual: float = 0.0  # features of G(p) against those of the teacher's picture, at ``perceptual.teacher_layer``
    init_content: float = 0.0  # the same in content-only phases; 0 takes ``content``
    style: float = 0.0  # Gram matrices of G(p) against those of art (``style_on``: gray or colour)
    colour: float = 0.0  # Y'UV of G(p) against the photo
    total_variation: float = 0.0
    gradient: float = 0.0  # Sobel of G(p) against the teacher's picture, or the photo where there is no teacher
    flatness: float = 0.0  # variation where the photo has no edge
    pixel: float = 0.0  # L1 against the teacher's picture
    cycle: float = 0.0  # both directions, each with this weight
    identity: float = 0.0  # both directions, each with this weight (CycleGAN's 0.5 is relative: 0.5 x 10)
    temporal: float = 0.0  # flicker: see Temporal


@dataclass(frozen=True, slots=True)
class DiscriminatorWeights:
    """Terms of D's loss: ``overall (real D(a) + fake D(G(p)) + gray D(x) + smooth D(y))``; 0 leaves a term out."""

    overall: float = 1.0
    real: float = 1.0
    fake: float = 1.0
    gray: float = 0.0  # art without colour is fake: forces colour
    smooth: float = 0.0  # art with smoothed edges is fake: forces lines


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with its own rates. Exactly one of ``length_steps`` and ``length_epochs`` is positive.

    ``content_only``: the initialization phase of CartoonGAN and AnimeGAN (content loss alone, D rests). ``adversarial``
    False: D rests too, all other terms count. ``content`` False: no content term, which would hold a student back to
    the photo while it learns its teacher's colours. ``crop_px`` and ``batch`` of 0 take the recipe's.
    """

    name: str
    length_steps: int = 0
    length_epochs: float = 0.0
    generator_lr: float = 2e-4
    discriminator_lr: float = 2e-4
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # linear and cosine end at final_lr_factor
    final_lr_factor: float = 0.0
    warmup_steps: int = 0
    content_only: bool = False
    adversarial: bool = True
    content: bool = True
    crop_px: int = 0
    batch: int = 0

    def steps(self, *, photos: int, batch: int) -> int:
        """Number of optimizer steps with ``photos`` photos and ``batch`` pictures a step; an epoch sees each once."""
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

    network: Literal["vgg19", "vgg16", "resnet50"] = "vgg19"
    weights: str = ""
    content_layer: str = ""
    teacher_layer: str = ""
    style_layers: tuple[str, ...] = ()  # empty: the content layer
    unit: Literal["caffe", "normalized"] = "caffe"
    bf16: bool = False  # compute in bfloat16 where the processor has instructions for it
    scale: float = 1.0  # pictures are shrunk to this before the network looks at them


@dataclass(frozen=True, slots=True)
class Temporal:
    """How a crop is changed for the temporal term (``losses.temporal``): moved, noised, re-lit."""

    largest_shift_px: int = 8
    noise_std: float = 0.02  # on [-1, 1]
    largest_exposure: float = 0.1  # gain in 1 +- this


@dataclass(frozen=True, slots=True)
class Ada:
    """Adaptive discriminator augmentation, Karras et al. 2020 (arXiv:2006.06676)."""

    enabled: bool = False
    target: float = 0.6  # of E[sign(D(real))], section 3
    interval_steps: int = 4
    pictures_to_full: int = 0  # p moves from 0 to 1 over this many real pictures; 0: a fifth of the run's
    largest_p: float = 0.85  # leaks above this (section 2, figure 3)
    blit: bool = True  # mirror, quarter turns, shifts
    geometric: bool = True  # scale, rotation, stretch
    colour: bool = True  # brightness, contrast, luma flip, hue


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Adam, and what guards it."""

    beta1: float = 0.5
    beta2: float = 0.999
    gradient_clip_norm: float = 0.0  # 0: no clipping
    ema_decay: float = 0.999  # of G's weights; 0: no average is kept
    discriminator_every: int = 1  # G steps a D step
    discriminator_steps: int = 1  # D steps a G step (GAN's k), each on the same batch


@dataclass(frozen=True, slots=True)
class Data:
    """How pictures become batches. Scale 1 shows a picture's own pixels in a crop, 0.5 twice as much of it."""

    batch: int = 4
    crop_px: int = 256
    crop_scale_low: float = 0.4
    crop_scale_high: float = 1.0
    balance_art: bool = True  # remove the set's overall colour cast (the authors' data_mean)
    whole: bool = False  # crops are the largest square of a picture (the authors' sets are of squares); no scales
    flip: bool = True  # mirror every other crop
    flat_pictures: int = 0  # with a teacher: even colours and gradients among the photos (``data.flats``)
    lowest_art_brightness: float = 0.0  # lift darker art to this mean luma, 0..255; 0: leave as it is


@dataclass(frozen=True)
class Recipe:
    """One training configuration. Every number is here or in a dataclass named here."""

    name: str
    summary: str
    generator: str
    deviations: tuple[str, ...] = ()  # what differs from the publication that the recipe is named after
    generator_options: Options = field(default_factory=dict)
    discriminator: Literal["patch", "vit", "cyclegan", "projected", "none"] = "patch"
    discriminator_options: Options = field(default_factory=dict)
    adversarial: Literal["lsgan", "bce", "hinge"] = "lsgan"
    smooth_negatives: Literal["gray", "colour"] = "gray"  # AnimeGAN's y or CartoonGAN's e
    style_on: Literal["gray", "colour"] = "gray"
    image_pool: int = 0  # pictures kept to show D older output; CycleGAN's 50
    cycle: bool = False  # two generators and two discriminators
    teacher: str = ""  # a teacher's weights (.onnx, .safetensors, .npy folder, .pth); distill only
    colour_pool_px: int = 1  # colour is compared after averaging over blocks of this side
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

    def __post_init__(self) -> None:
        # read-only copies, so that a frozen recipe is frozen to the bottom
        object.__setattr__(self, "generator_options", types.MappingProxyType(dict(self.generator_options)))
        object.__setattr__(self, "discriminator_options", types.MappingProxyType(dict(self.discriminator_options)))

    # ------------------------------------------------------------------------------------------------- what it says

    @property
    def needs_art(self) -> bool:
        return self.uses_discriminator or self.losses.style > 0.0

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
        return self.losses.pixel > 0.0 or self.losses.perceptual > 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and scalars, for JSON and for ``recipe_from_dict``."""
        value = _plain(self)
        assert isinstance(value, dict)
        return value

    def to_toml(self) -> str:
        """The whole recipe as TOML that ``recipe_from_toml`` reads back to an equal recipe."""
        return _to_toml(self.to_dict())

    def __str__(self) -> str:
        return self.to_toml()

    # ------------------------------------------------------------------------------------------------ what it checks

    def validated(self) -> Recipe:
        """Itself, if everything in it can be trained.

        Raises:
            TrainingError: the first value that cannot, with what is allowed.
        """
        from animevid_trainer.discriminators import DISCRIMINATOR_NAMES
        from animevid_trainer.generators import GENERATOR_NAMES
        from animevid_trainer.perceptual import layer_names

        _require(self.generator in GENERATOR_NAMES, "generator", self.generator, ", ".join(GENERATOR_NAMES))
        allowed = (*DISCRIMINATOR_NAMES, "none")
        _require(self.discriminator in allowed, "discriminator", self.discriminator, ", ".join(allowed))
        for group in ("losses", "discriminator_losses", "temporal", "ada"):
            for name, value in _plain(getattr(self, group)).items():
                _require(math.isfinite(value) and value >= 0, f"{group}.{name}", value, "a finite number >= 0")
        _require(bool(self.phases), "phases", self.phases, "at least one phase")
        names = [phase.name for phase in self.phases]
        _require(len(set(names)) == len(names), "phases", names, "names that differ")
        for phase in self.phases:
            where = f"phases.{phase.name}"
            lengths = (phase.length_steps, phase.length_epochs)
            one_positive = min(lengths) >= 0 and (lengths[0] > 0) != (lengths[1] > 0)
            _require(one_positive, f"{where}.length_steps, length_epochs", lengths, "exactly one positive")
            for name in ("generator_lr", "discriminator_lr"):
                value = getattr(phase, name)
                _require(math.isfinite(value) and 0.0 < value < 1.0, f"{where}.{name}", value, "a rate in (0, 1)")
            _require(0.0 <= phase.final_lr_factor <= 1.0, f"{where}.final_lr_factor", phase.final_lr_factor, "0 to 1")
            _require(phase.crop_px == 0 or phase.crop_px >= 32, f"{where}.crop_px", phase.crop_px, "0 or at least 32")
            for name in ("batch", "warmup_steps"):
                _require(getattr(phase, name) >= 0, f"{where}.{name}", getattr(phase, name), "0 or more")
            if phase.content_only:
                _require(
                    self.init_content_weight > 0, "losses.content", self.losses.content, "> 0 with a content phase"
                )
        data = self.data
        _require(data.batch >= 1, "data.batch", data.batch, "1 or more")
        _require(data.crop_px >= 32, "data.crop_px", data.crop_px, "at least 32")
        scales = (data.crop_scale_low, data.crop_scale_high)
        _require(0.0 < scales[0] <= scales[1], "data.crop_scale_low, crop_scale_high", scales, "0 < low <= high")
        _require(
            0.0 <= data.lowest_art_brightness <= 255.0,
            "data.lowest_art_brightness",
            data.lowest_art_brightness,
            "0 to 255",
        )
        _require(
            data.flat_pictures == 0 or self.needs_teacher,
            "data.flat_pictures",
            data.flat_pictures,
            "0 without a teacher, who draws them",
        )
        optimizer = self.optimizer
        for name in ("beta1", "beta2", "ema_decay"):
            value = getattr(optimizer, name)
            _require(0.0 <= value < 1.0, f"optimizer.{name}", value, "0 <= value < 1")
        _require(
            optimizer.gradient_clip_norm >= 0, "optimizer.gradient_clip_norm", optimizer.gradient_clip_norm, "0 or more"
        )
        _require(
            optimizer.discriminator_every >= 1,
            "optimizer.discriminator_every",
            optimizer.discriminator_every,
            "1 or more",
        )
        _require(
            optimizer.discriminator_steps >= 1,
            "optimizer.discriminator_steps",
            optimizer.discriminator_steps,
            "1 or more",
        )
        judged_twice = self.cycle and optimizer.discriminator_steps > 1
        _require(not judged_twice, "optimizer.discriminator_steps", optimizer.discriminator_steps, "1 with cycle")
        _require(0.0 < self.perceptual.scale <= 1.0, "perceptual.scale", self.perceptual.scale, "above 0, at most 1")
        judged_twice = self.discriminator == "projected" and (self.ada.enabled or self.cycle)
        _require(not judged_twice, "discriminator", self.discriminator, "patch, vit or cyclegan with ada or cycle")
        _require(self.image_pool >= 0, "image_pool", self.image_pool, "0 or more")
        _require(self.colour_pool_px >= 1, "colour_pool_px", self.colour_pool_px, "1 or more")
        _require(self.ada.interval_steps >= 1, "ada.interval_steps", self.ada.interval_steps, "1 or more")
        _require(self.ada.largest_p <= 1.0, "ada.largest_p", self.ada.largest_p, "0 to 1")
        adversarial = self.losses.adversarial
        _require(
            self.discriminator != "none" or adversarial == 0.0,
            "losses.adversarial",
            adversarial,
            "0 without a discriminator",
        )
        _require(
            self.cycle or self.losses.cycle == self.losses.identity == 0.0,
            "losses.cycle, losses.identity",
            (self.losses.cycle, self.losses.identity),
            "0 unless cycle = true",
        )
        if self.uses_perceptual:
            known = tuple(layer_names(self.perceptual.network))
            choice = self.perceptual
            for layer in (*choice.style_layers, choice.content_layer or known[0], choice.teacher_layer or known[0]):
                _require(
                    layer in known, "perceptual layers", layer, f"for {self.perceptual.network}: {', '.join(known)}"
                )
        if all(weight == 0.0 for weight in _plain(self.losses).values()):
            raise TrainingError("losses are all 0; give at least one a positive weight")
        return self


# ------------------------------------------------------------------------------------------------------- the recipes

_TORCH_EPOCHS = "an epoch is one pass over the photos; the releases count the larger of photos and art"
_LAYER_EPSILON = "layer norm has epsilon 1e-5, TensorFlow's has 1e-12"


def _animegan() -> Recipe:
    return Recipe(
        name="animegan",
        summary="AnimeGAN v1 as published: 3,956,096 parameters, gray Gram style, Y'UV colour, LSGAN",
        generator="animegan",
        deviations=(_TORCH_EPOCHS, "batch 4, style 3 and rates are the paper's; the released code has 6, 1.8 and half"),
        discriminator_options={"norm": "instance"},
        losses=LossWeights(adversarial=300.0, content=1.5, style=3.0, colour=10.0),
        discriminator_losses=DiscriminatorWeights(overall=300.0, real=1.0, fake=1.0, gray=1.0, smooth=0.1),
        phases=(
            Phase("init", length_epochs=1.0, generator_lr=1e-4, content_only=True),
            Phase("train", length_epochs=100.0, generator_lr=8e-5, discriminator_lr=1.6e-4),
        ),
        data=Data(batch=4, whole=True, flip=False),
        optimizer=Optimizer(ema_decay=0.0),
    )


def _animegan2() -> Recipe:
    return Recipe(
        name="animegan2",
        summary="AnimeGANv2 as published: 2,143,552 parameters, layer norm, total variation",
        generator="animegan2",
        deviations=(_TORCH_EPOCHS, _LAYER_EPSILON),
        generator_options={"upsampling": "asymmetric"},  # TensorFlow 1's
        losses=LossWeights(adversarial=300.0, content=1.5, style=2.5, colour=15.0, total_variation=1.0),
        discriminator_losses=DiscriminatorWeights(overall=300.0, real=1.2, fake=1.2, gray=1.2, smooth=0.8),
        phases=(
            Phase("init", length_epochs=10.0, generator_lr=2e-4, content_only=True),
            Phase("train", length_epochs=91.0, generator_lr=2e-5, discriminator_lr=4e-5),
        ),
        data=Data(batch=12, whole=True, flip=False, balance_art=False),
        optimizer=Optimizer(ema_decay=0.0),
    )


def _animegan2_shinkai() -> Recipe:
    hayao = _animegan2()
    return replace(
        hayao,
        name="animegan2-shinkai",
        summary="AnimeGANv2 with the numbers that its authors give for Shinkai",
        losses=replace(hayao.losses, content=1.2, style=2.0, colour=10.0, total_variation=1.0),
        discriminator_losses=DiscriminatorWeights(overall=300.0, real=1.7, fake=1.7, gray=1.7, smooth=1.0),
    )


def _animegan2_paprika() -> Recipe:
    hayao = _animegan2()
    return replace(
        hayao,
        name="animegan2-paprika",
        summary="AnimeGANv2 with the numbers that its authors give for Paprika",
        losses=replace(hayao.losses, content=2.0, style=0.6, colour=50.0, total_variation=0.1),
        discriminator_losses=DiscriminatorWeights(overall=300.0, real=1.0, fake=1.0, gray=1.0, smooth=0.005),
    )


def _animegan2_lite() -> Recipe:
    return replace(
        _animegan2(),
        name="animegan2-lite",
        summary="the lite AnimeGANv2 of the authors' later release",
        generator="animegan2-lite",
        data=replace(_animegan2().data, batch=20),
    )


def _animegan2_nano() -> Recipe:
    # v2's losses on the network that runs live; larger rates, since the published ones belong to a net of 20 times the
    # size, and the temporal term, since a live picture must not flicker. No initialization phase: the network starts as
    # the identity, which is that phase's optimum.
    return replace(
        _animegan2(),
        name="animegan2-nano",
        summary="our real-time generator on packed YUV 4:2:0, AnimeGANv2's losses and a temporal term",
        generator="nano",
        deviations=(),
        generator_options={},
        losses=replace(_animegan2().losses, temporal=10.0),
        phases=(Phase("train", length_epochs=90.0, generator_lr=1e-4, discriminator_lr=1e-4),),
        data=Data(batch=8),
        optimizer=Optimizer(gradient_clip_norm=1.0),
    )


def _cartoongan() -> Recipe:
    # Weight 10 balances BCE only against features of a normalized VGG: in Caffe's unit they are 58 times larger.
    return Recipe(
        name="cartoongan",
        summary="CartoonGAN as published: residual generator, edge-promoting BCE GAN, content weight 10",
        generator="cartoongan",
        deviations=(
            _TORCH_EPOCHS,
            "a picture is its largest square, shrunk; the paper does not say how it comes to 256 px",
            "learning rate 2e-4, on which the paper is silent",
        ),
        discriminator_options={"norm": "batch", "spectral": False},
        adversarial="bce",
        smooth_negatives="colour",
        losses=LossWeights(adversarial=1.0, content=10.0),
        discriminator_losses=DiscriminatorWeights(overall=1.0, real=1.0, fake=1.0, gray=0.0, smooth=1.0),
        perceptual=PerceptualChoice(unit="normalized"),
        phases=(
            Phase("init", length_epochs=10.0, generator_lr=2e-4, content_only=True),
            Phase("train", length_epochs=100.0, generator_lr=2e-4, discriminator_lr=2e-4),
        ),
        data=Data(batch=4, whole=True, flip=False, balance_art=False),
        optimizer=Optimizer(ema_decay=0.0),
    )


def _cartoongan_plus() -> Recipe:
    plus = _cartoongan()
    for switch in ("instance", "leaky", "resnet", "lsgan"):
        plus = VARIANTS[switch].change(plus)
    return replace(
        plus,
        name="cartoongan-plus",
        summary="CartoonGAN with instance norm, LeakyReLU, ResNet-50 content features and LSGAN",
    )


def _cyclegan() -> Recipe:
    return Recipe(
        name="cyclegan",
        summary="CycleGAN as published: two ResNet generators, two 70x70 PatchGANs, pool of 50, cycle 10, identity 0.5",
        generator="cyclegan",
        deviations=(_TORCH_EPOCHS, "a picture is its largest square at 256 px; the release crops 256 of 286 px"),
        discriminator="cyclegan",
        cycle=True,
        image_pool=50,
        losses=LossWeights(adversarial=1.0, cycle=10.0, identity=5.0),
        discriminator_losses=DiscriminatorWeights(overall=1.0, real=0.5, fake=0.5),
        phases=(
            Phase("train", length_epochs=100.0, generator_lr=2e-4, discriminator_lr=2e-4),
            Phase("decay", length_epochs=100.0, generator_lr=2e-4, discriminator_lr=2e-4, schedule="linear"),
        ),
        data=Data(batch=1, whole=True, balance_art=False),
        optimizer=Optimizer(ema_decay=0.0),
    )


def _distill() -> Recipe:
    # Pixel and gradient terms are in [-1, 1] units and small (about 0.1 and 0.02), features in normalized units (about
    # 1): the weights bring the three to the same order.
    return Recipe(
        name="distill",
        summary="a student learns a teacher's pictures: L1, features and Sobel gradients; +gan adds a discriminator",
        generator="nano",
        discriminator="none",
        losses=LossWeights(pixel=10.0, perceptual=1.0, gradient=20.0),
        perceptual=PerceptualChoice(network="vgg16", unit="normalized", bf16=True),
        phases=(
            Phase(
                "distill", length_epochs=60.0, generator_lr=1e-3, schedule="cosine", final_lr_factor=0.02,
                warmup_steps=200, adversarial=False, crop_px=192,
            ),
        ),
        data=Data(batch=8, balance_art=False, flat_pictures=24),
        optimizer=Optimizer(beta1=0.9, gradient_clip_norm=1.0),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the variants


@dataclass(frozen=True, slots=True)
class Variant:
    """A named change to a recipe."""

    summary: str
    change: Callable[[Recipe], Recipe]


def _with_init(recipe: Recipe) -> Recipe:
    if any(phase.content_only for phase in recipe.phases):
        return recipe
    init = Phase("init", length_epochs=10.0, generator_lr=recipe.phases[0].generator_lr, content_only=True)
    return replace(
        recipe,
        phases=(init, *recipe.phases),
        losses=replace(recipe.losses, init_content=recipe.losses.content or 10.0),
        perceptual=recipe.perceptual if recipe.uses_perceptual else replace(recipe.perceptual, unit="normalized"),
    )


def _with_gan(recipe: Recipe) -> Recipe:
    # Fine-tuning after the other phases, at a tenth of their rate: D starts untrained and must not undo them.
    tuned = Phase("adversarial", length_epochs=30.0, generator_lr=1e-4, discriminator_lr=2e-4)
    return replace(
        recipe,
        discriminator="patch" if recipe.discriminator == "none" else recipe.discriminator,
        losses=replace(recipe.losses, adversarial=recipe.losses.adversarial or 1.0),
        discriminator_losses=DiscriminatorWeights(gray=1.0, smooth=0.5),
        phases=(*recipe.phases, tuned),
    )


VARIANTS: dict[str, Variant] = {
    "edge": Variant(
        "edge-smoothed art as negatives of D",
        lambda recipe: replace(
            recipe,
            smooth_negatives="colour",
            discriminator_losses=replace(recipe.discriminator_losses, smooth=recipe.discriminator_losses.fake),
        ),
    ),
    "init": Variant("an initialization phase with the content loss alone, 10 epochs", _with_init),
    "instance": Variant(
        "instance norm in the generator (CartoonGAN)",
        lambda recipe: replace(recipe, generator_options={**recipe.generator_options, "norm": "instance"}),
    ),
    "leaky": Variant(
        "LeakyReLU in the generator (CartoonGAN)",
        lambda recipe: replace(recipe, generator_options={**recipe.generator_options, "activation": "leaky_relu"}),
    ),
    "resnet": Variant(
        "ResNet-50 content features instead of VGG",
        lambda recipe: replace(
            recipe, perceptual=replace(recipe.perceptual, network="resnet50", content_layer="", weights="")
        ),
    ),
    "vgg16": Variant(
        "VGG16 conv4_3 instead of VGG19 conv4_4",
        lambda recipe: replace(
            recipe, perceptual=replace(recipe.perceptual, network="vgg16", content_layer="", style_layers=())
        ),
    ),
    "lsgan": Variant("least-squares GAN", lambda recipe: replace(recipe, adversarial="lsgan")),
    "hinge": Variant("hinge GAN", lambda recipe: replace(recipe, adversarial="hinge")),
    "vit": Variant(
        "a small vision transformer as discriminator",
        lambda recipe: replace(recipe, discriminator="vit", discriminator_options={}),
    ),
    "ada": Variant(
        "adaptive discriminator augmentation", lambda recipe: replace(recipe, ada=replace(recipe.ada, enabled=True))
    ),
    "gan": Variant("an adversarial phase after the others", _with_gan),
    "temporal": Variant(
        "the temporal consistency term",
        lambda recipe: replace(recipe, losses=replace(recipe.losses, temporal=recipe.losses.temporal or 10.0)),
    ),
    "colour": Variant(
        "colour reconstruction against the photo, over blocks of 8 px (for distill)",
        lambda recipe: replace(
            recipe, losses=replace(recipe.losses, colour=recipe.losses.colour or 10.0), colour_pool_px=8
        ),
    ),
}

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _animegan(),
        _animegan2(),
        _animegan2_shinkai(),
        _animegan2_paprika(),
        _animegan2_lite(),
        _animegan2_nano(),
        _cartoongan(),
        _cartoongan_plus(),
        _cyclegan(),
        _distill(),
    )
}


def load_recipe(name: str) -> Recipe:
    """The recipe ``BASE`` or ``BASE+VARIANT+...``, validated.

    Raises:
        TrainingError: an unknown base or variant, or a combination that cannot be trained.
    """
    base, *switches = name.split("+")
    if base not in RECIPES:
        raise TrainingError(f"recipe {name = }: {base!r} is none of {', '.join(RECIPES)}{_nearest(base, RECIPES)}")
    recipe = RECIPES[base]
    for switch in switches:
        if switch not in VARIANTS:
            raise TrainingError(
                f"recipe {name = }: variant {switch!r} is none of {', '.join(VARIANTS)}{_nearest(switch, VARIANTS)}"
            )
        recipe = VARIANTS[switch].change(recipe)
    return replace(recipe, name=name).validated()


def list_recipes() -> str:
    """Every recipe and variant with one line each, for ``--list-recipes``."""
    width = max(map(len, (*RECIPES, *VARIANTS))) + 1
    lines = ["recipes:"]
    lines += [f"  {name:<{width}}  {recipe.summary}" for name, recipe in RECIPES.items()]
    lines += ["", "variants, appended as RECIPE+VARIANT:"]
    lines += [f"  {'+' + name:<{width}}  {variant.summary}" for name, variant in VARIANTS.items()]
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- overrides


def with_lengths(recipe: Recipe, *, steps: int | None = None, init_steps: int | None = None) -> Recipe:
    """The recipe with its length given in steps (``--steps``, ``--init-steps``).

    ``init_steps`` is shared out over the content-only phases and ``steps`` over the others, in their present
    proportion; 0 removes those phases. ``None`` leaves them.

    Raises:
        TrainingError: a negative number, or no phase left.
    """
    phases: list[Phase] = list(recipe.phases)
    for wanted, content_only, flag in ((init_steps, True, "init_steps"), (steps, False, "steps")):
        if wanted is None:
            continue
        if wanted < 0:
            raise TrainingError(f"{flag} = {wanted}: 0 or more")
        chosen = [phase for phase in phases if phase.content_only is content_only]
        if not chosen and wanted > 0:
            what = "initialization" if content_only else "training"
            raise TrainingError(f"{flag} = {wanted}: recipe {recipe.name!r} has no {what} phase")
        whole = sum(phase.length_steps or phase.length_epochs for phase in chosen)
        left = wanted
        resized: dict[str, Phase | None] = {}
        for index, phase in enumerate(chosen):
            share = wanted * (phase.length_steps or phase.length_epochs) / whole
            length = left if index == len(chosen) - 1 else min(left, round(share))
            left -= length
            resized[phase.name] = replace(phase, length_steps=length, length_epochs=0.0) if length > 0 else None
        phases = [kept for phase in phases if (kept := resized.get(phase.name, phase)) is not None]
    if not phases:
        raise TrainingError(f"{steps = }, {init_steps = }: nothing is left to train; give at least one step")
    return replace(recipe, phases=tuple(phases))


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe with some values replaced: nested as in TOML, or with dotted keys. Validated.

    ``{"losses": {"content": 2.0}}`` and ``{"losses.content": 2.0}`` say the same. ``phases`` is either the whole list
    or keyed by phase name (``phases.train.generator_lr``). ``generator_options`` take any key; the generator checks it.

    Raises:
        TrainingError: an unknown key (with the nearest known one), a value of another kind, or an impossible recipe.
    """
    merged = recipe.to_dict()
    for key, value in overrides.items():
        _merge(merged, key.split("."), value, path=key)
    return recipe_from_dict(merged)


def parse_assignment(text: str) -> tuple[str, Any]:
    """``KEY=VALUE`` of ``--set``: the value in TOML syntax, or a bare word.

    Raises:
        TrainingError: no ``=`` or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise TrainingError(f"--set {text!r}: write KEY=VALUE, e.g. losses.content=2.0")
    try:
        return key.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def recipe_from_toml(text: str) -> Recipe:
    """A recipe from TOML: a whole one, or ``recipe = "NAME"`` and what differs from it. Validated.

    Raises:
        TrainingError: not TOML, or as ``with_overrides``.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"the recipe file is not TOML: {error}") from error
    base = raw.pop("recipe", None)
    if base is None:
        return recipe_from_dict(raw)
    if not isinstance(base, str):
        raise TrainingError(f"recipe = {base!r}: write the name of a recipe")
    return with_overrides(load_recipe(base), raw)


def recipe_from_dict(raw: Mapping[str, Any]) -> Recipe:
    """A recipe from what ``Recipe.to_dict`` gives. Validated.

    Raises:
        TrainingError: a missing or unknown key, a value of another kind, or an impossible recipe.
    """
    return _build(Recipe, raw, path="").validated()


def difference(first: Recipe, second: Recipe) -> list[str]:
    """One line for each value that differs, ``losses.content: 1.5 -> 2.0``; empty if the recipes are equal."""
    before, after = _flat(first.to_dict()), _flat(second.to_dict())
    return [
        f"{key}: {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]


# ------------------------------------------------------------------------------------------------------------ plumbing

_ABSENT = object()
_T = TypeVar("_T")


def _require(condition: bool, key: str, value: object, allowed: str) -> None:
    if not condition:
        raise TrainingError(f"{key} = {value!r}: allowed is {allowed}")


def _nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field_.name: _plain(getattr(value, field_.name)) for field_ in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _merge(target: dict[str, Any], keys: list[str], value: Any, *, path: str) -> None:
    head, *rest = keys
    if head == "phases" and (rest or isinstance(value, Mapping)):
        by_name = {phase["name"]: phase for phase in target["phases"]}
        changes = value if not rest else {".".join(rest): value}
        for key, change in changes.items():
            name, *inner = key.split(".")
            if name not in by_name:
                raise TrainingError(f"{path} = {value!r}: phase {name!r} is none of {', '.join(by_name)}")
            if inner:
                _merge(by_name[name], inner, change, path=path)
            elif isinstance(change, Mapping):
                for inner_key, inner_value in change.items():
                    _merge(by_name[name], inner_key.split("."), inner_value, path=f"{path}.{inner_key}")
            else:
                raise TrainingError(f"{path} = {value!r}: name a value of the phase, e.g. phases.{name}.length_steps")
        return
    if not rest and not isinstance(target.get(head), dict):
        if head not in target and path.split(".")[0] not in _FREE_TABLES:
            raise TrainingError(
                f"{path!r} is not a key of a recipe; allowed here: {', '.join(target)}{_nearest(head, target)}"
            )
        target[head] = value
        return
    if not isinstance(target.get(head), dict):
        raise TrainingError(
            f"{path!r} is not a key of a recipe; allowed here: {', '.join(target)}{_nearest(head, target)}"
        )
    if rest:
        _merge(target[head], rest, value, path=path)
    elif isinstance(value, Mapping):
        for key, inner_value in value.items():
            _merge(target[head], key.split("."), inner_value, path=f"{path}.{key}")
    else:
        raise TrainingError(f"{path} = {value!r}: a table of {', '.join(target[head])}")


_FREE_TABLES = ("generator_options", "discriminator_options")


def _build(kind: type[_T], raw: Mapping[str, Any], *, path: str) -> _T:
    hints = get_type_hints(kind)
    known = [field_.name for field_ in fields(kind)]  # type: ignore[arg-type]
    for key in raw:
        if key not in known:
            raise TrainingError(
                f"{path + key!r} is not a key of a recipe; allowed here: {', '.join(known)}{_nearest(key, known)}"
            )
    values = {key: _convert(hints[key], value, path=path + key) for key, value in raw.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise TrainingError(f"the recipe is not whole ({error})") from error


def _convert(hint: Any, value: Any, *, path: str) -> Any:
    origin = get_origin(hint)
    if origin is Literal:
        _require(value in get_args(hint), path, value, ", ".join(map(str, get_args(hint))))
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise TrainingError(f"{path} = {value!r}: a table of {', '.join(f.name for f in fields(hint))}")
        return _build(hint, value, path=f"{path}.")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TrainingError(f"{path} = {value!r}: a list")
        return tuple(_convert(get_args(hint)[0], item, path=f"{path}[{i}]") for i, item in enumerate(value))
    if origin in (types.UnionType, Union):
        _require(isinstance(value, bool | int | float | str), path, value, "a number, a word, true or false")
        return value
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise TrainingError(f"{path} = {value!r}: a table")
        return {key: _convert(Option, item, path=f"{path}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise TrainingError(f"{path} = {value!r}: a value of kind {hint.__name__}")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [(item.get("name", str(index)), item) for index, item in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return flat


def _to_toml(raw: dict[str, Any]) -> str:
    scalars = [f"{key} = {_toml_value(value)}" for key, value in raw.items() if not _is_table(value)]
    blocks = ["\n".join(scalars)]
    for key, value in raw.items():
        if isinstance(value, dict):
            blocks.append("\n".join([f"[{key}]", *(f"{name} = {_toml_value(item)}" for name, item in value.items())]))
        elif _is_table(value):
            for table in value:
                lines = (f"{name} = {_toml_value(item)}" for name, item in table.items())
                blocks.append("\n".join([f"[[{key}]]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("nan" if math.isnan(value) else f"{'-' * (value < 0)}inf")
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for pairs of surrogates (so no ASCII) and DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
