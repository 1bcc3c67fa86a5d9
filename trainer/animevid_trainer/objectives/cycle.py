"""CycleGAN (Zhu et al., ICCV 2017): photos -> art and back, two discriminators."""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator, Mapping

import torch
from animevid.errors import TrainingError
from torch import Tensor

from animevid_trainer import losses
from animevid_trainer.checkpoint import State
from animevid_trainer.data.batches import Batch
from animevid_trainer.loop import OptimizerSettings, Term, Update
from animevid_trainer.objectives.features import Looking, needed
from animevid_trainer.objectives.networks import Networks, discriminator_rate, generator_rate
from animevid_trainer.objectives.registry import Parts
from animevid_trainer.recipes import Recipe


class ImagePool:
    """Stores ``size`` outputs, from which D gets half of its fakes (Shrivastava et al. 2017; CycleGAN section 4)."""

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def exchange(self, images: Tensor) -> Tensor:
        """Return each of (N, C, H, W) unchanged or, if the pool is full, swap half of them for stored ones."""
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

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"images": list(self._images)}

    def load_state_dict(self, state: Mapping[str, list[Tensor]]) -> None:
        self._images = list(state["images"])


class CycleObjective(Networks):
    """Two generators and two discriminators.

    ``losses.cycle`` and ``losses.identity`` are the weights of each direction. D's weights ``real`` and ``fake`` are
    0.5 each in the paper, so that D learns at half of G's rate (section 4); ``smooth`` > 0 adds edge-smoothed art as
    negatives of the art discriminator ("+edge"). Content-only phases first teach both generators to reproduce content
    ("+init").

    Raises:
        TrainingError: a content-only phase without a perceptual network.
    """

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        content_only = any(place.phase.content_only for place in parts.plan.spans)
        if content_only and parts.perceptual is None:
            raise TrainingError("an initialization phase needs a perceptual network")
        super().__init__(
            {
                "generator": parts.make_generator(),
                "backward_generator": parts.make_generator(),
                "discriminator": parts.make_discriminator(),
                "photo_discriminator": parts.make_discriminator(),
            }
        )
        self.recipe, self.plan, self.augment = recipe, parts.plan, parts.augment
        self.looking = Looking(recipe, parts.perceptual, cache_bytes=0)
        self.pools = {"art": ImagePool(recipe.image_pool), "photo": ImagePool(recipe.image_pool)}
        generators, discriminators = ("generator", "backward_generator"), ("discriminator", "photo_discriminator")
        betas = (recipe.optimizer.beta1, recipe.optimizer.beta2)
        self.optimizers = {
            "G": OptimizerSettings(generators, generator_rate(self.plan), betas),
            "D": OptimizerSettings(discriminators, discriminator_rate(self.plan), betas),
        }
        if content_only:
            self.optimizers["G_init"] = OptimizerSettings(generators, generator_rate(self.plan), betas)

    def state_dict(self) -> dict[str, State]:
        state: dict[str, State] = {f"pool_{name}": pool.state_dict() for name, pool in self.pools.items()}
        if self.augment:
            state["augment"] = self.augment.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        device = next(self.networks["generator"].parameters()).device
        for name, pool in self.pools.items():
            pool.load_state_dict({"images": [image.to(device) for image in state[f"pool_{name}"]["images"]]})
        if self.augment and "augment" in state:
            self.augment.load_state_dict(state["augment"])

    def updates(self, batch: Batch) -> Iterator[Update]:
        photo, art = batch.photo, needed(batch.art, "art")
        if self.plan.at(batch.step).phase.content_only:
            yield Update("G_init", lambda: self._initialization_terms(photo, art))
            return
        fake_art = self.run("generator", photo)
        fake_photo = self.run("backward_generator", art)
        yield Update("G", lambda: self._generator_terms(photo, art, fake_art, fake_photo))
        yield Update("D", lambda: self._discriminator_terms(batch, photo, art, fake_art, fake_photo))

    def _initialization_terms(self, photo: Tensor, art: Tensor) -> dict[str, Term]:
        layer = self.looking.content_layer
        terms: dict[str, Term] = {}
        for name, network, images in (
            ("content", "generator", photo),
            ("content_backward", "backward_generator", art),
        ):
            with torch.no_grad():
                theirs = self.looking.features(images, (layer,))[layer]
            ours = self.looking.features(self.run(network, images), (layer,))[layer]
            terms[name] = Term(losses.content_loss(ours, theirs), self.recipe.init_content_weight)
        return terms

    def _generator_terms(self, photo: Tensor, art: Tensor, fake_art: Tensor, fake_photo: Tensor) -> dict[str, Term]:
        kind, weights = self.recipe.adversarial, self.recipe.losses
        fake_loss = losses.generator_adversarial_loss(self._logits("discriminator", fake_art), kind=kind)
        fake_loss_back = losses.generator_adversarial_loss(self._logits("photo_discriminator", fake_photo), kind=kind)
        terms = {
            "adversarial": Term(fake_loss, weights.adversarial),
            "adversarial_backward": Term(fake_loss_back, weights.adversarial),
            "cycle": Term(losses.cycle_loss(self.run("backward_generator", fake_art), photo), weights.cycle),
            "cycle_backward": Term(losses.cycle_loss(self.run("generator", fake_photo), art), weights.cycle),
        }
        if weights.identity:
            same_art = losses.identity_loss(self.run("generator", art), art)
            same_photo = losses.identity_loss(self.run("backward_generator", photo), photo)
            terms["identity"] = Term(same_art, weights.identity)
            terms["identity_backward"] = Term(same_photo, weights.identity)
        return terms

    def _discriminator_terms(
        self, batch: Batch, photo: Tensor, art: Tensor, fake_art: Tensor, fake_photo: Tensor
    ) -> dict[str, Term]:
        weights = self.recipe.discriminator_losses
        pairs = (
            ("discriminator", art, self.pools["art"].exchange(fake_art)),
            ("photo_discriminator", photo, self.pools["photo"].exchange(fake_photo)),
        )
        terms: dict[str, Term] = {}
        for name, real, fake in pairs:
            real_logits, fake_logits = self._logits(name, torch.cat((real, fake.detach()))).chunk(2)
            logits = {"real": real_logits, "fake": fake_logits}
            if name == "discriminator" and weights.smooth:
                smooth = batch.smooth if self.recipe.smooth_negatives == "colour" else batch.smooth_gray
                logits["smooth"] = self._logits(name, needed(smooth, "edge-smoothed art"))
            prefix = "" if name == "discriminator" else "photo_"
            for kind, raw in losses.discriminator_terms(logits, kind=self.recipe.adversarial).items():
                terms[prefix + kind] = Term(raw, weights.overall * getattr(weights, kind))
            if self.augment is not None and name == "discriminator":
                self.augment.update(real_logits.detach())
        return terms

    def _logits(self, name: str, images: Tensor) -> Tensor:
        if self.augment is not None:
            images = self.augment(images)
        return self.run(name, images)
