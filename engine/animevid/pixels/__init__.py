"""Planes and tensors: every kernel that touches pixels, compiled where it can be, with a readable twin (``*_ref``)."""

from animevid.pixels.blend import blend, compare_side_by_side, compare_split
from animevid.pixels.change import ChangeDetector, NoiseFloor, has_changed
from animevid.pixels.colour import Colour, ColourRange, Matrix
from animevid.pixels.deflicker import Deflicker
from animevid.pixels.lift import lift
from animevid.pixels.native import is_native
from animevid.pixels.packed import pack_yuv420, padded_size, unpack_yuv420
from animevid.pixels.paint import PaintSettings, paint
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import chroma_size, resize_plane, resize_planes
from animevid.pixels.rgb import planes_to_rgb, planes_to_tensor, rgb_to_planes, tensor_to_planes

__all__ = [
    "ChangeDetector",
    "Colour",
    "ColourRange",
    "Deflicker",
    "Matrix",
    "NoiseFloor",
    "PaintSettings",
    "Plane",
    "PlanesYUV420",
    "blend",
    "chroma_size",
    "compare_side_by_side",
    "compare_split",
    "has_changed",
    "is_native",
    "lift",
    "pack_yuv420",
    "padded_size",
    "paint",
    "planes_to_rgb",
    "planes_to_tensor",
    "resize_plane",
    "resize_planes",
    "rgb_to_planes",
    "tensor_to_planes",
    "unpack_yuv420",
]
