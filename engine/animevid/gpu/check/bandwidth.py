"""Compares each kernel's time with a device copy of the same number of bytes, after checking its results at that
size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from animevid.gpu import kernels
from animevid.gpu.check.findings import CheckOptions, Finding
from animevid.gpu.check.kernels import compare_filters, compare_norms, compare_pixels, summaries
from animevid.gpu.check.queue import GpuQueue
from animevid.gpu.deflicker import FilterMemory, cells_of, settle_input, settle_output, weight_bytes
from animevid.gpu.driver import open_device
from animevid.gpu.kernels import Launch, Surface, surface_layout
from animevid.pixels.colour import Colour, ColourRange
from animevid.pixels.packed import padded_size
from animevid.pixels.resize import Size
from animevid.styles.card import ColourOrder, Layout, StyleCard

_TIMES = 30
_CARD = StyleCard(name="any", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV)
_TAGS = Colour(range=ColourRange.LIMITED)
#: A kernel before or after the network should take at most this many times as long as the copy.
_TARGET = 1.3


def section(options: CheckOptions) -> Iterator[Finding]:
    """In half precision, on 8-bit frames of ``options.size``."""
    size = options.size
    features = (1, 32, -(-size[0] // 4), -(-size[1] // 4))
    with open_device() as device:
        gpu = GpuQueue(device)
        compared = compare_pixels(gpu, half=True, sizes=[size], forms=((8, "yuv420p"),))
        compared += compare_norms(gpu, half=True, shapes=[features])
        compared += compare_filters(gpu, half=True, sizes=[size], layouts=[Layout.PACKED_YUV420])
        yield from summaries(compared)
        for name, launches, moved in _work(gpu, size):
            us = gpu.microseconds(partial(gpu.launch, launches), times=_TIMES)
            spare = [gpu.allocate(max(moved // 2, 1)) for _ in "12"]
            copy = partial(gpu.device.call, "cuMemcpyDtoDAsync", *spare, max(moved // 2, 1), gpu.stream)
            floor = gpu.microseconds(copy, times=_TIMES)
            for address in spare:
                gpu.device.call("cuMemFree", address)
            rate = moved / us / 1e3
            said = "" if us <= _TARGET * floor else f"; above the target of {_TARGET}"
            yield Finding(
                f"{name}: {us:.1f} us, a copy of {moved / 1e6:.1f} MB {floor:.1f} us, ratio {us / floor:.2f}, "
                f"{rate:.0f} GB/s{said}"
            )


def _work(gpu: GpuQueue, size: Size) -> Iterator[tuple[str, Launch | Sequence[Launch], int]]:
    """(name, launches, bytes that they must read and write)."""
    layout, padded = surface_layout(*size), padded_size(size)
    small = (max(size[0] // 2, 8), max(size[1] // 2, 8))
    small_padded = padded_size(small)
    packed_bytes = 2 * 24 * (padded[0] // 4) * (padded[1] // 4)
    rgb_bytes = 2 * 3 * size[0] * size[1]
    codes = np.random.default_rng(0).integers(16, 236, layout.total_bytes).astype(np.uint8)
    frame, other = (Surface(layout, gpu.upload(codes), _TAGS) for _ in "12")
    tensor, low = gpu.allocate(max(packed_bytes, rgb_bytes)), gpu.allocate(packed_bytes)
    shape = (1, 32, -(-size[0] // 4), -(-size[1] // 4))
    features = 2 * math.prod(shape)
    norm_in, norm_out = gpu.allocate(features), gpu.allocate(features)
    scale, shift = (gpu.upload(np.ones(shape[1], np.float32)) for _ in "12")
    both = layout.total_bytes + packed_bytes
    yield "pack", kernels.pack(frame, tensor, size=size, padded=padded, half=True), both
    yield "unpack", kernels.unpack(tensor, other, padded=padded, half=True), both
    yield "to_rgb", kernels.to_rgb(frame, tensor, size=size, padded=size, half=True), layout.total_bytes + rgb_bytes
    yield "from_rgb", kernels.from_rgb(tensor, other, padded=size, half=True), layout.total_bytes + rgb_bytes
    scratch = gpu.allocate(kernels.upsample_scratch_bytes(small))
    upsample = kernels.guided_upsample(
        frame, other, low_in=tensor, low_out=low, size=small, padded=small_padded, scratch=scratch, half=True
    )
    yield "guided upsample", upsample, 2 * layout.total_bytes + packed_bytes // 2
    yield "blend", kernels.blend(frame, other, strength=0.5), 3 * layout.total_bytes
    yield "temporal filter", *_filter(gpu, size=padded, tensors=(tensor, low))
    # Statistics and application each read it.
    norm = kernels.norm(
        norm_in, norm_out, shape=shape, layer=True, partials=gpu.allocate(12 * 256 * shape[1]), scale=scale,
        shift=shift, slope=0.2, half=True,
    )  # fmt: skip
    yield "layer norm", norm, 3 * features


def _filter(gpu: GpuQueue, *, size: Size, tensors: tuple[int, int]) -> tuple[list[Launch], int]:
    """On packed tensors. The input is read twice: for the change and for the filter."""
    values, cells = 24 * math.prod(cells_of(size)), weight_bytes(size)
    kept = [gpu.allocate(4 * values) for _ in "12"]
    earlier, change, weights = (gpu.allocate(cells) for _ in "123")
    small = gpu.upload(np.zeros(129, np.uint32))
    memory = FilterMemory(kept[0], kept[1], earlier, change, histogram=small, noise=small + 4 * 128)
    settle_in = partial(settle_input, tensors[0], weights, memory, card=_CARD, size=size, half=True)
    gpu.launch(settle_in(first=True))
    settle_out = settle_output(tensors[1], weights, memory, card=_CARD, size=size, half=True, first=False)
    return [*settle_in(first=False), settle_out], (6 + 12 + 12) * values
