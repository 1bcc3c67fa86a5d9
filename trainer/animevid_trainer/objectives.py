"""What the loop optimizes: networks, and for each batch the updates with their loss terms.

``StylizeObjective`` covers AnimeGAN v1 and v2, CartoonGAN and distillation, which differ only in which terms have a
weight; ``CycleObjective`` is CycleGAN. Terms come weighted, so that what the log shows is what is summed.
"""

from __future__ import annotations

import random as python_random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn
from torch.nn import functional

from animevid_trainer import losses
from animevid_trainer.data.batches import Batch, CropKeys
from animevid_trainer.discriminators.projected import ProjectedDiscriminator
from animevid_trainer.loop import OptimizerSettings, Update
from animevid_trainer.losses import AdversarialKind
from animevid_trainer.perceptual import Perceptual
from animevid_trainer.plan import Plan

# (layer, weight)
Layers = tuple[tuple[str, float], ...]


class Augment(Protocol):
    """Adaptive discriminator augmentation: sees every picture that D sees, and D's opinion of real ones."""

    def __call__(self, images: Tensor) -> Tensor: ...
    def update(self, real_logits: Tensor) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Weights:
    """Weight of each term; 0 (or no layers) leaves it out, with the passes that only it needs.

    To the photo: ``content`` (at the content layer), ``colour``, ``flatness``. To the art: ``adversarial``, ``style``
    (Gram matrices at the style layers). To the teacher's picture: ``pixel``, ``perceptual``, and ``gradient`` (to the
    photo where there is no teacher). Of the output alone: ``total_variation``, ``temporal``. ``discriminator`` is on
    all of D's loss, ``real`` .. ``smooth`` on its terms. ``init_content`` is the content weight of content-only phases.
    """

    init_content: float = 1.0

    content: float = 0.0
    colour: float = 0.0
    flatness: float = 0.0
    adversarial: float = 0.0
    style: float = 0.0
    pixel: float = 0.0
    gradient: float = 0.0
    perceptual: Layers = ()
    total_variation: float = 0.0
    temporal: float = 0.0
    discriminator: float = 1.0
    real: float = 1.0
    fake: float = 1.0
    gray: float = 0.0
    smooth: float = 0.0

    @property
    def of_discriminator(self) -> dict[str, float]:
        """Weights of D's terms by name, without the overall one."""
        return {"real": self.real, "fake": self.fake, "gray": self.gray, "smooth": self.smooth}


class FeatureCache:
    """Features of crops that return, kept in bfloat16-or-given precision while ``budget_bytes`` lasts.

    Only pictures that no network changes belong here: photos, art and teachers' pictures.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.hits = self.misses = 0
        self._used_bytes = 0
        self._kept: OrderedDict[tuple[object, ...], tuple[Tensor, ...]] = OrderedDict()

    def get(
        self, what: str, keys: CropKeys, images: Tensor, compute: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """``compute(images)``, taking from the cache what was computed before; ``keys`` None computes all of it."""
        if keys is None or self.budget_bytes <= 0:
            return compute(images)
        names = [(what, images.shape[-1], *key) for key in keys]
        missing = [row for row, name in enumerate(names) if name not in self._kept]
        self.misses += len(missing)
        self.hits += len(names) - len(missing)
        rows: dict[int, tuple[Tensor, ...]] = {
            row: self._kept[name] for row, name in enumerate(names) if name in self._kept
        }
        if missing:
            computed = compute(images if len(missing) == len(names) else images[missing])
            for position, row in enumerate(missing):
                rows[row] = tuple(item[position] for item in computed)
                self._put(names[row], rows[row])
        parts = [rows[row] for row in range(len(names))]
        return tuple(torch.stack(column) for column in zip(*parts, strict=True))

    def _put(self, name: tuple[object, ...], value: tuple[Tensor, ...]) -> None:
        if name in self._kept:
            return
        value = tuple(item.clone() for item in value)  # a row alone, not a view that keeps its whole batch
        self._kept[name] = value
        self._used_bytes += sum(item.nbytes for item in value)
        while self._used_bytes > self.budget_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._used_bytes -= sum(item.nbytes for item in dropped)


@dataclass(frozen=True, slots=True)
class TemporalSettings:
    """How a crop is disturbed as the next frame would be: moved, noised, re-lit."""

    largest_shift_px: int = 8
    noise: float = 0.02
    largest_gain_change: float = 0.04


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One draw of :class:`TemporalSettings`: T(p) = relight(shift(p)) + noise."""

    down_px: int
    right_px: int
    gain: float
    noise: float

    def geometry(self, images: Tensor) -> Tensor:
        """Shifted; what comes in from outside repeats the border."""
        return torch.roll(images, (self.down_px, self.right_px), dims=(2, 3))

    def relight(self, images: Tensor) -> Tensor:
        return (images + 1.0) * self.gain - 1.0

    def frame(self, images: Tensor) -> Tensor:
        """What the camera would see next."""
        moved = self.relight(self.geometry(images))
        return (moved + self.noise * torch.randn_like(moved)).clamp(-1.0, 1.0)

    def valid(self, images: Tensor, margin_px: int) -> Tensor:
        """(1, 1, H, W): 1 where both frames show the same scene and no border is within ``margin_px``."""
        _, _, height, width = images.shape
        mask = images.new_zeros(1, 1, height, width)
        top, left = max(self.down_px, 0) + margin_px, max(self.right_px, 0) + margin_px
        bottom, right = height + min(self.down_px, 0) - margin_px, width + min(self.right_px, 0) - margin_px
        mask[..., top:bottom, left:right] = 1.0
        return mask


