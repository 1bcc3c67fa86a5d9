"""Launch parameters (byte by byte) and grids of our kernels (``plugins/kernels/*.cuh``).

All functions are pure: they turn addresses and sizes into ``Launch`` values, which a stream launches (in tests, a CPU
build of the same kernels runs them). The structs mirror ``kernels.cuh``; a test compares their sizes.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, replace

from animevid.errors import UsageError
from animevid.pixels.change import BLOCK_PX, NoiseFloor
from animevid.pixels.codes import CodeRange, code_range
from animevid.pixels.colour import LUMA_COEFFICIENTS, Colour
from animevid.pixels.resize import Size, chroma_size

_BLOCK_2D = (32, 8, 1)
_NORM_THREADS = 256
#: Minimum number of samples per block of ``norm_statistics``: below that, launching costs more than reading.
_NORM_CHUNK = 16384
FORMATS = ("yuv420p", "nv12")


class _Plane(ctypes.Structure):
    _fields_ = (("data", ctypes.c_uint64), ("pitch", ctypes.c_int), ("step", ctypes.c_int))


class _Surface(ctypes.Structure):
    _fields_ = (
        ("planes", _Plane * 3),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("sample_bytes", ctypes.c_int),
        ("shift", ctypes.c_int),
    )


class _Codes(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_float) for name in ("black", "luma_span", "chroma_mid", "chroma_span")),
        ("max_code", ctypes.c_int),
    )


class _RgbLayout(ctypes.Structure):
    _fields_ = (
        ("nhwc", ctypes.c_int),
        ("bgr", ctypes.c_int),
        *((name, ctypes.c_float) for name in ("scale", "low", "kr", "kb")),
    )


class PackParams(ctypes.Structure):
    _fields_ = (
        ("surface", _Surface),
        ("tensor", ctypes.c_uint64),
        *((name, ctypes.c_int) for name in ("height", "width", "padded_height", "padded_width")),
        *((name, ctypes.c_float) for name in ("luma_scale", "luma_offset", "chroma_scale", "chroma_offset")),
    )


class UnpackParams(ctypes.Structure):
    _fields_ = (
        ("tensor", ctypes.c_uint64),
        ("surface", _Surface),
        ("tensor_rows", ctypes.c_int),
        ("tensor_columns", ctypes.c_int),
        ("codes", _Codes),
    )


class ToRgbParams(ctypes.Structure):
    _fields_ = (
        ("surface", _Surface),
        ("tensor", ctypes.c_uint64),
        *((name, ctypes.c_int) for name in ("height", "width", "padded_height", "padded_width")),
        ("codes", _Codes),
        ("layout", _RgbLayout),
    )


class FromRgbParams(ctypes.Structure):
    _fields_ = (
        ("tensor", ctypes.c_uint64),
        ("surface", _Surface),
        ("tensor_height", ctypes.c_int),
        ("tensor_width", ctypes.c_int),
        ("codes", _Codes),
        ("layout", _RgbLayout),
    )


class NormParams(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("input", "output", "partials", "scale", "shift")),
        *((name, ctypes.c_int) for name in ("channels", "channel_size", "group_size", "chunks")),
        ("epsilon", ctypes.c_float),
        ("slope", ctypes.c_float),
    )


#: The small float32 planes in the scratch memory of guided upsampling.
_UPSAMPLE_PLANES = ("guide", "target", "line", "line_offset", "slope", "offset")


class UpsampleParams(ctypes.Structure):
    _fields_ = (
        ("full", _Surface),
        ("result", _Surface),
        *((name, ctypes.c_uint64) for name in ("low_in", "low_out")),
        *((name, ctypes.c_uint64) for name in _UPSAMPLE_PLANES),
        *((name, ctypes.c_int) for name in ("height", "width", "tensor_rows", "tensor_columns", "radius")),
        *((name, ctypes.c_float) for name in ("epsilon", "sharpen")),
        ("codes", _Codes),
    )


class BlendParams(ctypes.Structure):
    _fields_ = (("original", _Surface), ("stylized", _Surface), ("weight", ctypes.c_int))


class CompareParams(ctypes.Structure):
    _fields_ = (
        ("before", _Surface),
        ("now", _Surface),
        ("changed", ctypes.c_uint64),
        *((name, ctypes.c_float) for name in ("largest", "block_absolute", "block_signed")),
    )


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch. ``params`` is passed by value."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    params: ctypes.Structure


@dataclass(frozen=True, slots=True)
class SurfaceLayout:
    """The layout of a 4:2:0 frame in one block of memory.

    ``pixel_format``: ``"yuv420p"`` (three planes) or ``"nv12"`` (Y, then interleaved U and V; above 8 bits this means
    P010 and similar formats, with the codes in the high bits). ``pitches`` and ``offsets`` are those of Y, U and V, in
    bytes.
    """

    height: int
    width: int
    bit_depth: int
    pixel_format: str
    pitches: tuple[int, int, int]
    offsets: tuple[int, int, int]
    total_bytes: int

    @property
    def sample_bytes(self) -> int:
        return 1 if self.bit_depth == 8 else 2

    @property
    def size(self) -> Size:
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Surface:
    """A frame in memory: its layout, its address and its tags."""

    layout: SurfaceLayout
    address: int
    colour: Colour = field(default_factory=Colour)

    @property
    def codes(self) -> CodeRange:
        return code_range(self.layout.bit_depth, self.colour.range)


def surface_layout(
    height: int, width: int, *, bit_depth: int = 8, pixel_format: str = "yuv420p", pitch_multiple: int = 256
) -> SurfaceLayout:
    """Rows start at multiples of ``pitch_multiple`` bytes, planes behind each other.

    Raises:
        UsageError: an unknown format.
    """
    if pixel_format not in FORMATS:
        raise UsageError(f"{pixel_format = }: allowed are {', '.join(FORMATS)}")
    rows, columns = chroma_size((height, width))
    sample = 1 if bit_depth == 8 else 2
    interleaved = pixel_format == "nv12"

    def pitch(samples: int) -> int:
        return -(-samples * sample // pitch_multiple) * pitch_multiple

    luma, chroma = pitch(width), pitch(2 * columns if interleaved else columns)
    first = luma * height
    second = first + (sample if interleaved else chroma * rows)
    total = first + chroma * rows * (1 if interleaved else 2)
    return SurfaceLayout(height, width, bit_depth, pixel_format, (luma, chroma, chroma), (0, first, second), total)


def pack(surface: Surface, tensor: int, *, size: Size, padded: Size, half: bool) -> Launch:
    """``surface`` resized to ``size`` into the packed tensor at address ``tensor``; ``pixels.packed.pack_yuv420``."""
    codes = surface.codes
    luma, chroma = 2.0 / codes.luma_span, 2.0 / codes.chroma_span
    offsets = -1.0 - codes.black * luma, -codes.chroma_mid * chroma
    params = PackParams(_c_surface(surface), tensor, *size, *padded, luma, offsets[0], chroma, offsets[1])
    return launch_over("animevid_pack", params, padded[1] // 4, padded[0] // 4, half=half)


def unpack(tensor: int, surface: Surface, *, padded: Size, half: bool) -> Launch:
    """The packed tensor (of a frame of ``padded``) into ``surface``; ``pixels.packed.unpack_yuv420``."""
    params = UnpackParams(tensor, _c_surface(surface), padded[0] // 4, padded[1] // 4, _c_codes(surface.codes))
    layout = surface.layout
    return launch_over("animevid_unpack", params, -(-layout.width // 4), -(-layout.height // 4), half=half)


def to_rgb(
    surface: Surface,
    tensor: int,
    *,
    size: Size,
    padded: Size,
    half: bool,
    nhwc: bool = False,
    bgr: bool = False,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Launch:
    """``surface`` resized to ``size`` into an RGB tensor of ``padded``; ``pixels.rgb.planes_to_tensor``."""
    layout = _rgb_layout(surface, nhwc=nhwc, bgr=bgr, value_range=value_range)
    params = ToRgbParams(_c_surface(surface), tensor, *size, *padded, _c_codes(surface.codes), layout)
    return launch_over("animevid_to_rgb", params, padded[1], padded[0], half=half)


def from_rgb(
    tensor: int,
    surface: Surface,
    *,
    padded: Size,
    half: bool,
    nhwc: bool = False,
    bgr: bool = False,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Launch:
    """An RGB tensor of ``padded`` into ``surface``; ``pixels.rgb.tensor_to_planes``."""
    layout = _rgb_layout(surface, nhwc=nhwc, bgr=bgr, value_range=value_range)
    params = FromRgbParams(tensor, _c_surface(surface), *padded, _c_codes(surface.codes), layout)
    rows, columns = chroma_size(surface.layout.size)
    return launch_over("animevid_from_rgb", params, columns, rows, half=half)


def norm_chunks(group_size: int) -> int:
    """How many blocks share a group of ``group_size`` samples; ``partials`` needs 12 bytes per block and group."""
    return max(1, min(_NORM_THREADS, -(-group_size // _NORM_CHUNK)))


def norm(
    source: int,
    target: int,
    *,
    shape: tuple[int, int, int, int],
    layer: bool,
    partials: int,
    scale: int,
    shift: int,
    half: bool,
    epsilon: float = 1e-5,
    slope: float = 1.0,
) -> tuple[Launch, Launch]:
    """Layer norm (over C, H, W) or instance norm (over H, W) of a tensor of ``shape`` (N, C, H, W), then LeakyReLU.

    ``scale`` and ``shift`` are addresses of float32 (C,); ``partials`` is the address of scratch memory (see
    ``norm_chunks``).
    """
    count, channels, height, width = shape
    channel_size = height * width
    group_size, groups = (channels * channel_size, count) if layer else (channel_size, count * channels)
    chunks = norm_chunks(group_size)
    params = NormParams(
        source, target, partials, scale, shift, channels, channel_size, group_size, chunks, epsilon, slope
    )
    block = (_NORM_THREADS, 1, 1)
    suffix = "f16" if half else "f32"
    return (
        Launch(f"animevid_norm_statistics_{suffix}", (chunks, groups, 1), block, params),
        Launch(f"animevid_norm_apply_{suffix}", (chunks, groups, 1), block, params),
    )


def upsample_scratch_bytes(size: Size) -> int:
    """Scratch memory that guided upsampling needs for a small frame of ``size``."""
    return len(_UPSAMPLE_PLANES) * 4 * size[0] * size[1]


def guided_upsample(
    full: Surface,
    result: Surface,
    *,
    low_in: int,
    low_out: int,
    size: Size,
    padded: Size,
    scratch: int,
    half: bool,
    epsilon: float = 1e-4,
    radius: int = 1,
    sharpen: float = 1.0,
) -> tuple[Launch, ...]:
    """``pixels.guided_upsample``: the small packed ``low_out`` of ``low_in`` at the size of ``full``, into ``result``.

    Raises:
        UsageError: a small frame that is larger than the full one.
    """
    if size[0] > full.layout.height or size[1] > full.layout.width:
        raise UsageError(f"{size = } is larger than the full {full.layout.size}; unpack and resize it instead")
    plane = 4 * size[0] * size[1]
    params = UpsampleParams(
        _c_surface(full), _c_surface(result), low_in, low_out,
        *(scratch + i * plane for i in range(len(_UPSAMPLE_PLANES))), *size,
        padded[0] // 4, padded[1] // 4, radius, epsilon, sharpen, _c_codes(full.codes),
    )  # fmt: skip
    rows, columns = chroma_size(full.layout.size)
    return (
        launch_over("animevid_upsample_target", params, size[1], size[0], half=half),
        launch_over("animevid_upsample_lines", params, size[1], size[0]),
        launch_over("animevid_upsample_slopes", params, size[1], size[0]),
        launch_over("animevid_upsample_apply", params, columns, rows, half=half),
    )


def blend(original: Surface, stylized: Surface, *, strength: float) -> Launch:
    """``pixels.blend.blend``, in place in ``stylized``."""
    params = BlendParams(_c_surface(original), _c_surface(stylized), round(strength * 256))
    rows, columns = chroma_size(stylized.layout.size)
    return launch_over("animevid_blend", params, columns, rows)


def compare(before: Surface, now: Surface, changed: int, *, floor: NoiseFloor) -> Launch:
    """``pixels.change.has_changed`` for two frames of one layout; if true, writes 1 to the integer at ``changed``."""
    scale = float(1 << (now.layout.bit_depth - 8))
    floors = (floor.largest * scale, floor.block_absolute * scale, floor.block_signed * scale)
    params = CompareParams(_c_surface(before), _c_surface(now), changed, *floors)
    rows, columns = (-(-side // BLOCK_PX) for side in now.layout.size)
    launch = launch_over("animevid_compare", params, columns, rows)
    return replace(launch, grid=(*launch.grid[:2], 3))


def launch_over(name: str, params: ctypes.Structure, columns: int, rows: int, *, half: bool | None = None) -> Launch:
    """Launch ``name`` with one thread for each of ``columns`` x ``rows``; ``half`` selects float16 tensors."""
    suffix = "" if half is None else "_f16" if half else "_f32"
    across, down, _ = _BLOCK_2D
    return Launch(name + suffix, (-(-columns // across), -(-rows // down), 1), _BLOCK_2D, params)


def _c_surface(surface: Surface) -> _Surface:
    layout = surface.layout
    interleaved = layout.pixel_format == "nv12"
    planes = (_Plane * 3)(
        *(
            _Plane(surface.address + offset, pitch, 2 if interleaved and index else 1)
            for index, (offset, pitch) in enumerate(zip(layout.offsets, layout.pitches, strict=True))
        )
    )
    shift = 16 - layout.bit_depth if interleaved and layout.bit_depth > 8 else 0
    return _Surface(planes, layout.height, layout.width, layout.sample_bytes, shift)


def _c_codes(codes: CodeRange) -> _Codes:
    return _Codes(codes.black, codes.luma_span, codes.chroma_mid, codes.chroma_span, codes.max_code)


def _rgb_layout(surface: Surface, *, nhwc: bool, bgr: bool, value_range: tuple[float, float]) -> _RgbLayout:
    low, high = value_range
    matrix = surface.colour.resolved(height=surface.layout.height).matrix
    return _RgbLayout(int(nhwc), int(bgr), high - low, low, *LUMA_COEFFICIENTS[matrix])
