"""The patch discriminator of CartoonGAN and both AnimeGANs, which differ in normalization."""

from __future__ import annotations

from typing import Literal, get_args

from animevid.errors import TrainingError
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from animevid_trainer.layers import InstanceNorm, LeakyRelu

NormKind = Literal["layer", "instance", "batch"]


class PatchDiscriminator(nn.Module):
    """Fully convolutional: ``N, channels, H, W`` in [-1, 1] -> logits ``N, 1, H/2^(depth-1), W/2^(depth-1)``.

    A 3x3 convolution to ``width / 2`` channels; then ``depth - 1`` times: stride 2 to twice the channels, stride 1 to
    four times the channels, norm; a 3x3 convolution, norm; a 3x3 convolution to one logit. LeakyReLU 0.2 between, no
    biases, spectral norm (Miyato et al., arXiv:1802.05957) on every convolution with one power iteration per step.
    Weights start from N(0, 0.02^2). With width 64 and depth 3: 1,128,800 parameters.

    Args:
        width: twice the channels of the first layer; even, default 64.
        channels: 3 for RGB, 6 for a photo with its stylized image; default 3.
        depth: one plus the number of stride-2 convolutions; default 3.
        spectral: spectral norm on every convolution; default True (CartoonGAN: False).
        norm: "layer" (AnimeGANv2, the default), "instance" (AnimeGAN v1) or "batch" (CartoonGAN), each with a scale
            and shift for every channel and epsilon 1e-5 (TensorFlow's layer norm has 1e-12).

    Raises:
        TrainingError: an invalid width, depth or norm.
    """

    size_multiple = 4

    def __init__(
        self,
        *,
        width: int = 64,
        depth: int = 3,
        spectral: bool = True,
        norm: NormKind = "layer",
        channels: int = 3,
    ) -> None:
        super().__init__()
        if width < 2 or width % 2 or depth < 1:
            raise TrainingError(f"{width = }, {depth = }: an even width of 2 or more, a depth of 1 or more")
        if norm not in get_args(NormKind):
            raise TrainingError(f"{norm = }: allowed are {', '.join(get_args(NormKind))}")

        def convolution(inputs: int, outputs: int, *, stride: int = 1) -> nn.Module:
            module = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
            nn.init.normal_(module.weight, std=0.02)
            return spectral_norm(module) if spectral else module

        def make_norm(channels: int) -> nn.Module:
            if norm == "instance":
                return InstanceNorm(channels, affine=True)
            if norm == "batch":
                return nn.BatchNorm2d(channels)
            return nn.GroupNorm(1, channels)  # over C, H and W

        def activation() -> nn.Module:
            return LeakyRelu(0.2)

        layers: list[nn.Module] = [convolution(channels, width // 2), activation()]
        inputs = channels = width // 2
        for _ in range(1, depth):
            layers += [convolution(inputs, 2 * channels, stride=2), activation()]
            layers += [convolution(2 * channels, 4 * channels), make_norm(4 * channels), activation()]
            inputs = 4 * channels
            channels *= 2
        layers += [
            convolution(inputs, 2 * channels),
            make_norm(2 * channels),
            activation(),
            convolution(2 * channels, 1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
