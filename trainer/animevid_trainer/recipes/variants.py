"""Named changes to recipes, appended as ``RECIPE+VARIANT``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from animevid_trainer.recipes.schema import DiscriminatorWeights, Phase, Recipe

#: For the same weight, D on features has this many times the gradient at the image (see ``named``, nano).
_PROJECTED_PULL = 60.0


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


def _with_patches(recipe: Recipe) -> Recipe:
    if recipe.discriminator == "patch":
        return recipe
    losses = replace(recipe.losses, adversarial=recipe.losses.adversarial * _patch_share(recipe))
    return replace(recipe, discriminator="patch", discriminator_options={}, losses=losses)


def _patch_share(recipe: Recipe) -> float:
    return _PROJECTED_PULL if recipe.discriminator == "projected" and not recipe.from_noise else 1.0


def _with_features(recipe: Recipe) -> Recipe:
    if recipe.discriminator == "projected":
        return recipe
    # its gradients at images pass through the perceptual network; R1 is not meant for that
    losses = replace(recipe.losses, adversarial=recipe.losses.adversarial / _PROJECTED_PULL)
    if recipe.from_noise:
        losses = recipe.losses
    regularizers = replace(recipe.regularizers, r1=0.0)
    return replace(
        recipe, discriminator="projected", discriminator_options={}, losses=losses, regularizers=regularizers
    )


def _with_gan(recipe: Recipe) -> Recipe:
    # Fine-tuning after the other phases at a tenth of their rate, since D starts untrained and must not undo them.
    tuned = Phase("adversarial", length_epochs=30.0, generator_lr=1e-4, discriminator_lr=2e-4)
    return replace(
        recipe,
        discriminator="patch" if recipe.discriminator == "none" else recipe.discriminator,
        losses=replace(recipe.losses, adversarial=recipe.losses.adversarial or 1.0),
        discriminator_losses=DiscriminatorWeights(gray=1.0, smooth=0.5),
        phases=(*recipe.phases, tuned),
    )


def _with_pairs(recipe: Recipe) -> Recipe:
    # D's two terms are halved as in pix2pix (Isola et al., arXiv:1611.07004, section 3.3); L1 is distill's pixel term.
    tuned = _with_patches(_with_gan(recipe))
    return replace(tuned, conditional=True, discriminator_losses=DiscriminatorWeights(overall=0.5))


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
    "minimax": Variant("the minimax loss of the original GAN", lambda recipe: replace(recipe, adversarial="minimax")),
    "vit": Variant(
        "a small vision transformer as discriminator",
        lambda recipe: replace(_with_patches(recipe), discriminator="vit", discriminator_options={}),
    ),
    "projected": Variant("a discriminator on features of the perceptual network", _with_features),
    "patch": Variant("the AnimeGANs' discriminator on pixels", _with_patches),
    "ada": Variant(
        "adaptive discriminator augmentation (for a discriminator on pixels)",
        lambda recipe: replace(
            recipe if recipe.discriminator != "projected" or recipe.from_noise else _with_patches(recipe),
            ada=replace(recipe.ada, enabled=True),
        ),
    ),
    "adain": Variant(
        "StyleGAN's AdaIN instead of weight demodulation (stylegan2)",
        lambda recipe: replace(recipe, generator_options={**recipe.generator_options, "modulation": "adain"}),
    ),
    "gan": Variant("an adversarial phase after the others", _with_gan),
    "pix2pix": Variant("the adversarial phase with a D that gets photo and image together (distill)", _with_pairs),
    "temporal": Variant(
        "the temporal consistency term",
        lambda recipe: replace(recipe, losses=replace(recipe.losses, temporal=recipe.losses.temporal or 10.0)),
    ),
    "colour": Variant(
        "colour reconstruction of the photo over blocks of 8 px (for distill)",
        lambda recipe: replace(
            recipe, losses=replace(recipe.losses, colour=recipe.losses.colour or 10.0), colour_pool_px=8
        ),
    ),
}
