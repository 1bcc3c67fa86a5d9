"""Widens a trained network without changing its output: the large size of a style starts from the small one.

Each new channel copies an old one, and the next layer splits its weight between the copies, so the output stays the
same. The shares are unequal, since copies with equal shares would get equal gradients and stay equal.

Source: Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer", section 2.2 (Net2WiderNet).
"""

from __future__ import annotations

import torch
from torch import Tensor

from animevid_trainer.generators.luma_unet import HALF_CHANNELS, LumaUNet
from animevid_trainer.generators.nano import PACKED_CHANNELS

_SHARE = (0.3, 0.7)  # range of a share, before the shares of one channel's copies are normalized to a sum of 1
_SEED = 1


def widen(narrow: dict[str, Tensor], network: LumaUNet) -> None:
    """Fill ``network`` so that it gives the same output as the narrower ``narrow``.

    Residual blocks that ``narrow`` lacks keep their initial weights, which make them the identity.

    Args:
        narrow (dict[str, Tensor]): weights of a ``LumaUNet`` with at most as many channels everywhere.
        network (LumaUNet): gets the widened weights.

    Raises:
        KeyError: ``narrow`` belongs to another kind of network.
        ValueError: a layer of ``narrow`` is wider.
    """
    random = torch.Generator().manual_seed(_SEED)
    wide = network.state_dict()
    copies = _copies(narrow, wide)
    for name, weight in wide.items():
        if name not in narrow:  # a new block; its last convolution is zero
            continue
        layer, kind = name.rsplit(".", 1)
        inputs, outputs = (copies[key] for key in _channels(layer))
        filled = narrow[name].float()[outputs]
        if kind == "weight":
            filled = filled[:, inputs] * _shares(inputs, random)[None, :, None, None]
        if filled.shape != weight.shape:
            raise ValueError(f"{name} has the shape {tuple(filled.shape)}, not {tuple(weight.shape)}")
        weight.copy_(filled)


def _channels(layer: str) -> tuple[str, str]:
    """Return (input, output) of a convolution, by the tensor names of ``_copies``."""
    kinds = {
        "stem": ("packed", "top"),
        "shallow": ("top", "top"),
        "down1": ("top", "middle"),
        "down2": ("middle", "bottom"),
        "up2": ("bottom", "middle"),
        "up1": ("middle", "top"),
        "head": ("top", "head"),
        "chroma": ("head", "chroma"),
        "feed": ("head", "feed"),
        "enter": ("entered", "line"),
        "tail": ("line", "luma"),
        "deep": ("bottom", "bottom"),
        "mid": ("middle", "middle"),
        "lines": ("line", "line"),
    }
    return kinds[layer.split(".")[0]]


def _copies(narrow: dict[str, Tensor], wide: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return, for each kind of tensor, which old channel each new one copies."""

    def cycle(old: int, new: int) -> Tensor:
        if new < old:
            raise ValueError(f"{old} channels do not fit into {new}")
        return torch.arange(new) % old

    copies = {
        name: cycle(narrow[f"{layer}.bias"].shape[0], wide[f"{layer}.bias"].shape[0])
        for name, layer in (
            ("top", "stem"),
            ("middle", "down1"),
            ("bottom", "down2"),
            ("head", "head"),
            ("chroma", "chroma"),
            ("line", "enter"),
            ("luma", "tail"),
        )
    }
    # The luma branch's features come first, for four positions of a cell each; the photo's luma follows.
    features = cycle(*(part["enter.weight"].shape[1] - HALF_CHANNELS for part in (narrow, wide)))
    photo = narrow["enter.weight"].shape[1] - HALF_CHANNELS + torch.arange(HALF_CHANNELS)
    copies["entered"] = torch.cat((features, photo))
    copies["feed"] = (4 * features[:, None] + torch.arange(4)).flatten()
    copies["packed"] = torch.arange(PACKED_CHANNELS)
    return copies


def _shares(inputs: Tensor, random: torch.Generator) -> Tensor:
    """Return each copy's share of a weight; the shares of one channel's copies sum to 1."""
    low, high = _SHARE
    shares = low + (high - low) * torch.rand(inputs.shape[0], generator=random)
    sums = torch.zeros(int(inputs.max()) + 1).index_add(0, inputs, shares)
    return shares / sums[inputs]
