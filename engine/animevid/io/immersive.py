"""Metadata of spherical (360°) and stereoscopic (3D) video: read from a decoded frame, written as MP4 boxes.

FFmpeg reads it from MP4, MOV, Matroska and the bitstream, and attaches it to each frame. PyAV cannot pass it to a
muxer, so the boxes are made here. They follow Google's "Spherical Video V2" and, where possible, also "V1"
(https://github.com/google/spatial-media/tree/master/docs).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: AVStereo3D and AVSphericalMapping of libavutil, the fields that are used.
_STEREO = struct.Struct("=ii")
_SPHERICAL = struct.Struct("=i3i4II")
_FLAT, _SIDE_BY_SIDE, _TOP_BOTTOM = 0, 1, 2
_EQUIRECTANGULAR, _CUBE_MAP, _TILE, _HALF = 0, 1, 2, 3
_SWAPPED = 1
#: The share of the width outside half a sphere, on each side (a fraction of 2**32).
_QUARTER = 1 << 30
_V1_IDENTIFIER = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
_V1 = (
    '<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    'xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"><GSpherical:Spherical>true</GSpherical:Spherical>'
    "<GSpherical:Stitched>true</GSpherical:Stitched><GSpherical:StitchingSoftware>animevid"
    "</GSpherical:StitchingSoftware><GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
    "{stereo}</rdf:SphericalVideo>"
)


@dataclass(frozen=True, slots=True)
class Stereo:
    """Two views in one frame. ``is_swapped``: the right eye's comes first."""

    side_by_side: bool
    is_swapped: bool = False

    @property
    def matroska_name(self) -> str:
        """The value of FFmpeg's tag for Matroska's ``StereoMode``."""
        if self.side_by_side:
            return "right_left" if self.is_swapped else "left_right"
        return "bottom_top" if self.is_swapped else "top_bottom"


@dataclass(frozen=True, slots=True)
class Sphere:
    """How a sphere is projected into the frame: equirectangular, or a cube map.

    Angles are degrees of 16.16 fixed point, bounds (left, top, right, bottom; equirectangular) fractions of 2**32,
    ``padding`` (of a cube map) pixels.
    """

    is_cube: bool = False
    yaw: int = 0
    pitch: int = 0
    roll: int = 0
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding: int = 0


@dataclass(frozen=True, slots=True)
class Immersive:
    """Stereo and spherical properties of a video; ``lost`` names properties that are not supported."""

    stereo: Stereo | None = None
    sphere: Sphere | None = None
    lost: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """In words."""
        spherical = ("spherical (360°)",) if self.sphere is not None else ()
        return spherical + (("stereoscopic (3D)",) if self.stereo is not None else ())

    @property
    def entry_boxes(self) -> bytes:
        """The boxes for the sample entry (V2)."""
        boxes = b""
        if self.stereo is not None:
            boxes += _full_box(b"st3d", bytes([_st3d_mode(self.stereo)]))
        if self.sphere is not None:
            boxes += _sv3d(self.sphere)
        return boxes

    @property
    def track_boxes(self) -> bytes:
        """The boxes for the track (V1): only for full equirectangular spheres."""
        if self.sphere is None or self.sphere.is_cube or any(self.sphere.bounds):
            return b""
        mode = ""
        if self.stereo is not None:
            mode = "left-right" if self.stereo.side_by_side else "top-bottom"
            mode = f"<GSpherical:StereoMode>{mode}</GSpherical:StereoMode>"
        return _box(b"uuid", _V1_IDENTIFIER + _V1.format(stereo=mode).encode())


def immersive_of(side_data: dict[str, bytes]) -> Immersive | None:
    """The properties in a frame's side data (by PyAV's names); ``None`` for ordinary video."""
    stereo, sphere, lost = None, None, []
    if "STEREO3D" in side_data:
        kind, flags = _STEREO.unpack_from(side_data["STEREO3D"])
        swapped = bool(flags & _SWAPPED)
        if kind in (_SIDE_BY_SIDE, _TOP_BOTTOM) and not (kind == _TOP_BOTTOM and swapped):
            stereo = Stereo(kind == _SIDE_BY_SIDE, swapped)
        elif kind != _FLAT:
            lost.append("stereoscopic (3D)")
    if "SPHERICAL" in side_data:
        kind, yaw, pitch, roll, *bounds, padding = _SPHERICAL.unpack_from(side_data["SPHERICAL"])
        if kind == _HALF:
            bounds = [_QUARTER, 0, _QUARTER, 0]
        if kind in (_EQUIRECTANGULAR, _CUBE_MAP, _TILE, _HALF):
            inside = (0, 0, 0, 0) if kind in (_EQUIRECTANGULAR, _CUBE_MAP) else tuple(bounds)
            sphere = Sphere(kind == _CUBE_MAP, yaw, pitch, roll, inside, padding if kind == _CUBE_MAP else 0)
        else:
            lost.append("spherical (360°)")
    return Immersive(stereo, sphere, tuple(lost)) if stereo or sphere or lost else None


def _st3d_mode(stereo: Stereo) -> int:
    if not stereo.side_by_side:
        return 1
    return 4 if stereo.is_swapped else 2


def _sv3d(sphere: Sphere) -> bytes:
    left, top, right, bottom = sphere.bounds
    lies = (
        _full_box(b"cbmp", struct.pack(">II", 0, sphere.padding))
        if sphere.is_cube
        else _full_box(b"equi", struct.pack(">4I", top, bottom, left, right))
    )
    pose = _full_box(b"prhd", struct.pack(">3i", sphere.yaw, sphere.pitch, sphere.roll))
    return _box(b"sv3d", _full_box(b"svhd", b"animevid\0") + _box(b"proj", pose + lies))


def _box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def _full_box(kind: bytes, body: bytes) -> bytes:
    """A box with version 0 and no flags."""
    return _box(kind, bytes(4) + body)
