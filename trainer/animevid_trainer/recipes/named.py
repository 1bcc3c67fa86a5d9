"""The recipes by name, with the sources of their numbers.

AnimeGAN: the paper (ISICA 2019). AnimeGANv2 and lite: the authors' released code (Hayao column; Shinkai and Paprika are
separate recipes). CartoonGAN: the paper (CVPR 2018); it states no learning rate, and 2e-4 is usual for such networks.
CycleGAN: arXiv:1703.10593, section 7. ``nano`` and ``distill``: ours; comments give the reasons.
"""

from __future__ import annotations

from dataclasses import replace

from animevid.errors import TrainingError

from animevid_trainer.recipes.noise import dcgan, sagan, stylegan2
from animevid_trainer.recipes.reading import nearest
from animevid_trainer.recipes.schema import (
    Data,
    DiscriminatorWeights,
    LossWeights,
    Optimizer,
    PerceptualChoice,
    Phase,
    Recipe,
)
from animevid_trainer.recipes.variants import VARIANTS

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
    # v2's losses on the real-time network. The rates are larger, since the published ones are for a network 20 times as
    # large; the temporal term avoids flicker in live video. There is no initialization phase, since the network starts
    # as the identity, which is that phase's optimum. D takes features instead of pixels, features are computed at half
    # scale, and convolutions run in bf16 if the processor supports it: a step takes an eighth of the time and less than
    # half of the memory of a step with v2's D (docs/training.md). A discriminator on features has much larger gradients
    # at the image: a weight of 5 gives the adversarial term the same share of the gradient as 300 with v2's D.
    return replace(
        _animegan2(),
        name="animegan2-nano",
        summary="our real-time generator on packed YUV 4:2:0, AnimeGANv2's losses and a temporal term",
        generator="nano",
        deviations=(),
        generator_options={},
        discriminator="projected",
        losses=replace(_animegan2().losses, adversarial=5.0, temporal=10.0),
        perceptual=PerceptualChoice(scale=0.5, bf16=True),
        precision="auto",
        phases=(Phase("train", length_epochs=90.0, generator_lr=1e-4, discriminator_lr=1e-4),),
        data=Data(batch=8),
        optimizer=Optimizer(gradient_clip_norm=1.0),
    )


def _cartoongan() -> Recipe:
    # A weight of 10 balances BCE only with features of a normalized VGG; in Caffe's unit features are 58 times larger.
    return Recipe(
        name="cartoongan",
        summary="CartoonGAN as published: residual generator, edge-promoting BCE GAN, content weight 10",
        generator="cartoongan",
        deviations=(
            _TORCH_EPOCHS,
            "images are their largest squares, shrunk to 256 px; the paper does not say how it gets 256 px",
            "learning rate 2e-4; the paper states none",
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
        deviations=(_TORCH_EPOCHS, "images are their largest squares at 256 px; the release crops 256 of 286 px"),
        discriminator="cyclegan",
        objective="cycle",
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
    # Pixel and gradient terms are on [-1, 1] and small (about 0.1 and 0.02), features in normalized units are about 1:
    # the weights bring the three terms to the same order of magnitude.
    return Recipe(
        name="distill",
        summary="a student learns a teacher's images: L1, features and Sobel gradients; +gan adds a discriminator",
        generator="nano",
        discriminator="none",
        losses=LossWeights(pixel=10.0, perceptual=1.0, gradient=20.0),
        perceptual=PerceptualChoice(network="vgg16", unit="normalized", bf16=True),
        precision="auto",
        phases=(
            Phase(
                "distill", length_epochs=60.0, generator_lr=1e-3, schedule="cosine", final_lr_factor=0.02,
                warmup_steps=200, adversarial=False, crop_px=192,
            ),
        ),
        data=Data(batch=8, balance_art=False, flat_images=24),
        optimizer=Optimizer(beta1=0.9, gradient_clip_norm=1.0),
    )  # fmt: skip


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
        dcgan(),
        sagan(),
        stylegan2(),
    )
}


def load_recipe(name: str) -> Recipe:
    """Load the recipe ``BASE`` or ``BASE+VARIANT+...``, validated.

    Raises:
        TrainingError: an unknown base or variant, or an invalid combination.
    """
    base, *switches = name.split("+")
    if base not in RECIPES:
        raise TrainingError(f"recipe {name = }: {base!r} is none of {', '.join(RECIPES)}{nearest(base, RECIPES)}")
    recipe = RECIPES[base]
    for switch in switches:
        if switch not in VARIANTS:
            raise TrainingError(
                f"recipe {name = }: variant {switch!r} is none of {', '.join(VARIANTS)}{nearest(switch, VARIANTS)}"
            )
        recipe = VARIANTS[switch].change(recipe)
    return replace(recipe, name=name).validated()


def list_recipes() -> str:
    """List every recipe and variant in one line each, for ``--list-recipes``."""
    width = max(map(len, (*RECIPES, *VARIANTS))) + 1
    lines = ["recipes:"]
    lines += [f"  {name:<{width}}  {recipe.summary}" for name, recipe in RECIPES.items()]
    lines += ["", "variants, appended as RECIPE+VARIANT:"]
    lines += [f"  {'+' + name:<{width}}  {variant.summary}" for name, variant in VARIANTS.items()]
    return "\n".join(lines)
