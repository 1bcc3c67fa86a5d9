"""DCGAN's generator (Radford, Metz, Chintala, arXiv:1511.06434), following the paper's guidelines."""

from __future__ import annotations

import itertools

from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.generators.noise import NoiseGenerator, doublings
from animevid_trainer.layers import Relu


class DcGan(NoiseGenerator):
    """Projects noise to 4x4 and upsamples it to ``size_px`` by transposed convolutions.

    Batch norm and ReLU after each layer but the last, which has tanh; no fully connected layer after the projection;
    noise uniform on [-1, 1]; weights from N(0, 0.02^2), scales of norms from N(1, 0.02^2). The defaults are those of
    the released code and give 3,576,704 parameters.

    Args:
        size_px: side of the images, a power of two; default 64.
        latent: length of the noise; default 100.
        width: channels at half of ``size_px``; each halving of the size doubles them; default 64.
    """

    prior = "uniform"

    def __init__(self, *, size_px: int = 64, latent: int = 100, width: int = 64) -> None:
        super().__init__()
        if latent < 1 or width < 1:
            raise TrainingError(f"{latent = }, {width = }: 1 or more")
        self.latent, self.size_px = latent, size_px
        sizes = doublings(size_px)
        channels = [width * 2**step for step in reversed(range(sizes))]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent, channels[0], 4, bias=False),
            nn.BatchNorm2d(channels[0]),
            Relu(),
        ]
        for inputs, outputs in itertools.pairwise(channels):
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                Relu(),
            ]
        layers += [nn.ConvTranspose2d(channels[-1], 3, 4, stride=2, padding=1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        start_as_dcgan(self)

    def draw(self, styles: Tensor) -> Tensor:
        images: Tensor = self.layers(styles[:, :, None, None])
        return images


def start_as_dcgan(network: nn.Module) -> None:
    """Initialize weights from N(0, 0.02^2) and scales of batch norms from N(1, 0.02^2), as in the released code."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
