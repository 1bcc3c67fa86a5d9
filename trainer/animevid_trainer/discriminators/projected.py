"""``projected``: a discriminator on features of the perceptual network instead of pixels.

A pixel discriminator soon memorizes a few dozen drawings; small heads on frozen features have too few weights for that.
They share the features, and so the forward pass, with the content loss.

Source: Sauer et al. 2021, "Projected GANs Converge Faster" (arXiv:2111.01007), section 3, without its random mixing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from animevid_trainer.perceptual import Perceptual


class ProjectedDiscriminator(nn.Module):
    """Features by layer -> logits ``(N, layers, h, w)`` at the size of the smallest map.

    ``perceptual`` only provides the shapes of its layers; it is neither stored nor trained. ``layers``: names of its
    layers, separated by spaces. Each layer has its own head with spectral norm: 1x1 to ``width`` channels,
    leaky ReLU, 1x1 to a logit.

    Raises:
        TrainingError: no layers, or a layer that the network does not have.
    """

    def __init__(self, *, perceptual: Perceptual, layers: str = "conv2_2 conv3_3 conv4_3", width: int = 64) -> None:
        super().__init__()
        self.layers = tuple(layers.split())
        if not self.layers:
            raise TrainingError(f"{layers = }: name at least one layer of {perceptual.name!r}")
        with torch.no_grad():
            parameter = next(perceptual.parameters())
            seen = perceptual.features(torch.zeros(1, 3, 64, 64, device=parameter.device), self.layers)
        self.heads = nn.ModuleDict(
            {
                layer: nn.Sequential(
                    spectral_norm(nn.Conv2d(seen[layer].shape[1], width, 1)),
                    nn.LeakyReLU(0.2),
                    spectral_norm(nn.Conv2d(width, 1, 1)),
                )
                for layer in self.layers
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        # Features reach into the hundreds: asinh keeps small values and compresses large ones.
        maps = [self.heads[layer](torch.asinh(features[layer])) for layer in self.layers]
        size = min(logits.shape[-2:] for logits in maps)
        return torch.cat([functional.adaptive_avg_pool2d(logits, size) for logits in maps], 1)