def draw_disturbance(settings: TemporalSettings) -> Disturbance:
    """From Python's random numbers, whose state is part of a checkpoint."""
    shift = settings.largest_shift_px
    return Disturbance(
        python_random.randint(-shift, shift),
        python_random.randint(-shift, shift),
        1.0 + python_random.uniform(-settings.largest_gain_change, settings.largest_gain_change),
        settings.noise * python_random.random(),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures ``(N, 3, H, W)`` and the features of them that were computed, by layer."""

    images: Tensor
    features: Mapping[str, Tensor]

    def detach(self) -> Seen:
        features = {layer: feature.detach() for layer, feature in self.features.items()}
        return Seen(self.images.detach(), features)


class Networks:
    """Networks by name and the precision they run in; everything around them (losses, features) stays exact."""

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        self.networks = networks
        self.compute_dtype = torch.float32

    def run(self, name: str, images: Tensor, **options: bool) -> Tensor:
        """The network's float32 output. Its convolutions run in ``compute_dtype``, its weights stay as they are."""
        with torch.autocast(images.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32):
            output: Tensor = self.networks[name](images, **options)
        return output.float()

    def stylize(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> the same shape, by the generator."""
        return self.run("generator", photo)


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a picture's output depends on which others are in its batch."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def generator_rate(plan: Plan) -> Callable[[int], float]:
    """Step -> G's learning rate."""
    return lambda step: (place := plan.at(step)).phase.generator_lr * place.lr_factor(step)


def discriminator_rate(plan: Plan) -> Callable[[int], float]:
    """Step -> D's learning rate."""
    return lambda step: (place := plan.at(step)).phase.discriminator_lr * place.lr_factor(step)


class StylizeObjective(Networks):
    """One generator from photos to a style, by any of the terms of :class:`Weights`.

    In content-only phases (the initialization of CartoonGAN and AnimeGAN) only that term is learned, with an optimizer
    of its own; otherwise D (where ``adversarial`` has a weight and the phase is adversarial) and G take turns, D first.

    ``style_on_gray``: Gram matrices of gray art (AnimeGAN) or of art in colour. ``smooth_in_colour``: which negatives
    with smoothed edges D sees. ``colour_pool_px``: colour is compared over blocks of that side. ``feature_scale``: the
    perceptual network sees pictures shrunk by it, as a viewer sees them from further away, at less cost.
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        plan: Plan,
        weights: Weights,
        perceptual: Perceptual | None = None,
        content_layer: str = "",
        style_layers: Layers = (),
        style_on_gray: bool = True,
        discriminator: nn.Module | None = None,
        adversarial: AdversarialKind = "lsgan",
        smooth_in_colour: bool = False,
        discriminator_every: int = 1,
        discriminator_steps: int = 1,
        betas: tuple[float, float] = (0.5, 0.999),
        augment: Augment | None = None,
        colour_pool_px: int = 1,
        temporal: TemporalSettings | None = None,
        feature_scale: float = 1.0,
        cache_bytes: int = 2 << 30,
    ) -> None:
        super().__init__({"generator": generator})
        self.plan = plan
        self.weights = weights
        self.perceptual = perceptual
        self.content_layer = content_layer or (perceptual.default_layer if perceptual is not None else "")
        self.style_layers = style_layers or ((self.content_layer, 1.0),)
        self.style_on_gray = style_on_gray
        self.adversarial: AdversarialKind = adversarial
        self.smooth_in_colour = smooth_in_colour
        self.discriminator_every = discriminator_every
        self.discriminator_steps = discriminator_steps
        self.augment = augment
        self.colour_pool_px = colour_pool_px
        self.temporal = temporal or TemporalSettings()
        self.feature_scale = feature_scale
        self.judged_layers: tuple[str, ...] = ()  # of a discriminator of features
        self.cache = FeatureCache(cache_bytes)
        content_only = any(place.phase.content_only for place in plan.stretches)
        if (weights.content or weights.style or weights.perceptual or content_only) and perceptual is None:
            raise TrainingError("content, style and perceptual terms need a perceptual network")
        self.optimizers = {"G": OptimizerSettings(("generator",), generator_rate(plan), betas)}
        if content_only:
            self.optimizers["G_init"] = OptimizerSettings(("generator",), generator_rate(plan), betas)
        if weights.adversarial:
            if discriminator is None:
                raise TrainingError("an adversarial weight needs a discriminator")
            if isinstance(discriminator, ProjectedDiscriminator):
                self.judged_layers = discriminator.layers
            self.judges_apart = has_batch_norm(discriminator)
            self.networks["discriminator"] = discriminator
            self.optimizers["D"] = OptimizerSettings(("discriminator",), discriminator_rate(plan), betas)

    def state_dict(self) -> dict[str, Any]:
        return {"augment": self.augment.state_dict()} if self.augment else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.augment and "augment" in state:
            self.augment.load_state_dict(state["augment"])

    # ---- updates

    def updates(self, batch: Batch) -> Iterator[Update]:
        phase = self.plan.at(batch.step).phase
        if phase.content_only:
            yield Update("G_init", lambda: self._initialization_terms(batch))
            return
        if not (self.weights.adversarial and phase.adversarial):
            yield Update("G", lambda: self._generator_terms(batch, self._draw(batch), judged=False))
            return
        # One pass of G (and of the perceptual network over its output) serves both updates: D's changes no weight of G.
        output = self._draw(batch, *self.judged_layers)
        if batch.step % self.discriminator_every == 0:
            for _ in range(self.discriminator_steps):
                yield Update("D", lambda: self._discriminator_terms(batch, output.detach()))
        yield Update("G", lambda: self._generator_terms(batch, output, judged=True))

    def _initialization_terms(self, batch: Batch) -> dict[str, Tensor]:
        output = self.stylize(batch.photo)
        (photo,) = self._photo_features(batch, (self.content_layer,))
        ours = self._features(output, (self.content_layer,))[self.content_layer]
        return {"content": self.weights.init_content * losses.content_loss(ours, photo)}

    def _discriminator_terms(self, batch: Batch, output: Seen) -> dict[str, Tensor]:
        weights = self.weights
        art = _needed(batch.art, "art")
        parts: list[tuple[str, Tensor]] = [("real", art), ("fake", output.images)]
        if weights.gray:
            parts.append(("gray", _needed(batch.art_gray, "gray art")))
        if weights.smooth:
            smooth = batch.smooth if self.smooth_in_colour else batch.smooth_gray
            parts.append(("smooth", _needed(smooth, "edge-smoothed art")))
        # All of D's pictures in one pass: fuller convolutions, and (with spectral norm) one power iteration a step.
        # Not with batch norm, which would mix real and fake.
        logits: Sequence[Tensor]
        if self.judged_layers:
            real = self._cached_features("judged art", batch.art_keys, art, self.judged_layers)
            seen = {
                layer: torch.cat((features, output.features[layer]))
                for layer, features in zip(self.judged_layers, real, strict=True)
            }
            if parts[2:]:
                with torch.no_grad():
                    negatives = self._features(torch.cat([images for _, images in parts[2:]]))
                seen = {layer: torch.cat((features, negatives[layer])) for layer, features in seen.items()}
            logits = self._judge(Seen(output.images, seen)).chunk(len(parts))
        elif self.judges_apart:
            logits = [self._judge(Seen(images, {})) for _, images in parts]
        else:
            images = torch.cat([images for _, images in parts])
            logits = self._judge(Seen(images, {})).chunk(len(parts))
        named = {name: logit for (name, _), logit in zip(parts, logits, strict=True)}
        terms = losses.discriminator_terms(
            named, weights.of_discriminator, kind=self.adversarial, overall=weights.discriminator
        )
        if self.augment is not None:
            self.augment.update(logits[0].detach())
        return terms

    def _judge(self, seen: Seen) -> Tensor:
        if self.judged_layers:
            logits: Tensor = self.networks["discriminator"](seen.features)
            return logits
        images = seen.images if self.augment is None else self.augment(seen.images)
        return self.run("discriminator", images)

    def _weights_at(self, step: int) -> Weights:
        return self.weights if self.plan.at(step).phase.content else replace(self.weights, content=0.0)

    def _draw(self, batch: Batch, *layers: str) -> Seen:
        """The output with all features of it that a term needs, and those of ``layers``: one pass."""
        photo, weights = batch.photo, self._weights_at(batch.step)
        content = (self.content_layer,) if weights.content else ()
        style = tuple(layer for layer, _ in self.style_layers) if weights.style else ()
        wanted = tuple(dict.fromkeys((*content, *style, *(layer for layer, _ in weights.perceptual), *layers)))
        output = self.stylize(photo)
        return Seen(output, self._features(output, wanted) if wanted else {})

    def _generator_terms(self, batch: Batch, seen: Seen, *, judged: bool) -> dict[str, Tensor]:
        weights, output = self._weights_at(batch.step), seen.images
        terms: dict[str, Tensor] = {}
        if judged:
            adversarial = losses.generator_adversarial_loss(self._judge(seen), kind=self.adversarial)
            terms["adversarial"] = weights.adversarial * adversarial
        terms |= self._feature_terms(batch, seen.features)
        if weights.pixel:
            terms["pixel"] = weights.pixel * losses.pixel_loss(output, _needed(batch.target, "targets"))
        if weights.gradient:
            terms["gradient"] = weights.gradient * losses.gradient_loss(
                output, batch.photo if batch.target is None else batch.target
            )
        if weights.colour:
            colour = losses.colour_loss(output, batch.photo, pool_px=self.colour_pool_px)
            terms["colour"] = weights.colour * colour
        if weights.flatness:
            terms["flatness"] = weights.flatness * losses.flatness_loss(output, batch.photo)
        if weights.total_variation:
            terms["total_variation"] = weights.total_variation * losses.total_variation_loss(output)
        if weights.temporal:
            terms["temporal"] = weights.temporal * self._temporal_term(batch.photo, output)
        return terms

    def _feature_terms(self, batch: Batch, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Content, style and perceptual terms, from the output's features by layer."""
        weights = self._weights_at(batch.step)
        content = (self.content_layer,) if weights.content else ()
        style = tuple(layer for layer, _ in self.style_layers) if weights.style else ()
        perceptual = tuple(layer for layer, _ in weights.perceptual)
        terms: dict[str, Tensor] = {}
        if content:
            (photo,) = self._photo_features(batch, content)
            terms["content"] = weights.content * losses.content_loss(ours[self.content_layer], photo)
        if style:
            grams = self._art_grams(batch, style)
            parts = [
                weight * losses.style_loss(losses.gram_matrix(ours[layer]), gram)
                for (layer, weight), gram in zip(self.style_layers, grams, strict=True)
            ]
            terms["style"] = weights.style * torch.stack(parts).sum()
        if perceptual:
            with torch.no_grad():
                theirs = self._features(_needed(batch.target, "targets"), perceptual)
            parts = [weight * losses.content_loss(ours[layer], theirs[layer]) for layer, weight in weights.perceptual]
            terms["perceptual"] = torch.stack(parts).sum()
        return terms

    def _features(self, images: Tensor, layers: tuple[str, ...] = ()) -> dict[str, Tensor]:
        assert self.perceptual is not None
        layers = layers or self.judged_layers
        if self.feature_scale != 1.0:
            size = [max(8, round(side * self.feature_scale)) for side in images.shape[-2:]]
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        return self.perceptual.features(images, layers)

    def _photo_features(self, batch: Batch, layers: tuple[str, ...]) -> tuple[Tensor, ...]:
        return self._cached_features("photo", batch.photo_keys, batch.photo, layers)

    def _cached_features(
        self, what: str, keys: CropKeys, images: Tensor, layers: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        def compute(images: Tensor) -> tuple[Tensor, ...]:
            found = self._features(images, layers)
            return tuple(found[layer] for layer in layers)

        with torch.no_grad():
            return self.cache.get(what, keys, images, compute)

    def _art_grams(self, batch: Batch, layers: tuple[str, ...]) -> tuple[Tensor, ...]:
        def compute(images: Tensor) -> tuple[Tensor, ...]:
            found = self._features(images, layers)
            return tuple(losses.gram_matrix(found[layer]) for layer in layers)

        with torch.no_grad():
            art = batch.art_gray if self.style_on_gray else batch.art
            return self.cache.get("art", batch.art_keys, _needed(art, "art"), compute)

    def _temporal_term(self, photo: Tensor, output: Tensor) -> Tensor:
        change = draw_disturbance(self.temporal)
        next_output = self.stylize(change.frame(photo))
        expected = change.relight(change.geometry(output))
        return losses.temporal_consistency_loss(next_output, expected, valid=change.valid(output, margin_px=8))


def _needed(images: Tensor | None, what: str) -> Tensor:
    if images is None:
        raise TrainingError(f"a term has a weight but the run has no {what}; give the folder or set the weight to 0")
    return images


class ImagePool:
    """The last ``size`` outputs: D sees half of its fakes from here (Shrivastava et al. 2017; CycleGAN section 4)."""

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def exchange(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in; for each one, itself or (half of the time, once full) an older one that it replaces."""
        if self.size <= 0:
            return images
        given: list[Tensor] = []
        for image in images.detach():
            if len(self._images) < self.size:
                self._images.append(image.clone())
                given.append(image)
            elif python_random.random() < 0.5:
                place = python_random.randrange(self.size)
                given.append(self._images[place])
                self._images[place] = image.clone()
            else:
                given.append(image)
        return torch.stack(given)

    def state_dict(self) -> dict[str, Any]:
        return {"images": list(self._images)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._images = list(state["images"])


class CycleObjective(Networks):
    """CycleGAN (Zhu et al., ICCV 2017): photos -> art and back, two discriminators.

    ``cycle`` and ``identity`` weigh each direction. D's weights are ``real``, ``fake`` and ``smooth`` of ``weights``:
    0.5 and 0.5 in the paper, so that D learns at half of G's pace (section 4); ``smooth`` > 0 adds edge-smoothed art
    as negatives of the art discriminator ("+edge"). Content-only phases first teach both generators to reproduce
    content ("+init").
    """

    def __init__(
        self,
        generator: nn.Module,
        backward_generator: nn.Module,
        discriminator: nn.Module,
        photo_discriminator: nn.Module,
        *,
        plan: Plan,
        weights: Weights,
        cycle: float = 10.0,
        identity: float = 5.0,
        adversarial: AdversarialKind = "lsgan",
        smooth_in_colour: bool = True,
        pool_size: int = 50,
        perceptual: Perceptual | None = None,
        content_layer: str = "",
        betas: tuple[float, float] = (0.5, 0.999),
        augment: Augment | None = None,
    ) -> None:
        content_only = any(place.phase.content_only for place in plan.stretches)
        if content_only and perceptual is None:
            raise TrainingError("an initialization phase needs a perceptual network")
        super().__init__(
            {
                "generator": generator,
                "backward_generator": backward_generator,
                "discriminator": discriminator,
                "photo_discriminator": photo_discriminator,
            }
        )
        self.plan = plan
        self.weights = weights
        self.cycle, self.identity = cycle, identity
        self.adversarial: AdversarialKind = adversarial
        self.smooth_in_colour = smooth_in_colour
        self.pools = {"art": ImagePool(pool_size), "photo": ImagePool(pool_size)}
        self.perceptual = perceptual
        self.content_layer = content_layer or (perceptual.default_layer if perceptual is not None else "")
        self.augment = augment
        both, judges = ("generator", "backward_generator"), ("discriminator", "photo_discriminator")
        self.optimizers = {
            "G": OptimizerSettings(both, generator_rate(plan), betas),
            "D": OptimizerSettings(judges, discriminator_rate(plan), betas),
        }
        if content_only:
            self.optimizers["G_init"] = OptimizerSettings(both, generator_rate(plan), betas)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {f"pool_{name}": pool.state_dict() for name, pool in self.pools.items()}
        if self.augment:
            state["augment"] = self.augment.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = next(self.networks["generator"].parameters()).device
        for name, pool in self.pools.items():
            pool.load_state_dict({"images": [image.to(device) for image in state[f"pool_{name}"]["images"]]})
        if self.augment and "augment" in state:
            self.augment.load_state_dict(state["augment"])

    def updates(self, batch: Batch) -> Iterator[Update]:
        photo, art = batch.photo, _needed(batch.art, "art")
        if self.plan.at(batch.step).phase.content_only:
            yield Update("G_init", lambda: self._initialization_terms(photo, art))
            return
        fake_art = self.run("generator", photo)
        fake_photo = self.run("backward_generator", art)
        yield Update("G", lambda: self._generator_terms(photo, art, fake_art, fake_photo))
        yield Update("D", lambda: self._discriminator_terms(batch, photo, art, fake_art, fake_photo))

    def _initialization_terms(self, photo: Tensor, art: Tensor) -> dict[str, Tensor]:
        assert self.perceptual is not None
        terms: dict[str, Tensor] = {}
        for name, network, images in (
            ("content", "generator", photo),
            ("content_backward", "backward_generator", art),
        ):
            with torch.no_grad():
                theirs = self.perceptual.features(images, (self.content_layer,))[self.content_layer]
            output = self.run(network, images)
            ours = self.perceptual.features(output, (self.content_layer,))[self.content_layer]
            terms[name] = self.weights.init_content * losses.content_loss(ours, theirs)
        return terms

    def _generator_terms(self, photo: Tensor, art: Tensor, fake_art: Tensor, fake_photo: Tensor) -> dict[str, Tensor]:
        judged = losses.generator_adversarial_loss(self._judge("discriminator", fake_art), kind=self.adversarial)
        judged_back = losses.generator_adversarial_loss(
            self._judge("photo_discriminator", fake_photo), kind=self.adversarial
        )
        terms = {
            "adversarial": self.weights.adversarial * judged,
            "adversarial_backward": self.weights.adversarial * judged_back,
            "cycle": self.cycle * losses.cycle_loss(self.run("backward_generator", fake_art), photo),
            "cycle_backward": self.cycle * losses.cycle_loss(self.run("generator", fake_photo), art),
        }
        if self.identity:
            terms["identity"] = self.identity * losses.identity_loss(self.run("generator", art), art)
            terms["identity_backward"] = self.identity * losses.identity_loss(
                self.run("backward_generator", photo), photo
            )
        return terms

    def _discriminator_terms(
        self, batch: Batch, photo: Tensor, art: Tensor, fake_art: Tensor, fake_photo: Tensor
    ) -> dict[str, Tensor]:
        pairs = (
            ("discriminator", art, self.pools["art"].exchange(fake_art)),
            ("photo_discriminator", photo, self.pools["photo"].exchange(fake_photo)),
        )
        terms: dict[str, Tensor] = {}
        for name, real, fake in pairs:
            judged_real, judged_fake = self._judge(name, torch.cat((real, fake.detach()))).chunk(2)
            logits = {"real": judged_real, "fake": judged_fake}
            if name == "discriminator" and self.weights.smooth:
                smooth = batch.smooth if self.smooth_in_colour else batch.smooth_gray
                logits["smooth"] = self._judge(name, _needed(smooth, "edge-smoothed art"))
            prefix = "" if name == "discriminator" else "photo_"
            found = losses.discriminator_terms(
                logits, self.weights.of_discriminator, kind=self.adversarial, overall=self.weights.discriminator
            )
            terms |= {f"{prefix}{term}": value for term, value in found.items()}
            if self.augment is not None and name == "discriminator":
                self.augment.update(judged_real.detach())
        return terms

    def _judge(self, name: str, images: Tensor) -> Tensor:
        if self.augment is not None:
            images = self.augment(images)
        return self.run(name, images)
