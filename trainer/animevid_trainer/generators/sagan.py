"""SAGAN's generator (Zhang et al., arXiv:1805.08318) on the residual blocks of SNGAN (arXiv:1802.05957)."""

from __future__ import annotations

import itertools

from animevid.errors import TrainingError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from animevid_trainer.attention import SelfAttention
from animevid_trainer.generators.noise import NoiseGenerator, doublings


class _Up(nn.Module):
    """Upsampling residual block: norm, ReLU, doubling, 3x3; norm, ReLU, 3x3; shortcut doubling and 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.beside = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2.0))
        y = self.conv2(F.relu(self.norm2(y)))
        # A 1x1 convolution and nearest-neighbour upsampling commute; convolving first is cheaper.
        beside = F.interpolate(self.beside(x), scale_factor=2.0)
        total: Tensor = y + beside
        return total


class SaGan(NoiseGenerator):
    """Noise from N(0, 1), 4x4, residual blocks to ``size_px``, self-attention at ``attention_px``; spectral norm.

    Args:
        size_px: side of the images, a power of two; default 64.
        latent: length of the noise; default 128.
        width: channels at full size; each halving of the size doubles them, up to 16 times; default 64.
        attention_px: side of the feature map with self-attention; default 32.
    """

    def __init__(self, *, size_px: int = 64, latent: int = 128, width: int = 64, attention_px: int = 32) -> None:
        super().__init__()
        check_attention(size_px, attention_px, width=width)
        self.latent, self.size_px = latent, size_px
        steps = doublings(size_px)
        channels = [width * 2 ** min(4, step) for step in reversed(range(steps + 1))]
        self.top = channels[0]
        self.project = nn.Linear(latent, 16 * self.top)
        layers: list[nn.Module] = []
        for step, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
            layers.append(_Up(inputs, outputs))
            if 8 << step == attention_px:
                layers.append(SelfAttention(outputs))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(width)
        self.to_rgb = nn.Conv2d(width, 3, 3, padding=1)
        with_spectral_norm(self)

    def draw(self, styles: Tensor) -> Tensor:
        x = self.layers(self.project(styles).reshape(-1, self.top, 4, 4))
        images: Tensor = self.to_rgb(F.relu(self.norm(x))).tanh()
        return images

    def between(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """Interpolate along the sphere: in the middle of a straight line, noise is shorter than in training."""
        angle = F.cosine_similarity(first, second, dim=-1).clamp(-1.0, 1.0).arccos().unsqueeze(-1)
        sine = angle.sin()
        arc = (((1.0 - share) * angle).sin() * first + (share * angle).sin() * second) / sine.clamp_min(1e-6)
        return arc.where(sine > 1e-6, super().between(first, second, share))


def check_attention(size_px: int, attention_px: int, *, width: int) -> None:
    """Check that a block works at ``attention_px``.

    Raises:
        TrainingError: no block has this size, or a width below 1.
    """
    sizes = [8 << step for step in range(doublings(size_px))]
    if attention_px not in sizes or width < 1:
        raise TrainingError(f"{attention_px = }: one of {', '.join(map(str, sizes))}; {width = }: 1 or more")


def with_spectral_norm(network: nn.Module) -> None:
    """Add spectral norm to every matrix of ``network``, initialized as SNGAN: Xavier uniform, biases 0."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            spectral_norm(module)
