"""What ``gpu_check.py`` times: kernels, engines, slots, the overlap of copies and work, whole conversions.

Times on the GPU are differences of CUDA events; rates are pictures over wall time, host work included.
"""

from __future__ import annotations

import ctypes
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from animevid import Stylizer, stylize
from animevid.backends.base import one_line
from animevid.gpu import kernels
from animevid.gpu.driver import Device
from animevid.gpu.fatbin import load_fatbin
from animevid.gpu.interop import DevicePicture
from animevid.gpu.kernels import Launch, Surface, surface_layout
from animevid.gpu.slots import DevicePipeline, plan_slots
from animevid.gpu.tensorrt.backend import EngineNetwork
from animevid.gpu.tensorrt.cache import EngineCache
from animevid.gpu.tensorrt.engine import EngineRequest, ShapeRange, shape_range
from animevid.gpu.tensorrt.library import Gpu, Library
from animevid.options import EncodeOptions
from animevid.parity import DEMO_CLIP
from animevid.pixels import Colour, ColourRange, Plane, PlanesYUV420, chroma_size, padded_size
from animevid.styles import Style
from animevid.styles.card import StyleCard

Array = np.ndarray[Any, Any]
Size = tuple[int, int]


class GpuQueue:
    """A device, our kernels and one stream. What is not downloaded stays allocated until the process ends."""

    def __init__(self, device: Device, fatbin: bytes | None = None) -> None:
        self.device = device
        self._module = device.call("cuModuleLoadData", load_fatbin() if fatbin is None else fatbin)
        self.stream = device.call("cuStreamCreate", 1)
        self._function = cache(lambda name: device.call("cuModuleGetFunction", self._module, name.encode()))

    def allocate(self, size: int) -> int:
        return int(self.device.call("cuMemAlloc", size))

    def upload(self, array: Array) -> int:
        address = self.allocate(array.nbytes)
        self.device.call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self.stream)
        self.device.call("cuStreamSynchronize", self.stream)
        return address

    def download(self, address: int, like: Array) -> Array:
        array = np.empty_like(like)
        self.device.call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, self.stream)
        self.device.call("cuStreamSynchronize", self.stream)
        self.device.call("cuMemFree", address)
        return array

    def launch(self, launches: Launch | Iterable[Launch]) -> None:
        for launch in [launches] if isinstance(launches, Launch) else launches:
            function = self._function(launch.kernel)
            arguments = (ctypes.c_void_p * 1)(ctypes.addressof(launch.params))
            self.device.call(
                "cuLaunchKernel", function, *launch.grid, *launch.block, 0, self.stream, ctypes.addressof(arguments), 0
            )

    def microseconds(self, work: Callable[[], Any], *, times: int = 100) -> float:
        """Mean time of ``work``, which submits to the stream, between two events."""
        begin, end = (self.device.call("cuEventCreate", 0) for _ in "12")
        for _ in range(max(times // 10, 1)):
            work()
        self.device.call("cuEventRecord", begin, self.stream)
        for _ in range(times):
            work()
        self.device.call("cuEventRecord", end, self.stream)
        self.device.call("cuEventSynchronize", end)
        return float(self.device.call("cuEventElapsedTime", begin, end)) * 1000 / times


@dataclass(frozen=True, slots=True)
class KernelTime:
    """``floor_us``: a copy on the device that moves as many bytes as the kernel must read and write."""

    name: str
    us: float
    floor_us: float


def time_kernels(gpu: GpuQueue, sizes: dict[str, Size], *, times: int = 100) -> list[KernelTime]:
    """Each kernel in half precision on 8-bit pictures of ``sizes``."""
    rows = []
    for label, size in sizes.items():
        layout, padded = surface_layout(*size), padded_size(size)
        small = (max(size[0] // 2, 8), max(size[1] // 2, 8))
        small_padded = padded_size(small)
        packed_bytes = 2 * 24 * (padded[0] // 4) * (padded[1] // 4)
        rgb_bytes = 2 * 3 * size[0] * size[1]
        picture, other = (Surface(layout, gpu.upload(picture_memory(layout.total_bytes)), _TAGS) for _ in "12")
        tensor, low = gpu.allocate(max(packed_bytes, rgb_bytes)), gpu.allocate(packed_bytes)
        scratch = gpu.allocate(kernels.lift_scratch_bytes(small))
        shape = (1, 32, -(-size[0] // 4), -(-size[1] // 4))
        features = 2 * math.prod(shape)
        norm_in, norm_out = gpu.allocate(features), gpu.allocate(features)
        scale, shift = (gpu.upload(np.ones(shape[1], np.float32)) for _ in "12")
        partials = gpu.allocate(12 * 256 * shape[1])
        half: dict[str, Any] = {"half": True}
        planes_and_packed = layout.total_bytes + packed_bytes
        work: dict[str, tuple[Launch | Sequence[Launch], int]] = {
            "pack": (kernels.pack(picture, tensor, size=size, padded=padded, **half), planes_and_packed),
            "unpack": (kernels.unpack(tensor, other, padded=padded, **half), planes_and_packed),
            "to_rgb": (kernels.to_rgb(picture, tensor, size=size, padded=size, **half), layout.total_bytes + rgb_bytes),
            "from_rgb": (kernels.from_rgb(tensor, other, padded=size, **half), layout.total_bytes + rgb_bytes),
            "lift": (
                kernels.lift(
                    picture, other, low_in=tensor, low_out=low, size=small, padded=small_padded, scratch=scratch, **half
                ),
                2 * layout.total_bytes + packed_bytes // 2,
            ),
            "blend": (kernels.blend(picture, other, strength=0.5), 3 * layout.total_bytes),
            # Statistics and application each read it.
            "layer norm": (
                kernels.norm(
                    norm_in, norm_out, shape=shape, layer=True, partials=partials, scale=scale, shift=shift, slope=0.2,
                    **half,
                ),
                3 * features,
            ),
        }  # fmt: skip
        for name, (launches, moved) in work.items():
            spare = [gpu.allocate(max(moved // 2, 1)) for _ in "12"]
            copy = partial(gpu.device.call, "cuMemcpyDtoDAsync", *spare, max(moved // 2, 1), gpu.stream)
            rows.append(
                KernelTime(
                    f"{name} {label}",
                    gpu.microseconds(partial(gpu.launch, launches), times=times),
                    gpu.microseconds(copy, times=times),
                )
            )
            for address in spare:
                gpu.device.call("cuMemFree", address)
    return rows


# ---- engines ----


def convolution_flop(model: bytes, card: StyleCard, size: Size) -> float:
    """Floating-point operations (2 a multiply and add) of all convolutions of ``model`` on a picture of ``size``.

    Their outputs' shapes are taken from a run at a small size and scaled by the area.
    """
    import onnx
    import onnxruntime

    proto = onnx.load_from_string(model)
    weights = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    layers = [node for node in proto.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(node.output[0]) for node in layers)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    small = math.lcm(card.size_multiple, card.layout.cell_px) * max(1, 64 // card.size_multiple)
    kind = np.float16 if "16" in given.type else np.float32
    outputs = session.run(None, {given.name: np.zeros(card.tensor_shape(1, small, small), kind)})
    total = 0.0
    for node, output in zip(layers, outputs, strict=True):
        # Conv's weight is (out, in / group, h, w): each output value takes the last three.
        per_value = math.prod(weights[node.input[1]][1:])
        total += 2.0 * output.size * per_value
    return total * (size[0] * size[1]) / (small * small)


class EngineTimer:
    """Builds engines for this GPU and times them on one stream, without copies or conversion."""

    def __init__(self, gpu: GpuQueue, library: Library, *, folder: Path) -> None:
        device = gpu.device
        self._gpu, self._library = gpu, library
        self._cache = EngineCache(folder)
        self._key = Gpu(device.name, device.compute_capability, device.driver_version)

    def microseconds(self, model: bytes, card: StyleCard, size: Size) -> float:
        """One run on one picture of ``size``."""
        shapes = shape_range(card, height_px=size[0], width_px=size[1])
        request = EngineRequest(ShapeRange(shapes.optimum, shapes.optimum, shapes.optimum))
        engine, _ = self._cache.load_or_build(model, card, request, gpu=self._key, library=self._library)
        network = EngineNetwork(engine, self._gpu.device, self._library)
        try:
            shape = card.tensor_shape(1, shapes.optimum.height_px, shapes.optimum.width_px)
            source, target = (self._gpu.upload(np.zeros(shape, np.float16)) for _ in "12")
            run = partial(
                network.enqueue, slot=0, stream=int(self._gpu.stream), source=source, target=target, shape=shape
            )
            us = self._gpu.microseconds(run, times=30)
            for address in (source, target):
                self._gpu.device.call("cuMemFree", address)
            return us
        finally:
            network.close()

    def matrix_throughput(self, *, channels: int = 2048, side: int = 64, layers: int = 8) -> float:
        """FLOP/s of a chain of 1x1 convolutions, which are matrix products and nothing else: what the card sustains."""
        model = _matrix_products(channels, layers)
        card = StyleCard(name="matrix-products", size_multiple=1)
        flop = convolution_flop(model, card, (side, side))
        return flop / (self.microseconds(model, card, (side, side)) * 1e-6)


def _matrix_products(channels: int, layers: int) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    sides = [3, *[channels] * (layers + 1), 3]
    nodes, weights, name = [], [], "input"
    for index, (into, out) in enumerate(pairwise(sides)):
        values = rng.normal(0, 1 / math.sqrt(into), (out, into, 1, 1)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        target = "output" if index == len(sides) - 2 else f"t{index}"
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [target]))
        name = target
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        weights,
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


# ---- slots ----


@dataclass(frozen=True, slots=True)
class Rate:
    """Pictures a second, and what the host spends on each while the GPU works; or ``trouble`` in one line."""

    style: str
    backend: str
    size: str
    fps: float = 0.0
    host_ms: float = 0.0
    way: str = ""
    trouble: str = ""


def time_style(style: Style, name: str, backend: str, label: str, size: Size, *, seconds: float) -> Rate:
    """Whole pictures, planes in and planes out, the network at full size, as a conversion runs them."""
    try:
        with Stylizer(style, backend=backend, net_pixels=0) as stylizer:
            if stylizer.device_index is None and " CPU" in stylizer.description:
                return Rate(name, backend, label, trouble=f"runs on the CPU here ({stylizer.description})")
            picture = noise_picture(size)
            waiting: deque[Any] = deque()
            host, done = 0.0, 0

            def one() -> None:
                nonlocal host
                begun = time.perf_counter()
                waiting.extend(stylizer.infer([stylizer.preprocess(picture)]))
                host += time.perf_counter() - begun
                if len(waiting) > 2:  # the slots: asking for more would wait for the oldest inside
                    stylizer.postprocess(picture, waiting.popleft())

            for _ in range(8):
                one()
            host = 0.0
            begun = time.perf_counter()
            while time.perf_counter() - begun < seconds:
                one()
                done += 1
            while waiting:
                stylizer.postprocess(picture, waiting.popleft())
            elapsed = time.perf_counter() - begun
            way = "host copies" if stylizer.device_index is None else "slots"
            return Rate(name, backend, label, (done + 2) / elapsed, host / done * 1000, way)
    except Exception as error:  # a runtime's own, too: the other rows are measured all the same
        return Rate(name, backend, label, trouble=one_line(error))


@dataclass(frozen=True, slots=True)
class Overlap:
    """One picture's way: copying in, computing and copying out alone, and what it takes with all slots busy."""

    label: str
    copy_in_us: float
    compute_us: float
    copy_out_us: float
    one_slot_us: float
    slots_us: float

    @property
    def ratio(self) -> float:
        """Work on the GPU over time that passed: 1 is nothing overlapped, or all of it hidden behind one part."""
        return (self.copy_in_us + self.compute_us + self.copy_out_us) / self.slots_us

    @property
    def bound_us(self) -> float:
        """What the slowest part takes alone: no overlap can do better."""
        return max(self.copy_in_us, self.compute_us, self.copy_out_us)


def time_overlap(
    gpu: GpuQueue, style: Style, label: str, size: Size, *, library: Library, folder: Path, count: int = 60
) -> Overlap:
    """From event times: parts alone, one slot, three slots."""
    device, card = gpu.device, style.card
    picture = noise_picture(size)
    key = Gpu(device.name, device.compute_capability, device.driver_version)

    def open_pipeline(slots: int) -> DevicePipeline:
        plan = replace(plan_slots(picture, card, net_size=size, slots=slots))
        shapes = shape_range(card, height_px=plan.padded[0], width_px=plan.padded[1])
        engine, _ = EngineCache(folder).load_or_build(
            style.model, card, EngineRequest(shapes), gpu=key, library=library
        )
        return DevicePipeline(device, EngineNetwork(engine, device, library), plan, module=load_fatbin())

    def per_picture(pipeline: DevicePipeline) -> float:
        list(pipeline.run([picture] * 6))
        begun = time.perf_counter()
        list(pipeline.run([picture] * count))
        return (time.perf_counter() - begun) / count * 1e6

    layout = surface_layout(*size)
    pinned = int(device.call("cuMemHostAlloc", layout.total_bytes, 0))
    spare = gpu.allocate(layout.total_bytes)
    try:
        copy_in = gpu.microseconds(
            partial(device.call, "cuMemcpyHtoDAsync", spare, pinned, layout.total_bytes, gpu.stream), times=20
        )
        copy_out = gpu.microseconds(
            partial(device.call, "cuMemcpyDtoHAsync", pinned, spare, layout.total_bytes, gpu.stream), times=20
        )
    finally:
        device.call("cuMemFreeHost", pinned)
        device.call("cuMemFree", spare)
    with ExitStack() as stack:
        source, target = (
            DevicePicture(Surface(layout, gpu.upload(picture_memory(layout.total_bytes)), _TAGS)) for _ in "12"
        )
        alone = per_picture(stack.enter_context(open_pipeline(1)))
        pipeline = stack.enter_context(open_pipeline(3))
        three = per_picture(pipeline)
        # Each is ordered after and before the one stream, hence after the last: computing alone, nothing overlaps.
        compute = gpu.microseconds(lambda: pipeline.draw([source], [target], stream=int(gpu.stream)), times=20)
    return Overlap(label, copy_in, compute, copy_out, alone, three)


def convert_on_the_gpu(style: Style, *, seconds: float) -> list[str]:
    """``seconds`` of the demo clip with decoder, network and encoder on the GPU as far as they are there.

    What was used, how fast, and why what was not.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = stylize(
            DEMO_CLIP, Path(folder) / "out.mp4", style=style, backend="auto", net_pixels=0,
            encoder=EncodeOptions(hardware="auto"), end_seconds=Fraction(seconds),
        )  # fmt: skip
    return [f"{report.frames_out} frames, {report.fps:.0f} a second", report.network, *report.notices]


# ---- pictures ----

_TAGS = Colour(range=ColourRange.LIMITED)


def picture_memory(size: int) -> Array:
    return np.random.default_rng(0).integers(16, 236, size).astype(np.uint8)


def noise_picture(size: Size, bit_depth: int = 8) -> PlanesYUV420:
    """Noise over all codes."""
    rng = np.random.default_rng(0)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    sizes = (size, chroma_size(size), chroma_size(size))
    planes: list[Plane] = [rng.integers(0, 1 << bit_depth, side, dtype) for side in sizes]
    y, u, v = planes
    return PlanesYUV420(y, u, v, bit_depth, _TAGS)
