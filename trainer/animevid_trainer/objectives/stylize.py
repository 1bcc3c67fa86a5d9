"""One generator from photos to a style: AnimeGAN v1 and v2, CartoonGAN, distillation, pix2pix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer import losses
from animevid_trainer.checkpoint import State
from animevid_trainer.data.batches import Batch
from animevid_trainer.discriminators.projected import ProjectedDiscriminator
from animevid_trainer.loop import OptimizerSettings, Term, Update
from animevid_trainer.objectives.features import Looking, Seen, needed
from animevid_trainer.objectives.networks import Networks, discriminator_rate, generator_rate
from animevid_trainer.objectives.registry import Parts
from animevid_trainer.objectives.terms import GENERATOR_TERMS, Scene
from animevid_trainer.recipes import Recipe


def has_batch_norm(network: nn.Module) -> bool:
    """Return whether ``network`` has batch norm, so that an output depends on the whole batch."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


class StylizeObjective(Networks):
    """Trains a generator with any terms of ``recipes.LossWeights``, and a discriminator if ``adversarial`` > 0.

    Content-only phases (the initialization of CartoonGAN and AnimeGAN) minimize only the content term, with a separate
    optimizer; otherwise D (in adversarial phases) and G take turns, D first.

    Raises:
        TrainingError: a term needs a perceptual network but none is given.
    """

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        super().__init__({"generator": parts.make_generator()})
        if recipe.uses_perceptual and parts.perceptual is None:
            raise TrainingError("content, style and perceptual terms need a perceptual network")
        self.recipe, self.plan, self.augment = recipe, parts.plan, parts.augment
        self.looking = Looking(recipe, parts.perceptual, cache_bytes=parts.cache_bytes)
        self.discriminator_layers: tuple[str, ...] = ()  # for a discriminator on features
        betas = (recipe.optimizer.beta1, recipe.optimizer.beta2)
        self.optimizers = {"G": OptimizerSettings(("generator",), generator_rate(self.plan), betas)}
        if any(place.phase.content_only for place in self.plan.spans):
            self.optimizers["G_init"] = OptimizerSettings(("generator",), generator_rate(self.plan), betas)
        if recipe.uses_discriminator:
            discriminator = parts.make_discriminator()
            if isinstance(discriminator, ProjectedDiscriminator):
                self.discriminator_layers = discriminator.layers
            self.discriminates_apart = has_batch_norm(discriminator)
            self.networks["discriminator"] = discriminator
            self.optimizers["D"] = OptimizerSettings(("discriminator",), discriminator_rate(self.plan), betas)

    def state_dict(self) -> dict[str, State]:
        return {"augment": self.augment.state_dict()} if self.augment else {}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        if self.augment and "augment" in state:
            self.augment.load_state_dict(state["augment"])

    # ---- updates

    def updates(self, batch: Batch) -> Iterator[Update]:
        phase, optimizer = self.plan.at(batch.step).phase, self.recipe.optimizer
        if phase.content_only:
            yield Update("G_init", lambda: self._initialization_terms(batch))
            return
        if not (self.recipe.uses_discriminator and phase.adversarial):
            yield Update("G", lambda: self._generator_terms(batch, self._draw(batch), adversarial=False))
            return
        # Both updates share one pass of G (and of the perceptual network), since D's update does not change G.
        output = self._draw(batch, *self.discriminator_layers)
        if batch.step % optimizer.discriminator_every == 0:
            for _ in range(optimizer.discriminator_steps):
                yield Update("D", lambda: self._discriminator_terms(batch, output.detach()))
        yield Update("G", lambda: self._generator_terms(batch, output, adversarial=True))

    def _weights_at(self, step: int) -> dict[str, float]:
        """Return the weights of the terms of G's loss that this step computes, by name."""
        left_out = () if self.plan.at(step).phase.content else ("content",)
        weights = {name: getattr(self.recipe.losses, name) for name in GENERATOR_TERMS}
        return {name: weight for name, weight in weights.items() if weight and name not in left_out}

    def _draw(self, batch: Batch, *layers: str) -> Seen:
        """Run G, and compute features at ``layers`` and at all layers that terms need, in one pass."""
        of_terms = (GENERATOR_TERMS[name].layers(self.looking) for name in self._weights_at(batch.step))
        wanted = tuple(dict.fromkeys((*(layer for layers in of_terms for layer in layers), *layers)))
        output = self.stylize(batch.photo)
        return Seen(output, self.looking.features(output, wanted) if wanted else {})

    def _initialization_terms(self, batch: Batch) -> dict[str, Term]:
        layer = self.looking.content_layer
        ours = self.looking.features(self.stylize(batch.photo), (layer,))[layer]
        photo = self.looking.of_photo(batch, layer)
        return {"content": Term(losses.content_loss(ours, photo), self.recipe.init_content_weight)}

    def _generator_terms(self, batch: Batch, seen: Seen, *, adversarial: bool) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        if adversarial:
            logits = self._discriminate(batch, seen)
            raw = losses.generator_adversarial_loss(logits, kind=self.recipe.adversarial)
            terms["adversarial"] = Term(raw, self.recipe.losses.adversarial)
        scene = Scene(batch, seen.images, seen.features, self.looking, self.stylize, self.recipe)
        for name, weight in self._weights_at(batch.step).items():
            terms[name] = Term(GENERATOR_TERMS[name].compute(scene), weight)
        return terms

    # ---- the discriminator

    def _discriminator_terms(self, batch: Batch, output: Seen) -> dict[str, Term]:
        weights = self.recipe.discriminator_losses
        logits = self._logits(batch, output, self._discriminator_images(batch, output))
        raw = losses.discriminator_terms(logits, kind=self.recipe.adversarial)
        if self.augment is not None:
            self.augment.update(logits["real"].detach())
        return {name: Term(value, weights.overall * getattr(weights, name)) for name, value in raw.items()}

    def _discriminator_images(self, batch: Batch, output: Seen) -> dict[str, Tensor]:
        """Return D's inputs by name: "real" should be classified as real, all others as fake."""
        weights = self.recipe.discriminator_losses
        if self.recipe.conditional:
            return {"real": needed(batch.target, "targets"), "fake": output.images}
        images = {"real": needed(batch.art, "art"), "fake": output.images}
        if weights.gray:
            images["gray"] = needed(batch.art_gray, "gray art")
        if weights.smooth:
            smooth = batch.smooth if self.recipe.smooth_negatives == "colour" else batch.smooth_gray
            images["smooth"] = needed(smooth, "edge-smoothed art")
        return images

    def _logits(self, batch: Batch, output: Seen, shown: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.discriminator_layers:
            return self._logits_of_features(batch, output, shown)
        logits: Sequence[Tensor]
        if self.discriminates_apart or self.recipe.conditional:
            logits = [self._discriminate(batch, Seen(images, {})) for images in shown.values()]
        else:
            # One pass for all is faster and, with spectral norm, needs one power iteration per step. With batch norm it
            # would mix real and fake.
            logits = self._discriminate(batch, Seen(torch.cat(list(shown.values())), {})).chunk(len(shown))
        return dict(zip(shown, logits, strict=True))

    def _logits_of_features(self, batch: Batch, output: Seen, shown: dict[str, Tensor]) -> dict[str, Tensor]:
        """Like ``_logits``, for a discriminator on features: reuses the output's, caches the art's."""
        real = self.looking.kept("discriminator art", batch.art_keys, shown["real"], self.discriminator_layers)
        negatives = [images for name, images in shown.items() if name not in ("real", "fake")]
        seen = {
            layer: torch.cat((features, output.features[layer]))
            for layer, features in zip(self.discriminator_layers, real, strict=True)
        }
        if negatives:
            with torch.no_grad():
                found = self.looking.features(torch.cat(negatives), self.discriminator_layers)
            seen = {layer: torch.cat((features, found[layer])) for layer, features in seen.items()}
        logits = self._discriminate(batch, Seen(output.images, seen)).chunk(len(shown))
        return dict(zip(shown, logits, strict=True))

    def _discriminate(self, batch: Batch, seen: Seen) -> Tensor:
        if self.discriminator_layers:
            logits: Tensor = self.networks["discriminator"](seen.features)
            return logits
        images = seen.images
        if self.recipe.conditional:
            images = torch.cat((batch.photo, images), 1)
        elif self.augment is not None:
            images = self.augment(images)
        return self.run("discriminator", images)
