"""Teachers for ``distill`` runs. A teacher maps a photo to the image that its student should draw.

================================  ====================================================================================
spec                              teacher
================================  ====================================================================================
``aozora:FOLDER``                 bright summer day, thin toned lines, luminous sky
``ehon:FOLDER``                   picture book: creamy light, brush dabs, sepia lines
``cel:FOLDER``                    flat two- and three-tone shading, clean dark contours
``cartoongan:FILE``               a published CartoonGAN generator's weights (``.safetensors``)
``bilateral``                     a bilateral filter with black edges, the baseline of evaluations
================================  ====================================================================================

The first three are looks (``look.py``). ``analysis.py`` analyses a photo with networks and filters, and ``painting.py``
paints it in any look. ``FOLDER`` holds the networks' weights (``networks.FILES``). To add a look, add its numbers to
``look.LOOKS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from animevid.errors import TrainingError

from animevid_trainer.teachers.look import LOOKS, Look

if TYPE_CHECKING:
    from animevid_trainer.teachers.analysis import Analysis

Image = npt.NDArray[np.uint8]

TEACHER_NAMES: tuple[str, ...] = (*LOOKS, "cartoongan", "bilateral")
#: Increment it when the same look paints other images than before, so that cached ones are not used.
_PAINTING_VERSION = 3


class Teacher(Protocol):
    """Draws a photo, ``(H, W, 3)`` uint8 RGB, as an image of the same shape.

    ``key`` identifies every setting that affects its images.
    """

    @property
    def key(self) -> str: ...

    def __call__(self, photo: Image) -> Image: ...


class LookTeacher:
    """Paints photos in a look on the CPU; a photo of 640 pixels takes 5 to 30 seconds on one thread.

    Args:
        look (Look): the numbers of the look.
        analyst (Analyst): analyses photos; looks that share it analyse each photo only once.
    """

    def __init__(self, look: Look, analyst: Analyst) -> None:
        self._look, self._analyst = look, analyst
        self.key = f"look {_PAINTING_VERSION} {asdict(look)}"

    def __call__(self, photo: Image) -> Image:
        """``(H, W, 3)`` uint8 RGB -> the same shape."""
        from animevid_trainer.teachers.painting import paint

        painted = paint(self._analyst(photo), self._look, self._analyst.networks)
        return (painted * 255).round().astype(np.uint8)


class Analyst:
    """Analyses photos, and caches the last analysis for the next look.

    Args:
        weights (Path): folder of the networks' weights.
        threads (int): CPU threads of the networks. Default: 1.
    """

    def __init__(self, weights: Path, *, threads: int = 1) -> None:
        """Raises:
        TrainingError: a weights file is missing.
        """
        from animevid_trainer.teachers.networks import Networks

        self.networks = Networks(weights, threads=threads)
        self._last: tuple[Image, Analysis] | None = None

    def __call__(self, photo: Image) -> Analysis:
        """Analyse a photo, ``(H, W, 3)`` uint8 RGB."""
        from animevid_trainer.teachers.analysis import analyse

        if self._last is None or not np.array_equal(self._last[0], photo):
            self._last = photo.copy(), analyse(photo.astype(np.float32) / 255, self.networks)
        return self._last[1]


def open_looks(looks: Sequence[str], weights: Path) -> dict[str, LookTeacher]:
    """Open the teachers of several looks, which share the analysis of each photo.

    Raises:
        TrainingError: an unknown look, or missing weights.
    """
    unknown = [name for name in looks if name not in LOOKS]
    if unknown:
        raise TrainingError(f"look {unknown[0]!r}: allowed are {', '.join(LOOKS)}")
    analyst = Analyst(weights)
    return {name: LookTeacher(LOOKS[name], analyst) for name in looks}


def open_teacher(spec: str) -> Teacher:
    """Open the teacher ``NAME`` or ``NAME:PATH``; a bare ``.safetensors`` file is a CartoonGAN.

    Raises:
        TrainingError: an unknown name, missing weights, or a path for a teacher without weights.
    """
    name, _, path = spec.partition(":")
    if not path and spec.endswith(".safetensors"):
        name, path = "cartoongan", spec
    if name not in TEACHER_NAMES:
        raise TrainingError(f"teacher {spec = }: allowed are {', '.join(TEACHER_NAMES)}, as NAME or NAME:PATH")
    if name == "bilateral":
        from animevid_trainer.teachers.bilateral import BilateralTeacher

        if path:
            raise TrainingError(f"teacher {spec = } takes no file; give {name!r} alone")
        return BilateralTeacher()
    if not path:
        kind = "FILE.safetensors" if name == "cartoongan" else "FOLDER, the folder of the networks' weights"
        raise TrainingError(f"teacher {spec = } needs weights; give {name}:{kind}")
    if name in LOOKS:
        return LookTeacher(LOOKS[name], Analyst(Path(path)))
    from animevid_trainer.teachers.cartoongan import CartoonGanTeacher

    return CartoonGanTeacher(Path(path))
