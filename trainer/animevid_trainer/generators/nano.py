"""``nano``: the real-time generator. It takes and returns packed Y'CbCr 4:2:0, the codec's own layout.

It has no normalization layer and so uses no statistic of the whole image: a moving object does not change the rest,
tiles equal the whole image, and the graph quantizes well to INT8. Each residual branch ends in a convolution that
starts at zero, so the untrained network is the identity (Zhang et al. 2019, "Fixup Initialization", section 3).
"""

from __future__ import annotations

from animevid.styles.card import Layout
from torch import Tensor, nn
from torch.nn import functional

PACKED_CHANNELS = 24


def zero(conv: nn.Conv2d) -> None:
    """Set weights and bias to zero, so that a residual branch initially adds nothing."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(x)))``, 3x3, zero padding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        zero(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.conv2(functional.relu(self.conv1(x)))
        return x + branch


class Nano(nn.Module):
    """``(N, 24, H / 4, W / 4)`` -> the same shape; H and W multiples of 8 pixels.

    ``width``: channels at 1/4 resolution, for edges; ``deep_width``: channels at 1/8, for areas; ``head_width``:
    features from which the pixels of each 4x4 cell are computed. The head is the widest part, since a line needs
    separate features for each of a cell's 16 pixels. With the default widths: 297,336 parameters, 2.24 GMAC at
    640x360.
    """

    layout = Layout.PACKED_YUV420
    size_multiple = 8
    tileable = True

    def __init__(self, *, width: int = 64, deep_width: int = 64, head_width: int = 96, deep_blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(PACKED_CHANNELS, width, 3, padding=1)
        self.shallow = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.Conv2d(width, deep_width, 3, stride=2, padding=1)
        self.deep = nn.Sequential(*(ResidualBlock(deep_width) for _ in range(deep_blocks)))
        self.up = nn.Conv2d(deep_width, width, 1)
        self.head = nn.Conv2d(width, head_width, 3, padding=1)
        self.tail = nn.Conv2d(head_width, PACKED_CHANNELS, 1)
        for conv in (self.stem, self.shallow, self.down, self.head):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        zero(self.tail)
        # in 1/4-resolution cells on each side: stem, shallow, down, deep (each step two cells), the odd cell, head
        reach = 1 + 1 + 1 + 2 * 2 * deep_blocks + 1 + 1
        self.receptive_field_px = 4 * (2 * reach + 1)

    def forward(self, packed: Tensor) -> Tensor:
        return packed + self.change(packed)

    def change(self, packed: Tensor) -> Tensor:
        """Return the change that is added to ``packed``, in the same shape."""
        shallow = functional.relu(self.stem(packed))
        shallow = shallow + functional.relu(self.shallow(shallow))
        deep = self.deep(functional.relu(self.down(shallow)))
        back = functional.interpolate(self.up(deep), scale_factor=2, mode="nearest")
        change: Tensor = self.tail(functional.relu(self.head(shallow + back)))
        return change
