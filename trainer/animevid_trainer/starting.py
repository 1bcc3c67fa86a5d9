"""Starting points trained by others: published weights for a generator, any ONNX stylizer as a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from animevid.errors import TrainingError
from torch import Tensor, nn

from animevid_trainer.data.images import Image
from animevid_trainer.importers import import_weights, read_state
from animevid_trainer.recipes import Recipe
from animevid_trainer.teachers import Teacher, open_teacher


def published_weights(source: Path, recipe: Recipe, generator: nn.Module) -> Mapping[str, Tensor]:
    """Weights for ``generator`` from a ``.pt``, ``.pth``, ``.safetensors`` or a folder of ``.npy``.

    They have its own names (``NAME.npy``, a state that was saved), or are what ``animevid import`` knows: AnimeGANv2's
    ports and CartoonGAN.

    Raises:
        TrainingError: unreadable, or another network's.
    """
    state = read_state(source.expanduser())
    if state.keys() == generator.state_dict().keys():
        return state
    imported = import_weights(source)
    if imported.name != recipe.generator:
        raise TrainingError(
            f"{str(source)!r} holds {imported.name}, recipe {recipe.name!r} trains {recipe.generator}; "
            f"give weights of {recipe.generator}, or another recipe"
        )
    norm = imported.options.get("norm")
    if norm is not None and norm != recipe.generator_options.get("norm", "batch"):
        raise TrainingError(f"{str(source)!r} has {norm} norm: train {recipe.name}+{norm}")
    return imported.generator.state_dict()


class OnnxTeacher:
    """Any ONNX stylizer that the engine runs, with or without a card, as it runs it.

    Args:
        path: the file.

    Raises:
        AnimevidError: no stylizer, or one that the engine cannot run.
    """

    def __init__(self, path: Path) -> None:
        from animevid.render.stylizer import Stylizer

        if not path.is_file():
            raise TrainingError(f"teacher {str(path)!r}: no such file")
        self._stylizer = Stylizer(str(path))
        self.key = f"onnx 1 {hashlib.sha256(path.read_bytes()).hexdigest()}"

    def __call__(self, photo: Image) -> Image:
        """``(H, W, 3)`` uint8 RGB -> the same shape."""
        height, width = photo.shape[:2]
        even = np.pad(photo, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return np.ascontiguousarray(np.asarray(self._stylizer(even), np.uint8)[:height, :width])


def open_any_teacher(spec: str) -> Teacher:
    """``FILE.onnx``, or what ``teachers.open_teacher`` knows.

    Raises:
        AnimevidError: an unknown name, or weights that are missing or of something else.
    """
    return OnnxTeacher(Path(spec).expanduser()) if spec.endswith(".onnx") else open_teacher(spec)
