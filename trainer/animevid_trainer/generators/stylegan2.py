"""StyleGAN2's generator (Karras et al., arXiv:1912.04958): mapping, modulated convolutions, noise, skips.

With ``modulation="adain"`` it normalizes activations like StyleGAN (arXiv:1812.04948), not weights like StyleGAN2.
"""

from __future__ import annotations

import functools
import math
from typing import Literal, get_args

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.generators.noise import NoiseGenerator, doublings
from animevid_trainer.style_layers import EqualLinear, adain, channels_at, enlarge, leaky, modulated_conv

Modulation = Literal["weights", "adain"]
_MEAN_DECAY = 0.995  # of the running mean of styles


class _Styled(nn.Module):
    """A 3x3 convolution modulated by a style, then noise, bias and leaky ReLU."""

    noise: Tensor

    def __init__(
        self, inputs: int, outputs: int, *, style: int, size_px: int, modulation: Modulation, up: bool
    ) -> None:
        super().__init__()
        self.up, self.modulation = up, modulation
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.scale = 1.0 / math.sqrt(9 * inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        #: fixed noise for evaluation, so that a video does not flicker
        self.register_buffer("noise", torch.randn(1, 1, size_px, size_px))
        if modulation == "weights":
            self.affine = EqualLinear(style, inputs, bias=1.0)
        else:
            self.affine = EqualLinear(style, 2 * outputs)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        weight, coefficients = self.weight * self.scale, self.affine(style)
        if self.modulation == "weights":
            return self._finished(modulated_conv(x, weight, coefficients, up=self.up))
        scale, shift = coefficients.chunk(2, 1)
        ones = x.new_ones(x.shape[:2])
        y = self._finished(modulated_conv(x, weight, ones, demodulate=False, up=self.up))
        return adain(y, scale + 1.0, shift)

    def _finished(self, y: Tensor) -> Tensor:
        noise = torch.randn_like(y[:, :1]) if self.training else self.noise
        return leaky(y + self.noise_strength * noise + self.bias[:, None, None])


class _ToRgb(nn.Module):
    """A 1x1 convolution modulated by a style, without demodulation."""

    def __init__(self, inputs: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.scale = 1.0 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.zeros(3))
        self.affine = EqualLinear(style, inputs, bias=1.0)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = modulated_conv(x, self.weight * self.scale, self.affine(style), demodulate=False)
        return y + self.bias[:, None, None]


class StyleGan2(NoiseGenerator):
    """Latents ``N, latent`` -> styles ``N, layers, style`` -> images; ``layers`` is ``2 log2(size_px) - 2``.

    A style has one row per layer. All rows are equal, except in training, where a share ``style_mixing`` of the images
    takes its later rows from a second latent. Training draws new noise and updates the mean style; evaluation uses
    fixed noise.

    Args:
        size_px: side of the images, a power of two; default 64.
        latent: length of the latent and of a style; default 512.
        mapping_layers: fully connected layers from latent to style; default 8.
        channel_base: channels times size; default 16384 (the release's for up to 256 px).
        channel_max: maximum number of channels; default 512.
        style_mixing: share of images with two styles; default 0.9.
        modulation: "weights" (StyleGAN2) or "adain" (StyleGAN); default "weights".
    """

    mean: Tensor

    def __init__(
        self,
        *,
        size_px: int = 64,
        latent: int = 512,
        mapping_layers: int = 8,
        channel_base: int = 16384,
        channel_max: int = 512,
        style_mixing: float = 0.9,
        modulation: Modulation = "weights",
    ) -> None:
        super().__init__()
        if modulation not in get_args(Modulation):
            raise TrainingError(f"{modulation = }: allowed are {', '.join(get_args(Modulation))}")
        if min(latent, mapping_layers, channel_base, channel_max) < 1 or not 0.0 <= style_mixing <= 1.0:
            raise TrainingError(
                f"{latent = }, {mapping_layers = }, {channel_base = }, {channel_max = }: 1 or more; "
                f"{style_mixing = }: 0 to 1"
            )
        steps = doublings(size_px)
        self.size_px, self.latent, self.style_mixing = size_px, latent, style_mixing
        self.layers = 2 * steps + 2
        self.mapping = nn.ModuleList(EqualLinear(latent, latent, rate=0.01) for _ in range(mapping_layers))
        self.register_buffer("mean", torch.zeros(latent))

        def channels(side: int) -> int:
            return channels_at(side, base=channel_base, most=channel_max)

        styled = functools.partial(_Styled, style=latent, modulation=modulation)
        self.constant = nn.Parameter(torch.randn(1, channels(4), 4, 4))
        convs = [styled(channels(4), channels(4), size_px=4, up=False)]
        rgbs = [_ToRgb(channels(4), latent)]
        for step in range(1, steps + 1):
            side = 4 << step
            convs.append(styled(channels(side // 2), channels(side), size_px=side, up=True))
            convs.append(styled(channels(side), channels(side), size_px=side, up=False))
            rgbs.append(_ToRgb(channels(side), latent))
        self.convs, self.rgbs = nn.ModuleList(convs), nn.ModuleList(rgbs)

    def map(self, latents: Tensor) -> Tensor:
        """``N, latent`` -> W, ``N, latent``. Latents are normalized to unit mean square first."""
        x = latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            x = leaky(layer(x))
        return x

    def styles(self, latents: Tensor) -> Tensor:
        w = self.map(latents)
        if not self.training:
            return self.repeated(w)
        with torch.no_grad():
            self.mean.lerp_(w.detach().to(self.mean).mean(0), 1.0 - _MEAN_DECAY)
        return self._mixed(w) if self.style_mixing else self.repeated(w)

    def _mixed(self, w: Tensor) -> Tensor:
        count = len(w)
        others = self.map(torch.randn(count, self.latent, device=w.device, dtype=w.dtype))
        crossing = torch.randint(1, self.layers, (count, 1), device=w.device)
        crossing = crossing.where(torch.rand(count, 1, device=w.device) < self.style_mixing, self.layers)
        own = torch.arange(self.layers, device=w.device) < crossing
        return torch.where(own.unsqueeze(2), w.unsqueeze(1), others.unsqueeze(1))

    def repeated(self, w: Tensor) -> Tensor:
        """Repeat W, ``N, latent``, for every layer: ``N, layers, latent``."""
        return w.unsqueeze(1).expand(-1, self.layers, -1)

    @property
    def mean_style(self) -> Tensor:
        return self.mean

    def draw(self, styles: Tensor) -> Tensor:
        rows = styles.unbind(1)
        x = self.convs[0](self.constant.expand(len(styles), -1, -1, -1), rows[0])
        image: Tensor = self.rgbs[0](x, rows[1])
        for step, to_rgb in enumerate(self.rgbs[1:]):
            first = 2 * step + 1
            x = self.convs[first](x, rows[first])
            x = self.convs[first + 1](x, rows[first + 1])
            image = enlarge(image) + to_rgb(x, rows[first + 2])
        return image
