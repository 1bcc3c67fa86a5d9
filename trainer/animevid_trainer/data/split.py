"""Chooses validation images by file name alone, so that the choice never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def name_fraction(name: str) -> float:
    """Map ``name`` to [0, 1) by the first 8 bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2.0**64


def split_by_name(paths: Sequence[Path], *, validation_fraction: float) -> tuple[list[Path], list[Path]]:
    """Split into (training, validation). A file stays on its side when others are added, removed, or moved."""
    training: list[Path] = []
    validation: list[Path] = []
    for path in paths:
        (validation if name_fraction(path.name) < validation_fraction else training).append(path)
    return training, validation
