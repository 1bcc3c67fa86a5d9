"""``luma-unet``: the generator of the shipped styles. A U-Net for areas, a luma branch at half resolution for lines.

The trunk works on packed Y'CbCr 4:2:0 at 1/4, 1/8 and 1/16 of the frame: its large receptive field decides tones,
colours and flat areas. Resolution of one cell is too coarse for lines, so luma is computed by a few convolutions at
half resolution that also see the photo's luma. There are no normalization layers, hence no statistics of the whole
frame: tiles give the same result as the whole frame, and the graph quantizes to INT8 well. Every branch ends in a
zero-initialized convolution: the untrained network is the identity (Zhang et al. 2019, "Fixup Initialization",
section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from animevid.styles.card import Layout
from torch import Tensor, nn
from torch.nn import functional

from animevid_trainer.generators.nano import PACKED_CHANNELS, ResidualBlock, zero

LUMA_CHANNELS = 16
CHROMA_CHANNELS = PACKED_CHANNELS - LUMA_CHANNELS
_CELL_PX = 4
HALF_CHANNELS = 4  # a 2x2 block of luma
#: Order of a cell's 4x4 luma in which one pixel shuffle, shared with the features, gives blocks at half resolution.
_PHOTO_ORDER = [4 * (2 * i + a) + 2 * j + b for a in (0, 1) for b in (0, 1) for i in (0, 1) for j in (0, 1)]
#: Cells of replicated border around the frame. Zero padding, which is gray to the network, changes a uniform frame by
#: up to 19 codes at its border; replication by 7 at most. Two cells a side keep sizes multiples of 16 pixels.
BORDER_CELLS = 2
_LEAST_RANGE = 0.02  # of a channel, relative to the widest one, so that hardly used channels are not amplified


def options_of_weights(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """The arguments of :class:`LumaUNet` for the network that ``weights`` (its state dict) belong to.

    Raises:
        KeyError: a layer is missing.
        IndexError: a weight is a single number.
    """
    widths = (("top", "stem"), ("middle", "down1"), ("bottom", "down2"), ("head", "head"), ("line", "enter"))
    depths = (("line_convs", "lines"), ("middle_blocks", "mid"), ("deep_blocks", "deep"))
    return {
        **{option: int(weights[f"{layer}.weight"].shape[0]) for option, layer in widths},
        **{option: count_layers(weights, layers) for option, layers in depths},
    }


def count_layers(names: Iterable[str], layers: str) -> int:
    """How many convolutions or blocks the list ``layers`` (lines, mid or deep) has, by the names of its weights."""
    return len({name.split(".")[1] for name in names if name.startswith(f"{layers}.")})


class LumaUNet(nn.Module):
    """``(N, 24, H / 4, W / 4)`` -> the same; H and W multiples of 16 pixels.

    Args:
        top (int): channels at 1/4 resolution. Default: 32.
        middle (int): channels at 1/8 resolution. Default: 64.
        bottom (int): channels at 1/16 resolution. Default: 88.
        head (int): channels that feed chroma and the luma branch. Default: 64.
        line (int): channels of the luma branch, above 4; four of them are the photo's luma. Default: 16.
        line_convs (int): 3x3 convolutions of the luma branch after the first. Default: 2.
        middle_blocks (int): residual blocks at 1/8 resolution. Default: 1.
        deep_blocks (int): residual blocks at 1/16 resolution. Default: 2.
    """

    layout = Layout.PACKED_YUV420
    size_multiple = 16
    tileable = True

    def __init__(
        self,
        *,
        top: int = 32,
        middle: int = 64,
        bottom: int = 88,
        head: int = 64,
        line: int = 16,
        line_convs: int = 2,
        middle_blocks: int = 1,
        deep_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(PACKED_CHANNELS, top, 3, padding=1)
        self.shallow = nn.Conv2d(top, top, 3, padding=1)
        self.down1 = nn.Conv2d(top, middle, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(middle, bottom, 3, stride=2, padding=1)
        self.deep = nn.Sequential(*(ResidualBlock(bottom) for _ in range(deep_blocks)))
        self.mid = nn.Sequential(*(ResidualBlock(middle) for _ in range(middle_blocks)))
        self.up2 = nn.Conv2d(bottom, middle, 1)
        self.up1 = nn.Conv2d(middle, top, 1)
        self.head = nn.Conv2d(top, head, 3, padding=1)
        self.chroma = nn.Conv2d(head, CHROMA_CHANNELS, 1)
        self.feed = nn.Conv2d(head, 4 * (line - HALF_CHANNELS), 1)
        self.enter = nn.Conv2d(line, line, 3, padding=1)
        self.lines = nn.ModuleList(nn.Conv2d(line, line, 3, padding=1) for _ in range(line_convs))
        # Straight to cells: a 3x3 convolution to 4 channels at half resolution would cost as much as one to 16.
        self.tail = nn.Conv2d(line, LUMA_CHANNELS, 2, stride=2)
        zero(self.chroma)
        zero(self.tail)
        # Pixels on each side: convolutions at 1/4 (stem, shallow, first stride, head), 1/8 (second stride, blocks),
        # 1/16 (blocks) and 1/2 (luma branch), and the width of the coarsest cell.
        reach = 4 * _CELL_PX + 8 * (1 + 2 * middle_blocks) + 16 * 2 * deep_blocks + 2 * (line_convs + 1) + 16
        self.receptive_field_px = 2 * reach

    @torch.no_grad()
    def equalize(self, photos: Sequence[Tensor]) -> None:
        """Bring the ranges of channels closer to each other without changing the output.

        INT8 has one scale per tensor, so a channel with a small range would get few steps. In the trunk, each channel
        is divided by the square root of its range relative to the widest channel's, and its readers multiply by the
        same factor. The features of the luma branch are scaled to the photo's range, [-1, 1], since both share a
        tensor.

        Args:
            photos (Sequence[Tensor]): packed photos, ``(N, 24, H / 4, W / 4)`` each, to measure the ranges on.

        Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", sec. 4.1.
        """
        mid = [block for block in self.mid if isinstance(block, ResidualBlock)]
        deep = [block for block in self.deep if isinstance(block, ResidualBlock)]
        # For each tensor: the convolutions that write its channels (summed), and those that read them.
        tensors: list[tuple[list[nn.Conv2d], list[nn.Conv2d]]] = [
            ([self.stem, self.shallow, self.up1], [self.shallow, self.down1, self.head]),
            ([self.down1, self.up2, *(b.conv2 for b in mid)], [self.down2, self.up1, *(b.conv1 for b in mid)]),
            ([self.down2, *(b.conv2 for b in deep)], [self.up2, *(b.conv1 for b in deep)]),
            ([self.head], [self.chroma, self.feed]),
            *(([block.conv1], [block.conv2]) for block in mid + deep),
        ]
        ranges = self._input_ranges(photos, [readers for _, readers in tensors] + [[self.enter]])
        for (writers, readers), top in zip(tensors, ranges[:-1], strict=True):
            scale = (top / top.max()).clamp(min=_LEAST_RANGE).sqrt()
            for writer in writers:
                writer.weight /= scale[:, None, None, None]
                writer.bias /= scale  # type: ignore[arg-type, operator]
            for reader in readers:
                reader.weight *= scale[None, :, None, None]
        width = self.enter.in_channels - HALF_CHANNELS
        top = ranges[-1][:width]
        scale = top.repeat_interleave(4)  # each feature covers four positions of a cell
        self.feed.weight /= scale[:, None, None, None]
        self.feed.bias /= scale  # type: ignore[arg-type, operator]
        self.enter.weight[:, :width] *= top[None, :, None, None]

    def _input_ranges(self, photos: Sequence[Tensor], readers: Sequence[Sequence[nn.Conv2d]]) -> list[Tensor]:
        """For each group of convolutions that read the same channels: each channel's largest absolute value."""
        ranges = [torch.full((group[0].in_channels,), 1e-3) for group in readers]

        def note(top: Tensor) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
            def hook(module: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
                top.copy_(torch.maximum(top, given[0].abs().amax((0, 2, 3))))

            return hook

        handles = [
            reader.register_forward_hook(note(top))
            for group, top in zip(readers, ranges, strict=True)
            for reader in group
        ]
        for photo in photos:
            self(photo)
        for handle in handles:
            handle.remove()
        return ranges

    def forward(self, packed: Tensor) -> Tensor:
        # A single sum at the very end: quantization then leaves the photo in it exact.
        border = BORDER_CELLS
        change = self.change(functional.pad(packed, (border,) * 4, mode="replicate"))
        return packed + change[..., border:-border, border:-border]

    def change(self, packed: Tensor) -> Tensor:
        """The change that is added to ``packed``, in the same shape."""
        shallow = functional.relu(self.stem(packed))
        shallow = shallow + functional.relu(self.shallow(shallow))
        middle = functional.relu(self.down1(shallow))
        bottom = self.deep(functional.relu(self.down2(middle)))
        middle = self.mid(middle + functional.interpolate(self.up2(bottom), scale_factor=2, mode="nearest"))
        wide = functional.interpolate(self.up1(middle), scale_factor=2, mode="nearest")
        features = functional.relu(self.head(shallow + wide))
        photo = packed.index_select(1, torch.tensor(_PHOTO_ORDER, device=packed.device))
        lines = functional.relu(self.enter(functional.pixel_shuffle(torch.cat((self.feed(features), photo), 1), 2)))
        for convolution in self.lines:
            lines = functional.relu(convolution(lines))
        return torch.cat((self.tail(lines), self.chroma(features)), 1)
