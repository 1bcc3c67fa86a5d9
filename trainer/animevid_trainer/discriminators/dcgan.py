"""DCGAN's discriminator (Radford, Metz, Chintala, arXiv:1511.06434), following the paper's guidelines."""

from __future__ import annotations

from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.generators.dcgan import start_as_dcgan
from animevid_trainer.generators.noise import doublings
from animevid_trainer.layers import LeakyRelu


class DcGanDiscriminator(nn.Module):
    """RGB in [-1, 1], ``N, 3, size_px, size_px`` -> one logit per image, ``N, 1``.

    Strided convolutions instead of pooling, batch norm in all but the first and last layer, LeakyReLU 0.2. 2,765,568
    parameters with the defaults.

    Args:
        size_px: side of the images, a power of two; default 64.
        width: channels after the first convolution; each later one doubles them; default 64.
    """

    def __init__(self, *, size_px: int = 64, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise TrainingError(f"{width = }: 1 or more")
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False), LeakyRelu(0.2)]
        channels = width
        for _ in range(doublings(size_px) - 1):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(2 * channels),
                LeakyRelu(0.2),
            ]
            channels *= 2
        layers.append(nn.Conv2d(channels, 1, 4, bias=False))
        self.layers = nn.Sequential(*layers)
        start_as_dcgan(self)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits.flatten(1)
