"""The exponential moving average of a network's weights, which is shown, evaluated and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import Tensor, nn


class EmaState(TypedDict):
    """An :class:`Ema` in a checkpoint."""

    updates: int
    shadow: dict[str, Tensor]


class Ema:
    """``shadow = decay * shadow + (1 - decay) * weights`` after each update; buffers are copied.

    The decay warms up as (1 + n) / (10 + n), so that the first average is not the random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = {
            name: tensor.detach().clone() for name, tensor in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        floating: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                floating[0].append(self.shadow[name])
                floating[1].append(tensor)
            else:
                self.shadow[name].copy_(tensor)
        torch._foreach_lerp_(floating[0], floating[1], 1.0 - decay)

    @contextmanager
    def applied_to(self, network: nn.Module) -> Iterator[nn.Module]:
        """Use the averaged weights inside the block; restore the network's own afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self.shadow)
        try:
            yield network
        finally:
            network.load_state_dict(own)

    def state_dict(self) -> EmaState:
        return {"updates": self.updates, "shadow": dict(self.shadow)}

    def load_state_dict(self, state: EmaState) -> None:
        self.updates = int(state["updates"])
        shadow = state["shadow"]
        assert isinstance(shadow, dict)
        for name, tensor in self.shadow.items():
            tensor.copy_(shadow[name])
