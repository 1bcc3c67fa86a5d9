"""CUDA graphs of our kernels, and of a network between them, draw the same as the CPU and as single launches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from animevid.gpu import kernels
from animevid.gpu.check.findings import CheckOptions, Finding, distance, worst
from animevid.gpu.check.frames import varied_frames
from animevid.gpu.check.kernels import from_memory, to_memory
from animevid.gpu.check.queue import GpuQueue
from animevid.gpu.driver import Device, open_device
from animevid.gpu.fatbin import load_fatbin
from animevid.gpu.kernels import Surface, surface_layout
from animevid.gpu.slots import DevicePipeline, SlotPlan, plan_slots
from animevid.pixels.blend import blend
from animevid.pixels.packed import pack_yuv420, padded_size, unpack_yuv420
from animevid.pixels.planes import PlanesYUV420
from animevid.styles.card import ColourOrder, Layout, StyleCard

_CARD = StyleCard(name="swapped chroma", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
_FRAMES = 12
_TIMES = 4


class SwapChroma:
    """A network (``gpu.slots.Network``) that only copies on the device and swaps U and V."""

    half = True

    def __init__(self, device: Device) -> None:
        self._device = device

    def enqueue(self, *, slot: int, stream: int, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        count, channels, height, width = shape
        channel = 2 * height * width
        for index in range(count):
            start = index * channels * channel
            for first, to, copied in ((0, 0, 16), (16, 20, 4), (20, 16, 4)):
                addresses = target + start + to * channel, source + start + first * channel
                self._device.call("cuMemcpyDtoDAsync", *addresses, copied * channel, stream)

    def capturable(self, *, slot: int, stream: int, shape: tuple[int, int, int, int]) -> bool:
        return True

    def close(self) -> None:
        pass


def section(options: CheckOptions) -> Iterator[Finding]:
    """Three kernels in one graph; then slots with and without graphs, batches of 2, three slots."""
    frames = list(varied_frames(_FRAMES, options.size))
    plan = plan_slots(frames[0], _CARD, batch=2)
    expected = [_expected(frame, plan) for frame in frames]
    with open_device() as device:
        yield _captured_kernels(GpuQueue(device), frames[0])
        module = load_fatbin(driver_version=device.driver_version)
        for use_graphs in (False, True):
            network = SwapChroma(device)
            with DevicePipeline(device, network, replace(plan, use_graphs=use_graphs), module=module) as pipeline:
                for _ in range(_TIMES):  # a format is captured when it is used the second time
                    begun = time.perf_counter()
                    drawn = list(pipeline.run(frames))
                    took = time.perf_counter() - begun
                    apart = worst([distance(one, other) for one, other in zip(drawn, expected, strict=True)])
                    if apart.largest > 1:
                        break
                captured = pipeline.captured_graphs
            name = "with graphs" if use_graphs else "without graphs"
            said = f"{name}: {len(frames)} frames, {apart}; {took / len(frames) * 1000:.2f} ms a frame"
            yield Finding(said, agrees=apart.largest <= 1)
            if use_graphs:
                yield Finding(f"{captured} graphs were captured", agrees=captured > 0)


def _captured_kernels(gpu: GpuQueue, frame: PlanesYUV420) -> Finding:
    layout, padded = surface_layout(frame.height, frame.width), padded_size(frame.y.shape)
    blank = np.zeros(layout.total_bytes, np.uint8)
    source = Surface(layout, gpu.upload(to_memory(frame, layout)), frame.colour)
    target = Surface(layout, gpu.upload(blank), frame.colour)
    tensor = gpu.allocate(2 * 24 * (padded[0] // 4) * (padded[1] // 4))
    launches = (
        kernels.pack(source, tensor, size=frame.y.shape, padded=padded, half=True),
        kernels.unpack(tensor, target, padded=padded, half=True),
        kernels.blend(source, target, strength=0.5),
    )
    gpu.launch(launches)
    graph = gpu.capture(partial(gpu.launch, launches))
    gpu.device.call("cuMemcpyHtoDAsync", target.address, blank.ctypes.data, blank.nbytes, gpu.stream)
    for _ in range(_TIMES):
        gpu.device.call("cuGraphLaunch", graph, gpu.stream)
    drawn = from_memory(gpu.download(target.address, blank), frame, layout)
    packed = pack_yuv420(frame).astype(np.float16).astype(np.float32)
    apart = distance(drawn, blend(frame, unpack_yuv420(packed, like=frame), strength=0.5))
    return Finding(f"pack, unpack and blend in one graph: {apart}", agrees=apart.largest <= 1)


def _expected(frame: PlanesYUV420, plan: SlotPlan) -> PlanesYUV420:
    tensor = pack_yuv420(frame, size=plan.net_size).astype(np.float16).astype(np.float32)
    return unpack_yuv420(np.concatenate([tensor[:16], tensor[20:], tensor[16:20]]), like=frame)
