"""Muon on the convolutions of a network, AdamW on its other parameters.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces a matrix's momentum with the nearest
orthogonal matrix, so that every direction of a weight learns equally fast. A convolution's kernel is the matrix
``(out, in * height * width)``. Its step has the size of AdamW's at the same rate (Liu et al. 2025, "Muon is Scalable
for LLM Training", equation 4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BIAS_RATE = 2.0  # of AdamW, relative to Muon's rate


class ConvMuon:
    """Both optimizers of a network of convolutions.

    Args:
        network (nn.Module): its 4-dimensional parameters get Muon, the others AdamW. Its parameters must not be
            replaced later.
        rate (float): Muon's learning rate; AdamW's is twice that.
        weight_decay (float): of both, decoupled (Loshchilov and Hutter 2019). Default: 1e-4.
    """

    def __init__(self, network: nn.Module, rate: float, *, weight_decay: float = 1e-4) -> None:
        parameters = list(network.parameters())
        self._kernels = [kernel for kernel in parameters if kernel.ndim == 4]
        self._matrices = [_as_matrix(kernel.detach()) for kernel in self._kernels]
        others = [parameter for parameter in parameters if parameter.ndim != 4]
        self._muon = torch.optim.Muon(self._matrices, rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._adam = torch.optim.AdamW(others, _BIAS_RATE * rate, betas=(0.9, 0.99), weight_decay=weight_decay)

    def set_rate(self, rate: float) -> None:
        """Set Muon's learning rate, and AdamW's to twice that."""
        for optimizer, factor in ((self._muon, 1.0), (self._adam, _BIAS_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for kernel in self._kernels:
            kernel.grad = None
        self._adam.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for kernel, matrix in zip(self._kernels, self._matrices, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.permute(0, 2, 3, 1).flatten(1)
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()

    def state_dict(self) -> dict[str, dict[str, object]]:
        """The state of both, for :meth:`load_state_dict`."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Restore :meth:`state_dict`.

        Raises:
            KeyError, ValueError: the state is of another network.
        """
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])


def _as_matrix(kernel: Tensor) -> Tensor:
    """``(out, in, h, w)`` in channels-last order -> ``(out, h * w * in)``, which shares its memory."""
    return kernel.permute(0, 2, 3, 1).view(kernel.shape[0], -1)
