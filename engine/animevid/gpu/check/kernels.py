"""Every kernel against its readable reference (``animevid.pixels.*_ref``), in float32 and in float16."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from animevid.gpu import kernels
from animevid.gpu.check.findings import CheckOptions, Finding, largest_difference
from animevid.gpu.check.frames import noise_frame
from animevid.gpu.check.queue import Array, GpuQueue
from animevid.gpu.deflicker import DeviceDeflicker, weight_bytes
from animevid.gpu.driver import open_device
from animevid.gpu.kernels import Launch, Surface, SurfaceLayout, surface_layout
from animevid.pixels.blend import blend_ref
from animevid.pixels.change import NoiseFloor, has_changed
from animevid.pixels.deflicker import InputFilter, OutputFilter
from animevid.pixels.guided_upsample import guided_upsample_ref
from animevid.pixels.packed import pack_yuv420_ref, padded_size, unpack_yuv420_ref
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Size, chroma_size
from animevid.pixels.rgb import planes_to_tensor_ref, tensor_to_planes_ref
from animevid.render.temporal import from_cells, to_cells
from animevid.styles.card import ColourOrder, Layout, StyleCard

ODD_SIZES = ((1, 1), (2, 3), (9, 31), (33, 65), (90, 161), (271, 479))
FORMS = ((8, "yuv420p"), (8, "nv12"), (10, "yuv420p"), (10, "nv12"))
FILTERED_SIZES = ((1, 1), (9, 31), (33, 65), (90, 161))
_FILTERED_FRAMES = 5
NORM_SHAPES = ((1, 1, 1, 1), (2, 3, 5, 7), (1, 5, 1, 333), (2, 4, 181, 183))
#: The largest difference due to rounding, in float32 and float16: for tensors on [-1, 1], or in 8-bit codes.
ALLOWED = {
    "pack": (1e-4, 1.5e-3),
    "unpack": (1, 1),
    "guided upsample": (1, 1),
    "to_rgb": (1e-4, 1.5e-3),
    "from_rgb": (1, 1),
    "blend": (0, 0),
    "norm": (1e-4, 1e-2),
    # If a cell lies on the edge of a bin, the noise differs by an eighth of a code.
    "temporal filter": (1e-3, 3e-3),
    # The result is changed or unchanged.
    "comparison": (0, 0),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """A kernel against its reference; ``difference`` in the units of ``ALLOWED``."""

    kernel: str
    case: str
    half: bool
    difference: float

    @property
    def agrees(self) -> bool:
        return self.difference <= ALLOWED[self.kernel][self.half]


def section(options: CheckOptions) -> Iterator[Finding]:
    """For odd sizes, several depths and layouts."""
    with open_device() as device:
        gpu = GpuQueue(device)
        for half in (False, True):
            pixels = compare_pixels(gpu, half=half, sizes=ODD_SIZES)
            norms = compare_norms(gpu, half=half, shapes=NORM_SHAPES)
            filters = compare_filters(gpu, half=half, sizes=FILTERED_SIZES)
            yield from summaries([*pixels, *norms, *filters])


def summaries(compared: Sequence[Compared]) -> Iterator[Finding]:
    """One finding per kernel and precision: its largest difference, and the cases that exceed the tolerance."""
    for kernel, half in dict.fromkeys((row.kernel, row.half) for row in compared):
        rows = [row for row in compared if (row.kernel, row.half) == (kernel, half)]
        wrong = [row.case for row in rows if not row.agrees]
        largest = max(row.difference for row in rows)
        said = f"{kernel}, {'float16' if half else 'float32'}: {len(rows)} cases, largest difference {largest:.2g}"
        yield Finding(said + (f"; wrong: {', '.join(wrong)}" if wrong else ""), agrees=not wrong)


def compare_pixels(
    gpu: GpuQueue, *, half: bool, sizes: Sequence[Size], forms: Sequence[tuple[int, str]] = FORMS
) -> list[Compared]:
    """The kernels before and after the network. ``forms``: bit depth and pixel format."""
    rows: list[Compared] = []
    dtype = np.float16 if half else np.float32
    for size, (bit_depth, pixel_format) in product(sizes, forms):
        case = f"{size[1]}x{size[0]} {pixel_format} {bit_depth} bit"
        code = float(1 << (bit_depth - 8))
        frame = noise_frame(size, bit_depth=bit_depth)
        layout = surface_layout(*size, bit_depth=bit_depth, pixel_format=pixel_format)
        padded = padded_size(size)
        surface = Surface(layout, gpu.upload(to_memory(frame, layout)), frame.colour)
        rng = np.random.default_rng(1)

        def add(kernel: str, difference: float, case: str = case) -> None:
            rows.append(Compared(kernel, case, half, difference))

        def drawn_into(
            launch: Callable[[Surface], Launch | Sequence[Launch]],
            layout: SurfaceLayout = layout,
            frame: PlanesYUV420 = frame,
        ) -> PlanesYUV420:
            memory = np.zeros(layout.total_bytes, np.uint8)
            result = gpu.upload(memory)
            gpu.launch(launch(Surface(layout, result, frame.colour)))
            return from_memory(gpu.download(result, memory), frame, layout)

        tensor = np.full((24, padded[0] // 4, padded[1] // 4), np.nan, dtype)
        address = gpu.upload(tensor)
        gpu.launch(kernels.pack(surface, address, size=size, padded=padded, half=half))
        add("pack", largest_difference(gpu.download(address, tensor), pack_yuv420_ref(frame)))

        drawn = rng.uniform(-1.2, 1.2, tensor.shape).astype(dtype)
        got = drawn_into(partial(kernels.unpack, gpu.upload(drawn), padded=padded, half=half))
        add("unpack", _codes_apart(got, unpack_yuv420_ref(drawn.astype(np.float32), like=frame)) / code)

        rgb = np.full((3, *size), np.nan, dtype)
        address = gpu.upload(rgb)
        gpu.launch(kernels.to_rgb(surface, address, size=size, padded=size, half=half))
        expected = planes_to_tensor_ref(
            frame, layout="NCHW", order="RGB", value_range=(-1.0, 1.0), size=size, multiple=1
        )
        add("to_rgb", largest_difference(gpu.download(address, rgb), expected))

        drawn = rng.uniform(-1.2, 1.2, rgb.shape).astype(dtype)
        got = drawn_into(partial(kernels.from_rgb, gpu.upload(drawn), padded=size, half=half))
        planes = tensor_to_planes_ref(drawn.astype(np.float32), like=frame, layout="NCHW", order="RGB")
        add("from_rgb", _codes_apart(got, planes) / code)

        other = noise_frame(size, bit_depth=bit_depth, seed=1)
        memory = to_memory(other, layout)
        result = gpu.upload(memory)
        gpu.launch(kernels.blend(surface, Surface(layout, result, frame.colour), strength=0.3))
        got = from_memory(gpu.download(result, memory), frame, layout)
        add("blend", _codes_apart(got, blend_ref(frame, other, strength=0.3)))

        for name, changed in _changed_somewhere(frame):
            address = gpu.upload(np.zeros(1, np.uint32))
            now = Surface(layout, gpu.upload(to_memory(changed, layout)), frame.colour)
            gpu.launch(kernels.compare(surface, now, address, floor=NoiseFloor()))
            (said,) = gpu.download(address, np.zeros(1, np.uint32))
            add("comparison", abs(int(said) - int(has_changed(frame, changed))), f"{case}, {name}")

        if min(size) > 8:
            small = (size[0] // 2, size[1] // 2)
            add("guided upsample", _compare_upsample(gpu, drawn_into, frame, surface, small, dtype) / code)
    return rows


def _changed_somewhere(frame: PlanesYUV420) -> Iterator[tuple[str, PlanesYUV420]]:
    """``frame`` with differences slightly below and above the noise limit, in the last block of a plane."""
    code = 1 << (frame.bit_depth - 8)
    floor = NoiseFloor()
    for name, differences in (
        ("one sample", (int(floor.largest), int(floor.largest) + 1)),
        ("a block", (int(floor.block_signed), int(floor.block_signed) + 1)),
    ):
        for difference in differences:
            planes = [plane.copy() for plane in (frame.y, frame.u, frame.v)]
            part = planes[difference % 3][-1:, -1:] if name == "one sample" else planes[difference % 3][-8:, -8:]
            part[...] = np.where(part < 128 * code, part + difference * code, part - difference * code)
            yield f"{name} by {difference}", frame.with_planes(planes[0], planes[1], planes[2])


def compare_norms(gpu: GpuQueue, *, half: bool, shapes: Sequence[tuple[int, int, int, int]]) -> list[Compared]:
    """Layer and instance norm."""
    return [
        Compared("norm", f"{shape} {'layer' if layer else 'instance'}", half, _compare_norm(gpu, shape, layer, half))
        for shape in shapes
        for layer in (True, False)
    ]


def compare_filters(
    gpu: GpuQueue, *, half: bool, sizes: Sequence[Size], layouts: Sequence[Layout] = tuple(Layout)
) -> list[Compared]:
    """The temporal filter, over a few frames of each size in each layout."""
    return [
        Compared(
            "temporal filter", f"{size[1]}x{size[0]} {layout.value}", half, _compare_filter(gpu, size, layout, half)
        )
        for size in sizes
        for layout in layouts
    ]


def _compare_filter(gpu: GpuQueue, size: Size, layout: Layout, half: bool) -> float:
    """Input and output of a scene with noise and a moving object, against ``pixels.deflicker``."""
    packed = layout is Layout.PACKED_YUV420
    card = StyleCard(name="any", layout=layout, colour_order=ColourOrder.YUV if packed else ColourOrder.RGB)
    size = padded_size(size) if packed else size
    shape = card.tensor_shape(1, *size)[1:]
    rng, code, dtype = np.random.default_rng(4), 2 / 255, np.float16 if half else np.float32
    scenes = [rng.uniform(-1, 1, shape) for _ in "12"]
    low, high = card.input_range
    reference_input, reference_output = InputFilter(units_per_code=(high - low) / 255), OutputFilter()
    on_device = DeviceDeflicker(gpu.device, card)
    weights, apart = gpu.allocate(weight_bytes(size)), 0.0
    for index in range(_FILTERED_FRAMES):
        given = [(scene + rng.normal(0, 2 * code, shape)).astype(dtype) for scene in scenes]
        axis = layout.spatial_axes[1] - 1
        np.moveaxis(given[0], axis, 0)[index : index + 2] = 1.0  # it moves across the frame
        addresses = [gpu.upload(tensor) for tensor in given]
        firsts = on_device.inputs(gpu.launch, gpu.stream, addresses[:1], weights=[weights], size=size, half=half)
        on_device.outputs(gpu.launch, gpu.stream, addresses[1:], weights=[weights], size=size, half=half, firsts=firsts)
        cells = [to_cells(tensor.astype(np.float32), layout) for tensor in given]
        settled, share = reference_input(cells[0])
        drawn = reference_output(cells[1], share)
        for address, tensor, expected in zip(addresses, given, (settled, drawn), strict=True):
            got = gpu.download(address, tensor)
            apart = max(apart, largest_difference(got, from_cells(expected, layout, like=tensor.astype(np.float32))))
    on_device.resources.close()
    return apart


def _compare_upsample(
    gpu: GpuQueue,
    drawn_into: Callable[..., PlanesYUV420],
    frame: PlanesYUV420,
    source: Surface,
    small: Size,
    dtype: type[np.float16 | np.float32],
) -> float:
    padded = padded_size(small)
    rng = np.random.default_rng(2)
    low_in, low_out = (rng.uniform(-1, 1, (24, padded[0] // 4, padded[1] // 4)).astype(dtype) for _ in "12")
    scratch = gpu.upload(np.zeros(kernels.upsample_scratch_bytes(small), np.uint8))
    got = drawn_into(
        lambda to: kernels.guided_upsample(
            source, to, low_in=gpu.upload(low_in), low_out=gpu.upload(low_out), size=small, padded=padded,
            scratch=scratch, half=dtype is np.float16,
        )
    )  # fmt: skip
    expected = guided_upsample_ref(frame, low_in.astype(np.float32), low_out.astype(np.float32), size=small)
    return _codes_apart(got, expected)


def _compare_norm(gpu: GpuQueue, shape: tuple[int, int, int, int], layer: bool, half: bool) -> float:
    """From the definition in float64 (Ba et al. 2016; Ulyanov et al. 2016)."""
    rng = np.random.default_rng(3)
    x = rng.normal(3.0, 2.0, shape).astype(np.float16 if half else np.float32)
    scale, shift = (rng.normal(size=shape[1]).astype(np.float32) for _ in "12")
    axes = (1, 2, 3) if layer else (2, 3)
    wide = x.astype(np.float64)
    normal = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    expected = normal * scale[:, None, None] + shift[:, None, None]
    expected = np.where(expected >= 0, expected, expected * 0.2)
    target = gpu.upload(np.full_like(x, np.nan))
    gpu.launch(
        kernels.norm(
            gpu.upload(x), target, shape=shape, layer=layer, partials=gpu.allocate(12 * 256 * shape[0] * shape[1]),
            scale=gpu.upload(scale), shift=gpu.upload(shift), half=half, slope=0.2,
        )
    )  # fmt: skip
    return largest_difference(gpu.download(target, x), expected)


def to_memory(frame: PlanesYUV420, layout: SurfaceLayout) -> Array:
    """``frame`` as bytes in the given ``layout``."""
    memory = np.zeros(layout.total_bytes, np.uint8)
    for view, plane in zip(_views(memory, layout), (frame.y, frame.u, frame.v), strict=True):
        view[:] = plane << _shift(layout)
    return memory


def from_memory(memory: Array, like: PlanesYUV420, layout: SurfaceLayout) -> PlanesYUV420:
    """The inverse of :func:`to_memory`."""
    y, u, v = (np.ascontiguousarray(view >> _shift(layout)) for view in _views(memory, layout))
    return like.with_planes(y, u, v)


def _views(memory: Array, layout: SurfaceLayout) -> list[Array]:
    dtype = np.dtype(np.uint8 if layout.sample_bytes == 1 else np.uint16)
    sizes = (layout.size, chroma_size(layout.size), chroma_size(layout.size))
    steps = [layout.sample_bytes * (2 if layout.pixel_format == "nv12" and plane else 1) for plane in range(3)]
    parts = zip(sizes, layout.offsets, layout.pitches, steps, strict=True)
    return [np.ndarray(size, dtype, memory, offset, (pitch, step)) for size, offset, pitch, step in parts]


def _shift(layout: SurfaceLayout) -> int:
    return 16 - layout.bit_depth if layout.pixel_format == "nv12" and layout.bit_depth > 8 else 0


def _codes_apart(one: PlanesYUV420, other: PlanesYUV420) -> float:
    pairs = ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    return float(max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in pairs))
