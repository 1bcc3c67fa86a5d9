"""CartoonGAN's residual generator (Chen, Lai, Liu, CVPR 2018, figure 2) and the improvements of ``cartoongan-plus``.

Layer names are those of the published weights (``conv01_1`` ... ``deconv03_1``, ``in01_1`` ... ``in13_1``).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.generators.base import Generator, check_rgb
from animevid_trainer.layers import InstanceNorm, rectify, reflect, start_normal

_BLOCKS = range(4, 12)


class CartoonGan(Generator):
    """11,129,667 parameters. RGB in [-1, 1], ``N, 3, H, W``, H and W multiples of 4 -> the same shape.

    A 7x7 convolution, two downsampling blocks (stride 2, then stride 1), eight residual blocks of 256 channels, two
    upsampling blocks (transposed, then stride 1), a 7x7 convolution, tanh. ``norm``: "batch" as in the paper
    (tileable), or "instance" as in the published weights and ``cartoongan-plus``. ``activation``: "leaky_relu" has
    slope 0.2.
    Weights start from N(0, 0.02^2).
    """

    size_multiple: ClassVar[int] = 4

    def __init__(
        self,
        *,
        norm: Literal["batch", "instance"] = "batch",
        activation: Literal["relu", "leaky_relu"] = "relu",
        norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        if norm not in ("batch", "instance"):
            raise TrainingError(f"{norm = }: allowed are batch, instance")
        if activation not in ("relu", "leaky_relu"):
            raise TrainingError(f"{activation = }: allowed are relu, leaky_relu")
        self.slope = 0.2 if activation == "leaky_relu" else 0.0
        self.tileable = norm == "batch"
        self.receptive_field_px = 171 if self.tileable else 0

        def make(channels: int) -> nn.Module:
            if norm == "batch":
                return nn.BatchNorm2d(channels, eps=norm_epsilon)
            return InstanceNorm(channels, eps=norm_epsilon, affine=True)

        self.conv01_1 = nn.Conv2d(3, 64, 7)
        self.in01_1 = make(64)
        self.conv02_1 = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.conv02_2 = nn.Conv2d(128, 128, 3, padding=1)
        self.in02_1 = make(128)
        self.conv03_1 = nn.Conv2d(128, 256, 3, stride=2, padding=1)
        self.conv03_2 = nn.Conv2d(256, 256, 3, padding=1)
        self.in03_1 = make(256)
        for block in _BLOCKS:
            for half in (1, 2):
                self.add_module(f"conv{block:02d}_{half}", nn.Conv2d(256, 256, 3))
                self.add_module(f"in{block:02d}_{half}", make(256))
        self.deconv01_1 = nn.ConvTranspose2d(256, 128, 3, stride=2, padding=1, output_padding=1)
        self.deconv01_2 = nn.Conv2d(128, 128, 3, padding=1)
        self.in12_1 = make(128)
        self.deconv02_1 = nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1, output_padding=1)
        self.deconv02_2 = nn.Conv2d(64, 64, 3, padding=1)
        self.in13_1 = make(64)
        self.deconv03_1 = nn.Conv2d(64, 3, 7)
        start_normal(self)

    def _activate(self, x: Tensor) -> Tensor:
        return rectify(x, self.slope)

    def forward(self, x: Tensor) -> Tensor:
        check_rgb(x, multiple=self.size_multiple)
        y: Tensor = self._activate(self.in01_1(self.conv01_1(reflect(x, 3))))
        y = self._activate(self.in02_1(self.conv02_2(self.conv02_1(y))))
        y = self._activate(self.in03_1(self.conv03_2(self.conv03_1(y))))
        for block in _BLOCKS:
            z = y
            for half in (1, 2):
                convolution = self.get_submodule(f"conv{block:02d}_{half}")
                z = self.get_submodule(f"in{block:02d}_{half}")(convolution(reflect(z, 1)))
                if half == 1:
                    z = self._activate(z)
            y = y + z
        y = self._activate(self.in12_1(self.deconv01_2(self.deconv01_1(y))))
        y = self._activate(self.in13_1(self.deconv02_2(self.deconv02_1(y))))
        y = self.deconv03_1(reflect(y, 3))
        return y.tanh()
