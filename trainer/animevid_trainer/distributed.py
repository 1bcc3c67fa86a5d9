"""Several processes of one run, as ``torchrun`` starts them.

Gradients are averaged by one all-reduce for each update instead of DistributedDataParallel's hooks: these objectives
run a network several times before one backward pass and freeze others meanwhile, which the hooks do not allow. The
result is the same: the gradient of the mean over the global batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class World:
    """This process's rank. Rank 0 writes files and logs."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0


SINGLE = World()


@contextmanager
def join_world() -> Iterator[World]:
    """The world that torchrun's environment describes (gloo on CPUs, nccl on GPUs), or a world of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield SINGLE
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
        # Leave together: if a process leaves while another still sends to it, the other one aborts.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def average(tensor: Tensor, world: World) -> Tensor:
    """The mean of ``tensor`` over all processes."""
    if world.size > 1:
        dist.all_reduce(tensor)
        tensor /= world.size
    return tensor


def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace each gradient by its mean over all processes, in one message. A parameter without one counts as zero."""
    if world.size == 1:
        return
    owners = list(parameters)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in owners]
    flat = average(torch.cat([grad.reshape(-1) for grad in grads]), world)
    pieces = torch.split(flat, [grad.numel() for grad in grads])
    for parameter, grad, piece in zip(owners, grads, pieces, strict=True):
        grad.copy_(piece.view(grad.shape))
        parameter.grad = grad


def broadcast_weights(networks: Iterable[nn.Module], world: World) -> None:
    """Give every process rank 0's weights and buffers."""
    if world.size > 1:
        for network in networks:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)


def gather(value: _T, world: World) -> list[_T]:
    """``value`` of every process, by rank; on every process."""
    if world.size == 1:
        return [value]
    values = [value] * world.size
    dist.all_gather_object(values, value)
    return values
