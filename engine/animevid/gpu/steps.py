"""Launches the kernels before and after the network, for one frame of a slot."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from typing import TYPE_CHECKING

from animevid.gpu import kernels
from animevid.gpu.driver import Device, quietly
from animevid.gpu.kernels import Launch
from animevid.gpu.plan import SlotPlan
from animevid.gpu.slot import Slot
from animevid.styles.card import ColourOrder, Layout, StyleCard

if TYPE_CHECKING:
    from cuda.bindings import driver as cuda


def preprocess(plan: SlotPlan, slot: Slot, index: int, *, half: bool) -> Launch:
    """Convert frame ``index`` of ``slot`` into its part of the network's input."""
    surface, tensor = slot.surface_in(index), slot.tensor_in + index * slot.tensor_bytes
    if plan.card.layout is Layout.PACKED_YUV420:
        return kernels.pack(surface, tensor, size=plan.net_size, padded=plan.padded, half=half)
    return kernels.to_rgb(
        surface, tensor, size=plan.net_size, padded=plan.padded, half=half, value_range=plan.card.input_range,
        **_rgb_order(plan.card),
    )  # fmt: skip


def postprocess(plan: SlotPlan, slot: Slot, index: int, weight: int, *, half: bool) -> list[Launch]:
    """Convert the network's output to full size and blend it with the frame by ``weight`` of 256."""
    read, written = (tensor + index * slot.tensor_bytes for tensor in (slot.tensor_in, slot.tensor_out))
    original, result = slot.surface_in(index), slot.surface_out(index)
    packed = plan.card.layout is Layout.PACKED_YUV420
    launches: list[Launch] = []
    if not packed:
        # The network's RGB becomes a frame at its own size, which is the result or is upsampled.
        drawn = slot.surface_small(index) if plan.upsamples else result
        launches.append(
            kernels.from_rgb(
                written, drawn, padded=plan.padded, half=half, value_range=plan.card.output_range,
                **_rgb_order(plan.card),
            )
        )  # fmt: skip
        if plan.upsamples:
            read, written = slot.packed_in, slot.packed_out
            for surface, tensor in ((original, read), (drawn, written)):
                launches.append(kernels.pack(surface, tensor, size=plan.net_size, padded=plan.small_padded, half=False))
    elif not plan.upsamples:
        launches.append(kernels.unpack(written, result, padded=plan.padded, half=half))
    if plan.upsamples:
        launches += kernels.guided_upsample(
            original, result, low_in=read, low_out=written, size=plan.net_size,
            padded=plan.padded if packed else plan.small_padded, scratch=slot.scratch, half=half and packed,
            epsilon=plan.card.upsample_epsilon,
        )  # fmt: skip
    if weight < 256:
        launches.append(kernels.blend(original, result, strength=weight / 256))
    return launches


def _rgb_order(card: StyleCard) -> dict[str, bool]:
    return {"nhwc": card.layout is Layout.NHWC, "bgr": card.colour_order is ColourOrder.BGR}


class Functions:
    """The kernels of a fatbin, by name."""

    def __init__(self, device: Device, image: bytes, resources: ExitStack) -> None:
        self._device = device
        self._module = device.call("cuModuleLoadData", image)
        resources.callback(quietly, device, "cuModuleUnload", self._module)
        self._found: dict[str, cuda.CUfunction] = {}

    def __getitem__(self, name: str) -> cuda.CUfunction:
        if name not in self._found:
            self._found[name] = self._device.call("cuModuleGetFunction", self._module, name.encode())
        return self._found[name]

    def launch(self, stream: cuda.CUstream, launch: Launch) -> None:
        """Submit ``launch`` to ``stream``."""
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(launch.params))
        self._device.call(
            "cuLaunchKernel",
            self[launch.kernel],
            *launch.grid,
            *launch.block,
            0,
            stream,
            ctypes.addressof(arguments),
            0,
        )
