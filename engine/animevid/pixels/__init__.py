"""Planes and tensors: pixel kernels, compiled where possible, each with a readable reference (`*_ref`)."""

from animevid.pixels.blend import blend, compare_side_by_side, compare_split
from animevid.pixels.change import ChangeDetector, NoiseFloor, has_changed
from animevid.pixels.colour import Colour, ColourRange, Matrix
from animevid.pixels.deflicker import InputFilter, OutputFilter
from animevid.pixels.guided_upsample import guided_upsample
from animevid.pixels.native import is_native
from animevid.pixels.packed import pack_yuv420, padded_size, unpack_yuv420
from animevid.pixels.planes import Plane, PlanesYUV420
from animevid.pixels.resize import chroma_size, resize_plane, resize_planes
from animevid.pixels.rgb import planes_to_rgb, planes_to_tensor, rgb_to_planes, tensor_to_planes

__all__ = [
    "ChangeDetector",
    "Colour",
    "ColourRange",
    "InputFilter",
    "Matrix",
    "NoiseFloor",
    "OutputFilter",
    "Plane",
    "PlanesYUV420",
    "blend",
    "chroma_size",
    "compare_side_by_side",
    "compare_split",
    "guided_upsample",
    "has_changed",
    "is_native",
    "pack_yuv420",
    "padded_size",
    "planes_to_rgb",
    "planes_to_tensor",
    "resize_plane",
    "resize_planes",
    "rgb_to_planes",
    "tensor_to_planes",
    "unpack_yuv420",
]
