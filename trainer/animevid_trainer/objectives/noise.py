"""Faces from noise: GAN, DCGAN, SAGAN, StyleGAN2. The batch's photos are the training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from animevid.errors import TrainingError
from torch import Tensor

from animevid_trainer import losses, regularizers
from animevid_trainer.checkpoint import State
from animevid_trainer.data.batches import Batch
from animevid_trainer.discriminators.projected import ProjectedDiscriminator
from animevid_trainer.generators import NOISE_GENERATOR_NAMES
from animevid_trainer.generators.noise import NoiseGenerator
from animevid_trainer.loop import OptimizerSettings, Term, Update
from animevid_trainer.objectives.features import Looking
from animevid_trainer.objectives.networks import Networks, discriminator_rate, generator_rate
from animevid_trainer.objectives.registry import Parts
from animevid_trainer.recipes import Recipe

#: the decay of the running mean of path lengths (StyleGAN2, appendix B)
_PATH_MEAN_RATE = 0.01


class NoiseObjective(Networks):
    """A generator from noise and a discriminator.

    A step has ``optimizer.discriminator_steps`` updates of D and one of G, each with new latents (GAN, algorithm 1).
    R1 and path length use separate, less frequent steps with proportionally larger weights; Adam's rate and
    betas are corrected for the additional steps (StyleGAN2, appendix B). They are computed in float32.

    Raises:
        TrainingError: the generator does not draw from noise, or D needs features and there is no perceptual network.
    """

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        generator, discriminator = parts.make_generator(), parts.make_discriminator()
        if not isinstance(generator, NoiseGenerator):
            raise TrainingError(
                f"generator {recipe.generator!r} does not draw from noise: give {', '.join(NOISE_GENERATOR_NAMES)}"
            )
        super().__init__({"generator": generator, "discriminator": discriminator})
        self.recipe, self.plan, self.augment = recipe, parts.plan, parts.augment
        self.discriminator_layers: tuple[str, ...] = ()
        if isinstance(discriminator, ProjectedDiscriminator):
            self.discriminator_layers = discriminator.layers
        self.looking = Looking(recipe, parts.perceptual, cache_bytes=0)
        self.path_mean = torch.zeros(())
        own = recipe.regularizers
        self.optimizers = {
            "G": self._adam("generator", generator_rate(self.plan), own.path_length and own.path_length_every),
            "D": self._adam("discriminator", discriminator_rate(self.plan), own.r1 and own.r1_every),
        }

    def _adam(self, network: str, rate: Callable[[int], float], every: float) -> OptimizerSettings:
        """Return Adam's settings, corrected for one additional update every ``every`` steps (0: none)."""
        share = every / (every + 1.0) if every else 1.0
        optimizer = self.recipe.optimizer
        betas = (optimizer.beta1**share, optimizer.beta2**share)
        return OptimizerSettings((network,), lambda step: share * rate(step), betas)

    @property
    def generator(self) -> NoiseGenerator:
        generator = self.networks["generator"]
        assert isinstance(generator, NoiseGenerator)
        return generator

    def state_dict(self) -> dict[str, State]:
        state: dict[str, State] = {"path_mean": self.path_mean}
        return state | ({"augment": self.augment.state_dict()} if self.augment else {})

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        self.path_mean = state["path_mean"].clone()
        if self.augment and "augment" in state:
            self.augment.load_state_dict(state["augment"])

    # ---- updates

    def updates(self, batch: Batch) -> Iterator[Update]:
        real, step, own = batch.photo, batch.step, self.recipe.regularizers
        if step % self.recipe.optimizer.discriminator_every == 0:
            for _ in range(self.recipe.optimizer.discriminator_steps):
                yield Update("D", lambda: self._discriminator_terms(real))
        if own.r1 and step % own.r1_every == 0:
            yield Update("D", lambda: self._gradient_terms(real))
        yield Update("G", lambda: self._generator_terms(real))
        if own.path_length and step % own.path_length_every == 0:
            yield Update("G", lambda: self._path_terms(real))

    def _discriminator_terms(self, real: Tensor) -> dict[str, Term]:
        with torch.no_grad():
            fake = self.run("generator", self._latents(real))
        # separately: batch norm and minibatch standard deviation would mix real and fake
        logits = {"real": self._discriminate(real), "fake": self._discriminate(fake)}
        if self.augment is not None:
            self.augment.update(logits["real"].detach())
        weights = self.recipe.discriminator_losses
        raw = losses.discriminator_terms(logits, kind=self.recipe.adversarial)
        return {name: Term(value, weights.overall * getattr(weights, name)) for name, value in raw.items()}

    def _gradient_terms(self, real: Tensor) -> dict[str, Term]:
        own = self.recipe.regularizers
        penalty = regularizers.gradient_penalty(self._logits_exactly, self._augmented(real))
        return {"r1": Term(penalty, own.r1 * own.r1_every)}

    def _generator_terms(self, real: Tensor) -> dict[str, Term]:
        logits = self._discriminate(self.run("generator", self._latents(real)))
        raw = losses.generator_adversarial_loss(logits, kind=self.recipe.adversarial)
        return {"adversarial": Term(raw, self.recipe.losses.adversarial)}

    def _path_terms(self, real: Tensor) -> dict[str, Term]:
        own = self.recipe.regularizers
        styles = self.generator.styles(self._latents(real))
        images = self.generator.draw(styles)
        lengths = regularizers.path_lengths(images, styles, torch.randn_like(images))
        self.path_mean = self.path_mean.to(lengths.device).lerp(lengths.detach().mean(), _PATH_MEAN_RATE)
        penalty = regularizers.path_length_penalty(lengths, self.path_mean)
        return {"path_length": Term(penalty, own.path_length * own.path_length_every)}

    # ---- inputs of the networks

    def _latents(self, like: Tensor) -> Tensor:
        """Draw one latent for each image of ``like``."""
        return self.generator.draw_latents(len(like)).to(like.device)

    def _augmented(self, images: Tensor) -> Tensor:
        return images if self.augment is None else self.augment(images)

    def _discriminate(self, images: Tensor) -> Tensor:
        images = self._augmented(images)
        return self._logits_exactly(images) if self.discriminator_layers else self.run("discriminator", images)

    def _logits_exactly(self, images: Tensor) -> Tensor:
        """Return D's logits, computed in float32 (a discriminator on features always does that)."""
        seen = self.looking.features(images, self.discriminator_layers) if self.discriminator_layers else images
        logits: Tensor = self.networks["discriminator"](seen)
        return logits
