"""Teachers: what a ``distill`` run learns from. A teacher maps a photo to the picture its student should draw.

================================  ====================================================================================
spec                              teacher
================================  ====================================================================================
``cartoongan:FILE``               a published CartoonGAN generator's weights (``.safetensors``)
``aozora:FILE``                   that generator's shading, with colours repainted, areas flattened and lines inked
``cel``                           no network: few flat tones, strong lines
``bilateral``                     the plain bilateral-filter-and-edges cartoon, the baseline of evaluations
================================  ====================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from animevid.errors import TrainingError

Picture = npt.NDArray[np.uint8]

TEACHER_NAMES: tuple[str, ...] = ("cartoongan", "aozora", "cel", "bilateral")


class Teacher(Protocol):
    """Draws a photo, ``(H, W, 3)`` uint8 RGB, as a picture of the same shape.

    ``key`` names every setting that changes its pictures.
    """

    @property
    def key(self) -> str: ...

    def __call__(self, photo: Picture) -> Picture: ...


def open_teacher(spec: str) -> Teacher:
    """The teacher called ``NAME`` or ``NAME:FILE``; a bare ``.safetensors`` file is a CartoonGAN.

    Raises:
        TrainingError: an unknown name, a missing file, or a file given where none is used.
    """
    name, _, file = spec.partition(":")
    if not file and spec.endswith(".safetensors"):
        name, file = "cartoongan", spec
    if name not in TEACHER_NAMES:
        raise TrainingError(f"teacher {spec = }: allowed are {', '.join(TEACHER_NAMES)}, as NAME or NAME:FILE")
    needs_file = name in ("cartoongan", "aozora")
    if needs_file and not file:
        raise TrainingError(f"teacher {spec = } needs weights; give {name}:FILE.safetensors")
    if file and not needs_file:
        raise TrainingError(f"teacher {spec = } takes no file; give {name!r} alone")
    if needs_file:
        from animevid_trainer.teachers.cartoongan import CartoonGanTeacher

        published = CartoonGanTeacher(Path(file))
        if name == "cartoongan":
            return published
    from animevid_trainer.teachers.paint import AOZORA, CEL, BilateralTeacher, Painter

    if name == "bilateral":
        return BilateralTeacher()
    return Painter(AOZORA, shading=published) if name == "aozora" else Painter(CEL)
