"""The networks of an objective, their precision and their learning rates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from animevid_trainer.plan import Plan


class Networks:
    """Runs networks by name in a given precision; losses and features stay in float32."""

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        self.networks = networks
        self.compute_dtype = torch.float32

    def run(self, name: str, images: Tensor, **options: bool) -> Tensor:
        """Run a network; return float32. Convolutions run in ``compute_dtype``; weights keep their type."""
        with torch.autocast(images.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32):
            output: Tensor = self.networks[name](images, **options)
        return output.float()

    def stylize(self, photo: Tensor) -> Tensor:
        """Run the generator: (N, 3, H, W) in [-1, 1] -> the same shape."""
        return self.run("generator", photo)


def has_batch_norm(network: nn.Module) -> bool:
    """Return whether ``network`` has batch norm, so that an output depends on the whole batch."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def generator_rate(plan: Plan) -> Callable[[int], float]:
    """Return a function from the step to G's learning rate."""
    return lambda step: (place := plan.at(step)).phase.generator_lr * place.lr_factor(step)


def discriminator_rate(plan: Plan) -> Callable[[int], float]:
    """Return a function from the step to D's learning rate."""
    return lambda step: (place := plan.at(step)).phase.discriminator_lr * place.lr_factor(step)
