"""The recipes for faces from noise, the sources of their numbers, and checks of such recipes.

DCGAN: arXiv:1511.06434, section 4. SAGAN: arXiv:1805.08318, section 4. StyleGAN2: arXiv:1912.04958, with the adaptive
augmentation of arXiv:2006.06676, whose "auto" configuration gives the numbers for 64 px.
"""

from __future__ import annotations

from dataclasses import asdict

from animevid_trainer.recipes.schema import (
    Ada,
    Data,
    LossWeights,
    Optimizer,
    Option,
    Options,
    Phase,
    Recipe,
    Regularizers,
    require,
)

_WHOLE = "images are their largest squares at 64 px"
#: networks for one fixed image size
SIZED = ("dcgan", "sagan", "stylegan2")


def dcgan() -> Recipe:
    return Recipe(
        name="dcgan",
        summary="faces from noise by DCGAN's guidelines: strided convolutions, batch norm, the non-saturating loss",
        generator="dcgan",
        deviations=(
            _WHOLE,
            "4x4 kernels and 64 channels at half size, as in the released code; the paper's figure has 5x5 and 128",
            "batch 64, as in the released code; the paper has 128",
        ),
        discriminator="dcgan",
        objective="noise",
        adversarial="bce",
        losses=LossWeights(adversarial=1.0),
        phases=(Phase("train", length_epochs=200.0, generator_lr=2e-4, discriminator_lr=2e-4),),
        data=Data(batch=64, crop_px=64, whole=True, balance_art=False),
        optimizer=Optimizer(ema_decay=0.0),
    )


def sagan() -> Recipe:
    return Recipe(
        name="sagan",
        summary="faces from noise with self-attention: spectral norm in G and D, hinge loss, D learns faster",
        generator="sagan",
        deviations=(
            "64 px and no classes: unconditional batch norm, no projection in D",
            "64 channels at full size; batch 64 (the paper's 256 is for ImageNet)",
        ),
        discriminator="sagan",
        objective="noise",
        adversarial="hinge",
        losses=LossWeights(adversarial=1.0),
        phases=(Phase("train", length_epochs=400.0, generator_lr=1e-4, discriminator_lr=4e-4),),
        data=Data(batch=64, crop_px=64, whole=True, balance_art=False),
        optimizer=Optimizer(beta1=0.0, beta2=0.9, ema_decay=0.0),
    )


def stylegan2() -> Recipe:
    # From the "auto" configuration: R1 of 0.0002 px^2 / batch, two mapping layers, and the rates.
    return Recipe(
        name="stylegan2",
        summary="faces from noise by StyleGAN2 with adaptive augmentation, sized for 64 px and few cores",
        generator="stylegan2",
        deviations=(
            "an eighth of the channels: 32 at 64 px, 128 at most",
            "R1 is computed at the augmented images that D gets",
            "augmentation as in +ada: bilinear resampling, no saturation",
        ),
        generator_options={"channel_base": 2048, "channel_max": 128, "mapping_layers": 2},
        discriminator="stylegan2",
        discriminator_options={"channel_base": 2048, "channel_max": 128},
        objective="noise",
        adversarial="bce",
        precision="auto",
        losses=LossWeights(adversarial=1.0),
        phases=(Phase("train", length_epochs=1000.0, generator_lr=2.5e-3, discriminator_lr=2.5e-3),),
        data=Data(batch=16, crop_px=64, whole=True, balance_art=False),
        optimizer=Optimizer(beta1=0.0, beta2=0.99, ema_decay=0.999),
        ada=Ada(enabled=True),
        regularizers=Regularizers(r1=0.05, path_length=2.0),
    )


def check_noise(recipe: Recipe) -> None:
    """Check values that are valid only with, or only without, a generator from noise.

    Raises:
        TrainingError: the first invalid value, with what is allowed.
    """
    if not recipe.from_noise:
        require(
            recipe.regularizers == Regularizers(),
            "regularizers",
            "set",
            'none unless objective = "noise"',
        )
        discriminator = recipe.discriminator
        require(discriminator not in SIZED, "discriminator", discriminator, "patch, vit, cyclegan, projected or none")
        return
    weights = {name: value for name, value in asdict(recipe.losses).items() if value and name != "adversarial"}
    require(not weights, "losses", ", ".join(weights), "adversarial only if G draws from noise")
    require(recipe.uses_discriminator, "losses.adversarial", recipe.losses.adversarial, "> 0, with a discriminator")
    losses = recipe.discriminator_losses
    require(losses.gray == losses.smooth == 0.0, "discriminator_losses", "gray or smooth", "real and fake from noise")
    require(not recipe.conditional, "conditional", True, "false if G draws from noise")
    size = recipe.data.crop_px
    require(size & (size - 1) == 0, "data.crop_px", size, "a power of two if G draws from noise: 32, 64, 128 ...")
    for phase in recipe.phases:
        require(
            phase.crop_px in (0, size), f"phases.{phase.name}.crop_px", phase.crop_px, "data.crop_px: G has one size"
        )
        require(not phase.content_only, f"phases.{phase.name}.content_only", True, "false if G draws from noise")
    has_styles = recipe.generator == "stylegan2"
    path = recipe.regularizers.path_length
    require(path == 0.0 or has_styles, "regularizers.path_length", path, '0 unless generator = "stylegan2"')


def sized(recipe: Recipe, options: Options, network: str) -> dict[str, Option]:
    """Return the options of ``network``, with the image size if it needs one."""
    return {"size_px": recipe.data.crop_px, **options} if network in SIZED else dict(options)
