"""Describes a column of figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One figure: its heading, its meaning, and whether higher is better (+1), lower (-1) or neither (0)."""

    key: str
    title: str
    meaning: str
    better: int = 0
    digits: int = 3
